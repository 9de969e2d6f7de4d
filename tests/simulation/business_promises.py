"""The promises of the four services about orders, stock and money. Each function yields the broken ones."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any, Final
from uuid import UUID

import msgspec

from ordersaga.contracts import messages as m
from ordersaga.contracts.codec import Undecodable, decode
from ordersaga.contracts.headers import MESSAGE_ID
from ordersaga.contracts.topics import BY_MESSAGE, key_of
from ordersaga.messaging.ids import descent
from ordersaga.order.model import Facts
from tests.simulation.database import OutboxWrite
from tests.simulation.faults import PART, PARTLY
from tests.simulation.world import Handled, World

DELIVERY_TOPIC: Final = BY_MESSAGE[m.DeliveryRequestMessage].name
REFUNDED_TOPIC: Final = BY_MESSAGE[m.PaymentCancelledMessage].name
COMPLETED_TOPIC: Final = BY_MESSAGE[m.OrderCompletedMessage].name

_facts: Final = msgspec.json.Decoder(Facts)


def tainted(world: World, dead: dict[str, set[Any]]) -> set[UUID]:
    """Orders with a message among the dead letters: they may never end."""
    given_up = set()
    for service, places in dead.items():
        for record in world.inputs(service):
            if record.coordinates in places:
                try:
                    given_up.add(key_of(decode(record.topic, record.value)))
                except Undecodable:
                    continue
    return given_up


async def stock_is_conserved(world: World) -> Iterator[str]:
    moved: Counter[tuple[UUID, str]] = Counter()
    held: Counter[tuple[UUID, UUID]] = Counter()
    for row in await world.rows("stock", "movement"):
        moved[row["product_id"], row["kind"]] += row["quantity"]
        if row["order_id"]:
            held[row["order_id"], row["product_id"]] += row["quantity"] * (1 if row["kind"] == "reserved" else -1)
    reserved: Counter[tuple[UUID, UUID]] = Counter()
    for row in await world.rows("stock", "reservation"):
        for item in msgspec.json.decode(row["items"]):
            if item["state"] == "RESERVED":
                reserved[row["order_id"], UUID(item["productId"])] += item["quantity"]
    found = [
        f"stock: order {k[0]} holds {held[k]} of {k[1]}, reserved are {reserved[k]}"
        for k in sorted(held.keys() | reserved.keys())  # a Counter's own | forgets what is given back twice
        if held[k] != reserved[k]
    ]
    for row in await world.rows("stock", "product"):
        counters = {kind: row[kind] for kind in ("received", "reserved", "released")}
        if counters != {kind: moved[row["product_id"], kind] for kind in counters}:
            found.append(f"stock: {row['product_id']} has {counters}, moved were {moved}")
    return iter(found)


async def prices_agree(world: World) -> Iterator[str]:
    """Order has Stock's price, whatever the clocks of Stock's processes were at the change."""
    ours = {row["product_id"]: row for row in await world.rows("order", "price")}
    found = []
    for row in await world.rows("stock", "product"):
        known = ours[row["product_id"]]
        if (known["price"], known["version"]) != (row["price"], row["version"]):
            found.append(
                f"order: {row['product_id']} costs {known['price']} (version {known['version']}), "
                f"in Stock {row['price']} ({row['version']})"
            )
    return iter(found)


def nothing_given_back_is_delivered(world: World) -> Iterator[str]:
    """Order requests no delivery once it knows that all of the order's money was refunded at the dashboard."""
    paid: dict[UUID, set[str]] = {}
    unpaid_after: set[tuple[UUID, str]] = set()
    for each in world.databases["order"].committed:
        if isinstance(each, Handled):
            order_id, message = key_of(each.message), each.message
            if isinstance(message, m.PaymentSuccessMessage) and message.status == "SUCCESS":
                paid.setdefault(order_id, set()).add(message.payment_key or "")
            elif isinstance(message, m.PaymentCancelledMessage) and _tells_all_back(world, message):
                paid.setdefault(order_id, set()).discard(message.payment_key)
            if paid.get(order_id) == set():
                unpaid_after.add((order_id, descent(each.record, order_id)[0]))
        elif isinstance(each, OutboxWrite) and each.row["topic"] == DELIVERY_TOPIC:
            order_id = UUID(each.row["key"].decode())
            if (order_id, each.row["causation_id"]) in unpaid_after:
                yield f"order {order_id} is to be delivered, and its money went back"


def _tells_all_back(world: World, message: Any) -> bool:
    is_told = isinstance(message, m.PaymentCancelledMessage) and message.balance_amount == 0
    return is_told and message.payment_key in world.gateway.given_back


async def orders_settled(world: World, tainted: set[UUID]) -> Iterator[str]:
    found = []
    rows = await world.databases["order"].monitor.fetch("SELECT * FROM saga ORDER BY order_id")
    deliveries = {row["order_id"]: row for row in await world.rows("delivery", "delivery")}
    held = {
        row["order_id"]
        for row in await world.rows("stock", "reservation")
        if any(item["state"] == "RESERVED" for item in msgspec.json.decode(row["items"]))
    }
    plans = {order_id: world.plan_of(number) for number, order_id in world.placed.items()}
    if len(rows) != len(plans):
        found.append(f"order: {len(rows)} orders, but {len(plans)} were placed")
    for row in rows:
        id, delivery = row["order_id"], deliveries.get(row["order_id"])
        told = {r.header(MESSAGE_ID) for r in world.log.records_of(COMPLETED_TOPIC) if r.key == str(id).encode()}
        was_completed = row["status"] == "COMPLETED" or row["reason"] == "RETURNED"
        if len(told) != was_completed:
            found.append(f"order {id} is {row['status']} and has {len(told)} completion messages")
        if id in plans and id not in tainted:
            facts = _facts.decode(row["facts"])
            given_back = sum(world.gateway.given_back.get(each.payment_key, 0) for each in facts.payments)
            for problem in _unsettled(row["status"], row["reason"], facts, delivery, id in held, bool(given_back)):
                found.append(f"order {id} ({plans[id].pay}) is {row['status']} {row['reason'] or ''}: {problem}")
    return iter(found)


def _unsettled(
    status: str, reason: str | None, facts: Facts, delivery: Any, holds_stock: bool, given_back: bool
) -> Iterator[str]:
    """Facts of an order that contradict its final status."""
    lines = {line.stock for line in facts.lines}
    money = Counter(payment.state for payment in facts.payments)
    if facts.flag:
        yield f"flagged: {facts.flag}"
    if status == "PENDING":
        yield f"it stands still with stock {lines}, payments {dict(money)}, delivery {facts.delivery}"
    if status == "COMPLETED":
        if lines != {"RESERVED"} or not holds_stock:
            yield f"stock {lines}"
        if money["PAID"] > 1 or (money["PAID"] == 0 and not given_back) or not money.keys() <= {"PAID", "REFUNDED"}:
            yield f"payments {dict(money)}"
        if delivery is None or delivery["status"] != "STARTED" or facts.delivery_id != delivery["delivery_id"]:
            yield "without its delivery"
    if status in ("FAILED", "CANCELLED"):
        if lines & {"RESERVED", "RELEASE_REQUESTED", "RELEASE_FAILED"} or holds_stock:
            yield f"stock {lines}, held: {holds_stock}"
        if not money.keys() <= {"REFUNDED", "DECLINED"}:
            yield f"payments {dict(money)}"
        if delivery is not None and delivery["status"] == "STARTED" and reason != "RETURNED":
            yield "delivered all the same"


async def events_match(world: World) -> Iterator[str]:
    """The timeline has one event for each handled message, and one for the placement."""
    handled = Counter(
        (key_of(each.message), type(each.message).__name__)
        for each in world.databases["order"].committed
        if isinstance(each, Handled) and not isinstance(each.message, m.ProductPriceMessage)
    )
    events = Counter((row["order_id"], row["came_in"]) for row in await world.rows("order", "order_event"))
    names = {name for _, name in handled}
    found = [
        f"order: {events[k]} events {k[1]} of {k[0]}, handled were {n}" for k, n in handled.items() if events[k] != n
    ]
    found += [f"order: event {k[1]} of {k[0]} came from nowhere" for k in events if k[1] in names and k not in handled]
    found += [f"order: {n} events Placed of {k[0]}" for k, n in events.items() if k[1] == "Placed" and n != 1]
    return iter(found)


async def books_agree(world: World, tainted: set[UUID]) -> Iterator[str]:
    """Payment's table, the gateway's books and Order's facts agree to the won."""
    found = []
    ours = {row["payment_key"]: row for row in await world.rows("payment", "payment")}
    orders = await world.rows("order", "saga")
    sagas = {row["order_id"]: row["status"] for row in orders}
    facts = {
        each.payment_key: 0 if each.state in ("AWAITING", "DECLINED") else each.left
        for row in orders
        for each in _facts.decode(row["facts"]).payments
    }
    parts = _parts_answered(world, "SUCCESS")
    for key, payment in world.gateway.payments.items():
        row = ours.get(key)
        held = row["captured"] - row["refunded"] if row else 0
        if held != world.gateway.held(key):
            found.append(f"payment {key}: the gateway holds {world.gateway.held(key)}, our table says {held}")
        order_id = UUID(payment.order_id)
        believed = facts.get(key, 0)
        if order_id not in tainted and believed != world.gateway.held(key):
            found.append(f"payment {key}: the gateway holds {world.gateway.held(key)}, Order believes {believed}")
        if order_id not in tainted and world.gateway.held(key) and sagas.get(order_id) != "COMPLETED":
            found.append(f"payment {key}: {held} won are held for an order that is {sagas.get(order_id)}")
        made = sum(each.cancel_amount == PART for each in payment.cancels or ())
        if made != len(parts[key]):
            found.append(
                f"payment {key}: {made} parts were given back, and {sorted(parts[key])} were answered with success"
            )
    return iter([*found, *_parts_never_answered(world)])


def _parts_never_answered(world: World) -> Iterator[str]:
    """Each refund of an equal part that Payment has handled is answered under its own request id."""
    answered = set().union(*_parts_answered(world, "SUCCESS", "FAILED").values())
    handled = [each.message for each in world.databases["payment"].committed if isinstance(each, Handled)]
    for asked in [each for each in handled if isinstance(each, m.PaymentCancelRequestedMessage) and _is_part(each)]:
        if asked.request_id not in answered:
            yield f"payment {asked.payment_key}: the refund {asked.request_id!r} was never answered"


def _parts_answered(world: World, *statuses: str) -> dict[str, set[str]]:
    """By payment key, the request ids of equal parts that were answered with one of these statuses."""
    parts: dict[str, set[str]] = defaultdict(set)
    for record, _ in world.log_with_writers():
        if record.topic == REFUNDED_TOPIC:
            try:
                answer: Any = decode(record.topic, record.value)
            except Undecodable:
                continue
            if answer.status in statuses and _is_part(answer):
                parts[answer.payment_key].add(answer.request_id)
    return parts


def _is_part(message: Any) -> bool:
    return (message.request_id or "").startswith(PARTLY)
