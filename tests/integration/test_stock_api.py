"""Stock over HTTP: the catalogue and what an operator changes in it; bad input gets its field named, and changes nothing."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from ordersaga.contracts.limits import INT32_MAX
from ordersaga.devstack import DevStack
from ordersaga.messaging.idempotency import body_hash
from tests.integration.service import OPERATOR, Bench, Wire, customer
from tests.integration.stock_rig import PRODUCTS, assert_conserved, counters, product, stock_bench


@pytest.fixture(scope="module")
async def shop(stack: DevStack) -> AsyncIterator[Bench]:
    async with stock_bench(stack) as one:
        yield one


async def test_an_operator_adds_a_product_that_everybody_sees(client: httpx.AsyncClient, wire: Wire) -> None:
    made = await client.post(PRODUCTS, json={"name": "찻잔", "price": 12_000, "quantity": 7}, headers=OPERATOR)
    assert made.status_code == 201
    seen = await client.get(made.headers["location"])
    assert seen.json() == made.json()
    product_id = made.json()["productId"]
    assert made.json() == {
        "productId": product_id,
        "name": "찻잔",
        "price": 12_000,
        "available": 7,
        "description": "",
        "picture": None,
        "category": None,
        "active": True,
    }
    (price,) = await wire.receive("product-price-topic", UUID(product_id), 1)
    assert datetime.fromisoformat(price.pop("changedAt")) <= datetime.now(UTC)
    assert price.pop("version") > 0
    assert price == {"productId": product_id, "name": "찻잔", "price": 12_000, "active": True}


async def test_the_catalogue_comes_in_pages_without_gap_or_repeat(client: httpx.AsyncClient) -> None:
    made = {
        (await client.post(PRODUCTS, json={"name": "x", "price": 1}, headers=OPERATOR)).json()["productId"]
        for _ in "12345"
    }
    seen: list[str] = []
    cursor: str | None = None
    while True:
        page = (await client.get(PRODUCTS, params={"limit": 2} | ({"cursor": cursor} if cursor else {}))).json()
        assert len(page["items"]) <= 2
        seen += [each["productId"] for each in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert made <= set(seen)
    assert len(seen) == len(set(seen))


async def test_a_new_price_and_name_are_published(client: httpx.AsyncClient, wire: Wire) -> None:
    made = (await client.post(PRODUCTS, json={"name": "old", "price": 5}, headers=OPERATOR)).json()["productId"]
    changed = await client.patch(f"{PRODUCTS}/{made}", json={"price": 0}, headers=OPERATOR)
    assert (changed.json()["name"], changed.json()["price"], changed.json()["available"]) == ("old", 0, 0)
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
    ("name", {"name": "a\0b", "price": 1}),
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
        answer = await client.request(
            method, url, content=body, headers=OPERATOR | {"Content-Type": "application/json"}
        )
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


async def test_a_repeated_key_changes_a_product_once(client: httpx.AsyncClient, wire: Wire) -> None:
    made = (await client.post(PRODUCTS, json={"name": "old", "price": 5}, headers=OPERATOR)).json()["productId"]
    url, keyed = f"{PRODUCTS}/{made}", OPERATOR | {"Idempotency-Key": uuid4().hex}
    first = await asyncio.gather(*(client.patch(url, json={"price": 7}, headers=keyed) for _ in range(5)))
    await client.patch(url, json={"price": 9}, headers=OPERATOR)
    again = await client.patch(url, json={"price": 7}, headers=keyed)
    assert {answer.status_code for answer in (*first, again)} == {200}
    assert again.json()["price"] == 9
    assert (await client.patch(url, json={"price": 8}, headers=keyed)).status_code == 422
    await client.patch(url, json={"name": "last"}, headers=OPERATOR)
    published = await wire.receive("product-price-topic", UUID(made), 4)
    assert [each["price"] for each in published] == [5, 7, 9, 9]


@pytest.mark.parametrize("chosen", [True, False])
async def test_a_repeat_is_answered_though_its_body_would_be_refused_now(
    shop: Bench, client: httpx.AsyncClient, chosen: bool
) -> None:
    """As after a change of the limits: the key's row says what a body that is not valid now has once made."""
    cup, made = await product(shop, 5), uuid4()
    keyed = OPERATOR | {"Idempotency-Key": uuid4().hex, "Content-Type": "application/json"}
    long = {"name": "x" * 300, "price": 1} | ({"productId": str(cup)} if chosen else {})
    for method, url, body in (
        ("POST", PRODUCTS, long),
        ("POST", f"{PRODUCTS}/{cup}/stock", {"quantity": 0}),
        ("PATCH", f"{PRODUCTS}/{cup}", {}),
    ):
        raw, resource = json.dumps(body).encode(), made if url != PRODUCTS or chosen else cup
        scope = f"{OPERATOR['User-Id']} {method} {url}"
        await shop.pool.execute(
            "INSERT INTO idempotency_key VALUES ($1, $2, $3, $4, now())",
            scope,
            keyed["Idempotency-Key"],
            body_hash(raw),
            resource,
        )
        again = await client.request(method, url, content=raw, headers=keyed)
        assert (again.status_code, again.json()["productId"]) == (200, str(cup))
        assert (await client.request(method, url, content=b"{", headers=keyed)).status_code == 422
    assert await counters(shop, cup) == (5, 0, 0, 5)


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
