"""Stock on real PostgreSQL and real Kafka: what it decides is kept, once, whoever else works at the same time."""

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from uuid import UUID

import asyncpg
import httpx
import pytest
from uuid_utils.compat import uuid7

from ordersaga.contracts.limits import INT32_MAX
from ordersaga.contracts.messages import (
    Message,
    OrderedProduct,
    StockDecreaseRequestMessage,
    StockResponseMessage,
    StockRollbackCompletedMessage,
    StockRollbackFailedMessage,
    StockRollbackRequestedMessage,
)
from ordersaga.devstack import DevStack
from ordersaga.messaging.sqlstate import is_transient
from ordersaga.operations.resources import PATH as OPERATIONS
from ordersaga.stock import commands
from tests.integration.service import OPERATOR, Bench, Wire, customer
from tests.integration.stock_rig import PRODUCTS, assert_conserved, counters, product, stock_bench


@pytest.fixture(scope="module")
async def shop(stack: DevStack) -> AsyncIterator[Bench]:
    async with stock_bench(stack) as one:
        yield one


def lines(*pieces: tuple[UUID, int]) -> tuple[OrderedProduct, ...]:
    return tuple(OrderedProduct(product_id=product_id, quantity=quantity) for product_id, quantity in pieces)


def ask(order: UUID, *pieces: tuple[UUID, int]) -> StockDecreaseRequestMessage:
    return StockDecreaseRequestMessage(order_id=order, products=lines(*pieces))


def roll_back(order: UUID, *pieces: tuple[UUID, int]) -> StockRollbackRequestedMessage:
    return StockRollbackRequestedMessage(order_id=order, items=lines(*pieces))


# From Kafka, turn by turn ---------------------------------------------------------------------------------------------


async def test_a_batch_moves_each_product_once_and_writes_every_movement_down(shop: Bench) -> None:
    cup, plate = await product(shop, 10), await product(shop, 3)
    orders = [uuid7() for _ in range(4)]
    answers = await shop.turn(
        ask(orders[0], (cup, 2), (plate, 1)),
        ask(orders[1], (plate, 3)),
        roll_back(orders[0], (cup, 2), (plate, 1)),
        ask(orders[2], (plate, 3)),
        ask(orders[3], (cup, 5), (cup, 5)),
    )
    said = [(a.order_id, a.product_id, a.status) for a in answers if isinstance(a, StockResponseMessage)]
    assert said == [
        (orders[0], cup, "SUCCESS"),
        (orders[0], plate, "SUCCESS"),
        (orders[1], plate, "FAILED"),
        (orders[2], plate, "SUCCESS"),
        (orders[3], cup, "SUCCESS"),
    ]
    assert StockRollbackCompletedMessage(order_id=orders[0]) in answers
    assert await counters(shop, cup) == (10, 12, 2, 0)
    assert await counters(shop, plate) == (3, 4, 1, 0)
    await assert_conserved(shop)


async def test_a_repeat_in_a_later_turn_gets_the_recorded_answers(shop: Bench) -> None:
    cup, order, refused = await product(shop, 3), uuid7(), uuid7()
    first = await shop.turn(ask(order, (cup, 2)), ask(refused, (cup, 2)))
    async with shop.pool.acquire() as db, db.transaction():
        await commands.receive(db, [commands.ReceivePieces(cup, 100, None)], datetime.now(UTC))
    assert await shop.turn(ask(order, (cup, 2)), ask(refused, (cup, 2))) == first
    assert await counters(shop, cup) == (103, 2, 0, 101)


async def test_a_rollback_in_a_later_turn_releases_and_a_request_after_it_gets_failed(shop: Bench) -> None:
    cup, plate, order = await product(shop, 3), await product(shop, 3), uuid7()
    await shop.turn(ask(order, (cup, 2), (plate, 3)))
    done = StockRollbackCompletedMessage(order_id=order)
    assert await shop.turn(roll_back(order, (cup, 2))) == [done]
    assert await shop.turn(roll_back(order, (cup, 2)), roll_back(order, (plate, 3))) == [done, done]
    assert (await counters(shop, cup))[3] == 3
    assert (await counters(shop, plate))[3] == 3
    answers = await shop.turn(ask(order, (cup, 2), (plate, 3)))
    assert [a.status for a in answers if isinstance(a, StockResponseMessage)] == ["FAILED", "FAILED"]


async def test_a_tombstone_outlives_its_turn(shop: Bench) -> None:
    cup, order = await product(shop, 3), uuid7()
    assert await shop.turn(roll_back(order, (cup, 2))) == [StockRollbackCompletedMessage(order_id=order)]
    (answer,) = await shop.turn(ask(order, (cup, 2)))
    assert isinstance(answer, StockResponseMessage)
    assert answer.status == "FAILED"
    assert await counters(shop, cup) == (3, 0, 0, 3)


async def test_a_rollback_that_is_refused_changes_nothing(shop: Bench) -> None:
    cup, order = await product(shop, 3), uuid7()
    await shop.turn(ask(order, (cup, 2)))
    (answer,) = await shop.turn(roll_back(order, (cup, 1)))
    assert isinstance(answer, StockRollbackFailedMessage)
    assert await counters(shop, cup) == (3, 2, 0, 1)


async def test_another_request_for_a_known_order_is_rejected_with_a_reason(shop: Bench) -> None:
    cup, order = await product(shop, 3), uuid7()
    await shop.turn(ask(order, (cup, 2)))
    async with shop.pool.acquire() as db, db.transaction():
        answers, rejected = await shop.handle(db, [ask(order, (cup, 1))])
    assert answers == []
    assert "other products" in rejected[0].reason
    assert await counters(shop, cup) == (3, 2, 0, 1)


async def test_sums_beyond_int32_are_refused_and_released_without_overflow(shop: Bench) -> None:
    cup, order = await product(shop, INT32_MAX), uuid7()
    (refused,) = await shop.turn(ask(uuid7(), (cup, INT32_MAX), (cup, INT32_MAX)))
    assert isinstance(refused, StockResponseMessage)
    assert refused.status == "FAILED"
    for _ in range(3):
        order = uuid7()
        await shop.turn(ask(order, (cup, INT32_MAX)), roll_back(order, (cup, INT32_MAX)))
    assert await counters(shop, cup) == (INT32_MAX, 3 * INT32_MAX, 3 * INT32_MAX, INT32_MAX)


async def test_the_database_itself_lets_no_stock_go_below_zero(shop: Bench) -> None:
    cup = await product(shop, 1)
    with pytest.raises(asyncpg.CheckViolationError):
        await shop.pool.execute("UPDATE product SET reserved = reserved + 2 WHERE product_id = $1", cup)


async def test_an_order_that_two_processes_decide_at_once_is_decided_once(shop: Bench) -> None:
    """Its request and its rollback lie in different partitions, and neither process sees the other's reservation yet."""
    cup, plate, order = await product(shop, 5), await product(shop, 5), uuid7()
    async with shop.pool.acquire() as one, shop.pool.acquire() as two:
        first = one.transaction()
        await first.start()
        await shop.handle(one, [ask(order, (cup, 2))])

        async def other(message: Message) -> list[Message]:
            async with two.transaction():
                return (await shop.handle(two, [message]))[0]

        # The rollback names another product, so no product's lock keeps the two apart.
        waiting = asyncio.create_task(other(roll_back(order, (plate, 2))))
        await shop.somebody_waits_for_a_lock()
        assert not waiting.done()
        await first.commit()
        with pytest.raises(asyncpg.SerializationError) as failure:
            await waiting
        assert is_transient(failure.value)
        (answer,) = await other(roll_back(order, (cup, 2)))
    assert answer == StockRollbackCompletedMessage(order_id=order)
    assert await counters(shop, cup) == (5, 2, 2, 5)


async def test_processes_with_the_same_products_and_orders_never_deadlock_and_conserve_stock(shop: Bench) -> None:
    chance = random.Random(7)
    shelf = [await product(shop, 40) for _ in range(6)]
    orders = [uuid7() for _ in range(60)]
    wanted = {order: [(p, chance.randint(1, 3)) for p in chance.sample(shelf, 3)] for order in orders}

    async def process(seed: int) -> None:
        mine = random.Random(seed)
        for _ in range(15):
            some = mine.choices(orders, k=8)
            batch = [mine.choice([ask, roll_back])(order, *wanted[order]) for order in some]
            while True:
                try:
                    await shop.turn(*batch)
                    break
                except asyncpg.DeadlockDetectedError:
                    raise
                except asyncpg.SerializationError:
                    continue
            async with shop.pool.acquire() as db, db.transaction():
                arrivals = [commands.ReceivePieces(p, 1, None) for p in mine.sample(shelf, 3)]
                await commands.receive(db, arrivals, datetime.now(UTC))

    await asyncio.gather(*(process(seed) for seed in range(6)))
    await assert_conserved(shop)


# Through Kafka --------------------------------------------------------------------------------------------------------


async def test_an_order_is_answered_over_kafka_and_so_is_its_rollback(
    shop: Bench, client: httpx.AsyncClient, wire: Wire
) -> None:
    cup, order = await product(shop, 5), uuid7()
    await wire.send(ask(order, (cup, 2)))
    assert await wire.receive("stock-response-topic", order, 1) == [
        {"orderId": str(order), "productId": str(cup), "status": "SUCCESS", "message": "reserved"}
    ]
    assert (await client.get(f"{PRODUCTS}/{cup}")).json()["available"] == 3
    await wire.send(roll_back(order, (cup, 2)))
    assert await wire.receive("stock-rollback-completed-topic", order, 1) == [{"orderId": str(order)}]
    assert (await client.get(f"{PRODUCTS}/{cup}")).json()["available"] == 5


async def test_a_record_without_a_key_is_answered_under_its_order(
    shop: Bench, client: httpx.AsyncClient, wire: Wire
) -> None:
    cup, order = await product(shop, 5), uuid7()
    body = f'{{"products":[{{"quantity":2,"productId":"{cup}","colour":"red"}}],"orderId":"{order}"}}'
    await wire.send_raw("order-created", None, body.encode())
    (answer,) = await wire.receive("stock-response-topic", order, 1)
    assert answer["status"] == "SUCCESS"


async def test_a_repeat_over_kafka_is_answered_again_and_moves_nothing(
    shop: Bench, client: httpx.AsyncClient, wire: Wire
) -> None:
    cup, order = await product(shop, 5), uuid7()
    await wire.send(ask(order, (cup, 2)), ask(order, (cup, 2)))
    answers = await wire.receive("stock-response-topic", order, 2)
    assert [answer["status"] for answer in answers] == ["SUCCESS", "SUCCESS"]
    assert await counters(shop, cup) == (5, 2, 0, 3)


async def test_another_request_for_a_known_order_becomes_a_dead_letter(
    shop: Bench, client: httpx.AsyncClient, wire: Wire
) -> None:
    cup, order = await product(shop, 5), uuid7()
    await wire.send(ask(order, (cup, 2)), ask(order, (cup, 3)))
    (letter,) = await wire.receive("order-created-dlt", order, 1)
    assert letter["products"] == [{"productId": str(cup), "quantity": 3}]
    reason = await shop.pool.fetchval("SELECT reason FROM dead_letter WHERE key = $1", str(order).encode())
    assert "other products" in reason
    assert await counters(shop, cup) == (5, 2, 0, 3)


async def test_operators_and_readers_see_what_was_decided_for_an_order(shop: Bench, client: httpx.AsyncClient) -> None:
    cup, plate, order_id = await product(shop, 10), await product(shop, 1), uuid7()
    url = f"{OPERATIONS}/reservations/{order_id}"
    reader = OPERATOR | {"User-Roles": "READER"}
    assert (await client.get(url, headers=reader)).status_code == 404
    await shop.turn(ask(order_id, (cup, 2), (plate, 3)))
    shown = (await client.get(url, headers=reader)).json()
    assert datetime.fromisoformat(shown["at"]) <= datetime.now(UTC)
    assert (shown["orderId"], shown["state"]) == (str(order_id), "REFUSED")
    by_product = {each["productId"]: each for each in shown["items"]}
    assert by_product[str(plate)]["quantity"] == 3
    assert by_product[str(plate)]["message"]
    assert "message" not in by_product[str(cup)]
    for headers, status in ((OPERATOR, 200), (customer(order_id), 403), ({}, 401)):
        assert (await client.get(url, headers=headers)).status_code == status
