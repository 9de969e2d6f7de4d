"""Compares Order's facts about an order with the rows of Stock, Payment and Delivery."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from ordersaga.audit.facts import UNREFUNDED, AuditedOrder, PaymentFact
from ordersaga.audit.finding import Moment
from ordersaga.contracts.status import ORDER_CODES
from ordersaga.said import say

ANSWERED_DELIVERY: Final = ("STARTED", "FAILED")


class Unheard(msgspec.Struct, frozen=True):
    """Which records between Order and Payment are unpublished or unhandled. A difference counts as in flight if a
    record under way will remove it.

    `payments`: whether results of payments may still be unpublished or unhandled. If not, a payment approved before `since` must be known to
    Order.
    `refunds`: the same for results of refunds. `payables`: the same for Order's messages about who may pay.
    """

    since: datetime
    payments: bool = False
    refunds: bool = False
    payables: bool = False


class Contradiction(msgspec.Struct, frozen=True):
    """A difference between two services, in words. `is_unheard`: a record that is not published or not handled yet may explain it."""

    what: str
    is_unheard: bool = False


class Item(msgspec.Struct, rename="camel"):
    """One product of a reservation."""

    product_id: str
    quantity: int
    state: str


_items: Final = msgspec.json.Decoder(list[Item])


def items_of(reservations: list[Any]) -> list[Item]:
    """The products of an order's reservation. An order has one reservation at most."""
    return [item for row in reservations for item in _items.decode(row["items"])]


def reserved_items(items: list[Item]) -> dict[str, int]:
    """The pieces of each product that Stock holds."""
    return {item.product_id: item.quantity for item in items if item.state == "RESERVED"}


def in_words(pieces: Mapping[str, int]) -> str:
    """The pieces of each product, as a finding says them."""
    return ", ".join(f"{quantity} x {product}" for product, quantity in pieces.items()) or "nothing"


def stock_differences(order: AuditedOrder, reservations: list[Any], items: list[Item]) -> list[Contradiction]:
    """Where Order and Stock disagree. `orders.py` judges the pieces that an ended order must or must not hold."""
    facts = order.facts
    answered = [line.product_id for line in facts.lines if line.stock != "REQUESTED"]
    if order.is_dead and answered and not reservations:
        return [
            Contradiction(
                say(
                    "audit.agreed.no_reservation",
                    "Stock answered for product {product}, and has no reservation of this order",
                    product=answered[0],
                )
            )
        ]
    found = []
    asked = {item.product_id: item.quantity for item in items}
    # A rollback that came before its request leaves a tombstone with the products of that rollback alone.
    if reservations and reservations[0]["state"] != "OVERTAKEN" and asked != facts.pieces:
        found.append(
            Contradiction(
                say(
                    "audit.agreed.lines",
                    "Order has lines of {ours}; Stock decided on {theirs}",
                    ours=in_words(facts.pieces),
                    theirs=in_words(asked),
                )
            )
        )
    if order.status == "PENDING":
        held = reserved_items(items)
        wanted = {line.product_id: line.quantity for line in facts.lines if line.stock == "RESERVED"}
        found += [
            Contradiction(
                say(
                    "audit.agreed.pieces",
                    "product {product}: Order says {ours} are RESERVED, Stock holds {theirs}",
                    product=product,
                    ours=quantity,
                    theirs=held.get(product, 0),
                )
            )
            for product, quantity in wanted.items()
            if held.get(product) != quantity
        ]
    return found


def payment_differences(
    order: AuditedOrder, payments: list[Any], unheard: Unheard, moment: Moment
) -> list[Contradiction]:
    """Where Order and Payment disagree about the payments of an order, and where a payment row contradicts itself."""
    found = []
    rows = {row["payment_key"]: row for row in payments}
    for fact in order.facts.payments:
        row = rows.pop(fact.payment_key, None)
        if fact.state != "AWAITING":
            found += _payment_differences(fact, row, unheard)
    for key, row in rows.items():
        if row["status"] not in ("PENDING", "FAILED"):
            approved_at = row["approved_at"]
            is_recent = approved_at is not None and approved_at > unheard.since and moment.is_recent(approved_at)
            what = say(
                "audit.agreed.unknown_payment",
                "payment {payment}: Payment says {status}, Order does not know it",
                payment=key,
                status=row["status"],
            )
            found.append(Contradiction(what, unheard.payments or is_recent))
    for row in payments:
        if problem := _wrong_status(row):
            found.append(Contradiction(problem))
        if row["customer_id"] not in (None, order.row["customer_id"]):
            found.append(
                Contradiction(
                    say(
                        "audit.agreed.payment_customer",
                        "payment {payment} is of customer {customer}, the order is not",
                        payment=row["payment_key"],
                        customer=row["customer_id"],
                    )
                )
            )
    return found


def _payment_differences(fact: PaymentFact, row: Any, unheard: Unheard) -> list[Contradiction]:
    key, is_declined = fact.payment_key, fact.state == "DECLINED"
    if row is None:
        what = say(
            "audit.agreed.no_payment",
            "payment {payment}: Payment has no such payment of this order, Order says {state}",
            payment=key,
            state=fact.state,
        )
        return [] if is_declined else [Contradiction(what)]
    found = []
    held = row["captured"] - row["refunded"]
    if not is_declined and row["captured"] != fact.amount:
        found.append(
            Contradiction(
                say(
                    "audit.agreed.captured",
                    "payment {payment}: Payment says {theirs} won were captured, Order says {ours}",
                    payment=key,
                    theirs=row["captured"],
                    ours=fact.amount,
                )
            )
        )
    if is_declined != (row["status"] == "FAILED"):
        found.append(
            Contradiction(
                say(
                    "audit.agreed.payment_state",
                    "payment {payment}: Payment says {theirs}, Order says {ours}",
                    payment=key,
                    theirs=row["status"],
                    ours=fact.state,
                )
            )
        )
    is_asked_back = fact.state in UNREFUNDED
    if held > fact.left or (held < fact.left and not is_asked_back):
        what = say(
            "audit.agreed.held",
            "payment {payment}: Payment says {theirs} won are held, Order says {ours} ({state})",
            payment=key,
            theirs=held,
            ours=fact.left,
            state=fact.state,
        )
        found.append(Contradiction(what, held < fact.left and unheard.refunds))
    return found


def _wrong_status(row: Any) -> str | None:
    """A captured payment whose status is not what its money and its open refunds give, in words; None if it is right."""
    captured, refunded = row["captured"], row["refunded"]
    if row["status"] in ("PENDING", "FAILED"):
        return None
    if refunded >= captured:
        expected = "CANCELLED"
    elif row["has_open_refund"]:
        expected = "CANCEL_PENDING"
    else:
        expected = "PARTLY_CANCELLED" if refunded else "APPROVED"
    if row["status"] == expected:
        return None
    what = say(
        "audit.agreed.wrong_status",
        "payment {payment}: Payment says {status}, but {held} of {captured} won are held",
        payment=row["payment_key"],
        status=row["status"],
        held=captured - refunded,
        captured=captured,
    )
    if row["has_open_refund"]:
        what += say("audit.agreed.open_refund", " and a refund is open")
    return what + say("audit.agreed.right_status", ": {expected} is right", expected=expected)


def payable_differences(order: AuditedOrder, payables: list[Any], unheard: Unheard) -> list[Contradiction]:
    """Where Payment's copy of "who may pay how much until when" differs from Order's own rows.

    A copy may be missing for an order that has ended. An order that waits for its payment must have one.
    """
    row = order.row
    if not payables:
        is_waiting = order.status == "PENDING" and order.facts.listed_total is not None and not order.facts.payments
        what = say(
            "audit.agreed.not_payable", "Order waits for its payment, and Payment does not know that it may be paid"
        )
        return [Contradiction(what, unheard.payables)] if is_waiting else []
    payable = payables[0]
    status = ORDER_CODES["CANCELLED" if order.status == "CANCELLED" else "FAILED" if order.is_dead else "PENDING"]
    return [
        Contradiction(
            say(
                "audit.agreed.copy",
                "{what}: Payment says {theirs}, Order says {ours}",
                what=what,
                theirs=theirs,
                ours=ours,
            ),
            unheard.payables,
        )
        for what, ours, theirs in (
            ("the total to pay", row["total_amount"], payable["total_amount"]),
            ("the customer who may pay", row["customer_id"], payable["customer_id"]),
            ("the end of the time to pay", row["pay_before"], payable["pay_before"]),
            ("the order's status", status, payable["status"]),
        )
        if ours != theirs
    ]


def delivery_differences(order: AuditedOrder, deliveries: list[Any]) -> list[Contradiction]:
    """Where Order and Delivery disagree about the delivery, its customer or its address."""
    found = [
        Contradiction(
            say(
                "audit.agreed.delivery_target",
                "delivery {delivery} goes to another {what} than the order",
                delivery=row["delivery_id"],
                what=what,
            )
        )
        for row in deliveries
        for what, ours, theirs in (
            ("customer", order.row["customer_id"], row["customer_id"]),
            ("address", order.row["address_digest"], row["address_digest"]),
        )
        if ours != theirs and None not in (ours, theirs)  # an erased address is another one nowhere
    ]
    facts = order.facts
    if facts.delivery == "NOT_REQUESTED" and order.status == "PENDING" and deliveries:
        return [
            *found,
            Contradiction(say("audit.agreed.delivery_unasked", "Delivery has a delivery that Order has not requested")),
        ]
    if facts.delivery not in ANSWERED_DELIVERY:
        return found
    known = [row["delivery_id"] for row in deliveries if row["status"] == facts.delivery]
    if facts.delivery_id in known or (not known and order.status == "COMPLETED"):
        return found
    has = ", ".join(map(str, known)) or "none"
    what = say(
        "audit.agreed.delivery",
        "Order has delivery {delivery} that is {state}; Delivery's deliveries with this status: {theirs}",
        delivery=str(facts.delivery_id),
        state=facts.delivery,
        theirs=has,
    )
    return [*found, Contradiction(what)]
