"""The catalogue: what the shop shows of products, how they are found, and what becomes of one that is not sold any more."""

import asyncio
import unicodedata
from collections.abc import AsyncIterator
from importlib.resources import files
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from ordersaga import stock
from ordersaga.contracts.messages import ProductPriceMessage
from ordersaga.devstack import DevStack
from ordersaga.stock.listing import parts, search_text
from tests.integration.service import OPERATOR, Bench, Wire, customer
from tests.integration.stock_rig import PRODUCTS, stock_bench

SHOWN = {
    "description": "Quiet keys.\nEven at night.",
    "picture": "/pictures/keyboard.svg",
    "category": "전자제품",
    "active": True,
}


@pytest.fixture(scope="module")
async def shop(stack: DevStack) -> AsyncIterator[Bench]:
    async with stock_bench(stack) as one:
        yield one


async def added(client: httpx.AsyncClient, name: str, **fields: object) -> str:
    answer = await client.post(PRODUCTS, json={"name": name, "price": 1_000, **fields}, headers=OPERATOR)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["productId"])


async def names(client: httpx.AsyncClient, headers: dict[str, str] | None = None, **query: Any) -> list[str]:
    answer = await client.get(PRODUCTS, params={"limit": 200, **query}, headers=headers)
    assert answer.status_code == 200, answer.text
    return [each["name"] for each in answer.json()["items"]]


async def test_a_product_is_shown_as_it_was_added_and_changed(client: httpx.AsyncClient) -> None:
    url = f"{PRODUCTS}/{await added(client, 'keyboard', **SHOWN)}"
    seen = (await client.get(url)).json()
    assert {name: seen[name] for name in SHOWN} == SHOWN
    changed = await client.patch(url, json={"picture": None, "description": ""}, headers=OPERATOR)
    assert (changed.json()["picture"], changed.json()["description"]) == (None, "")
    assert (changed.json()["category"], changed.json()["name"]) == ("전자제품", "keyboard")
    assert (await client.get(url)).json() == changed.json()


async def test_a_change_of_the_shown_texts_alone_is_no_news_for_order(client: httpx.AsyncClient, wire: Wire) -> None:
    product = await added(client, "keyboard")
    url = f"{PRODUCTS}/{product}"
    await client.patch(url, json={"description": "quiet"}, headers=OPERATOR)
    await client.patch(url, json={"active": False}, headers=OPERATOR)
    published = await wire.receive("product-price-topic", UUID(product), 2)
    assert [each["active"] for each in published] == [True, False]
    assert published[0]["version"] < published[1]["version"]


async def test_changes_of_different_fields_at_once_lose_none(client: httpx.AsyncClient) -> None:
    url = f"{PRODUCTS}/{await added(client, 'keyboard')}"
    changes: list[dict[str, Any]] = [
        {"description": "quiet"},
        {"picture": "/a.svg"},
        {"category": "keys"},
        {"price": 5},
    ]
    await asyncio.gather(*(client.patch(url, json=each, headers=OPERATOR) for each in changes))
    seen = (await client.get(url)).json()
    assert (seen["description"], seen["picture"], seen["category"], seen["price"]) == ("quiet", "/a.svg", "keys", 5)


async def test_a_change_that_waited_for_another_processs_change_keeps_it(
    shop: Bench, client: httpx.AsyncClient
) -> None:
    product = await added(client, "keyboard")
    async with shop.pool.acquire() as db, db.transaction():
        await db.execute("SELECT FROM product WHERE product_id = $1 FOR UPDATE", UUID(product))
        await db.execute("UPDATE listing SET description = 'quiet' WHERE product_id = $1", UUID(product))
        waiting = asyncio.create_task(
            client.patch(f"{PRODUCTS}/{product}", json={"category": "keys"}, headers=OPERATOR)
        )
        await shop.somebody_waits_for_a_lock()
    assert (await waiting).json()["description"] == "quiet"


@pytest.mark.parametrize(
    "typed",
    [
        "축키",
        "무선",
        "선 기",
        "Silent",
        "SILENT",
        "lent9",
        "축",
        unicodedata.normalize("NFD", "적축키보드"),
        "입력장치 적축",
    ],
)
async def test_a_part_of_a_word_finds_a_product(client: httpx.AsyncClient, typed: str) -> None:
    mine = f"무선 기계식 적축키보드 Silent9000 {uuid4().hex}"
    await added(client, mine, category="입력장치")
    assert mine in await names(client, search=typed)
    assert "keyboard" not in await names(client, search=typed)


async def test_a_new_name_is_found_and_the_old_one_is_not(client: httpx.AsyncClient) -> None:
    old, new = uuid4().hex, uuid4().hex
    url = f"{PRODUCTS}/{await added(client, old)}"
    await client.patch(url, json={"name": new, "category": "그릇"}, headers=OPERATOR)
    assert await names(client, search=old) == []
    assert await names(client, search=new[3:20]) == [new]
    assert await names(client, search=f"그릇 {new[:9]}") == [new]


async def test_search_and_category_and_pages_go_together(client: httpx.AsyncClient) -> None:
    category, word = uuid4().hex, uuid4().hex
    mine = [f"{n} {word}" for n in range(5)]
    for each in mine:
        await added(client, each, category=category)
    await added(client, word, category="another")
    await added(client, "another", category=category)
    assert set(await names(client, category=category)) == {*mine, "another"}
    found: list[str] = []
    query: dict[str, Any] = {"category": category, "search": word, "limit": 2}
    while True:
        page = (await client.get(PRODUCTS, params=query)).json()
        found += [each["name"] for each in page["items"]]
        if page["next"] is None:
            break
        query["cursor"] = page["next"]
    assert sorted(found) == mine


async def test_products_of_before_are_found_as_new_ones_are(shop: Bench) -> None:
    """The migration makes the same of a name as the code, for characters whose case the database knows."""
    step = (files(stock) / "migrations" / "0102.listing.sql").read_text().partition(";\n\n-- Products that")[2]
    names = ["무선 기계식키보드", "Keyboard  100%", " a ", "x"]
    async with shop.pool.acquire() as db:
        transaction = db.transaction()
        await transaction.start()
        await db.execute("DELETE FROM listing")
        await db.execute("DELETE FROM product")
        for each in names:
            await db.execute("INSERT INTO product (product_id, name, price) VALUES ($1, $2, 1)", uuid4(), each)
        await db.execute("-- Products that" + step)
        found = await db.fetch("SELECT name, search_text, search_parts FROM listing JOIN product USING (product_id)")
        await transaction.rollback()
    assert {row["name"]: row["search_text"] for row in found} == {name: search_text(name, None) for name in names}
    assert {row["name"]: sorted(row["search_parts"]) for row in found} == {
        name: parts(search_text(name, None)) for name in names
    }


@pytest.mark.parametrize("typed", ["", " ", "%", "_", "\\", "'", "a" * 200, "한" * 200, "٪", "\u200b"])
async def test_any_text_may_be_searched_for(client: httpx.AsyncClient, typed: str) -> None:
    await names(client, search=typed)


@pytest.mark.parametrize(
    ("field", "value"), [("search", "a" * 201), ("search", "a\0b"), ("category", "\0"), ("active", "yes")]
)
async def test_a_bad_filter_is_named(client: httpx.AsyncClient, field: str, value: str) -> None:
    answer = await client.get(PRODUCTS, params={field: value})
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == field


async def test_an_inactive_product_is_listed_to_operators_alone(client: httpx.AsyncClient) -> None:
    word = uuid4().hex
    sold, gone = f"sold {word}", f"gone {word}"
    await added(client, sold)
    product = await added(client, gone, active=False)
    assert await names(client, search=word) == await names(client, customer(uuid4()), search=word) == [sold]
    assert await names(client, OPERATOR, search=word, active="any") == [sold, gone]
    assert await names(client, OPERATOR, search=word, active="false") == [gone]
    assert (await client.get(PRODUCTS, params={"active": "any"})).status_code == 401
    assert (await client.get(PRODUCTS, params={"active": "any"}, headers=customer(uuid4()))).status_code == 403
    assert (await client.get(f"{PRODUCTS}/{product}")).json()["active"] is False


@pytest.mark.parametrize(
    "picture",
    [
        "http://shop.example/a.png",
        "//shop.example/a.png",
        "/\\shop.example/a.png",
        "javascript:alert(1)",
        "data:image/png;base64,AAAA",
        "https:///a.png",
        "https://",
        "a.png",
        "",
        "/a b.png",
        '/a".png',
        "/a\n",
        "/<script>",
        "/" + "a" * 2_000,
        7,
    ],
)
async def test_a_picture_is_a_path_or_an_https_url(client: httpx.AsyncClient, picture: object) -> None:
    answer = await client.post(PRODUCTS, json={"name": "x", "price": 1, "picture": picture}, headers=OPERATOR)
    assert answer.status_code == 400
    assert [each["field"] for each in answer.json()["errors"]] == ["picture"]


@pytest.mark.parametrize("picture", ["/a.svg", "/", "https://shop.example/a.png?w=1&h=2", "https://shop.example:8443"])
async def test_other_pictures_are_taken(client: httpx.AsyncClient, picture: str) -> None:
    await added(client, "x", picture=picture)


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("body", {}),
        ("description", {"description": None}),
        ("description", {"description": "x" * 5_001}),
        ("category", {"category": " "}),
        ("category", {"category": "x" * 101}),
        ("active", {"active": None}),
        ("active", {"active": "no"}),
        ("description", {"description": "a\0b"}),
    ],
)
async def test_a_bad_change_names_its_field(client: httpx.AsyncClient, field: str, change: dict[str, Any]) -> None:
    url = f"{PRODUCTS}/{await added(client, 'x')}"
    answer = await client.patch(url, json=change, headers=OPERATOR)
    assert answer.status_code == 400
    assert [each["field"] for each in answer.json()["errors"]] == [field]


def test_a_price_without_a_word_about_selling_is_of_a_product_that_is_sold() -> None:
    assert ProductPriceMessage.__struct_fields__[-1] == "active"
    assert ProductPriceMessage.__struct_defaults__[-1] is None
