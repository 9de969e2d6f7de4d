"""The promises, judged when a history has come to rest. Each function yields what it found broken; nothing is a good sign."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any, Final
from uuid import UUID

import msgspec

from ordersaga.contracts import messages as m
from ordersaga.contracts.codec import Undecodable, decode
from ordersaga.contracts.topics import BY_MESSAGE, DEAD_LETTER_SUFFIX
from ordersaga.messaging.handler import Record
from ordersaga.messaging.outbox import MESSAGE_ID, descent
from ordersaga.messaging.parking import place
from ordersaga.order.model import Facts
from tests.simulation.database import OutboxWrite, Owner
from tests.simulation.scheduler import Process
from tests.simulation.troubles import PART, PARTLY
from tests.simulation.world import Handled, World

DELIVERY_TOPIC: Final = BY_MESSAGE[m.DeliveryRequestMessage].name
REFUNDED_TOPIC: Final = BY_MESSAGE[m.PaymentCancelledMessage].name
COMPLETED_TOPIC: Final = BY_MESSAGE[m.OrderCompletedMessage].name

_facts: Final = msgspec.json.Decoder(Facts)


async def judge(world: World) -> list[str]:
    """Every broken promise."""
    letters = {service: await _rows(world, service, "dead_letter") for service in world.databases}
    dead = {
        service: {_place_of(row) for row in rows if row["status"] in ("OPEN", "DISCARDED")}
        for service, rows in letters.items()
    }
    found = [*world.complaints]
    for service in world.databases:
        found += _took_effect_once(world, service, dead[service])
        found += _in_key_order(world, service, {_place_of(row) for row in letters[service]})
        found += _committed_by_owners(world, service)
        found += _published(world, service)
        found += _first_publications_in_order(world, service)
        found += _only_poison_died(world, service, letters[service])
        found += _refused_are_letters(world, service, letters[service])
        if world.databases[service].deadlocks:
            found.append(f"{service}: two transactions wait for each other's locks; they take them in different orders")
    tainted = _tainted(world, dead)
    found += await _stock_is_conserved(world)
    found += await _orders_settled(world, tainted)
    found += await _events_match(world)
    found += await _prices_agree(world)
    found += _nothing_given_back_is_delivered(world)
    if world.plan.own_payment:
        found += await _books_agree(world, tainted)
    return found


async def _rows(world: World, service: str, table: str, order_by: str = "1") -> list[Any]:
    rows: list[Any] = await world.databases[service].monitor.fetch(f"SELECT * FROM {table} ORDER BY {order_by}")
    return rows


def _inputs(world: World, service: str) -> Iterator[Record]:
    for partition in world.groups[service].partitions:
        yield from world.log.records[partition]


# The runtime ----------------------------------------------------------------------------------------------------------------


def _took_effect_once(world: World, service: str, dead: set[Any]) -> Iterator[str]:
    """Each record took effect in one committed transaction, or is one dead letter."""
    times = Counter(place(each.record) for each in world.databases[service].committed if isinstance(each, Handled))
    for record in _inputs(world, service):
        where = place(record)
        if times[where] + (where in dead) != 1:
            also = " and is a dead letter" if where in dead else ""
            yield f"{service}: {_at(where)} took effect {times[where]} times{also}"


def _in_key_order(world: World, service: str, given_up: set[Any]) -> Iterator[str]:
    """Records of one partition and key take effect in their order, but those that were given up and came back later."""
    last: dict[Any, int] = {}
    for each in world.databases[service].committed:
        if isinstance(each, Handled) and place(each.record) not in given_up:
            key = (each.record.topic, each.record.partition, _business_key(each.message))
            if each.record.offset < last.get(key, -1):
                yield f"{service}: {_at(place(each.record))} took effect after offset {last[key]} of the same key"
            last[key] = each.record.offset


def _committed_by_owners(world: World, service: str) -> Iterator[str]:
    """Only who has taken a partition last commits turns of it."""
    owners: dict[Any, Process] = {}
    for each in world.databases[service].committed:
        if not isinstance(each, Owner):
            continue
        for partition in sorted(each.partitions):
            if each.kind == "turn" and owners.get(partition) is not each.process:
                yield f"{service}: {each.process.name} commits a turn of {_at(partition)}, which somebody else has taken"
            owners[partition] = each.process


def _business_key(message: m.Message) -> UUID:
    key: UUID = getattr(message, BY_MESSAGE[type(message)].key)
    return key


def _published(world: World, service: str) -> Iterator[str]:
    """Each committed output has one id and is in the log, the same each time; nothing else of ours is there."""
    rows: dict[bytes, Any] = {}
    for row in _outputs(world, service):
        id = str(row["message_id"]).encode()
        if id in rows and id not in world.log.refused:
            yield f"{service}: message {id.decode()} to {row['topic']} was committed twice"
        rows[id] = row
    seen: dict[bytes, Record] = {}
    for record, writer in world.log_with_writers():
        id = record.header(MESSAGE_ID)
        if id is None or not writer.startswith(service):
            continue
        if id not in rows:
            yield f"{service}: {_at(place(record))} was published and never committed"
        first = seen.setdefault(id, record)
        if (first.topic, first.partition, first.key, first.value, first.headers) != (
            record.topic,
            record.partition,
            record.key,
            record.value,
            record.headers,
        ):
            yield f"{service}: {_at(place(record))} repeats {_at(place(first))} and differs"
    for id in rows.keys() - seen.keys():
        yield f"{service}: message {id.decode()} to {rows[id]['topic']} was committed and never published"


def _outputs(world: World, service: str) -> Iterator[Any]:
    for each in world.databases[service].committed:
        if isinstance(each, OutboxWrite):
            yield each.row


def _first_publications_in_order(world: World, service: str) -> Iterator[str]:
    """First publications keep key order per input partition and output topic."""
    first: dict[bytes, int] = {}
    lost = {record.header(MESSAGE_ID) for record, _ in world.log.lost}
    for record, writer in world.log_with_writers():
        id = record.header(MESSAGE_ID)
        if id is not None and writer != "again":
            first.setdefault(id, record.offset)
    last: dict[Any, int] = {}
    for row in _outputs(world, service):
        offset = first.get(str(row["message_id"]).encode())
        if row["source_topic"] is None or offset is None or str(row["message_id"]).encode() in lost:
            continue
        queue = (row["source_topic"], row["source_partition"], row["topic"], row["key"])
        if offset < last.get(queue, -1):
            yield f"{service}: an output of {_at(queue[:2])} to {row['topic']} at {offset} overtook the one at {last[queue]}"
        last[queue] = offset


def _only_poison_died(world: World, service: str, letters: list[Any]) -> Iterator[str]:
    """A dead letter is poison, no message, or about nobody's order; its record is on the dead letter topic, once by id."""
    for row in letters:
        where = _place_of(row)
        if row["status"] == "REPLAYED":
            yield f"{service}: {_at(where)} was replayed, and nothing has come of it"
        if row["status"] == "DISCARDED":
            continue
        if row["cause"] == "Poisoned" and row["status"] == "OPEN" and not world.troubles.poison.get(where, 0) > 0:
            yield f"{service}: {_at(where)} is a dead letter and was not poisoned for good"
        if row["cause"] not in ("Poisoned", "Undecodable", "Rejected"):
            yield f"{service}: {_at(where)} is a dead letter: {row['cause']}: {row['reason']}"
        ids = {
            r.header(MESSAGE_ID) for r in world.log.records_of(row["topic"] + DEAD_LETTER_SUFFIX) if _is_of(r, where)
        }
        if ids != {
            str(each["id"]).encode() for each in letters if _place_of(each) == where and each["cause"] != "Discarded"
        }:
            yield f"{service}: {_at(where)} has {len(ids)} different dead letters"


def _refused_are_letters(world: World, service: str, letters: list[Any]) -> Iterator[str]:
    """What Kafka has refused is in the table, whatever else has become of it; here only dead letter topics refuse."""
    ids = {str(each["id"]).encode() for each in letters}
    ours = {str(row["message_id"]).encode() for row in _outputs(world, service)}
    for id in sorted((world.log.refused & ours) - ids):
        yield f"{service}: message {id.decode()} was refused, and is no dead letter"


def _is_of(letter: Record, where: Any) -> bool:
    return (
        letter.partition == where[1]
        and int.from_bytes(letter.header("kafka_dlt-original-offset") or b"", "big") == where[2]
    )


def _place_of(row: Any) -> tuple[str, int, int]:
    return row["topic"], row["partition"], row["record_offset"]


def _at(where: Any) -> str:
    return "/".join(map(str, where))


# The business ---------------------------------------------------------------------------------------------------------------


def _tainted(world: World, dead: dict[str, set[Any]]) -> set[UUID]:
    """Orders of which a message was given up: they may stand still."""
    tainted = set()
    for service, places in dead.items():
        for record in _inputs(world, service):
            if place(record) in places:
                try:
                    tainted.add(_business_key(decode(record.topic, record.value)))
                except Undecodable:
                    continue
    return tainted


async def _stock_is_conserved(world: World) -> Iterator[str]:
    moved: Counter[tuple[UUID, str]] = Counter()
    held: Counter[tuple[UUID, UUID]] = Counter()
    for row in await _rows(world, "stock", "movement"):
        moved[row["product_id"], row["kind"]] += row["quantity"]
        if row["order_id"]:
            held[row["order_id"], row["product_id"]] += row["quantity"] * (1 if row["kind"] == "reserved" else -1)
    reserved: Counter[tuple[UUID, UUID]] = Counter()
    for row in await _rows(world, "stock", "reservation"):
        for item in msgspec.json.decode(row["items"]):
            if item["state"] == "RESERVED":
                reserved[row["order_id"], UUID(item["productId"])] += item["quantity"]
    found = [
        f"stock: order {k[0]} holds {held[k]} of {k[1]}, reserved are {reserved[k]}"
        for k in sorted(held.keys() | reserved.keys())  # a Counter's own | forgets what is given back twice
        if held[k] != reserved[k]
    ]
    for row in await _rows(world, "stock", "product"):
        counters = {kind: row[kind] for kind in ("received", "reserved", "released")}
        if counters != {kind: moved[row["product_id"], kind] for kind in counters}:
            found.append(f"stock: {row['product_id']} has {counters}, moved were {moved}")
    return iter(found)


async def _prices_agree(world: World) -> Iterator[str]:
    """Order has the price that Stock has, whatever the clocks of Stock's processes said when it changed."""
    ours = {row["product_id"]: row for row in await _rows(world, "order", "price")}
    found = []
    for row in await _rows(world, "stock", "product"):
        known = ours[row["product_id"]]
        if (known["price"], known["version"]) != (row["price"], row["version"]):
            found.append(
                f"order: {row['product_id']} costs {known['price']} (version {known['version']}), "
                f"in Stock {row['price']} ({row['version']})"
            )
    return iter(found)


def _nothing_given_back_is_delivered(world: World) -> Iterator[str]:
    """Once Order knows that all of an order's money went back at the gateway's dashboard, it asks for no delivery of it."""
    paid: dict[UUID, set[str]] = {}
    unpaid_after: set[tuple[UUID, str]] = set()
    for each in world.databases["order"].committed:
        if isinstance(each, Handled):
            order_id, message = _business_key(each.message), each.message
            if isinstance(message, m.PaymentSuccessMessage) and message.status == "SUCCESS":
                paid.setdefault(order_id, set()).add(message.payment_key or "")
            elif _tells_all_back(world, message):
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


async def _orders_settled(world: World, tainted: set[UUID]) -> Iterator[str]:
    found = []
    rows = await world.databases["order"].monitor.fetch("SELECT * FROM saga ORDER BY order_id")
    deliveries = {row["order_id"]: row for row in await _rows(world, "delivery", "delivery")}
    held = {
        row["order_id"]
        for row in await _rows(world, "stock", "reservation")
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
    """What of an order does not fit its end."""
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


async def _events_match(world: World) -> Iterator[str]:
    """The timeline has one line for each message that took effect, and one for being placed."""
    handled = Counter(
        (_business_key(each.message), type(each.message).__name__)
        for each in world.databases["order"].committed
        if isinstance(each, Handled) and not isinstance(each.message, m.ProductPriceMessage)
    )
    events = Counter((row["order_id"], row["came_in"]) for row in await _rows(world, "order", "order_event"))
    names = {name for _, name in handled}
    found = [
        f"order: {events[k]} events {k[1]} of {k[0]}, handled were {n}" for k, n in handled.items() if events[k] != n
    ]
    found += [f"order: event {k[1]} of {k[0]} came from nowhere" for k in events if k[1] in names and k not in handled]
    found += [f"order: {n} events Placed of {k[0]}" for k, n in events.items() if k[1] == "Placed" and n != 1]
    return iter(found)


async def _books_agree(world: World, tainted: set[UUID]) -> Iterator[str]:
    """Our payment table and the gateway's books, to the won."""
    found = []
    ours = {row["payment_key"]: row for row in await _rows(world, "payment", "payment")}
    orders = await _rows(world, "order", "saga")
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
            answer: Any = decode(record.topic, record.value)
            if answer.status in statuses and _is_part(answer):
                parts[answer.payment_key].add(answer.request_id)
    return parts


def _is_part(message: Any) -> bool:
    return (message.request_id or "").startswith(PARTLY)
