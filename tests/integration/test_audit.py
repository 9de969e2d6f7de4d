"""Each invariant of the audit holds on sound data, and names what breaks it: breakage is planted row by row.

The data are four orders in four databases, as the services would have left them: one completed, one returned, one failed, one pending.
"""

import asyncio
import contextlib
import importlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from string import Template
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import asyncpg
import pytest
from confluent_kafka import Producer

from ordersaga.audit import Finding, verify
from ordersaga.contracts.codec import encode
from ordersaga.contracts.messages import OrderCompletedMessage
from ordersaga.devstack import DevStack
from ordersaga.messaging.database import Connection, migrate
from ordersaga.messaging.kafka import Topics, create_missing_topics
from ordersaga.order import store as orders
from ordersaga.sandbox.app import SandboxSettings, serving
from ordersaga.settings import SERVICES, ServiceName, Settings
from ordersaga.stock import store as products

PRICE, QUANTITY, RECEIVED = 12_500, 2, 100
TOTAL = PRICE * QUANTITY
LONG_AGO = timedelta(minutes=5)

STOCK = "stock is conserved"
COMPLETE = "a completed order has its stock"
RECORDED = "an order that was ever completed has one completion record"
GIVEN_BACK = "a failed or cancelled order holds no stock and no money"
IN_TIME = "no pending order is older than its deadlines"
KNOWN = "no stock, payment or delivery without its order"
BOOKS = "the gateway's books and the payment table agree to the won"
PUBLISHED = "every committed record is published"
HANDLED = "every record in Kafka is handled"
LETTERS = "each dead letter is accounted for"
PARKED = "each parked record will be tried again"

# Statements with the scene's ids in them, as `$completed`.
LETTER = """INSERT INTO dead_letter (id, status, topic, partition, record_offset, header_names, header_values, cause, reason, attempts, at)
            VALUES (gen_random_uuid(), '%s', 'order-created', 3, 42, '{}', '{}', 'ValueError', 'poison', 5, now())"""
OUTBOX = """INSERT INTO outbox (id, adopt_at, topic, message_id, traceparent)
            VALUES (1, now() - interval '%s', 'order-created', gen_random_uuid(), '-')"""
PARK = """INSERT INTO parked (topic, partition, record_offset, order_key, header_names, header_values, timestamp_ms, attempts, due_at, parked_at)
          VALUES ('order-created', 3, 42, gen_random_uuid(), '{}', '{}', 0, 1, %s, now())"""
PAYMENT = """INSERT INTO payment (payment_key, order_id, amount, status, captured, refunded, requested_at)
             VALUES ('%s', '%s', 25000, '%s', 25000, 0, now())"""


class Scene:
    """Four sound orders and what the services hold for them. `topic` is one that Stock has read to its end."""

    def __init__(self, settings: Settings, db: dict[str, "asyncpg.Connection[asyncpg.Record]"], topic: str) -> None:
        self.settings = settings
        self.db = db
        self.topic = topic
        self.product, self.completed, self.returned, self.failed, self.pending, self.stray = (uuid4() for _ in range(6))
        self.item = {"productId": str(self.product), "quantity": QUANTITY}
        self._producer = Producer({"bootstrap.servers": settings.kafka_bootstrap_servers})

    async def broken(self, unchanged_for_s: float = 0.0) -> dict[str, list[str]]:
        """The invariants that do not hold, by the beginning of their names, and what they name."""
        return {_short(each): each.broken for each in await verify(self.settings, unchanged_for_s) if not each.holds}

    async def in_flight(self, unchanged_for_s: float) -> dict[str, list[str]]:
        findings = await verify(self.settings, unchanged_for_s)
        return {_short(each): each.in_flight for each in findings if each.in_flight}

    def named(self, text: str) -> str:
        """With this scene's ids for `$product`, `$completed`, ... (`$stray`: an order that nobody knows)."""
        names = ("product", "completed", "returned", "failed", "pending", "stray")
        return Template(text).substitute({name: str(getattr(self, name)) for name in names})

    async def plant(self, database: str, statement: str) -> None:
        await self.db[database].execute(self.named(statement))

    async def complete(self, order_id: UUID, message_id: UUID) -> None:
        """A completion record in Kafka."""
        message = OrderCompletedMessage(order_id=order_id, customer_id=uuid4(), status="ORD0002", total_amount=TOTAL)
        headers = [("message-id", str(message_id).encode())]
        self._producer.produce("order-completed-topic", encode(message), str(order_id), headers=headers)
        assert await asyncio.to_thread(self._producer.flush, 30) == 0

    async def write(self, topic: str, count: int) -> None:
        for _ in range(count):
            self._producer.produce(topic, b"{}")
        assert await asyncio.to_thread(self._producer.flush, 30) == 0


def _short(finding: Finding) -> str:
    names = (STOCK, COMPLETE, RECORDED, GIVEN_BACK, IN_TIME, KNOWN, BOOKS, PUBLISHED, HANDLED, LETTERS, PARKED)
    return next(name for name in names if finding.invariant.startswith(name))


@pytest.fixture(scope="module")
async def empty(stack: DevStack) -> AsyncIterator[Scene]:
    """The databases and topics that all scenes of this file are made in."""
    name = f"audit_{uuid4().hex[:8]}"
    databases = {service: f"{name}_{service}" for service in SERVICES}
    stack.create_databases(databases.values())
    urls = {f"{service}_database_url": stack.database_url(database) for service, database in databases.items()}
    kafka = {"kafka_bootstrap_servers": stack.bootstrap_servers, "topic_partitions": 3}
    settings = Settings.model_validate(kafka | urls)
    await create_missing_topics(settings)
    await Topics(settings).create([(name, {})], 1, 1)
    db = {}
    for service in SERVICES:
        await asyncio.to_thread(
            migrate, settings.database_url(service), importlib.import_module(f"ordersaga.{service}")
        )
        db[service] = await asyncpg.connect(settings.database_url(service))
    made = Scene(settings, db, name)
    await made.write(name, 5)
    yield made
    for each in db.values():
        await each.close()


@pytest.fixture
async def scene(empty: Scene) -> AsyncIterator[Scene]:
    for db in empty.db.values():
        tables = await db.fetch(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename NOT LIKE '%yoyo%'"
        )
        await db.execute("TRUNCATE " + ", ".join(row["tablename"] for row in tables))
    async with serving(SandboxSettings()) as gateway_url:
        made = Scene(empty.settings.model_copy(update={"gateway_url": gateway_url}), empty.db, empty.topic)
        await _furnish(made)
        yield made


async def _furnish(scene: Scene) -> None:
    now = datetime.now(UTC)
    for order_id, statuses, reason in [
        (scene.completed, ["PENDING", "COMPLETED"], None),
        (scene.returned, ["PENDING", "COMPLETED", "CANCELLED"], "RETURNED"),
        (scene.failed, ["PENDING", "FAILED"], "PAYMENT_DECLINED"),
        (scene.pending, ["PENDING"], None),
    ]:
        await _order(scene, order_id, statuses, reason, now)
    await scene.db["stock"].execute(
        "INSERT INTO product (product_id, name, price, received, reserved, released) VALUES ($1, 'keyboard', $2, $3, $4, $5)",
        scene.product, PRICE, RECEIVED, 4 * QUANTITY, 2 * QUANTITY,
    )  # fmt: skip
    movements = [("received", None, RECEIVED)]
    movements += [
        ("reserved", order_id, QUANTITY) for order_id in (scene.completed, scene.returned, scene.failed, scene.pending)
    ]
    movements += [("released", order_id, QUANTITY) for order_id in (scene.returned, scene.failed)]
    await scene.db["stock"].executemany(
        "INSERT INTO movement (product_id, kind, order_id, quantity, at) VALUES ($1, $2, $3, $4, now())",
        [(scene.product, *movement) for movement in movements],
    )
    for order_id, state in [
        (scene.completed, "RESERVED"),
        (scene.returned, "RELEASED"),
        (scene.failed, "RELEASED"),
        (scene.pending, "RESERVED"),
    ]:
        await scene.db["stock"].execute(
            "INSERT INTO reservation (order_id, state, items, at) VALUES ($1, $2, $3, now())",
            order_id, state, json.dumps([scene.item | {"state": state}]),
        )  # fmt: skip
    for order_id, refunded in [(scene.completed, 0), (scene.returned, TOTAL)]:
        await _pay(scene, order_id, refunded)
        await scene.db["delivery"].execute(
            "INSERT INTO delivery (order_id, delivery_id, customer_id, status, tracking_number, at) VALUES ($1, $2, $2, 'STARTED', 'T', $3)",
            order_id, uuid4(), now,
        )  # fmt: skip
        await scene.complete(order_id, order_id)
    await scene.db["stock"].execute(
        "INSERT INTO ledger (topic, partition, topic_id, epoch, next_offset) VALUES ($1, 0, 'id', 1, 5)", scene.topic
    )


async def _order(scene: Scene, order_id: UUID, statuses: list[str], reason: str | None, now: datetime) -> None:
    db = scene.db["order"]
    placed_at, pay_before = now - LONG_AGO, now + timedelta(hours=1)
    await db.execute(
        "INSERT INTO orders (order_id, customer_id, order_name, total_amount, recipient, placed_at, pay_before) "
        "VALUES ($1, $1, 'keyboard', $2, '{}', $3, $4)",
        order_id, TOTAL, placed_at, pay_before,
    )  # fmt: skip
    await db.execute(
        "INSERT INTO saga (order_id, status, reason, facts) VALUES ($1, $2, $3, $4)",
        order_id, statuses[-1], reason, json.dumps({"lines": [scene.item]}),
    )  # fmt: skip
    await db.executemany(
        "INSERT INTO order_event (order_id, at, came_in, went_out, status, stock_known) VALUES ($1, $2, '-', '{}', $3, true)",
        [(order_id, placed_at + timedelta(seconds=n), status) for n, status in enumerate(statuses)],
    )


async def _pay(scene: Scene, order_id: UUID, refunded: int) -> None:
    """The same payment at the gateway and in the table."""
    url, secret = scene.settings.gateway_url, scene.settings.gateway_secret_key.get_secret_value()
    async with aiohttp.ClientSession(headers={"Authorization": aiohttp.encode_basic_auth(secret, "")}) as http:

        async def ask(path: str, **body: Any) -> Any:
            async with http.post(f"{url}{path}", json=body) as answer:
                assert answer.status in (200, 201), await answer.text()
                return await answer.json()

        opened = await ask("/sandbox/payments", orderId=str(order_id), amount=TOTAL)
        key = opened["paymentKey"]
        await ask("/v1/payments/confirm", paymentKey=key, orderId=str(order_id), amount=TOTAL)
        if refunded:
            await ask(f"/v1/payments/{key}/cancel", cancelReason="returned")
    await scene.db["payment"].execute(
        "INSERT INTO payment (payment_key, order_id, amount, status, captured, refunded, requested_at) VALUES ($1, $2, $3::int, $4, $3::int, $5, now())",
        key, order_id, TOTAL, "CANCELLED" if refunded else "APPROVED", refunded,
    )  # fmt: skip


async def test_sound_data_breaks_nothing_and_all_of_it_is_counted(scene: Scene) -> None:
    findings = {_short(each): each for each in await verify(scene.settings)}
    assert {name: each.broken for name, each in findings.items() if not each.holds} == {}
    counts = {name: each.count for name, each in findings.items()}
    assert counts == {
        STOCK: 1, COMPLETE: 1, RECORDED: 2, GIVEN_BACK: 2, IN_TIME: 1, KNOWN: 8, BOOKS: 2,
        PUBLISHED: 4, HANDLED: 1, LETTERS: 0, PARKED: 0,
    }  # fmt: skip
    assert list(findings[IN_TIME].in_flight) and str(scene.pending) in findings[IN_TIME].in_flight[0]


async def test_history_is_shortened_in_bounded_batches_and_all_that_the_audit_counts_stays(scene: Scene) -> None:
    before = datetime.now(UTC) + timedelta(seconds=1)
    order, stock = scene.db["order"], scene.db["stock"]

    async def timelines() -> dict[UUID, list[str]]:
        rows = await order.fetch("SELECT order_id, array_agg(status ORDER BY seq) FROM order_event GROUP BY order_id")
        return {row[0]: row[1] for row in rows}

    assert await orders.prune_events(order, before - LONG_AGO - LONG_AGO, 100) == 0
    assert [await orders.prune_events(order, before, 2) for _ in range(3)] == [2, 1, 0]
    assert await timelines() == {
        scene.completed: ["COMPLETED"],
        scene.returned: ["COMPLETED", "CANCELLED"],
        scene.failed: ["FAILED"],
        scene.pending: ["PENDING"],
    }
    assert [await products.prune_movements(stock, before, 4) for _ in range(3)] == [4, 3, 0]
    balances = await stock.fetch("SELECT kind, quantity FROM movement WHERE is_balance ORDER BY kind")
    assert [tuple(row) for row in balances] == [
        ("received", RECEIVED), ("released", 2 * QUANTITY), ("reserved", 4 * QUANTITY)
    ]  # fmt: skip
    assert await stock.fetchval("SELECT count(*) FROM movement") == 3
    assert await scene.broken() == {}


@pytest.mark.parametrize(
    ("database", "statement", "broken"),
    [
        pytest.param("stock", "DELETE FROM reservation WHERE order_id = '$completed'", {STOCK: "$product", COMPLETE: "$completed"}, id="a lost reservation"),
        pytest.param("stock", "UPDATE reservation SET items = jsonb_set(items::jsonb, '{0,quantity}', '1') WHERE order_id = '$completed'", {STOCK: "$product", COMPLETE: "$completed"}, id="a reservation of fewer pieces"),
        pytest.param("stock", "DELETE FROM movement WHERE order_id = '$completed'", {STOCK: "$product"}, id="a lost movement"),
        pytest.param("stock", "UPDATE product SET reserved = reserved + 1", {STOCK: "$product"}, id="a piece taken and not booked"),
        pytest.param("stock", "UPDATE reservation SET items = jsonb_set(items::jsonb, '{0,state}', '\"RESERVED\"') WHERE order_id = '$failed'", {STOCK: "$product", GIVEN_BACK: "$failed"}, id="stock of a failed order not released"),
        pytest.param("stock", "INSERT INTO reservation VALUES ('$stray', 'REFUSED', '[]', now())", {KNOWN: "$stray"}, id="stock without an order"),
        pytest.param("payment", "DELETE FROM payment WHERE order_id = '$completed'", {COMPLETE: "$completed", BOOKS: "$completed"}, id="a lost payment"),
        pytest.param("payment", "UPDATE payment SET refunded = 1000, status = 'PARTLY_CANCELLED' WHERE order_id = '$completed'", {COMPLETE: "$completed", BOOKS: "$completed"}, id="a refund that the gateway has not made"),
        pytest.param("payment", PAYMENT % ("second", "$completed", "FAILED"), {COMPLETE: "$completed", BOOKS: "second"}, id="money taken twice"),
        pytest.param("payment", PAYMENT % ("of-failed", "$failed", "APPROVED"), {GIVEN_BACK: "$failed", BOOKS: "of-failed"}, id="money of a failed order not refunded"),
        pytest.param("payment", PAYMENT % ("stray", "$stray", "APPROVED"), {KNOWN: "$stray", BOOKS: "stray"}, id="a payment without an order"),
        pytest.param("delivery", "DELETE FROM delivery WHERE order_id = '$completed'", {COMPLETE: "$completed"}, id="a lost delivery"),
        pytest.param("delivery", "UPDATE delivery SET status = 'FAILED', tracking_number = NULL, refusal = 'no' WHERE order_id = '$completed'", {COMPLETE: "$completed"}, id="a completed order whose delivery failed"),
        pytest.param("delivery", "UPDATE delivery SET order_id = '$failed' WHERE order_id = '$returned'", {GIVEN_BACK: "$failed"}, id="a failed order that is delivered"),
        pytest.param("delivery", "UPDATE delivery SET order_id = '$stray' WHERE order_id = '$returned'", {KNOWN: "$stray"}, id="a delivery without an order"),
        pytest.param("order", "UPDATE order_event SET status = 'COMPLETED' WHERE order_id = '$failed' AND status = 'FAILED'", {RECORDED: "$failed"}, id="a completion that was never published"),
        pytest.param("order", "UPDATE orders SET pay_before = now() - interval '2 minutes' WHERE order_id = '$pending'", {IN_TIME: "$pending"}, id="an order forgotten while pending"),
        pytest.param("order", OUTBOX % "1 minute", {PUBLISHED: "order: 1 records for order-created"}, id="an outbox row left"),
        pytest.param("stock", "UPDATE ledger SET next_offset = 2", {HANDLED: "is 3 records behind"}, id="a ledger behind"),
        pytest.param("stock", "UPDATE ledger SET next_offset = 9", {HANDLED: "stands 4 records past the log's end"}, id="a ledger past the log's end"),
        pytest.param("stock", LETTER % "DISCARDED", {LETTERS: "nobody has said why"}, id="a dead letter discarded by nobody"),
        pytest.param("stock", LETTER % "RESOLVED", {LETTERS: "nobody has said why"}, id="a dead letter resolved by nobody"),
        pytest.param("stock", LETTER % "REPLAYED", {LETTERS: "is not in the parking"}, id="a dead letter replayed into nowhere"),
        pytest.param("stock", LETTER % "SUPERSEDED", {LETTERS: "no letter follows it"}, id="a dead letter that nothing followed"),
        pytest.param("stock", PARK % "NULL", {PARKED: "order-created/3/42"}, id="a parked record that nobody will try"),
    ],
)  # fmt: skip
async def test_planted_breakage_is_named(scene: Scene, database: str, statement: str, broken: dict[str, str]) -> None:
    await scene.plant(database, statement)
    found = await scene.broken()
    assert found.keys() == broken.keys()
    for invariant, named in broken.items():
        assert any(scene.named(named) in what for what in found[invariant]), found[invariant]


async def _goes_back(scene: Scene, refunded: int, told: dict[str, int]) -> str:
    """At the gateway and in Payment's table; `told` is what Order's facts say of it besides."""
    [payment] = await scene.db["payment"].fetch("SELECT * FROM payment WHERE order_id = $1", scene.completed)
    key, secret = payment["payment_key"], scene.settings.gateway_secret_key.get_secret_value()
    url = f"{scene.settings.gateway_url}/v1/payments/{key}/cancel"
    body = {"cancelReason": "by the console", "cancelAmount": refunded}
    headers = {"Authorization": aiohttp.encode_basic_auth(secret, "")}
    async with aiohttp.ClientSession(headers=headers) as http, http.post(url, json=body) as answer:
        assert answer.status == 200, await answer.text()
    status = "CANCELLED" if refunded == TOTAL else "PARTLY_CANCELLED"
    await scene.db["payment"].execute(
        "UPDATE payment SET refunded = $1, status = $2 WHERE payment_key = $3", refunded, status, key
    )
    state = "REFUNDED" if told.get("held") == 0 else "PAID"
    facts = {"lines": [scene.item], "payments": [{"paymentKey": key, "amount": TOTAL, "state": state} | told]}
    await scene.db["order"].execute(
        "UPDATE saga SET facts = $1 WHERE order_id = $2", json.dumps(facts), scene.completed
    )
    return str(key)


@pytest.mark.parametrize("refunded", [5_000, TOTAL])
async def test_money_of_a_completed_order_that_went_back_breaks_it_until_an_operator_says_that_it_was_meant(
    scene: Scene, refunded: int
) -> None:
    key = await _goes_back(scene, refunded, {"held": TOTAL - refunded})
    [*said] = (await scene.broken())[COMPLETE]
    assert any(key in each and f"accept-refund {scene.completed}" in each for each in said)
    facts = "UPDATE saga SET facts = jsonb_set(facts::jsonb, '{payments,0,meant}', '%s') WHERE order_id = '$completed'"
    await scene.plant("order", facts % refunded)
    assert await scene.broken() == {}
    await scene.plant("order", facts % (refunded - 1))
    assert COMPLETE in await scene.broken(), "less was meant than went back"


async def test_an_order_that_was_never_told_what_went_back_is_named(scene: Scene) -> None:
    key = await _goes_back(scene, 5_000, {})
    said = (await scene.broken())[COMPLETE]
    assert any(f"Order believes that {TOTAL} won of payment {key} are held" in each for each in said)


async def test_an_order_completed_twice_is_named_and_a_repeat_of_one_record_is_not(scene: Scene) -> None:
    await scene.complete(scene.completed, scene.completed)
    assert await scene.broken() == {}
    await scene.complete(scene.completed, uuid4())
    assert await scene.broken() == {RECORDED: [f"{scene.completed}: 2 records"]}


async def test_money_that_the_gateway_took_and_nobody_recorded_is_named(scene: Scene) -> None:
    await _pay(scene, scene.pending, 0)
    await scene.plant("payment", "DELETE FROM payment WHERE order_id = '$pending'")
    (what,) = (await scene.broken())[BOOKS]
    assert str(scene.pending) in what and f"{TOTAL} won" in what


async def test_what_the_gateway_has_just_done_or_payment_still_asks_about_is_in_flight_on_a_live_system(
    scene: Scene,
) -> None:
    await _pay(scene, scene.pending, 0)
    await scene.plant("payment", "DELETE FROM payment WHERE order_id = '$pending'")
    assert BOOKS in await scene.in_flight(30)
    await asyncio.sleep(2.1)  # the books tell time in seconds
    (what,) = (await scene.broken(1))[BOOKS]
    await scene.db["payment"].execute(
        "INSERT INTO intent (id, kind, payment_key, order_id, amount, reason, asked, status, attempt, tries, created_at) "
        "VALUES (gen_random_uuid(), 'CONFIRM', $1, $2, 25000, '-', true, 'OPEN', 1, 1, now())",
        what.split(" ")[0], scene.pending,
    )  # fmt: skip
    assert await scene.broken(1) == {}
    assert BOOKS in await scene.broken(0)


async def test_an_order_placed_while_the_snapshots_are_taken_is_no_false_alarm(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = uuid4()

    @contextlib.asynccontextmanager
    async def placed_meanwhile(settings: Settings, name: ServiceName) -> AsyncIterator[Connection]:
        async with snapshot(settings, name) as db:
            if not await scene.db["order"].fetchval("SELECT count(*) FROM orders WHERE order_id = $1", new):
                await _order(scene, new, ["PENDING"], None, datetime.now(UTC))
                await scene.plant("stock", f"INSERT INTO reservation VALUES ('{new}', 'REFUSED', '[]', now())")
            yield db

    module = importlib.import_module("ordersaga.audit.verify")
    snapshot = module._snapshot
    monkeypatch.setattr(module, "_snapshot", placed_meanwhile)
    assert await scene.broken(10) == {}


async def test_an_open_dead_letter_and_a_parked_record_that_is_due_are_listed_and_break_nothing(scene: Scene) -> None:
    await scene.plant("stock", LETTER % "OPEN")
    await scene.plant("order", PARK % "now()")
    assert await scene.broken() == {}
    waiting = await scene.in_flight(0)
    assert waiting[LETTERS] == ["stock: 1 OPEN of order-created, ValueError"]
    assert waiting[PARKED][0].startswith("order: 1 behind and with order-created/3/42")


@pytest.mark.parametrize(
    ("database", "statement", "invariant"),
    [
        ("stock", "DELETE FROM reservation WHERE order_id = '$completed'", COMPLETE),
        ("payment", PAYMENT % ("of-failed", "$failed", "APPROVED"), GIVEN_BACK),
        ("order", OUTBOX % "0", PUBLISHED),
        ("stock", "UPDATE ledger SET next_offset = 2", HANDLED),
    ],
)
async def test_on_a_live_system_what_has_just_changed_is_in_flight_and_what_has_not_is_judged(
    scene: Scene, database: str, statement: str, invariant: str
) -> None:
    if database != "order":
        await scene.plant("order", "UPDATE order_event SET at = now() WHERE status <> 'PENDING'")
    await scene.plant(database, statement)
    assert invariant not in await scene.broken(30)
    assert invariant in await scene.in_flight(30)
    assert invariant in await scene.broken(0)
