"""Stock on real PostgreSQL and real Kafka: what it decides is kept, once, whoever else works at the same time."""

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest
from uuid_utils.compat import uuid7

from ordersaga import stock
from ordersaga.contracts.messages import (
    INT32_MAX,
    Message,
    OrderedProduct,
    StockDecreaseRequestMessage,
    StockResponseMessage,
    StockRollbackCompletedMessage,
    StockRollbackFailedMessage,
    StockRollbackRequestedMessage,
)
from ordersaga.devstack import DevStack
from ordersaga.messaging.database import is_transient
from ordersaga.stock import commands
from ordersaga.stock.app import create_app
from ordersaga.stock.handlers import handler
from tests.integration.service import OPERATOR, Bench, Wire, bench, customer, running

PRODUCTS = "/api/v1/products"


@pytest.fixture(scope="module")
async def shop(stack: DevStack) -> AsyncIterator[Bench]:
    async with bench(stack, "stock", stock, handler) as one:
        yield one


@pytest.fixture(scope="module")
async def client(shop: Bench) -> AsyncIterator[httpx.AsyncClient]:
    async with running(shop.settings, create_app) as one:
        yield one


@pytest.fixture(scope="module")
def wire(shop: Bench) -> Wire:
    return Wire(shop.settings)


async def product(shop: Bench, quantity: int) -> UUID:
    product_id: UUID = uuid7()
    async with shop.pool.acquire() as db, db.transaction():
        await commands.add(db, [commands.Add(uuid7(), product_id, "a cup", 1_000, quantity, None)], datetime.now(UTC))
    return product_id


def lines(*pieces: tuple[UUID, int]) -> tuple[OrderedProduct, ...]:
    return tuple(OrderedProduct(product_id=product_id, quantity=quantity) for product_id, quantity in pieces)


def ask(order: UUID, *pieces: tuple[UUID, int]) -> StockDecreaseRequestMessage:
    return StockDecreaseRequestMessage(order_id=order, products=lines(*pieces))


def roll_back(order: UUID, *pieces: tuple[UUID, int]) -> StockRollbackRequestedMessage:
    return StockRollbackRequestedMessage(order_id=order, items=lines(*pieces))


async def counters(shop: Bench, product_id: UUID) -> tuple[int, int, int, int]:
    query = "SELECT received, reserved, released, available FROM product WHERE product_id = $1"
    row = await shop.pool.fetchrow(query, product_id)
    assert row is not None
    return row["received"], row["reserved"], row["released"], row["available"]


async def assert_conserved(shop: Bench) -> None:
    """The ledger, the counters and the reservations say the same of every product."""
    wrong = await shop.pool.fetch(
        """
        WITH moved AS (
            SELECT product_id, coalesce(sum(quantity) FILTER (WHERE kind = 'received'), 0) AS received,
                   coalesce(sum(quantity) FILTER (WHERE kind = 'reserved'), 0) AS reserved,
                   coalesce(sum(quantity) FILTER (WHERE kind = 'released'), 0) AS released
            FROM movement GROUP BY product_id
        ), held AS (
            SELECT (item ->> 'productId')::uuid AS product_id, sum((item ->> 'quantity')::bigint) AS pieces
            FROM reservation, json_array_elements(items) AS item WHERE item ->> 'state' = 'RESERVED' GROUP BY 1
        )
        SELECT p.*, m.*, h.pieces FROM product p LEFT JOIN moved m USING (product_id) LEFT JOIN held h USING (product_id)
        WHERE (p.received, p.reserved, p.released)
              <> (coalesce(m.received, 0), coalesce(m.reserved, 0), coalesce(m.released, 0))
           OR p.available <> p.received - coalesce(h.pieces, 0) OR p.available < 0
        """
    )
    assert wrong == []


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
        await commands.receive(db, [commands.Receive(cup, 100, None)], datetime.now(UTC))
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
        await asyncio.sleep(0.2)
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
                arrivals = [commands.Receive(p, 1, None) for p in mine.sample(shelf, 3)]
                await commands.receive(db, arrivals, datetime.now(UTC))

    await asyncio.gather(*(process(seed) for seed in range(6)))
    await assert_conserved(shop)


# Over HTTP ------------------------------------------------------------------------------------------------------------


async def test_an_operator_adds_a_product_that_everybody_sees(client: httpx.AsyncClient, wire: Wire) -> None:
    made = await client.post(PRODUCTS, json={"name": "찻잔", "price": 12_000, "quantity": 7}, headers=OPERATOR)
    assert made.status_code == 201
    seen = await client.get(made.headers["location"])
    assert seen.json() == made.json()
    product_id = made.json()["productId"]
    assert made.json() == {"productId": product_id, "name": "찻잔", "price": 12_000, "available": 7}
    (price,) = await wire.receive("product-price-topic", UUID(product_id), 1)
    assert datetime.fromisoformat(price.pop("changedAt")) <= datetime.now(UTC)
    assert price == {"productId": product_id, "name": "찻잔", "price": 12_000}


async def test_the_catalogue_comes_in_pages_without_gap_or_repeat(client: httpx.AsyncClient) -> None:
    made = {
        (await client.post(PRODUCTS, json={"name": "x", "price": 1}, headers=OPERATOR)).json()["productId"]
        for _ in "12345"
    }
    seen: list[str] = []
    cursor: str | None = None
    while True:
        page = (await client.get(PRODUCTS, params={"limit": 2} | ({"cursor": cursor} if cursor else {}))).json()
        assert len(page["products"]) <= 2
        seen += [each["productId"] for each in page["products"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert made <= set(seen)
    assert len(seen) == len(set(seen))


async def test_a_new_price_and_name_are_published(client: httpx.AsyncClient, wire: Wire) -> None:
    made = (await client.post(PRODUCTS, json={"name": "old", "price": 5}, headers=OPERATOR)).json()["productId"]
    changed = await client.patch(f"{PRODUCTS}/{made}", json={"price": 0}, headers=OPERATOR)
    assert changed.json() == {"productId": made, "name": "old", "price": 0, "available": 0}
    await client.patch(f"{PRODUCTS}/{made}", json={"name": "new"}, headers=OPERATOR)
    published = await wire.receive("product-price-topic", UUID(made), 3)
    assert [(each["name"], each["price"]) for each in published] == [("old", 5), ("old", 0), ("new", 0)]


async def test_only_an_operator_changes_stock(shop: Bench, client: httpx.AsyncClient) -> None:
    cup = await product(shop, 1)
    calls: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", PRODUCTS, {"name": "x", "price": 1}),
        ("POST", f"{PRODUCTS}/{cup}/stock", {"quantity": 1}),
        ("PATCH", f"{PRODUCTS}/{cup}", {"price": 2}),
    ]
    for method, url, body in calls:
        assert (await client.request(method, url, json=body)).status_code == 401
        assert (await client.request(method, url, json=body, headers=customer(uuid4()))).status_code == 403
    assert await counters(shop, cup) == (1, 0, 0, 1)


BAD_PRODUCTS = [
    ("name", {"name": "", "price": 1}),
    ("name", {"name": " \t", "price": 1}),
    ("name", {"name": "x" * 201, "price": 1}),
    ("name", {"name": 5, "price": 1}),
    ("name", {"price": 1}),
    ("price", {"name": "x"}),
    ("price", {"name": "x", "price": -1}),
    ("price", {"name": "x", "price": INT32_MAX + 1}),
    ("price", {"name": "x", "price": "1"}),
    ("price", {"name": "x", "price": 1.5}),
    ("price", {"name": "x", "price": None}),
    ("quantity", {"name": "x", "price": 1, "quantity": -1}),
    ("quantity", {"name": "x", "price": 1, "quantity": INT32_MAX + 1}),
    ("productId", {"name": "x", "price": 1, "productId": "7"}),
    ("body", {"name": "a\0b", "price": 1}),
    ("body", []),
]


@pytest.mark.parametrize(("field", "body"), BAD_PRODUCTS)
async def test_a_bad_product_is_refused_with_its_field_named(
    shop: Bench, client: httpx.AsyncClient, field: str, body: object
) -> None:
    before = await shop.pool.fetchval("SELECT count(*) FROM product")
    answer = await client.post(PRODUCTS, json=body, headers=OPERATOR | {"Idempotency-Key": uuid4().hex})
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert field in answer.json()["detail"]
    assert await shop.pool.fetchval("SELECT count(*) FROM product") == before


@pytest.mark.parametrize("quantity", [0, -1, INT32_MAX + 1, "3", 1.5, None, True])
async def test_a_bad_quantity_is_refused_and_nothing_is_written(
    shop: Bench, client: httpx.AsyncClient, quantity: object
) -> None:
    cup = await product(shop, 1)
    answer = await client.post(f"{PRODUCTS}/{cup}/stock", json={"quantity": quantity}, headers=OPERATOR)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "quantity"
    assert await counters(shop, cup) == (1, 0, 0, 1)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"null", b"[" * 100_000])
async def test_a_body_that_is_no_json_object_is_refused(shop: Bench, client: httpx.AsyncClient, body: bytes) -> None:
    cup = await product(shop, 1)
    for method, url in (("POST", PRODUCTS), ("POST", f"{PRODUCTS}/{cup}/stock"), ("PATCH", f"{PRODUCTS}/{cup}")):
        answer = await client.request(method, url, content=body, headers=OPERATOR)
        assert answer.status_code == 400
        assert answer.headers["content-type"] == "application/problem+json"


async def test_pieces_that_come_in_are_counted(shop: Bench, client: httpx.AsyncClient) -> None:
    cup = await product(shop, 1)
    answers = await asyncio.gather(
        *(client.post(f"{PRODUCTS}/{cup}/stock", json={"quantity": 2}, headers=OPERATOR) for _ in range(50))
    )
    assert {answer.status_code for answer in answers} == {200}
    assert await counters(shop, cup) == (101, 0, 0, 101)
    await assert_conserved(shop)


async def test_more_pieces_than_java_can_count_are_refused(shop: Bench, client: httpx.AsyncClient) -> None:
    cup = await product(shop, 1)
    url = f"{PRODUCTS}/{cup}/stock"
    fits = await client.post(url, json={"quantity": INT32_MAX - 1}, headers=OPERATOR)
    assert fits.json()["available"] == INT32_MAX
    beyond = await client.post(url, json={"quantity": 1}, headers=OPERATOR)
    assert beyond.status_code == 409
    assert beyond.json()["errors"][0]["field"] == "quantity"
    assert await counters(shop, cup) == (INT32_MAX, 0, 0, INT32_MAX)


async def test_a_request_that_cannot_be_done_harms_no_other_of_its_transaction(
    shop: Bench, client: httpx.AsyncClient
) -> None:
    cup, full = await product(shop, 0), await product(shop, INT32_MAX)
    urls = [f"{PRODUCTS}/{which}/stock" for which in [cup, full, uuid4(), cup, full, cup]]
    answers = await asyncio.gather(*(client.post(url, json={"quantity": 1}, headers=OPERATOR) for url in urls))
    assert [answer.status_code for answer in answers] == [200, 409, 404, 200, 409, 200]
    assert await counters(shop, cup) == (3, 0, 0, 3)
    assert await counters(shop, full) == (INT32_MAX, 0, 0, INT32_MAX)


async def test_unknown_products_are_not_found(client: httpx.AsyncClient) -> None:
    unknown = f"{PRODUCTS}/{uuid4()}"
    assert (await client.get(unknown)).status_code == 404
    assert (await client.post(f"{unknown}/stock", json={"quantity": 1}, headers=OPERATOR)).status_code == 404
    assert (await client.patch(unknown, json={"price": 1}, headers=OPERATOR)).status_code == 404
    assert (await client.get(f"{PRODUCTS}/7")).status_code == 404


@pytest.mark.parametrize("query", [{"limit": "0"}, {"limit": "201"}, {"limit": "x"}, {"cursor": "x"}])
async def test_a_bad_page_is_refused_with_its_field_named(client: httpx.AsyncClient, query: dict[str, str]) -> None:
    answer = await client.get(PRODUCTS, params=query)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == next(iter(query))


async def test_the_same_product_id_is_taken_once_even_at_the_same_moment(client: httpx.AsyncClient) -> None:
    body = {"productId": str(uuid4()), "name": "x", "price": 1}
    answers = await asyncio.gather(*(client.post(PRODUCTS, json=body, headers=OPERATOR) for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409, 409, 409]


@pytest.mark.parametrize("chosen", [True, False])
async def test_a_repeated_key_adds_one_product(shop: Bench, client: httpx.AsyncClient, chosen: bool) -> None:
    body = {"name": uuid4().hex, "price": 1, "quantity": 4} | ({"productId": str(uuid4())} if chosen else {})
    keyed = OPERATOR | {"Idempotency-Key": uuid4().hex}
    at_once = await asyncio.gather(*(client.post(PRODUCTS, json=body, headers=keyed) for _ in range(5)))
    later = await client.post(PRODUCTS, json=body, headers=keyed)
    assert sorted(answer.status_code for answer in at_once) == [200, 200, 200, 200, 201]
    assert later.status_code == 200
    assert len({answer.json()["productId"] for answer in [*at_once, later]}) == 1
    assert await shop.pool.fetchval("SELECT count(*) FROM product WHERE name = $1", body["name"]) == 1
    await assert_conserved(shop)


async def test_a_repeated_key_receives_pieces_once(shop: Bench, client: httpx.AsyncClient) -> None:
    cup, plate = await product(shop, 0), await product(shop, 0)
    keyed = OPERATOR | {"Idempotency-Key": uuid4().hex}
    posts = (client.post(f"{PRODUCTS}/{cup}/stock", json={"quantity": 3}, headers=keyed) for _ in range(5))
    answers = await asyncio.gather(*posts)
    assert {(answer.status_code, answer.json()["available"]) for answer in answers} == {(200, 3)}
    assert await counters(shop, cup) == (3, 0, 0, 3)
    assert (await client.post(f"{PRODUCTS}/{cup}/stock", json={"quantity": 4}, headers=keyed)).status_code == 422
    assert (await client.post(f"{PRODUCTS}/{plate}/stock", json={"quantity": 3}, headers=keyed)).json()[
        "available"
    ] == 3
    other = keyed | {"User-Id": str(uuid4())}
    assert (await client.post(f"{PRODUCTS}/{cup}/stock", json={"quantity": 3}, headers=other)).json()["available"] == 6


async def test_nothing_is_kept_of_a_refusal_so_its_key_may_be_used_again(
    shop: Bench, client: httpx.AsyncClient
) -> None:
    product_id, keyed = uuid4(), OPERATOR | {"Idempotency-Key": uuid4().hex}
    url = f"{PRODUCTS}/{product_id}/stock"
    assert (await client.post(url, json={"quantity": 3}, headers=keyed)).status_code == 404
    await client.post(PRODUCTS, json={"productId": str(product_id), "name": "x", "price": 1}, headers=OPERATOR)
    assert (await client.post(url, json={"quantity": 3}, headers=keyed)).json()["available"] == 3


@pytest.mark.parametrize("key", ["", "k" * 301])
async def test_a_key_of_no_or_absurd_length_is_refused(client: httpx.AsyncClient, key: str) -> None:
    answer = await client.post(PRODUCTS, json={"name": "x", "price": 1}, headers=OPERATOR | {"Idempotency-Key": key})
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "Idempotency-Key"


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
