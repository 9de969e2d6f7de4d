"""Decides which order gets which products, as one pure function over a batch's requests and rollbacks, in offset order.

An order gets all its products or none. The order id is the business key: a repeated request gets the answer of the first and moves no
pieces. No I/O.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, TypeAlias
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from ordersaga.contracts import messages as m
from ordersaga.contracts.answers import (
    NEVER_RESERVED,
    NO_PRODUCT,
    NOTHING_NAMED,
    OTHER_QUANTITY,
    OVERTAKEN,
    SEPARATOR,
    SHORT,
)
from ordersaga.contracts.status import FAILED, SUCCESS, StockStatus
from ordersaga.stock.model import Item, Movement, Reservation, State

Request: TypeAlias = m.StockDecreaseRequestMessage | m.StockRollbackRequestedMessage

_SAYS: Final[dict[State, str]] = {"RESERVED": "reserved", "RELEASED": "the reservation was released"}
OBJECTIONS_NAMED_MAX: Final = 5
OTHER_PRODUCTS: Final = "the order was already asked for with other products or quantities"


class Reply(Struct, frozen=True, gc=False):
    """The answers to one request, or why the handler rejects the request, which then becomes a dead letter."""

    answers: tuple[m.Message, ...] = ()
    rejection: str | None = None


class Allocation(Struct, frozen=True):
    """One reply for each request of a batch, in its order, the new and changed reservations, the movements of pieces, and what is left available."""

    replies: list[Reply]
    reservations: dict[UUID, Reservation]
    movements: list[Movement]
    left: dict[UUID, int]


class _Step(Struct, frozen=True, gc=False):
    reply: Reply
    reservation: Reservation | None = None
    movements: tuple[Movement, ...] = ()


def allocate(
    available: Mapping[UUID, int], reservations: Mapping[UUID, Reservation], requests: Sequence[Request]
) -> Allocation:
    """Decide `requests` in their order. A product that is missing in `available` does not exist."""
    left = dict(available)
    replies, movements = [], []
    changed: dict[UUID, Reservation] = {}
    for request in requests:
        known = changed.get(request.order_id) or reservations.get(request.order_id)
        if isinstance(request, m.StockRollbackRequestedMessage):
            step = _release(known, request)
        else:
            step = _reserve(left, known, request)
        replies.append(step.reply)
        if step.reservation is not None:
            changed[request.order_id] = step.reservation
        for movement in step.movements:
            left[movement.product_id] += movement.quantity if movement.kind == "released" else -movement.quantity
            movements.append(movement)
    return Allocation(replies, changed, movements, left)


def _reserve(available: Mapping[UUID, int], known: Reservation | None, request: m.StockDecreaseRequestMessage) -> _Step:
    asked = _pieces(request.products)
    if known is not None and known.state == "OVERTAKEN":
        return _reserve_nothing(request.order_id, _overtaken(known, asked))
    if known is not None:  # the request is a repeat
        if asked != {item.product_id: item.quantity for item in known.items}:
            return _Step(Reply(rejection=OTHER_PRODUCTS))
        return _Step(Reply(_answers(known)))
    shortages = {product_id: _shortage(available, product_id, quantity) for product_id, quantity in asked.items()}
    if any(shortages.values()):
        return _reserve_nothing(
            request.order_id, [Item(p, quantity, "REFUSED", shortages[p]) for p, quantity in asked.items()]
        )
    reservation = Reservation(
        request.order_id, "RESERVED", tuple(Item(p, quantity, "RESERVED") for p, quantity in asked.items())
    )
    movements = tuple(Movement(p, request.order_id, "reserved", quantity) for p, quantity in asked.items())
    return _Step(Reply(_answers(reservation)), reservation, movements)


def _shortage(available: Mapping[UUID, int], product_id: UUID, quantity: int) -> str | None:
    there = available.get(product_id)
    if there is None:
        return NO_PRODUCT(product=product_id)
    return SHORT(product=product_id, asked=quantity, available=there) if quantity > there else None


def _reserve_nothing(order_id: UUID, items: Iterable[Item]) -> _Step:
    reservation = Reservation(order_id, "REFUSED", tuple(items))
    return _Step(Reply(_answers(reservation)), reservation)


def _overtaken(tombstone: Reservation, asked: Mapping[UUID, int]) -> list[Item]:
    """The items of a request that came after its rollback: no product is reserved, and the rolled back products stay OVERTAKEN."""
    rolled_back = {item.product_id for item in tombstone.items}
    return [
        Item(product_id, quantity, "OVERTAKEN" if product_id in rolled_back else "REFUSED", OVERTAKEN())
        for product_id, quantity in asked.items()
    ]


def _release(known: Reservation | None, request: m.StockRollbackRequestedMessage) -> _Step:
    pieces = _pieces(request.items)
    done = Reply((m.StockRollbackCompletedMessage(order_id=request.order_id),))
    if not pieces:
        return _rollback_failed(request.order_id, NOTHING_NAMED())
    if known is None or known.state == "OVERTAKEN":
        overtaken = {item.product_id: item for item in known.items} if known else {}
        overtaken |= {product_id: Item(product_id, quantity, "OVERTAKEN") for product_id, quantity in pieces.items()}
        return _Step(done, Reservation(request.order_id, "OVERTAKEN", tuple(overtaken.values())))
    items = {item.product_id: item for item in known.items}
    objections = [_objection(items.get(product_id), product_id, quantity) for product_id, quantity in pieces.items()]
    if any(objections):
        # Only the first few are named: thousands of objections would make the answer larger than Kafka takes.
        named = [each for each in objections if each][:OBJECTIONS_NAMED_MAX]
        return _rollback_failed(request.order_id, SEPARATOR.join(named))
    held = [items[product_id] for product_id in pieces if items[product_id].state == "RESERVED"]
    if not held:
        return _Step(done)
    items |= {item.product_id: replace(item, state="RELEASED") for item in held}
    state: State = "RESERVED" if any(item.state == "RESERVED" for item in items.values()) else "RELEASED"
    movements = tuple(Movement(item.product_id, request.order_id, "released", item.quantity) for item in held)
    return _Step(done, Reservation(request.order_id, state, tuple(items.values())), movements)


def _objection(item: Item | None, product_id: UUID, quantity: int) -> str | None:
    """Why this product of a rollback cannot be released, or None."""
    if item is None or item.state == "REFUSED":
        return NEVER_RESERVED(product=product_id)
    if item.state != "OVERTAKEN" and item.quantity != quantity:
        return OTHER_QUANTITY(product=product_id, reserved=item.quantity, asked=quantity)
    return None


def _rollback_failed(order_id: UUID, why: str) -> _Step:
    return _Step(Reply((m.StockRollbackFailedMessage(order_id=order_id, error_message=why),)))


def _answers(reservation: Reservation) -> tuple[m.Message, ...]:
    """One answer for each product.

    Not one for the whole order: a product that is still reserved must not be answered FAILED, since Order would then never release it.
    """
    answers = []
    for item in reservation.items:
        status: StockStatus = SUCCESS if item.state == "RESERVED" else FAILED
        message = _SAYS.get(item.state, item.message)
        # None: REFUSED only because another product of the order was short; that product's answer says so.
        if message is not None:
            answers.append(
                m.StockResponseMessage(
                    order_id=reservation.order_id, product_id=item.product_id, status=status, message=message
                )
            )
    return tuple(answers)


def _pieces(lines: Iterable[m.OrderedProduct]) -> dict[UUID, int]:
    """Pieces of each product. A product that stands in two lines has the sum of both."""
    pieces: dict[UUID, int] = {}
    for line in lines:
        pieces[line.product_id] = pieces.get(line.product_id, 0) + line.quantity
    return pieces
