"""Decides one delivery for each order, as one pure function over a batch's requests and the carrier's verdicts. No I/O.

The order id is the business key. The first request of an order decides; each later request is answered with the same delivery.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from msgspec import Struct

from ordersaga.contracts.address import Address, address_fields
from ordersaga.contracts.messages import DeliveryRequestMessage, DeliveryStartMessage
from ordersaga.contracts.status import FAILED, STARTED
from ordersaga.delivery.carrier import Accepted, Parcel, Verdict
from ordersaga.delivery.model import Delivery


class Dispatch(Struct, frozen=True):
    """One answer for each request of a batch, in its order, and the new deliveries."""

    answers: list[DeliveryStartMessage]
    deliveries: list[Delivery]


def parcels(known: Mapping[UUID, Delivery], requests: Sequence[DeliveryRequestMessage]) -> list[Parcel]:
    """The parcels to hand over: one for each order without a delivery, with the address of its first request."""
    first: dict[UUID, Parcel] = {}
    for request in requests:
        if request.order_id not in known and request.order_id not in first:
            first[request.order_id] = Parcel(request.order_id, Address(*address_fields(request)))
    return list(first.values())


def dispatch(
    known: Mapping[UUID, Delivery],
    verdicts: Mapping[UUID, Verdict],
    requests: Sequence[DeliveryRequestMessage],
    now: datetime,
    new_id: Callable[[], UUID],
) -> Dispatch:
    """Answer `requests` in their order. `verdicts` must have an entry for each order without a delivery."""
    made: dict[UUID, Delivery] = {}
    answers = []
    for request in requests:
        delivery = known.get(request.order_id) or made.get(request.order_id)
        if delivery is None:
            delivery = made[request.order_id] = _begin(request, verdicts[request.order_id], now, new_id())
        answers.append(
            DeliveryStartMessage(order_id=request.order_id, delivery_id=delivery.delivery_id, status=delivery.status)
        )
    return Dispatch(answers, list(made.values()))


def _begin(request: DeliveryRequestMessage, verdict: Verdict, now: datetime, delivery_id: UUID) -> Delivery:
    return Delivery(
        order_id=request.order_id,
        delivery_id=delivery_id,
        customer_id=request.customer_id,
        status=STARTED if isinstance(verdict, Accepted) else FAILED,
        tracking_number=verdict.tracking_number if isinstance(verdict, Accepted) else None,
        refusal=None if isinstance(verdict, Accepted) else verdict.reason,
        address=Address(*address_fields(request)),
        at=now,
    )
