"""Orders are found by id, payment key, customer, status, reason and age, and a customer finds their own alone."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from msgspec.structs import replace

from ordersaga import order
from ordersaga.devstack import DevStack
from ordersaga.messaging.ids import first_id_at
from ordersaga.order import searchable
from ordersaga.order.handlers import handler
from ordersaga.order.model import words
from ordersaga.order.store import payment_hash, prune_events
from tests.integration.order_rig import ORDERS, PRICE, PRODUCT, paid, place, reserved
from tests.integration.service import OPERATOR, Bench, bench, cleared, customer

NOW = datetime.now(UTC)
CUSTOMERS = [UUID(int=n) for n in (21, 22)]
RECIPIENT = '{"address":"1","addressDetail":null,"zipcode":"1","phone":"1","name":"1","deliveryMemo":null}'
LONG_AGO = 31 * 24 + 2
NAMES = ["Canvas bag & 2 others", "면 가방 외 2건", "Cup", "컵"]
PRODUCTS = [uuid4() for _ in range(3)]
ENDS = [("PENDING", None), ("COMPLETED", None), ("FAILED", "OUT_OF_STOCK"), ("CANCELLED", "RETURNED")]


@pytest.fixture(scope="module")
async def shop(stack: DevStack) -> AsyncIterator[Bench]:
    async with bench(stack, "order", order, handler) as one:
        await one.pool.execute(
            "INSERT INTO price (product_id, name, price, changed_at) VALUES ($1, 'keyboard', $2, '2026-01-01')",
            PRODUCT,
            PRICE,
        )
        for n in (*range(16), LONG_AGO):
            await insert(one, n)
        one.settings = one.settings.model_copy(update={"personal_data_kept_days": 30})
        yield one


def order_id(n: int) -> UUID:
    return UUID(int=first_id_at(NOW - timedelta(hours=n)).int + (7 << 76) + n)


async def insert(one: Bench, n: int) -> None:
    """The order number `n`, placed `n` hours ago: of two customers in turn, each with every status."""
    status, reason = ENDS[n // 2 % 4]
    await one.pool.execute(
        "INSERT INTO orders (order_id, customer_id, order_name, total_amount, recipient, placed_at, pay_before, search_words)"
        " VALUES ($1, $2, 'cups', 1000, $3, $4, $4, $5)",
        order_id(n),
        CUSTOMERS[n % 2],
        RECIPIENT,
        NOW - timedelta(hours=n) + timedelta(milliseconds=5),
        [*words(NAMES[n % 4]), str(PRODUCTS[n % 3])],
    )
    await one.pool.execute("INSERT INTO saga VALUES ($1, $2, $3, NULL, '{\"lines\":[]}')", order_id(n), status, reason)


async def found(client: httpx.AsyncClient, headers: dict[str, str] = OPERATOR, **query: Any) -> list[int]:
    """The numbers of the orders that are found, read in pages of three."""
    numbers = {str(order_id(n)): n for n in range(16)}
    ids: list[str] = []
    query["limit"] = 3
    while True:
        answer = await client.get(ORDERS, params=query, headers=headers)
        assert answer.status_code == 200, answer.text
        ids += [each["orderId"] for each in answer.json()["items"]]
        if answer.json()["next"] is None:
            return [numbers[each] for each in ids if each in numbers]
        query["cursor"] = answer.json()["next"]


def hours_ago(hours: float) -> str:
    return (NOW - timedelta(hours=hours)).isoformat()


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ({}, range(16)),
        ({"orderId": str(order_id(3))}, [3]),
        ({"orderId": str(UUID(int=1))}, []),
        ({"customerId": str(CUSTOMERS[1])}, range(1, 16, 2)),
        ({"status": "FAILED"}, [4, 5, 12, 13]),
        ({"reason": "RETURNED"}, [6, 7, 14, 15]),
        ({"status": "PENDING", "reason": "RETURNED"}, []),
        ({"status": "FAILED", "reason": "OUT_OF_STOCK", "customerId": str(CUSTOMERS[0])}, [4, 12]),
        ({"placedBefore": hours_ago(12.5)}, [13, 14, 15]),
        ({"placedAfter": hours_ago(2.5)}, [0, 1, 2]),
        ({"placedBefore": hours_ago(4.5), "placedAfter": hours_ago(6.5)}, [5, 6]),
        ({"olderThanS": 14 * 3600 - 60}, [14, 15]),
        ({"olderThanS": 3600, "placedBefore": hours_ago(13.5)}, [14, 15]),
        ({"status": "PENDING", "olderThanS": 5 * 3600}, [8, 9]),
        ({"paymentKey": "unknown"}, []),
        ({"productId": str(PRODUCTS[0])}, range(0, 16, 3)),
        ({"productId": str(uuid4())}, []),
        ({"text": "CANVAS"}, range(0, 16, 4)),
        ({"text": "bag, canvas!"}, range(0, 16, 4)),
        ({"text": "canvas cup"}, []),
        ({"text": "면 가방"}, range(1, 16, 4)),
        ({"text": "anva"}, range(0, 16, 4)),
        ({"text": "U"}, range(2, 16, 4)),
        ({"text": "an ba"}, range(0, 16, 4)),
        ({"text": "an up"}, []),
        ({"text": "방"}, range(1, 16, 4)),
        ({"text": "an", "status": "PENDING"}, [0, 8]),
        ({"text": "an", "productId": str(PRODUCTS[0])}, [0, 12]),
        ({"text": "an", "customerId": str(CUSTOMERS[1])}, []),
        ({"text": "an", "placedAfter": hours_ago(4.5)}, [0, 4]),
        ({"text": "an", "reason": "RETURNED"}, []),
        ({"text": str(PRODUCTS[0])[:8]}, []),
        ({"text": "!"}, []),
        ({"text": " "}, range(16)),
        ({"text": "canvas", "productId": str(PRODUCTS[0]), "status": "PENDING"}, [0]),
    ],
)
async def test_orders_are_found_newest_first_by_all_that_is_asked(
    client: httpx.AsyncClient, query: dict[str, Any], numbers: Any
) -> None:
    assert await found(client, **query) == list(numbers)


async def test_the_bounds_of_an_age_are_exact(shop: Bench, client: httpx.AsyncClient) -> None:
    """The id is made before the order is placed, so the range of ids is wider than what is asked."""
    placed_at = await shop.pool.fetchval("SELECT placed_at FROM orders WHERE order_id = $1", order_id(3))
    just_after = placed_at + timedelta(microseconds=1)
    assert 3 in await found(client, placedAfter=placed_at.isoformat())
    assert 3 not in await found(client, placedAfter=just_after.isoformat())
    assert 3 not in await found(client, placedBefore=placed_at.isoformat())
    assert 3 in await found(client, placedBefore=just_after.isoformat())


async def test_an_order_is_found_by_each_payment_key_it_has_heard_of(shop: Bench, client: httpx.AsyncClient) -> None:
    placed = await place(client)
    mine = placed["orderId"]
    await shop.turn(reserved(mine), paid(mine))
    await shop.turn(paid(mine))
    for headers in OPERATOR, customer(UUID(placed["customerId"])):
        page = (await client.get(ORDERS, params={"paymentKey": f"k-{mine}"}, headers=headers)).json()
        assert [each["orderId"] for each in page["items"]] == [mine]
    stranger = (await client.get(ORDERS, params={"paymentKey": f"k-{mine}"}, headers=customer(uuid4()))).json()
    assert stranger["items"] == []


async def test_an_order_is_found_by_its_words_and_products_as_soon_as_it_is_placed(
    shop: Bench, client: httpx.AsyncClient
) -> None:
    placed = await place(client)
    for query in ({"productId": str(PRODUCT)}, {"text": placed["orderName"].upper()}):
        answer = await client.get(ORDERS, params={**query, "limit": 1}, headers=OPERATOR)
        assert [each["orderId"] for each in answer.json()["items"]] == [placed["orderId"]], query


async def test_an_order_that_an_older_version_has_placed_meanwhile_is_found_soon(
    shop: Bench, client: httpx.AsyncClient
) -> None:
    placed = [await place(client) for _ in range(3)]
    ids = [UUID(each["orderId"]) for each in placed]
    await shop.pool.execute("UPDATE orders SET search_words = NULL WHERE order_id = ANY ($1)", ids)
    async with shop.pool.acquire() as db:
        assert await searchable.add_search_words(db) == 3
        assert await searchable.add_search_words(db) == 0
    for query in ({"productId": str(PRODUCT)}, {"text": placed[0]["orderName"]}):
        answer = await client.get(ORDERS, params={**query, "limit": 3}, headers=OPERATOR)
        assert {UUID(each["orderId"]) for each in answer.json()["items"]} == set(ids), query


async def test_two_payment_keys_with_the_same_hash_are_told_apart(shop: Bench, client: httpx.AsyncClient) -> None:
    keys = ["plumless", "buckeroo"]
    assert payment_hash(keys[0]) == payment_hash(keys[1])
    placed = [(await place(client))["orderId"] for _ in keys]
    await shop.turn(*(replace(paid(order_id), payment_key=key) for order_id, key in zip(placed, keys, strict=True)))
    for order_id, key in zip(placed, keys, strict=True):
        page = (await client.get(ORDERS, params={"paymentKey": key}, headers=OPERATOR)).json()
        assert [each["orderId"] for each in page["items"]] == [order_id]


async def test_an_order_is_found_by_a_payment_key_also_when_its_timeline_was_shortened(
    shop: Bench, client: httpx.AsyncClient
) -> None:
    placed = [(await place(client))["orderId"] for _ in range(2)]
    await shop.turn(*(paid(each) for each in placed))
    await shop.pool.execute(
        "UPDATE saga SET status = 'FAILED' WHERE order_id = ANY ($1)", [UUID(each) for each in placed]
    )
    await shop.turn(*(reserved(each) for each in placed))
    earlier = UUID(placed[1])
    await shop.pool.execute("UPDATE order_event SET payment_hash = NULL WHERE order_id = $1", earlier)
    await shop.pool.execute("INSERT INTO order_payment VALUES ($1, $2)", f"k-{earlier}", earlier)
    async with shop.pool.acquire() as db:
        assert await prune_events(db, NOW + timedelta(days=1), 1_000) > 0
    for each in placed:
        page = (await client.get(ORDERS, params={"paymentKey": f"k-{each}"}, headers=OPERATOR)).json()
        assert [found["orderId"] for found in page["items"]] == [each]


async def test_a_customer_searches_their_own_orders_alone(client: httpx.AsyncClient) -> None:
    mine = customer(CUSTOMERS[1])
    assert await found(client, mine) == list(range(1, 16, 2))
    assert await found(client, mine, status="FAILED") == [5, 13]
    assert await found(client, mine, customerId=str(CUSTOMERS[1])) == list(range(1, 16, 2))
    assert await found(client, mine, customerId=str(CUSTOMERS[0])) == []
    assert await found(client, mine, orderId=str(order_id(4))) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("orderId", "x"),
        ("customerId", "7"),
        ("status", "DONE"),
        ("reason", "BECAUSE"),
        ("placedBefore", "yesterday"),
        ("placedBefore", "2026-01-01T00:00:00"),
        ("placedAfter", "2026-01-01T00:00:00"),
        ("olderThanS", "-1"),
        ("olderThanS", "9" * 20),
        ("paymentKey", "a\0b"),
        ("paymentKey", "k" * 201),
        ("productId", "cup"),
        ("text", "a\0b"),
    ],
)
async def test_a_bad_filter_is_named(client: httpx.AsyncClient, field: str, value: str) -> None:
    answer = await client.get(ORDERS, params={field: value}, headers=OPERATOR)
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")
    assert [each["field"] for each in answer.json()["errors"]] == [field]


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "1969-12-31T00:00:00+14:00"])
async def test_any_time_may_be_asked_for(client: httpx.AsyncClient, moment: str) -> None:
    for name in "placedBefore", "placedAfter":
        await found(client, OPERATOR, **{name: moment})


async def test_an_old_order_loses_its_address_by_itself_and_is_found_as_before(
    client: httpx.AsyncClient, shop: Bench
) -> None:
    old = order_id(LONG_AGO)
    await cleared(shop, "SELECT erased_at FROM orders WHERE order_id = $1", old)
    answer = await client.get(f"{ORDERS}/{old}", headers=customer(CUSTOMERS[LONG_AGO % 2]))
    assert answer.status_code == 200 and {answer.json()["recipient"][name] for name in json.loads(RECIPIENT)} == {None}
    assert await shop.pool.fetchval("SELECT count(*) FROM orders WHERE erased_at IS NULL AND order_id > $1", old) >= 16
