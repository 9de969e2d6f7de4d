"""The saga's table and diagrams, as `decide` gives them: `make saga` writes `docs/saga.md` and its Korean sister, and a test compares them.

Nothing is drawn by hand. `walk` takes every state that any messages in any order lead to and gives it every message; a state is then
seen from three sides: the order, one of its products, one of its payments.
"""

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from ordersaga.contracts import messages as m
from ordersaga.contracts.address import Address
from ordersaga.contracts.status import FAILED, SUCCESS, PaymentStatus
from ordersaga.order.deadlines import Deadlines, TimePassed
from ordersaga.order.decision import ANOMALY, Decision
from ordersaga.order.model import Facts, Line, Order, OrderPayment
from ordersaga.order.outgoing import refund_id
from ordersaga.order.refunds import AcceptRefund
from ordersaga.order.resending import Resend
from ordersaga.order.returns import CancelBeforeDelivery, ReceiveReturn, RefuseReturn, RequestReturn, Return
from ordersaga.order.saga import Input, Priced, decide, decide_placed
from tests.docs import saga_korean

DOCS: Final = Path(__file__).parents[2] / "docs"
ORDER, PRODUCTS, STRANGE_PRODUCT = UUID(int=1), (UUID(int=2), UUID(int=3)), UUID(int=4)
KEYS: Final = ("k1", "k2")
TOTAL: Final = 25_000
PART_LEFT: Final = 20_000
ASKS_MAX: Final = 2
DEADLINES: Final = Deadlines(stock_asks_max=ASKS_MAX, asks_max=ASKS_MAX)
PLACED_AT: Final = datetime(2026, 1, 1, tzinfo=UTC)
OVERDUE_AT: Final = PLACED_AT + timedelta(hours=1)
PAY_BEFORE: Final = PLACED_AT + timedelta(days=1)
EXPIRED_AT: Final = PLACED_AT + timedelta(days=2)
TIME_ENDS: Final = {
    "STOCK_TIMEOUT": "no stock answer, asked often enough",
    "PAYMENT_EXPIRED": "no payment in time",
    "AMOUNT_MISMATCH": "no price in time",
}
TIME_ASKS: Final = {
    "StockDecreaseRequest": "no stock answer in time",
    "DeliveryRequest": "no delivery answer in time",
    "StockRollbackRequested": "no release in time, or it was refused",
    "PaymentCancelRequested": "no refund in time, or it was refused",
}


class Arrival(Struct, frozen=True):
    """A message, when it comes, and what the table calls it."""

    label: str
    message: Input
    at: datetime = OVERDUE_AT


class Step(Struct, frozen=True):
    """What one message made of one state."""

    before: Order
    arrival: Arrival
    decision: Decision

    @property
    def label(self) -> str:
        return self.arrival.label

    @property
    def after(self) -> Order:
        return self.decision.order

    @property
    def dies(self) -> bool:
        return self.after.is_dead and not self.before.is_dead


def arrivals(products: Sequence[UUID], keys: Sequence[str]) -> list[Arrival]:
    """One message of every kind, for each product and payment key; also such as fit nothing."""
    found = []
    statuses: tuple[PaymentStatus, ...] = (SUCCESS, FAILED)
    for status in statuses:
        for product in (*products, None):
            answer = m.StockResponseMessage(order_id=ORDER, product_id=product, status=status)
            found.append(Arrival(f"stock {status}", answer))
        strange = m.StockResponseMessage(order_id=ORDER, product_id=STRANGE_PRODUCT, status=status)
        found.append(Arrival("stock, a product that is not in the order", strange))
    for name, amount in (("the total", TOTAL), ("another amount", TOTAL - 1)):
        for key in keys:
            paid = m.PaymentSuccessMessage(order_id=ORDER, payment_key=key, amount=amount, status=SUCCESS)
            found.append(Arrival(f"payment SUCCESS, {name}", paid))
    for key in keys:
        declined = m.PaymentSuccessMessage(order_id=ORDER, payment_key=key, amount=TOTAL, status=FAILED)
        found.append(Arrival("payment FAILED", declined))
    found.append(
        Arrival("delivery STARTED", m.DeliveryStartMessage(order_id=ORDER, delivery_id=ORDER, status="STARTED"))
    )
    found.append(Arrival("delivery FAILED", m.DeliveryStartMessage(order_id=ORDER, delivery_id=ORDER, status="FAILED")))
    found.append(Arrival("rollback completed", m.StockRollbackCompletedMessage(order_id=ORDER)))
    found.append(Arrival("rollback failed", m.StockRollbackFailedMessage(order_id=ORDER, error_message="no")))
    for status in statuses:
        for key in keys:
            refund = m.PaymentCancelledMessage(order_id=ORDER, payment_key=key, amount=TOTAL, status=status)
            found.append(Arrival(f"refund {status}", refund))
    if len(keys) == 1:  # with a second key there would be more states than a test can try
        found += _given_back(keys[0])
    found.append(Arrival("the customer cancels", CancelBeforeDelivery()))
    found.append(Arrival("the customer returns", Return()))
    found.append(Arrival("the customer asks to return", RequestReturn()))
    found.append(Arrival("an operator has the returned goods", ReceiveReturn("operator", "they came")))
    found.append(Arrival("an operator refuses the return", RefuseReturn("operator", "they are worn")))
    found.append(Arrival("an operator has the requests sent again", Resend("operator", "the partner is back")))
    found.append(Arrival("the prices come to the total", Priced(TOTAL)))
    found.append(Arrival("the prices come to another total", Priced(TOTAL - 1)))
    found.append(Arrival("time passes", TimePassed()))
    found.append(Arrival("time passes", TimePassed(), EXPIRED_AT))
    return found


def _given_back(key: str) -> list[Arrival]:
    """Money that goes back at the gateway, an operator's word on it, and a refund that is refused because of it."""
    found = []
    outcomes: tuple[tuple[str, PaymentStatus, int], ...] = (
        ("all went back at the gateway", SUCCESS, 0),
        ("a part went back at the gateway", SUCCESS, PART_LEFT),
        ("refund FAILED, only a part is held", FAILED, PART_LEFT),
    )
    for label, status, left in outcomes:
        request_id = refund_id(ORDER, OrderPayment(key, TOTAL, "PAID")) if status == FAILED else None
        gone = m.PaymentCancelledMessage(
            order_id=ORDER,
            payment_key=key,
            amount=TOTAL - left,
            status=status,
            balance_amount=left,
            request_id=request_id,
        )
        found.append(Arrival(label, gone))
    return [*found, Arrival("an operator says that a refund was meant", AcceptRefund("operator", "a discount"))]


def placed(products: Sequence[UUID], listed_total: int | None) -> Order:
    """Where a walk begins: with the prices of the products known, or not."""
    lines = tuple(Line(product, 1) for product in products)
    recipient = Address("1 Sejong-daero", None, "04524", "010", "Kim", None)
    facts = Facts(lines, listed_total=listed_total)
    order = Order(ORDER, ORDER, "keyboard", TOTAL, recipient, PLACED_AT, PAY_BEFORE, facts)
    return _state(decide_placed(order, DEADLINES).order)


def walk(products: int, keys: int) -> Iterator[Step]:
    """Every message in every state that an order with so many products and so many payment keys can come to."""
    coming = arrivals(PRODUCTS[:products], KEYS[:keys])
    todo = [placed(PRODUCTS[:products], total) for total in (TOTAL, None)]
    seen = set(todo)
    while todo:
        before = todo.pop()
        for arrival in coming:
            decision = decide(before, arrival.message, arrival.at, DEADLINES)
            yield Step(before, arrival, decision)
            after = _state(decision.order)
            if after not in seen:
                seen.add(after)
                todo.append(after)


def _state(order: Order) -> Order:
    """The order without what decides nothing: times, texts, what numbers its rollbacks, and how often above the limit it asked."""
    facts = order.facts
    asks = [
        replace(each, at=PLACED_AT, since=None, attempts=min(each.attempts, ASKS_MAX))
        for each in facts.asks
        if each.awaited != "price"
    ]
    facts = replace(
        facts,
        listed_total=TOTAL if order.is_dead else facts.listed_total,
        asks=tuple(sorted(asks, key=lambda each: (each.awaited, each.about or ""))),
        returning="NOT_REQUESTED" if order.is_dead else facts.returning,
        look_at=None,
        flag="flagged" if facts.flag else None,
        flag_said=(),
        detail_said=(),
        rollbacks=0,
        rollbacks_answered=0,
    )
    return replace(order, detail=None, facts=facts)


# The three sides of a state -------------------------------------------------------------------------------------------


def order_side(order: Order) -> str:
    """An order's state as a person would say it."""
    if order.status == "COMPLETED" and order.facts.returning == "REQUESTED":
        return "COMPLETED, return asked"
    if order.status != "PENDING":
        return order.status
    if order.facts.delivery == "REQUESTED":
        return "PENDING, delivery asked"
    if order.facts.listed_total is None:
        return "PENDING, a price is not known"
    if order.unmeant:
        return "PENDING, a part went back"
    return f"PENDING, {'reserved' if order.is_reserved else 'stock asked'}, {'paid' if order.is_paid else 'unpaid'}"


def product_side(order: Order) -> str:
    """The state of the first product."""
    return order.facts.lines[0].stock


def payment_side(order: Order) -> str:
    """The state of the first payment key."""
    payment = order.payment(KEYS[0])
    return payment.state if payment else "AWAITING"


class Row(Struct, frozen=True, order=True):
    """One row of a table: in this state this message leads there, and this goes out."""

    state: str
    label: str
    becomes: str
    goes_out: tuple[str, ...]


class Tables(Struct):
    """What a walk has shown, each row once."""

    order: list[Row]
    refused: dict[str, set[str]]
    anomalies: dict[str, set[str]]
    product: list[Row]
    payment: list[Row]
    cells: int
    states: int


def tables() -> Tables:
    """Walk, and write down what changes, is refused, or is an anomaly. What is in none of them has no effect."""
    found = Tables([], defaultdict(set), defaultdict(set), [], [], 0, 0)
    states = set()
    for step in itertools.chain(walk(products=1, keys=2), walk(products=1, keys=1)):
        found.cells += 1
        states.add(step.before)
        state = order_side(step.before)
        if step.decision.refusal:
            found.refused[step.label].add(state)
        elif (step.decision.note or "").startswith(ANOMALY):
            found.anomalies[step.label].add(state)
        elif step.after is not step.before or step.decision.outgoing:
            for change in _order_changes(step):
                _add(found.order, change)
            for changes, side in ((found.product, product_side), (found.payment, payment_side)):
                if side(step.before) != side(step.after):
                    _add(changes, Row(side(step.before), _cause(step, side), side(step.after), ()))
    found.states = len(states)
    return found


def _order_changes(step: Step) -> list[Row]:
    """Of a timer several, each with what it is about: it may find more than one answer overdue."""
    state, becomes = order_side(step.before), order_side(step.after)
    names = tuple(sorted({type(message).__name__.removesuffix("Message") for message in step.decision.outgoing}))
    if step.before.status != step.after.status and step.after.reason:
        is_time = isinstance(step.arrival.message, TimePassed)
        label = TIME_ENDS[step.after.reason] if is_time else step.label
        return [Row(state, label, f"{becomes} ({step.after.reason})", names)]
    if isinstance(step.arrival.message, TimePassed):
        return [Row(state, TIME_ASKS[name], becomes, (name,)) for name in names]
    return [Row(state, step.label, becomes, names)] if names or state != becomes else []


def _cause(step: Step, side: Callable[[Order], str]) -> str:
    """What has changed a product's or a payment's state, where it was not the message alone."""
    begins, ends = side(step.before), side(step.after)
    if begins == ends.replace("REQUESTED", "FAILED"):
        return "asked again"
    if step.dies and begins in ("RESERVED", "PAID"):
        return "the order dies"
    if ends in ("RELEASE_REQUESTED", "REFUND_REQUESTED") and not step.dies:
        return f"{step.label.partition(',')[0]}, the order is {'dead' if step.before.is_dead else 'paid'}"
    return step.label


def _add(changes: list[Row], change: Row) -> None:
    if change not in changes:
        changes.append(change)


# The document ---------------------------------------------------------------------------------------------------------

ORDER_STATES: Final = (
    "PENDING, stock asked, unpaid",
    "PENDING, reserved, unpaid",
    "PENDING, stock asked, paid",
    "PENDING, a price is not known",
    "PENDING, a part went back",
    "PENDING, delivery asked",
    "COMPLETED",
    "COMPLETED, return asked",
    "FAILED",
    "CANCELLED",
)
PRODUCT_STATES: Final = ("REQUESTED", "RESERVED", "REJECTED", "RELEASE_REQUESTED", "RELEASED", "RELEASE_FAILED")
PAYMENT_STATES: Final = ("AWAITING", "PAID", "DECLINED", "REFUND_REQUESTED", "REFUNDED", "REFUND_FAILED")
SETTLED: Final = frozenset({"COMPLETED", "FAILED", "CANCELLED", "REJECTED", "RELEASED", "DECLINED", "REFUNDED"})


ENGLISH: Final = """\
# The saga's table

[한국어](saga.ko.md)

Written by `make saga` from `tests/docs/saga_page.py`, which calls `order/saga.py` `decide` with each message in each state; a test
compares this page with the code. {states:,} states can come about for an order of one product and one or two payment keys, with every kind
of message in every order and number; {cells:,} pairs of state and message were tried. A pair in no row below has no effect.

## The order

{order_diagram}

{order_rows}

Placing an order sends StockDecreaseRequest and OrderPayable. Where the price of one of its products is not known yet it begins in
"a price is not known", and OrderPayable is sent when the price has come. "the customer asks to return" stands for
"the customer returns" where `ORDERSAGA_RETURN_NEEDS_RECEIPT` is on. A dead order (FAILED, CANCELLED) keeps its state for good; what it still
holds comes back by the next two diagrams.

| refused with 409 | in |
|---|---|
{refused}

| noted as an anomaly, without effect | in |
|---|---|
{anomalies}

## Each of its products

{product_diagram}

One rollback at most is in flight, since its answer names only the order; what comes meanwhile waits for that answer. A product still
REQUESTED when the order dies waits for its answer, and is given back if that is a success.

## Each of its payments

{payment_diagram}

One payment pays an order. Any other that was captured, and any of a dead order, is asked back at what it captured.
"""


class Language(Struct, frozen=True):
    """A language of the page: its text, the heads of the order's table, and how it says a name and "or"."""

    page: str
    heads: Sequence[str]
    either: str
    said: Callable[[str], str]


LANGUAGES: Final = {
    "saga.md": Language(ENGLISH, ("in", "comes", "becomes", "goes out"), " or ", str),
    "saga.ko.md": Language(saga_korean.PAGE, saga_korean.HEADS, saga_korean.OR, saga_korean.said),
}


def documents() -> dict[str, str]:
    """The page by its name in `docs`, in each language."""
    found = tables()
    return {name: _page(found, language) for name, language in LANGUAGES.items()}


def _page(found: Tables, language: Language) -> str:
    return language.page.format(
        states=found.states,
        cells=found.cells,
        order_diagram=_diagram(ORDER_STATES, found.order, language),
        order_rows=_rows(ORDER_STATES, found.order, language),
        refused=_listed(found.refused, language),
        anomalies=_listed(found.anomalies, language),
        product_diagram=_diagram(PRODUCT_STATES, found.product, language),
        payment_diagram=_diagram(PAYMENT_STATES, found.payment, language),
    )


def _diagram(states: Sequence[str], changes: Sequence[Row], language: Language) -> str:
    """Mermaid: the states, and for each pair of them the messages that lead from one to the other."""
    ids = {state: f"s{n}" for n, state in enumerate(states)}
    labels: dict[tuple[str, str], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for change in changes:
        state, _, reason = change.becomes.partition(" (")
        if state != change.state and change.label not in labels[change.state, state][reason.rstrip(")")]:
            labels[change.state, state][reason.rstrip(")")].append(change.label)
    lines = ["```mermaid", "stateDiagram-v2"]
    lines += [f'    state "{language.said(state)}" as {ids[state]}' for state in states]
    lines += [f"    [*] --> {ids[states[0]]}"]
    for (before, after), by_reason in sorted(labels.items(), key=lambda item: _place(states, *item[0])):
        said = [
            language.either.join(map(language.said, found)) + (f"<br>{reason}" if reason else "")
            for reason, found in by_reason.items()
        ]
        lines.append(f"    {ids[before]} --> {ids[after]}: {'<br>'.join(said)}")
    lines += [f"    {ids[state]} --> [*]" for state in states if state in SETTLED]
    return "\n".join([*lines, "```"])


def _rows(states: Sequence[str], changes: Sequence[Row], language: Language) -> str:
    ordered = sorted(changes, key=lambda change: (states.index(change.state), LABELS.index(change.label), change))
    rows = [f"| {' | '.join(language.heads)} |", "|---|---|---|---|"]
    for change in ordered:
        becomes = "-" if change.becomes == change.state else language.said(change.becomes)
        state, label = language.said(change.state), language.said(change.label)
        rows.append(f"| {state} | {label} | {becomes} | {', '.join(change.goes_out) or '-'} |")
    return "\n".join(rows)


def _listed(found: dict[str, set[str]], language: Language) -> str:
    rows = []
    for label in sorted(found, key=LABELS.index):
        states = map(language.said, sorted(found[label], key=ORDER_STATES.index))
        rows.append(f"| {language.said(label)} | {'; '.join(states)} |")
    return "\n".join(rows)


def _place(states: Sequence[str], before: str, after: str) -> tuple[int, int]:
    return states.index(before), states.index(after)


LABELS: Final = [
    *dict.fromkeys(arrival.label for arrival in arrivals(PRODUCTS, KEYS[:1])),
    *TIME_ASKS.values(),
    *TIME_ENDS.values(),
]

if __name__ == "__main__":
    for name, text in documents().items():
        (DOCS / name).write_text(text)
