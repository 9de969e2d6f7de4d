"""One order's story over all services, in the order of time: what came in, what went out, what failed, what operators did. Pure."""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from ordersaga.operations.parked_resources import QueueResource
from ordersaga.operations.resources import ActResource, DeadLetterResource
from ordersaga.said import Saying
from ordersaga.web.console.model import DeliveryView, PaymentView, ReservationView, TimelineEvent
from ordersaga.web.console.payloads import Mention, mention, sent_by


class Line(Struct, frozen=True):
    """One line of the story. `kind`: event, reservation, payment, delivery, letter, parked or act. `came_in` and `sent`: the messages that caused it, and that
    went out with it, whose records Kafka may have."""

    at: datetime
    service: str
    kind: str
    what: str
    status: str = ""
    words: str = ""
    href: str = ""
    by: str = ""
    came_in: Mention | None = None
    sent: Sequence[Mention] = ()
    said: Sequence[Saying] = ()

    @property
    def mentions(self) -> list[Mention]:
        return [*((self.came_in,) if self.came_in else ()), *self.sent]


def story(
    events: Sequence[TimelineEvent],
    payments: Sequence[PaymentView],
    delivery: DeliveryView | None,
    held: dict[str, tuple[list[QueueResource], list[DeadLetterResource]] | None],
    acts: Sequence[tuple[str, ActResource]],
    reservation: ReservationView | None = None,
) -> list[Line]:
    """All lines, the oldest first."""
    lines = [_event(f"order-{n}", each) for n, each in enumerate(events)]
    for n, payment in enumerate(payments):
        lines.append(Line(payment.requested_at, "payment", "payment", "requested", words=payment.payment_key))
        if payment.approved_at:
            sent = sent_by(f"payment-{n}", ["PaymentSuccessMessage"], payment.approved_at)
            lines.append(
                Line(payment.approved_at, "payment", "payment", "approved", words=payment.payment_key, sent=sent)
            )
    if reservation:
        lines.append(_decided(reservation))
    if delivery:
        lines.append(_dispatched(delivery))
    for service, found in held.items():
        queues, letters = found or ([], [])
        lines += [
            Line(
                each.at,
                service,
                "letter",
                each.topic,
                each.status,
                f"{each.cause}: {each.reason}",
                f"/console/letters/{service}/{each.id}",
                said=each.said,
            )
            for each in letters
        ]
        lines += [
            Line(
                each.parked_at,
                service,
                "parked",
                each.topic,
                "PARKED",
                f"{each.cause}: {each.reason}",
                parked_path(service, each),
                said=each.said,
            )
            for each in queues
        ]
    lines += [Line(act.at, service, "act", act.what, "", act.why, "", act.who) for service, act in acts]
    return sorted(lines, key=lambda each: each.at)


def _event(number: str, event: TimelineEvent) -> Line:
    came_in, sent = mention(number, event.came_in, event.at), sent_by(number, event.went_out, event.at)
    what, status, note = event.came_in, event.status, event.note or ""
    return Line(event.at, "order", "event", what, status, note, came_in=came_in, sent=sent, said=event.note_said)


def _decided(reservation: ReservationView) -> Line:
    """What Stock has decided about the request; a tombstone is the answer to a rollback that came before it."""
    is_tombstone = reservation.state == "OVERTAKEN"
    asked = "StockRollbackRequestedMessage" if is_tombstone else "StockDecreaseRequestMessage"
    answer = "StockRollbackCompletedMessage" if is_tombstone else "StockResponseMessage"
    short = [each for each in reservation.items if each.message]
    words = "; ".join(each.message or "" for each in short)
    said = [saying for each in short for saying in each.said] if all(each.said for each in short) else []
    came_in, sent = mention("stock-0", asked, reservation.at), sent_by("stock-0", [answer], reservation.at)
    # What is released was reserved before.
    state = "RESERVED" if reservation.state == "RELEASED" else reservation.state
    what = "decided"
    return Line(reservation.at, "stock", "reservation", what, state, words, came_in=came_in, sent=sent, said=said)


def _dispatched(delivery: DeliveryView) -> Line:
    words = delivery.tracking_number or delivery.refusal or ""
    came_in = mention("delivery-0", "DeliveryRequestMessage", delivery.at)
    sent = sent_by("delivery-0", ["DeliveryStartMessage"], delivery.at)
    status, said = delivery.status, delivery.refusal_said
    return Line(delivery.at, "delivery", "delivery", status, words=words, came_in=came_in, sent=sent, said=said)


def parked_path(service: str, queue: QueueResource) -> str:
    """The address of the page of a queue's first record."""
    return f"/console/parked/{service}/{queue.topic}/{queue.partition}/{queue.offset}"
