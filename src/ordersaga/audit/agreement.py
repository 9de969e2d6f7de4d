"""What Order believes of an order: whether it contradicts itself, and whether Stock, Payment and Delivery have what it believes."""

from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import msgspec

from ordersaga.audit.finding import Moment

GRACE: Final = timedelta(seconds=60)
ENDED: Final = ("COMPLETED", "FAILED", "CANCELLED")
UNRELEASED: Final = frozenset({"RELEASE_REQUESTED", "RELEASE_FAILED"})
UNREFUNDED: Final = frozenset({"REFUND_REQUESTED", "REFUND_FAILED"})


class Unheard(msgspec.Struct, frozen=True):
    """What Order need not know yet: payments approved after `since`; all of them, or refunds, while records of these are on their way."""

    since: datetime
    payments: bool = False
    refunds: bool = False


class _Line(msgspec.Struct, rename="camel"):
    product_id: str
    quantity: int
    stock: str = "REQUESTED"


class PaymentFact(msgspec.Struct, rename="camel"):
    """What Order believes of one payment key. `held` None: all that was captured; `meant`: how much of it may go back."""

    payment_key: str
    amount: int
    state: str
    held: int | None = None
    meant: int = 0

    @property
    def left(self) -> int:
        if self.held is not None:
            return self.held
        return 0 if self.state in ("REFUNDED", "DECLINED") else self.amount

    @property
    def given_back(self) -> int:
        return 0 if self.held is None else self.amount - self.held


class Facts(msgspec.Struct, rename="camel"):
    """What Order's saga believes, as far as others can say the contrary."""

    lines: list[_Line]
    payments: list[PaymentFact] = []
    delivery: str = "NOT_REQUESTED"
    delivery_id: UUID | None = None
    flag: str | None = None
    look_at: datetime | None = None

    @property
    def captured(self) -> list[PaymentFact]:
        """The first of a living order pays it."""
        return [each for each in self.payments if each.state not in ("AWAITING", "DECLINED")]

    @property
    def is_owed(self) -> bool:
        """Whether Stock or Payment owes the answer to a release or a refund."""
        return any(line.stock in UNRELEASED for line in self.lines) or any(
            each.state in UNREFUNDED for each in self.payments
        )


_facts: Final = msgspec.json.Decoder(Facts)


class One:
    """One order of Order's, and whether it is still changing."""

    def __init__(self, order_id: UUID, row: Any, moment: Moment) -> None:
        """Raises `msgspec.MsgspecError` for facts that cannot be read."""
        self.order_id: Final = order_id
        self.row: Final = row
        self.facts: Final = _facts.decode(row["facts"] or "")
        self.status: Final[str] = row["status"]
        last_at = row["last_at"]
        self.is_recent: Final[bool] = (last_at is not None and last_at > moment.cutoff) or (
            row["is_parked"] and not moment.at_rest
        )
        # An order that has asked somebody is judged once its timer should have asked again, or a person is to look at it.
        asks = self.facts.look_at is not None and self.facts.look_at > moment.cutoff - GRACE and self.facts.flag is None
        self.is_moving: Final[bool] = self.is_recent or (asks and not moment.at_rest)

    def __str__(self) -> str:
        return str(self.order_id)


def held_items(reservations: list[Any]) -> dict[str, int]:
    held = {}
    for row in reservations:
        for item in msgspec.json.decode(row["items"]):
            if item["state"] == "RESERVED":
                held[item["productId"]] = item["quantity"]
    return held


def contradictions(one: One) -> list[str]:
    """Where Order contradicts itself."""
    problems = []
    if one.row["last_status"] != one.status:
        problems.append(f"{one.status}, and the last of its timeline is {one.row['last_status']}")
    if one.status == "COMPLETED" and one.row["completed_at"] is None:
        problems.append("COMPLETED, and its timeline does not say when")
    stock = {line.stock for line in one.facts.lines}
    if one.status == "COMPLETED":
        if stock != {"RESERVED"}:
            problems.append(f"COMPLETED, and its products are {sorted(stock)}")
        if not one.facts.captured:
            problems.append("COMPLETED, and no payment was captured")
        elif one.facts.captured[0].state in UNREFUNDED:
            problems.append(f"COMPLETED, and the payment that pays it is {one.facts.captured[0].state}")
        if one.facts.delivery != "STARTED":
            problems.append(f"COMPLETED, and its delivery is {one.facts.delivery}")
    elif one.status in ENDED:
        if "RESERVED" in stock:
            problems.append(f"{one.status}, and a product is RESERVED that nobody has asked back")
        if any(each.state == "PAID" for each in one.facts.payments):
            problems.append(f"{one.status}, and a payment is PAID that nobody has asked back")
    elif one.status != "PENDING":
        problems.append(f"its status is {one.status}")
    return problems


def other_stock(one: One, reservations: list[Any]) -> list[str]:
    """What Order believes of its products and Stock does not say. What an ended order holds is judged by its end."""
    answered = [line.product_id for line in one.facts.lines if line.stock != "REQUESTED"]
    if one.status in ("FAILED", "CANCELLED") and answered and not reservations:
        return [f"Stock answered for product {answered[0]}, and has no reservation of this order"]
    if one.status != "PENDING":
        return []
    held = held_items(reservations)
    wanted = {line.product_id: line.quantity for line in one.facts.lines if line.stock == "RESERVED"}
    return [
        f"Order believes {quantity} of product {product} reserved, stock holds {held.get(product, 0)}"
        for product, quantity in wanted.items()
        if held.get(product) != quantity
    ]


def other_payments(one: One, payments: list[Any], unheard: Unheard) -> list[tuple[str, bool]]:
    """What Order believes of its payments and Payment does not say, or the other way round; and whether Order may not have heard yet."""
    problems = []
    rows = {row["payment_key"]: row for row in payments}
    for fact in one.facts.payments:
        row = rows.pop(fact.payment_key, None)
        key = fact.payment_key
        if fact.state == "AWAITING":
            continue
        if row is None:
            if fact.state != "DECLINED":
                problems.append(
                    (f"payment {key} is {fact.state} for Order, and Payment has no such payment of it", False)
                )
            continue
        held = row["captured"] - row["refunded"]
        if fact.state != "DECLINED" and row["captured"] != fact.amount:
            problems.append(
                (f"payment {key} captured {fact.amount} won for Order, {row['captured']} for Payment", False)
            )
        if row["status"] == "FAILED" and fact.state != "DECLINED":
            problems.append((f"payment {key} is {fact.state} for Order, FAILED for Payment", False))
        is_asked_back = fact.state in UNREFUNDED
        if held > fact.left or (held < fact.left and not is_asked_back):
            what = f"payment {key} holds {fact.left} won for Order ({fact.state}), {held} for Payment"
            problems.append((what, held < fact.left and unheard.refunds))
    for row in payments:
        held = row["captured"] - row["refunded"]
        if row["status"] == "CANCELLED" and held:
            problems.append((f"payment {row['payment_key']} is CANCELLED for Payment, and {held} won are held", False))
    for key, row in rows.items():
        if row["approved_at"] is not None and row["status"] != "FAILED":
            what = f"payment {key} is {row['status']} for Payment, and Order does not know it"
            problems.append((what, unheard.payments or row["approved_at"] > unheard.since))
    return problems


def other_delivery(one: One, deliveries: list[Any]) -> list[str]:
    started = [row["delivery_id"] for row in deliveries if row["status"] == "STARTED"]
    if one.facts.delivery == "NOT_REQUESTED" and one.status == "PENDING" and deliveries:
        return ["Delivery has one of it that Order has not asked for"]
    believed = one.facts.delivery_id
    if one.facts.delivery != "STARTED" or believed in started or (believed is None and not started):
        return []
    if not started:
        return [] if one.status == "COMPLETED" else [f"Order believes delivery {believed}, Delivery has started none"]
    return [f"Order believes delivery {believed}, Delivery has {', '.join(map(str, started))}"]
