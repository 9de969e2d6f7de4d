"""Which state of an order an operator looked at before an act. The act says it, and is refused if the order is another one by then."""

from hashlib import blake2b
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from ordersaga.messaging.acts import STALE
from ordersaga.messaging.refusal import Refusal
from ordersaga.order.model import Order

CHANGED: Final = Refusal("CONFLICT", STALE, "the order has changed since it was shown; look at it again")


def version_of(order: Order) -> str:
    """Changes with all that an order knows: status, answers, and each request too, for whoever has a request sent again. Not with the timer."""
    return _digest((order.status, order.reason, replace(order.facts, look_at=None)))


def seen_of(order: Order) -> str:
    """Changes with what decides about a cancel, a return or a refund: status, delivery, return, flag and money. Requests that are repeated
    meanwhile change nothing for whoever decides that."""
    facts = order.facts
    return _digest((order.status, order.reason, facts.delivery, facts.returning, facts.flag, facts.payments))


def _digest(seen: Any) -> str:
    return blake2b(msgspec.json.encode(seen), digest_size=8).hexdigest()
