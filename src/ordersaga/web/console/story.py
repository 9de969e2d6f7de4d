"""One order's story over all services, in the order of time: what came in, what went out, what failed, what operators did. Pure."""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from ordersaga.operations.parked_resources import QueueResource
from ordersaga.operations.resources import ActResource, DeadLetterResource
from ordersaga.web.console.model import DeliveryView, PaymentView, TimelineEvent


class Line(Struct, frozen=True):
    """One line of the story. `kind`: event, payment, delivery, letter, parked or act. `sent`: the messages that went out with it."""

    at: datetime
    service: str
    kind: str
    what: str
    sent: Sequence[str] = ()
    status: str = ""
    words: str = ""
    href: str = ""
    by: str = ""


def story(
    events: Sequence[TimelineEvent],
    payments: Sequence[PaymentView],
    delivery: DeliveryView | None,
    held: dict[str, tuple[list[QueueResource], list[DeadLetterResource]] | None],
    acts: Sequence[tuple[str, ActResource]],
) -> list[Line]:
    """All lines, the oldest first."""
    lines = [
        Line(each.at, "order", "event", each.came_in, each.went_out, each.status, each.note or "") for each in events
    ]
    for payment in payments:
        lines.append(Line(payment.requested_at, "payment", "payment", "requested", words=payment.payment_key))
        if payment.approved_at:
            lines.append(Line(payment.approved_at, "payment", "payment", "approved", words=payment.payment_key))
    if delivery:
        words = delivery.tracking_number or delivery.refusal or ""
        lines.append(Line(delivery.at, "delivery", "delivery", delivery.status, words=words))
    for service, found in held.items():
        queues, letters = found or ([], [])
        lines += [
            Line(
                each.at,
                service,
                "letter",
                each.topic,
                (),
                each.status,
                f"{each.cause}: {each.reason}",
                f"/console/letters/{service}/{each.id}",
            )
            for each in letters
        ]
        lines += [
            Line(
                each.parked_at,
                service,
                "parked",
                each.topic,
                (),
                "PARKED",
                f"{each.cause}: {each.reason}",
                parked_path(service, each),
            )
            for each in queues
        ]
    lines += [Line(act.at, service, "act", act.what, (), "", act.why, "", act.who) for service, act in acts]
    return sorted(lines, key=lambda each: each.at)


def parked_path(service: str, queue: QueueResource) -> str:
    """The address of the page of a queue's first record."""
    return f"/console/parked/{service}/{queue.topic}/{queue.partition}/{queue.offset}"
