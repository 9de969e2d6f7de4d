"""`ORDERSAGA_PERSONAL_DATA_KEPT_DAYS`: each service clears the personal data of orders by itself, so long after the last that happened to them."""

import asyncio
import json
import threading
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from ordersaga.delivery.erasing import Ageing as AgeingDeliveries
from ordersaga.messaging.database import connect
from ordersaga.operations import retention
from ordersaga.operations.erasing import LARGE_CHARS, Words
from ordersaga.operations.retention import HELD, Ageing, Retention
from ordersaga.order.erasing import Ageing as AgeingOrders
from ordersaga.settings import SERVICES
from tests.integration.audit_rig import Scene
from tests.integration.test_erasure import HERS, WHY, contents, letter, typed

KEPT = 30
AGEING: dict[str, Ageing] = {"order": AgeingOrders(), "delivery": AgeingDeliveries()}
THEIR_OWN_WORDS = ("Lee Sora asked", "at SW1A 1AA", "nobody delivers to SW1A 1AA", "no carrier for")
"""What people and errors of Stock have written: it has no address by which to find one in there."""


async def clear(scene: Scene, days: float, services: tuple[str, ...] = SERVICES) -> dict[str, float]:
    """What each service does so many days later; the orders that it holds."""
    now = datetime.now(UTC) + timedelta(days=days)
    held = {}
    for service in services:
        pool = await connect(scene.settings.database_url(service), scene.settings)
        try:
            await Retention(pool, lambda: now, KEPT, AGEING.get(service)).clear(lambda well=True: None)
        finally:
            await pool.close()
        held[service] = HELD._value.get()
    return held


async def addresses(scene: Scene) -> dict[str, set[UUID]]:
    """The orders whose address Order has, and those whose Delivery has."""
    orders = await scene.db["order"].fetch("SELECT order_id, recipient, erased_at FROM orders")
    deliveries = await scene.db["delivery"].fetch("SELECT order_id, name, zipcode, erased_at FROM delivery")
    for row in orders:
        assert (row["erased_at"] is None) == any(json.loads(row["recipient"]).values())
    for row in deliveries:
        assert (row["erased_at"] is None) == (row["name"] is not None or row["zipcode"] is not None)
    return {
        "order": {row["order_id"] for row in orders if row["erased_at"] is None},
        "delivery": {row["order_id"] for row in deliveries if row["erased_at"] is None},
    }


@pytest.fixture
def small_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "SET_MAX", 2)


@pytest.mark.usefixtures("small_sets")
async def test_what_has_ended_long_ago_is_cleared_and_the_audit_holds(scene: Scene) -> None:
    order_id = scene.completed
    request = json.dumps({"orderId": str(order_id), "customerId": str(order_id), **HERS}).encode()
    await scene.db["order"].execute("UPDATE orders SET recipient = $2 WHERE order_id = $1", order_id, json.dumps(HERS))
    await scene.db["order"].execute(  # the same customer's newest order goes on
        "UPDATE orders SET customer_id = $1, recipient = $3 WHERE order_id = $2",
        order_id,
        scene.pending,
        json.dumps(HERS),
    )
    await scene.db["payment"].execute(
        "UPDATE payable SET customer_id = $1 WHERE order_id = $2", order_id, scene.pending
    )
    await scene.db["delivery"].execute(
        "UPDATE delivery SET address = $2, address_detail = $3, zipcode = $4, phone = $5, name = $6, delivery_memo = $7 WHERE order_id = $1",
        order_id, *HERS.values(),
    )  # fmt: skip
    await scene.db["order"].execute("UPDATE saga SET detail = 'not to SW1A 1AA' WHERE order_id = $1", order_id)
    await scene.db["order"].execute("UPDATE order_event SET note = 'Lee Sora called' WHERE order_id = $1", order_id)
    await letter(scene, "delivery", order_id, request)
    await letter(scene, "delivery", None, b"no JSON: " + request)
    await letter(scene, "stock", order_id, b'{"text": ' + json.dumps(request.decode()).encode() + b"}")
    assert not await scene.broken()
    before = await contents(scene)

    await clear(scene, KEPT - 1)
    early = await contents(scene)
    assert {name: rows for name, rows in early.items() if "personal_data" not in name} == {
        name: rows for name, rows in before.items() if "personal_data" not in name
    }

    held = await clear(scene, KEPT + 1)
    assert await addresses(scene) == {"order": {scene.pending}, "delivery": set()}
    assert held == {"order": 1, "stock": 0, "payment": 0, "delivery": 0}, "the order that goes on"
    after = await contents(scene)
    named = [row for rows in after.values() for row in rows for value in HERS.values() if value in row]
    assert [
        row for row in named if str(scene.pending) not in row and not any(each in row for each in THEIR_OWN_WORDS)
    ] == []
    assert not await scene.broken(), "orders, products, money and records still agree"
    for table, rows in before.items():
        untouched = [row for row in rows if str(scene.pending) in row or table.endswith(("payable", "reservation"))]
        assert set(untouched) <= set(after[table]), table


async def test_what_is_still_needed_stays_until_it_is_not_and_is_told(scene: Scene) -> None:
    await letter(scene, "delivery", scene.completed, b"{}")
    await scene.plant(
        "delivery", "UPDATE dead_letter SET status = 'OPEN', decided_at = NULL WHERE order_key = '$completed'"
    )
    await scene.plant(
        "order",
        "INSERT INTO parked (topic, partition, record_offset, order_key, header_names, header_values, timestamp_ms, attempts, parked_at) "
        "VALUES ('x', 0, 0, '$returned', '{}', '{}', 0, 1, now())",
    )
    held = await clear(scene, KEPT + 1)
    assert (held["order"], held["delivery"]) == (2, 1), "one order goes on"
    assert await addresses(scene) == {"order": {scene.pending, scene.returned}, "delivery": {scene.completed}}

    await scene.plant(
        "delivery", "UPDATE dead_letter SET status = 'DISCARDED', decided_at = now() WHERE order_key = '$completed'"
    )
    await scene.plant("order", "DELETE FROM parked")
    await clear(scene, KEPT + 1.5)
    assert (await addresses(scene))["delivery"] == {scene.completed}, "it is looked at again a day later"
    held = await clear(scene, KEPT + 2.5)
    assert await addresses(scene) == {"order": {scene.pending}, "delivery": set()}
    assert (held["order"], held["delivery"]) == (1, 0)


@pytest.mark.parametrize("state", ["REFUND_REQUESTED", "REFUND_FAILED"])
async def test_an_order_whose_money_is_to_go_back_stays_until_it_has_gone(scene: Scene, state: str) -> None:
    change = "UPDATE saga SET facts = replace(facts::text, '{}', '{}')::json WHERE order_id = '$returned'"
    await scene.plant("order", change.format("REFUNDED", state))
    held = await clear(scene, KEPT + 1, ("order",))
    assert (await addresses(scene))["order"] == {scene.pending, scene.returned} and held["order"] == 2
    customer_id = await scene.db["order"].fetchval("SELECT customer_id FROM orders WHERE order_id = $1", scene.returned)
    refused = await typed(scene, str(customer_id), *WHY)
    assert refused.code != 0 and str(scene.returned) in refused.err
    await scene.plant("order", change.format(state, "REFUNDED"))
    await clear(scene, KEPT + 2.5, ("order",))
    assert (await addresses(scene))["order"] == {scene.pending}


async def test_large_letters_are_cleared_beside_the_event_loop_and_one_at_a_time(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, goes_on = asyncio.get_running_loop(), threading.Event()
    without = Words.without_in_record

    def when_the_loop_goes_on(words: Words, record: bytes | None) -> bytes | None:
        if record and len(record) > LARGE_CHARS:
            loop.call_soon_threadsafe(goes_on.set)
            assert goes_on.wait(60), "the event loop waits for this"
            goes_on.clear()
        return without(words, record)

    monkeypatch.setattr(Words, "without_in_record", when_the_loop_goes_on)
    value = json.dumps({"orderId": str(scene.completed), "more": "x" * LARGE_CHARS, **HERS}).encode()
    for _ in range(3):
        await letter(scene, "delivery", None, value)
    beats = 0

    def beat(well: bool = True) -> None:
        nonlocal beats
        beats += well

    pool = await connect(scene.settings.database_url("delivery"), scene.settings)
    try:
        later = datetime.now(UTC) + timedelta(days=KEPT + 1)
        await Retention(pool, lambda: later, KEPT, None).clear(beat)
    finally:
        await pool.close()
    values = [row["value"] for row in await scene.db["delivery"].fetch("SELECT value FROM dead_letter")]
    assert len(values) == 3 and HERS["phone"].encode() not in b"".join(values)
    assert beats >= 3 + 3, "after each letter, so that a set of large ones is not taken for a loop that hangs"


async def test_the_time_counts_from_the_last_that_happened_to_an_order(scene: Scene) -> None:
    await scene.plant(
        "order",
        "UPDATE order_event SET at = at + interval '20 days' WHERE order_id = '$returned' AND status = 'CANCELLED'",
    )
    held = await clear(scene, KEPT + 1, ("order",))
    assert (await addresses(scene))["order"] == {scene.pending, scene.returned}
    assert held["order"] == 1, "the returned one is no trouble"
    await clear(scene, KEPT + 19, ("order",))
    assert scene.returned in (await addresses(scene))["order"]
    await clear(scene, KEPT + 21, ("order",))
    assert scene.returned not in (await addresses(scene))["order"]


async def test_a_letter_that_comes_after_its_order_was_cleared_is_cleared_too(scene: Scene) -> None:
    await clear(scene, KEPT + 1)
    await letter(scene, "delivery", scene.completed, json.dumps({"orderId": str(scene.completed), **HERS}).encode())
    price = json.dumps({"productId": str(scene.product), "name": "keyboard", "price": 1})
    await scene.db["order"].execute(
        "INSERT INTO dead_letter (id, status, topic, value, header_names, header_values, cause, reason, attempts, at, decided_at) "
        "VALUES (gen_random_uuid(), 'DISCARDED', 'product-price-topic', $1, '{}', '{}', 'x', 'x', 1, now(), now())", price.encode()
    )  # fmt: skip

    async def values() -> list[bytes]:
        return [row["value"] for row in await scene.db["delivery"].fetch("SELECT value FROM dead_letter")]

    await clear(scene, KEPT + 1.5)
    assert HERS["phone"] in str(await values()), "all letters are looked at once a day"
    await clear(scene, KEPT + 2.5)
    assert [json.loads(each) for each in await values()] == [
        {"orderId": str(scene.completed), **dict.fromkeys(HERS, "***")}
    ]
    assert await scene.db["order"].fetchval("SELECT value FROM dead_letter") == price.encode(), (
        "a product has a name, too"
    )


async def test_one_process_clears_at_a_time_and_none_waits_for_it(scene: Scene) -> None:
    await clear(scene, KEPT - 1, ("order",))  # makes the row
    before = await addresses(scene)
    async with scene.db["order"].transaction():
        await scene.db["order"].execute("SELECT FROM personal_data_position FOR UPDATE")
        await clear(scene, KEPT + 1, ("order",))
        assert await addresses(scene) == before
    await clear(scene, KEPT + 1, ("order",))
    assert (await addresses(scene))["order"] == {scene.pending}
