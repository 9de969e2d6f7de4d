"""Each invariant of the audit holds on sound data, and names what breaks it: breakage is planted row by row, found, and gone after repair."""

import contextlib
import importlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from ordersaga.messaging.database import Connection
from ordersaga.order import store as orders
from ordersaga.settings import ServiceName, Settings
from ordersaga.stock import store as products
from tests.integration.audit_rig import (
    AGREED,
    BOOKS,
    COMPLETE,
    GIVEN_BACK,
    HANDLED,
    IN_TIME,
    KNOWN,
    LETTERS,
    LONG_AGO,
    PARKED,
    PRICED,
    PUBLISHED,
    QUANTITY,
    RECEIVED,
    RECORDED,
    SETTLED,
    STOCK,
    TIMED,
    TOLD,
    TOTAL,
    Scene,
    pay,
    place,
    short,
)  # fmt: skip
from tests.integration.payment_rig import until

# Statements with the scene's ids in them, as `$completed`.
COMPLETED_AS = "UPDATE saga SET facts = jsonb_set(facts::jsonb, '%s', '%s') WHERE order_id = '$completed'"
RETURNED_AS = "UPDATE saga SET facts = jsonb_set(facts::jsonb, '%s', '%s') WHERE order_id = '$returned'"
LETTER = """INSERT INTO dead_letter (id, status, topic, partition, record_offset, header_names, header_values, cause, reason, attempts, at)
            VALUES (gen_random_uuid(), '%s', 'order-created', 3, 42, '{}', '{}', 'ValueError', 'poison', 5, now())"""
OUTBOX = """INSERT INTO outbox (id, adopt_at, topic, message_id, traceparent)
            VALUES (1, now() - interval '%s', 'order-created', gen_random_uuid(), '-')"""
PARK = """INSERT INTO parked (topic, partition, record_offset, order_key, header_names, header_values, timestamp_ms, attempts, due_at, parked_at)
          VALUES ('order-created', 3, 42, gen_random_uuid(), '{}', '{}', 0, 1, %s, now())"""
PAYMENT = """INSERT INTO payment (payment_key, order_id, amount, status, captured, refunded, requested_at, approved_at)
             VALUES ('%s', '%s', 25000, '%s', 25000, 0, now() - interval '5 minutes', now() - interval '5 minutes')"""
INTENT = """INSERT INTO intent (id, kind, payment_key, order_id, amount, reason, asked, status, attempt, tries, due_at, created_at)
            VALUES (gen_random_uuid(), 'REFUND', 'some-key', '$completed', 1000, '-', true, 'OPEN', 1, 1, %s, now())"""
TWICE = """ALTER TABLE delivery DROP CONSTRAINT delivery_pkey;
           INSERT INTO delivery (order_id, delivery_id, customer_id, status, tracking_number, at)
           VALUES ('$completed', gen_random_uuid(), '$completed', 'STARTED', 'T2', now())"""


async def test_sound_data_breaks_nothing_and_all_of_it_is_counted(scene: Scene) -> None:
    findings = {short(each): each for each in await scene.findings()}
    assert {name: each.broken + each.unjudged for name, each in findings.items() if each.outcome != "holds"} == {}
    counts = {name: each.count for name, each in findings.items()}
    assert counts.pop(HANDLED) > 1
    assert counts == {
        STOCK: 1, COMPLETE: 1, RECORDED: 2, GIVEN_BACK: 2, IN_TIME: 1, KNOWN: 8, BOOKS: 2, PUBLISHED: 4, LETTERS: 0, PARKED: 0,
        TIMED: 1, TOLD: 4, AGREED: 6, PRICED: 1, SETTLED: 0,
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
        pytest.param("stock", "DELETE FROM reservation WHERE order_id = '$pending'", {STOCK: "$product", AGREED: "$pending"}, id="a pending order's reservation lost"),
        pytest.param("stock", "DELETE FROM reservation WHERE order_id = '$returned'", {AGREED: "$returned: Stock answered for product $product"}, id="a released reservation lost"),
        pytest.param("stock", "DELETE FROM movement WHERE order_id = '$completed'", {STOCK: "$product"}, id="a lost movement"),
        pytest.param("stock", "INSERT INTO movement VALUES ('$stray', NULL, 'received', 3, now())", {STOCK: "$stray"}, id="a movement of no product"),
        pytest.param("stock", "UPDATE product SET reserved = reserved + 1", {STOCK: "$product"}, id="a piece taken and not booked"),
        pytest.param("stock", "UPDATE product SET received = received + 1", {STOCK: "$product"}, id="a piece received and not booked"),
        pytest.param("stock", "ALTER TABLE product DROP CONSTRAINT product_available_check; UPDATE product SET received = 1; UPDATE movement SET quantity = 1 WHERE kind = 'received'", {STOCK: "-3 available"}, id="less than nothing"),
        pytest.param("stock", "UPDATE reservation SET items = jsonb_set(items::jsonb, '{0,state}', '\"RESERVED\"') WHERE order_id = '$failed'", {STOCK: "$product", GIVEN_BACK: "$failed"}, id="stock of a failed order not released"),
        pytest.param("stock", "INSERT INTO reservation VALUES ('$stray', 'REFUSED', '[]', now())", {KNOWN: "$stray"}, id="stock without an order"),
        pytest.param("stock", "UPDATE product SET price = 9000", {PRICED: "costs 9000 won, and 12500 for Order"}, id="a price that Order has not heard"),
        pytest.param("stock", "INSERT INTO product (product_id, name, price) VALUES ('$stray', 'mouse', 9000)", {PRICED: "$stray: Order knows no price"}, id="a product that Order has not heard of"),
        pytest.param("order", "INSERT INTO price VALUES ('$stray', 'mouse', 9000, now())", {PRICED: "$stray"}, id="a price of no product"),
        pytest.param("payment", "DELETE FROM payment WHERE order_id = '$completed'", {COMPLETE: "$completed", AGREED: "$completed", BOOKS: "$completed"}, id="a lost payment"),
        pytest.param("payment", "UPDATE payment SET refunded = 1000, status = 'PARTLY_CANCELLED' WHERE order_id = '$completed'", {COMPLETE: "$completed", AGREED: "$completed", BOOKS: "$completed"}, id="a refund that the gateway has not made"),
        pytest.param("payment", "UPDATE payment SET captured = 24000, amount = 24000 WHERE order_id = '$completed'", {COMPLETE: "[24000] won are held for a total of 25000", AGREED: "$completed", BOOKS: "$completed"}, id="another amount"),
        pytest.param("payment", "UPDATE payment SET captured = 26000, refunded = 1000, status = 'PARTLY_CANCELLED' WHERE order_id = '$completed'", {AGREED: "$completed", BOOKS: "captured 25000 won"}, id="another amount, evened out"),
        pytest.param("payment", "UPDATE payment SET refunded = 0, status = 'APPROVED' WHERE order_id = '$returned'", {GIVEN_BACK: "$returned", AGREED: "$returned", BOOKS: "$returned"}, id="a refund that is missing"),
        pytest.param("payment", "UPDATE payment SET status = 'CANCELLED' WHERE order_id = '$completed'", {AGREED: "is CANCELLED for Payment, and 25000 won are held"}, id="cancelled, and its money is held"),
        pytest.param("payment", "UPDATE payment SET status = 'FAILED' WHERE order_id = '$completed'", {AGREED: "is PAID for Order, FAILED for Payment"}, id="failed, and it pays an order"),
        pytest.param("payment", "UPDATE payment SET order_id = '$failed' WHERE order_id = '$completed'", {COMPLETE: "$completed", GIVEN_BACK: "$failed", AGREED: "$completed", BOOKS: "our table has it for order $failed"}, id="a payment moved to another order"),
        pytest.param("payment", PAYMENT % ("second", "$completed", "FAILED"), {COMPLETE: "$completed", BOOKS: "second"}, id="money taken twice"),
        pytest.param("payment", PAYMENT % ("of-failed", "$failed", "APPROVED"), {GIVEN_BACK: "$failed", AGREED: "Order does not know it", BOOKS: "of-failed"}, id="money of a failed order not refunded"),
        pytest.param("payment", PAYMENT % ("of-pending", "$pending", "APPROVED"), {AGREED: "of-pending is APPROVED for Payment, and Order does not know it", BOOKS: "of-pending"}, id="a payment that Order never heard of"),
        pytest.param("payment", PAYMENT % ("stray", "$stray", "APPROVED"), {KNOWN: "$stray", BOOKS: "stray"}, id="a payment without an order"),
        pytest.param("payment", "INSERT INTO payment VALUES ('begun', '$pending', NULL, 25000, 'PENDING', 0, 0, NULL, NULL, now(), NULL)", {SETTLED: "begun of order $pending: PENDING and no intent"}, id="a payment that nobody will settle"),
        pytest.param("payment", "UPDATE payment SET status = 'CANCEL_PENDING' WHERE order_id = '$completed'", {SETTLED: "CANCEL_PENDING and no intent"}, id="a refund that nobody will make"),
        pytest.param("payment", INTENT % "now() - interval '5 minutes'", {SETTLED: "was to be tried at"}, id="an intent left lying"),
        pytest.param("payment", INTENT % "NULL", {SETTLED: "waits for a confirm that is not open"}, id="a refund that waits for nothing"),
        pytest.param("delivery", "DELETE FROM delivery WHERE order_id = '$completed'", {COMPLETE: "$completed"}, id="a lost delivery"),
        pytest.param("delivery", "DELETE FROM delivery WHERE order_id = '$returned'", {AGREED: "$returned: Order believes delivery"}, id="a returned order's delivery lost"),
        pytest.param("delivery", "UPDATE delivery SET status = 'FAILED', tracking_number = NULL, refusal = 'no' WHERE order_id = '$completed'", {COMPLETE: "$completed"}, id="a completed order whose delivery failed"),
        pytest.param("delivery", "UPDATE delivery SET delivery_id = '$stray' WHERE order_id = '$completed'", {AGREED: "Delivery has $stray"}, id="another delivery than Order believes"),
        pytest.param("delivery", TWICE, {COMPLETE: "['STARTED', 'STARTED']"}, id="delivered twice"),
        pytest.param("delivery", "UPDATE delivery SET order_id = '$failed' WHERE order_id = '$returned'", {GIVEN_BACK: "$failed", AGREED: "$returned"}, id="a failed order that is delivered"),
        pytest.param("delivery", "UPDATE delivery SET order_id = '$pending' WHERE order_id = '$returned'", {AGREED: "$pending"}, id="a pending order that is delivered"),
        pytest.param("delivery", "UPDATE delivery SET order_id = '$stray' WHERE order_id = '$returned'", {KNOWN: "$stray", AGREED: "$returned"}, id="a delivery without an order"),
        pytest.param("order", "UPDATE order_event SET status = 'COMPLETED' WHERE order_id = '$failed' AND status = 'FAILED'", {RECORDED: "$failed", TOLD: "$failed"}, id="a completion that was never sent"),
        pytest.param("order", "UPDATE order_event SET went_out = '{OrderCompletedMessage}', status = 'COMPLETED' WHERE order_id = '$failed' AND status = 'PENDING'", {RECORDED: "$failed: 0 records"}, id="a completion that was never published"),
        pytest.param("order", "DELETE FROM order_event WHERE order_id = '$completed' AND status = 'COMPLETED'", {RECORDED: "never completed", TOLD: "its timeline does not say when"}, id="completed without its event"),
        pytest.param("order", "UPDATE saga SET status = 'FAILED' WHERE order_id = '$completed'", {TOLD: "the last of its timeline is COMPLETED", GIVEN_BACK: "$completed"}, id="a status that nothing led to"),
        pytest.param("order", "DELETE FROM saga WHERE order_id = '$completed'", {TOLD: "$completed: its saga cannot be read"}, id="an order without its saga"),
        pytest.param("order", "UPDATE saga SET facts = '{}' WHERE order_id = '$completed'", {TOLD: "$completed: its saga cannot be read"}, id="facts that are none"),
        pytest.param("order", COMPLETED_AS % ("{lines,0,stock}", '"RELEASED"'), {TOLD: "its products are ['RELEASED']"}, id="completed with its stock given back"),
        pytest.param("order", COMPLETED_AS % ("{delivery}", '"REQUESTED"'), {TOLD: "its delivery is REQUESTED"}, id="completed before it is delivered"),
        pytest.param("order", COMPLETED_AS % ("{payments}", "[]"), {TOLD: "no payment was captured", AGREED: "Order does not know it"}, id="completed without a payment"),
        pytest.param("order", COMPLETED_AS % ("{payments,0,amount}", "24000"), {AGREED: "captured 24000 won for Order, 25000 for Payment"}, id="an amount that Order believes"),
        pytest.param("order", COMPLETED_AS % ("{payments,0,paymentKey}", '"other"'), {AGREED: "Payment has no such payment"}, id="a payment that Order believes"),
        pytest.param("order", "UPDATE saga SET facts = jsonb_set(facts::jsonb, '{payments,0,state}', '\"PAID\"') WHERE order_id = '$returned'", {TOLD: "a payment is PAID that nobody has asked back", AGREED: "holds 25000 won for Order (PAID), 0 for Payment"}, id="a return that is not paid back for Order"),
        pytest.param("order", "UPDATE orders SET pay_before = now() - interval '2 minutes' WHERE order_id = '$pending'", {IN_TIME: "$pending"}, id="an order forgotten while pending"),
        pytest.param("order", "UPDATE saga SET facts = jsonb_set(facts::jsonb, '{flag}', '\"stuck: no delivery\"') WHERE order_id = '$pending'", {IN_TIME: "stuck: no delivery"}, id="an order that is stuck"),
        pytest.param("order", RETURNED_AS % ("{payments,0,state}", '"REFUND_REQUESTED"'), {TIMED: "$returned: CANCELLED and without a timer"}, id="a refund that nobody will ask for again"),
        pytest.param("order", RETURNED_AS % ("{lines,0,stock}", '"RELEASE_REQUESTED"'), {TIMED: "$returned: CANCELLED and without a timer"}, id="a release that nobody will ask for again"),
        pytest.param("order", COMPLETED_AS % ("{payments,0,state}", '"REFUND_REQUESTED"'), {TIMED: "$completed", TOLD: "the payment that pays it is REFUND_REQUESTED"}, id="completed and asked back"),
        pytest.param("order", COMPLETED_AS % ("{deliveryId}", "null"), {AGREED: "Order believes delivery None"}, id="a delivery that Order does not know"),
        pytest.param("order", "DELETE FROM timer", {TIMED: "$pending: PENDING and without a timer"}, id="a lost timer"),
        pytest.param("order", "UPDATE timer SET due_at = now() - interval '5 minutes'", {TIMED: "was due 5 minutes ago"}, id="a timer that does not fire"),
        pytest.param("order", OUTBOX % "1 minute", {PUBLISHED: "order: 1 records for order-created, the oldest 65 s old"}, id="an outbox row left"),
        pytest.param("stock", "UPDATE ledger SET next_offset = 2 WHERE topic = '$topic'", {HANDLED: "is 3 records behind"}, id="a ledger behind"),
        pytest.param("stock", "UPDATE ledger SET next_offset = 9 WHERE topic = '$topic'", {HANDLED: "stands 4 records past the log's end"}, id="a ledger past the log's end"),
        pytest.param("stock", "UPDATE ledger SET topic_id = 'other' WHERE topic = 'order-created' AND partition = 0", {HANDLED: "stock: order-created/0 the topic was deleted and made again"}, id="another topic of the same name"),
        pytest.param("stock", LETTER % "DISCARDED", {LETTERS: "nobody has said why"}, id="a dead letter discarded by nobody"),
        pytest.param("stock", LETTER % "RESOLVED", {LETTERS: "nobody has said why"}, id="a dead letter resolved by nobody"),
        pytest.param("stock", LETTER % "REPLAYED", {LETTERS: "is not in the parking"}, id="a dead letter replayed into nowhere"),
        pytest.param("stock", LETTER % "SUPERSEDED", {LETTERS: "no letter follows it"}, id="a dead letter that nothing followed"),
        pytest.param("stock", PARK % "NULL", {PARKED: "order-created/3/42"}, id="a parked record that nobody will try"),
        pytest.param("stock", PARK % "now() - interval '5 minutes'", {PARKED: "was to be tried 5 minutes ago"}, id="a parked record that nobody tries"),
    ],
)  # fmt: skip
async def test_planted_breakage_is_named_and_gone_after_repair(
    scene: Scene, database: str, statement: str, broken: dict[str, str]
) -> None:
    await scene.keep(database)
    await scene.plant(database, statement)
    found = await scene.broken()
    await scene.repair(database)
    assert found.keys() == broken.keys(), found
    for invariant, named in broken.items():
        assert any(scene.named(named) in what for what in found[invariant]), found[invariant]
    assert await scene.broken() == {}


async def test_an_order_completed_twice_is_named_and_a_repeat_of_one_record_is_not(scene: Scene) -> None:
    await scene.complete(scene.completed, scene.completed)
    assert await scene.broken() == {}
    await scene.complete(scene.completed, uuid4())
    assert await scene.broken() == {RECORDED: [f"{scene.completed}: 2 records"]}


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ({"total_amount": 24_000}, "says 24000 won for a total of 25000"),
        ({"status": "ORD0004"}, "says ORD0004"),
        ({"customer_id": UUID(int=7)}, f"names customer {UUID(int=7)}"),
    ],
)
async def test_a_completion_record_that_says_something_else_is_named(
    scene: Scene, said: dict[str, Any], problem: str
) -> None:
    other = uuid4()
    await place(scene, other, ["PENDING", "COMPLETED"], None, {"lines": []})
    await scene.complete(other, other, **said)
    assert (await scene.broken())[RECORDED] == [f"{other}: its completion record {problem}"]


async def test_a_partial_refund_is_broken_until_an_operator_has_said_that_it_was_meant(scene: Scene) -> None:
    facts = json.loads(await scene.db["order"].fetchval("SELECT facts FROM saga WHERE order_id = $1", scene.completed))
    (payment,) = facts["payments"]
    await scene.refund(payment["paymentKey"], 1_000)
    statement = "UPDATE payment SET refunded = 1000, status = 'PARTLY_CANCELLED' WHERE order_id = '$completed'"
    await scene.plant("payment", statement)
    assert set(await scene.broken()) == {COMPLETE, AGREED}
    await scene.believe(scene.completed, payments=[payment | {"held": TOTAL - 1_000}])
    assert set(await scene.broken()) == {COMPLETE}
    await scene.believe(scene.completed, payments=[payment | {"held": TOTAL - 1_000, "meant": 1_000}])
    assert await scene.broken() == {}


async def test_money_that_the_gateway_took_and_nobody_recorded_is_named(scene: Scene) -> None:
    await pay(scene, scene.pending, 0)
    await scene.plant("payment", "DELETE FROM payment WHERE order_id = '$pending'")
    (what,) = (await scene.broken())[BOOKS]
    assert str(scene.pending) in what and f"{TOTAL} won" in what


async def test_what_the_gateway_has_just_done_or_payment_still_asks_about_is_in_flight_on_a_live_system(
    scene: Scene,
) -> None:
    await pay(scene, scene.pending, 0)
    await scene.plant("payment", "DELETE FROM payment WHERE order_id = '$pending'")
    assert BOOKS in await scene.in_flight(30)

    async def named() -> list[str]:
        return (await scene.broken(1)).get(BOOKS, [])

    (what,) = await until(named)
    await scene.db["payment"].execute(
        "INSERT INTO intent (id, kind, payment_key, order_id, amount, reason, asked, status, attempt, tries, created_at) "
        "VALUES (gen_random_uuid(), 'CONFIRM', $1, $2, 25000, '-', true, 'OPEN', 1, 1, now())",
        what.split(" ")[0], scene.pending,
    )  # fmt: skip
    assert BOOKS not in await scene.broken(1)
    assert BOOKS in await scene.broken(0)


async def test_an_order_placed_while_the_snapshots_are_taken_is_no_false_alarm(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = uuid4()

    @contextlib.asynccontextmanager
    async def placed_meanwhile(settings: Settings, name: ServiceName) -> AsyncIterator[Connection]:
        async with snapshot(settings, name) as db:
            if not await scene.db["order"].fetchval("SELECT count(*) FROM orders WHERE order_id = $1", new):
                await place(scene, new, ["PENDING"], None, {"lines": []}, timedelta())
                await scene.plant("stock", f"INSERT INTO reservation VALUES ('{new}', 'REFUSED', '[]', now())")
            yield db

    module = importlib.import_module("ordersaga.audit.sources")
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
