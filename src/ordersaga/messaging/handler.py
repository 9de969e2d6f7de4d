"""What a service author sees: a handler takes a `Batch`, changes the database, and returns what is to be sent.

@consumes(StockDecreaseRequestMessage, StockRollbackRequestedMessage)
async def handle(batch: Batch, db: Connection) -> list[Outgoing]: ...
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from msgspec import Struct

from ordersaga.contracts.messages import Message
from ordersaga.contracts.topics import BY_MESSAGE, Topic, key_of
from ordersaga.messaging.database import Connection
from ordersaga.messaging.texts import storable

MESSAGE_ID: Final = "message-id"
CAUSATION_ID: Final = "causation-id"
TRACEPARENT: Final = "traceparent"
CAUSATION_CHARS_MAX: Final = 200


class Record(Struct, frozen=True, gc=False):
    """One record as Kafka gave it."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] | None
    timestamp_ms: int
    flaw: str | None = None
    """Why the client could not read all of it; what it could read is here."""

    def header(self, name: str) -> bytes | None:
        """The last value of a header, or None."""
        found = None
        for key, value in self.headers or ():
            if key == name:
                found = value
        return found


class Incoming(Struct, frozen=True, gc=False, eq=False):
    """A decoded record."""

    message: Message
    record: Record

    @property
    def key(self) -> UUID:
        """The business key (order id): taken from the message, for Java's records may have no key."""
        return key_of(self.message)

    @property
    def causation_id(self) -> str | None:
        """The `message-id` of what this is the answer to, if its sender says so; Java's do not."""
        said = self.record.header(CAUSATION_ID)
        return storable(said.decode(errors="replace"), CAUSATION_CHARS_MAX) if said else None


class Outgoing(Struct, frozen=True, gc=False):
    """A message to publish on its topic, and the incoming one that caused it (None: HTTP, a timer).

    `message_id` is for whoever must know an answer again by its `causation-id`; a deliberate resend is given another. None: made.
    """

    message: Message
    cause: Incoming | None = None
    message_id: UUID | None = None


class Rejected(Struct, frozen=True):
    """A record that can never be handled, and why; it becomes a dead letter."""

    record: Record
    reason: str


class Batch:
    """The decoded records of one turn, in offset order within each partition, and the turn's time and ids.

    Time and ids come from here, never from the clock or from SQL's `now()`, so that a turn can be run again as it was.
    """

    def __init__(self, incoming: Sequence[Incoming], now: datetime, new_id: Callable[[], UUID]) -> None:
        self.incoming: Final = incoming
        self.now: Final = now
        self.new_id: Final = new_id
        self.rejected: Final[list[Rejected]] = []

    def reject(self, incoming: Incoming, reason: str) -> None:
        """Make the record a dead letter with this reason; the others of the batch go on."""
        self.rejected.append(Rejected(incoming.record, reason))


Handle = Callable[[Batch, Connection], Awaitable[list[Outgoing]]]


class Handler(Struct, frozen=True):
    """A service's one handler and the topics it takes, mixed as they come."""

    topics: tuple[Topic, ...]
    handle: Handle


def consumes(*messages: type[Message]) -> Callable[[Handle], Handler]:
    """Declare which messages a handler takes."""
    topics = tuple(BY_MESSAGE[message] for message in messages)
    return lambda handle: Handler(topics, handle)
