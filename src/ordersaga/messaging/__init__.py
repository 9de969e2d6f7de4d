"""The runtime that makes Kafka and PostgreSQL behave as one. It knows nothing about orders.

A service author imports from here; `docs/messaging.md` explains the names, and the README has a whole service. A name's module is loaded
when the name is first used, so that `import ordersaga.messaging.errors` does not load a Kafka client.

To read the runtime, start with `consuming.py` (the steps of a round), then `turn.py` (one turn, top to bottom). Each behaviour is a file:
`ledger.py` (the next offsets, and the fence), `assignment.py` (taking and leaving partitions), `isolation.py`, `parking.py`, `retries.py`,
`outbox.py`, `dead_letters.py`, `gather.py` (HTTP writes). `runtime.py` starts them all. May import `contracts`; only `kafka/` imports
confluent_kafka.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from ordersaga.contracts.codec import declare as declare
    from ordersaga.contracts.messages import Message as Message
    from ordersaga.contracts.topics import Topic as Topic
    from ordersaga.messaging.database import Connection as Connection
    from ordersaga.messaging.database import insert_new as insert_new
    from ordersaga.messaging.errors import CannotStart as CannotStart
    from ordersaga.messaging.gather import Gather as Gather
    from ordersaga.messaging.gather import NotBegun as NotBegun
    from ordersaga.messaging.gather import OutcomeUnknown as OutcomeUnknown
    from ordersaga.messaging.gather import Write as Write
    from ordersaga.messaging.handler import Batch as Batch
    from ordersaga.messaging.handler import Handler as Handler
    from ordersaga.messaging.handler import Incoming as Incoming
    from ordersaga.messaging.handler import Outgoing as Outgoing
    from ordersaga.messaging.handler import Record as Record
    from ordersaga.messaging.handler import consumes as consumes
    from ordersaga.messaging.kafka import create_missing_topics as create_missing_topics
    from ordersaga.messaging.migrating import migrate as migrate
    from ordersaga.messaging.runtime import Runtime as Runtime
    from ordersaga.messaging.texts import storable as storable
    from ordersaga.settings import Settings as Settings
    from ordersaga.settings_limits import Group as Group
    from ordersaga.settings_limits import PostgresUrl as PostgresUrl

_MODULES: Final = {
    "ordersaga.contracts.codec": ("declare",),
    "ordersaga.contracts.messages": ("Message",),
    "ordersaga.contracts.topics": ("Topic",),
    "ordersaga.messaging.database": ("Connection", "insert_new"),
    "ordersaga.messaging.errors": ("CannotStart",),
    "ordersaga.messaging.gather": ("Gather", "NotBegun", "OutcomeUnknown", "Write"),
    "ordersaga.messaging.handler": ("Batch", "Handler", "Incoming", "Outgoing", "Record", "consumes"),
    "ordersaga.messaging.kafka": ("create_missing_topics",),
    "ordersaga.messaging.migrating": ("migrate",),
    "ordersaga.messaging.runtime": ("Runtime",),
    "ordersaga.messaging.texts": ("storable",),
    "ordersaga.settings": ("Settings",),
    "ordersaga.settings_limits": ("Group", "PostgresUrl"),
}
_MODULE_OF: Final = {name: module for module, names in _MODULES.items() for name in names}

__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_MODULE_OF[name]), name)
    return value
