"""Each invariant of the audit holds on sound data, and names what breaks it: breakage is planted row by row, found, and gone after repair."""

import contextlib
import importlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from ordersaga.audit import verify
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
    LETTER,
    LETTERS,
    OUTBOX,
    PARK,
    PARKED,
    PAYMENT,
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

HEARD_OF_REFUND = """INSERT INTO order_event (order_id, at, came_in, went_out, status, stock_known)
                     VALUES ('$completed', now() - interval '1 minute', 'PaymentCancelledMessage', '{}', 'COMPLETED', true)"""


async def test_sound_data_breaks_nothing_and_all_of_it_is_counted(scene: Scene) -> None:
    findings = {short(each): each for each in await scene.findings()}
    assert {name: each.broken + each.unjudged for name, each in findings.items() if each.outcome != "holds"} == {}
    counts = {name: each.count for name, each in findings.items()}
    assert counts.pop(HANDLED) > 1
    assert counts == {
        STOCK: 1, COMPLETE: 1, RECORDED: 2, GIVEN_BACK: 2, IN_TIME: 1, KNOWN: 8, BOOKS: 2, PUBLISHED: 4, LETTERS: 1, PARKED: 0,
        TIMED: 1, TOLD: 4, AGREED: 6, PRICED: 1, SETTLED: 0,
    }  # fmt: skip
    assert list(findings[IN_TIME].in_flight) and str(scene.pending) in findings[IN_TIME].in_flight[0]


async def test_history_is_shortened_in_bounded_batches_and_all_that_the_audit_counts_stays(scene: Scene) -> None:
    before = datetime.now(UTC) + timedelta(seconds=1)
    order, stock = scene.db["order"], scene.db["stock"]
    for table, column in (("orders", "placed_at"), ("order_event", "at")):
        await order.execute(f"UPDATE {table} SET {column} = {column} - interval '2 days'")

    async def timelines() -> dict[UUID, list[str]]:
        rows = await order.fetch("SELECT order_id, array_agg(status ORDER BY seq) FROM order_event GROUP BY order_id")
        return {row[0]: row[1] for row in rows}

    assert await orders.prune_events(order, before - timedelta(days=3), 100) == 0
    assert [await orders.prune_events(order, before, 7) for _ in range(3)] == [7, 4, 0]
    assert await timelines() == {
        scene.completed: ["COMPLETED"],
        scene.returned: ["COMPLETED", "CANCELLED"],
        scene.failed: ["FAILED"],
        scene.pending: ["PENDING", "PENDING"],
    }
    assert [await products.prune_movements(stock, before, 4) for _ in range(3)] == [4, 3, 0]
    balances = await stock.fetch("SELECT kind, quantity FROM movement WHERE is_balance ORDER BY kind")
    assert [tuple(row) for row in balances] == [
        ("received", RECEIVED), ("released", 2 * QUANTITY), ("reserved", 4 * QUANTITY)
    ]  # fmt: skip
    assert await stock.fetchval("SELECT count(*) FROM movement") == 3
    kept_for_a_day = scene.settings.model_copy(update={"history_kept_days": 1})
    assert [each.invariant for each in await verify(kept_for_a_day) if not each.holds] == []
    assert set(await scene.broken()) == {TOLD}


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
    await scene.plant("order", HEARD_OF_REFUND)
    await scene.believe(scene.completed, payments=[payment | {"held": TOTAL - 1_000}])
    assert set(await scene.broken()) == {COMPLETE, TOLD}
    await scene.believe(scene.completed, flag="given back at the gateway")
    assert set(await scene.broken()) == {COMPLETE}
    await scene.believe(scene.completed, payments=[payment | {"held": TOTAL - 1_000, "meant": 1_000}], flag=None)
    assert await scene.broken() == {}


async def test_money_that_the_gateway_took_and_nobody_recorded_is_named(scene: Scene) -> None:
    await pay(scene, scene.pending, 0)
    await scene.plant("payment", "DELETE FROM payment WHERE order_id = '$pending'")
    (what,) = (await scene.broken())[BOOKS]
    assert str(scene.pending) in what and f"{TOTAL} won" in what


async def test_money_that_another_teams_payment_took_is_left_to_it_until_ours_took_over(scene: Scene) -> None:
    await pay(scene, scene.pending, 0)
    await scene.plant("payment", "DELETE FROM payment WHERE order_id = '$pending'")
    await scene.plant(
        "payment",
        "INSERT INTO predecessor VALUES ('payment-cancel-requested-topic', 0, 'group:theirs', now() + interval '1 second')",
    )
    assert await scene.broken() == {}
    books = next(each for each in await scene.findings() if short(each) == BOOKS)
    assert "1 payment was taken before our payment took over (group:theirs)" in " ".join(books.notes), books
    await scene.plant("payment", "UPDATE predecessor SET handled_until = now() - interval '1 hour'")
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
    assert waiting[LETTERS] == ["stock: 2 OPEN of order-created, ValueError"]
    assert waiting[PARKED][0].startswith("order: 1 behind and with order-created/3/42")


async def test_a_record_of_a_dead_letter_topic_needs_its_row_for_as_long_as_that_is_kept(scene: Scene) -> None:
    """The records stay in Kafka after this test, so they are of a group of its own."""
    scene.settings = scene.settings.model_copy(update={"stock_group": f"given-up-{uuid4().hex}"})
    young, old, partners = uuid4(), uuid4(), uuid4()
    await scene.give_up(partners, "another-group")
    await scene.give_up(old, scene.settings.stock_group, timedelta(days=scene.settings.dead_letters_kept_days + 1))
    assert await scene.broken() == {}
    (letters,) = [each for each in await scene.findings() if short(each) == LETTERS]
    assert letters.notes == [
        "1 record of the dead letter topics is older than dead_letters_kept_days and has no row; the rows may have been pruned"
    ]
    await scene.give_up(young, scene.settings.stock_group)
    assert any(str(young) in what for what in (await scene.in_flight(30))[LETTERS])
    assert await scene.broken(30) == {}
    (what,) = (await scene.broken())[LETTERS]
    assert f"is dead letter {young} of order-created/0/42, and has no row" in what


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
