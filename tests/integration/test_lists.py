"""Every list of the four services speaks one dialect: `{items, next}`, `cursor`, `limit`, and the same 400."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from types import ModuleType
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import httpx
import pytest
from uuid_utils.compat import uuid7

from ordersaga import delivery, order, payment, stock
from ordersaga.cli.serve import application
from ordersaga.delivery.app import handler as delivery_handler
from ordersaga.devstack import DevStack
from ordersaga.http.pages import Cursors
from ordersaga.order.handlers import handler as order_handler
from ordersaga.payment.handlers import handler as payment_handler
from ordersaga.settings import ServiceName
from ordersaga.stock.handlers import handler as stock_handler
from tests.integration import stock_rig
from tests.integration.service import OPERATOR, Bench, bench, running

ORDER_ID = UUID(int=5)
ROWS = 7
RECIPIENT = '{"address":"1","addressDetail":null,"zipcode":"1","phone":"1","name":"1","deliveryMemo":null}'


class List(NamedTuple):
    """A list: its service and path, how to insert an item with this number, and the field that tells items apart."""

    service: ServiceName
    package: ModuleType
    handler: Any
    path: str
    insert: Callable[[Bench, int], Awaitable[object]]
    key: str


async def product(one: Bench, _: int) -> None:
    await stock_rig.product(one, 1)


async def placed(one: Bench, _: int) -> None:
    order_id = uuid7()
    await one.pool.execute(
        "INSERT INTO orders VALUES ($1, $2, 'cups', 1000, $3, now(), now())", order_id, uuid4(), RECIPIENT
    )
    await one.pool.execute("INSERT INTO saga VALUES ($1, 'PENDING', NULL, NULL, $2)", order_id, '{"lines":[]}')


async def told(one: Bench, number: int) -> None:
    """An event of one order's timeline."""
    await one.pool.execute(
        "INSERT INTO orders VALUES ($1, $2, 'cups', 1000, $3, now(), now()) ON CONFLICT DO NOTHING",
        ORDER_ID,
        uuid4(),
        RECIPIENT,
    )
    await one.pool.execute(
        "INSERT INTO saga VALUES ($1, 'PENDING', NULL, NULL, $2) ON CONFLICT DO NOTHING", ORDER_ID, '{"lines":[]}'
    )
    await one.pool.execute(
        "INSERT INTO order_event (order_id, at, came_in, went_out, status, stock_known) VALUES ($1, $2, 'X', '{}', 'PENDING', false)",
        ORDER_ID,
        datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=number),
    )


def paid(one: Bench, number: int) -> Awaitable[object]:
    """Two payments have the same time: their keys tell them apart."""
    return one.pool.execute(
        "INSERT INTO payment (payment_key, order_id, amount, status, captured, refunded, requested_at) VALUES ($1, $2, 1, 'FAILED', 0, 0, $3)",
        f"key-{number}",
        ORDER_ID,
        datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=number // 2),
    )


def sent(one: Bench, _: int) -> Awaitable[object]:
    return one.pool.execute(
        "INSERT INTO delivery (order_id, delivery_id, customer_id, status, tracking_number, at) VALUES ($1, $2, $3, 'STARTED', 'x', now())",
        uuid7(),
        uuid4(),
        uuid4(),
    )


LISTS = [
    List("order", order, order_handler, "/api/v1/orders", placed, "orderId"),
    List("order", order, order_handler, f"/api/v1/orders/{ORDER_ID}/timeline", told, "at"),
    List("stock", stock, stock_handler, "/api/v1/products", product, "productId"),
    List("payment", payment, payment_handler, f"/api/v1/payments?orderId={ORDER_ID}", paid, "paymentKey"),
    List("delivery", delivery, delivery_handler, "/api/v1/deliveries", sent, "orderId"),
]


class Listing(NamedTuple):
    """A list of a running service."""

    which: List
    bench: Bench
    client: httpx.AsyncClient

    async def get(self, **query: object) -> httpx.Response:
        return await self.client.get(self.which.path, params=_more(self.which.path, query), headers=OPERATOR)

    async def walk(self, limit: int, between: Callable[[], Awaitable[object]] | None = None) -> list[str]:
        """The keys of all items, page after page. `between` runs after each page."""
        found: list[str] = []
        query: dict[str, object] = {"limit": limit}
        while True:
            page = (await self.get(**query)).json()
            assert page.keys() == {"items", "next"}
            assert len(page["items"]) <= limit
            found += [each[self.which.key] for each in page["items"]]
            if page["next"] is None:
                return found
            query["cursor"] = page["next"]
            if between is not None:
                await between()


def _more(path: str, query: dict[str, object]) -> httpx.QueryParams:
    """httpx replaces the query of a URL by `params`, so both are put together."""
    return httpx.QueryParams(httpx.URL(path).params).merge({name: str(value) for name, value in query.items()})


@pytest.fixture(scope="module", params=LISTS, ids=lambda each: each.service)
async def listing(stack: DevStack, request: pytest.FixtureRequest) -> AsyncIterator[Listing]:
    one: List = request.param
    async with (
        bench(stack, one.service, one.package, one.handler) as shop,
        running(shop.settings, application(one.service)) as client,
    ):
        for number in range(ROWS):
            await one.insert(shop, number)
        yield Listing(one, shop, client)


@pytest.mark.parametrize("limit", [1, 2, ROWS - 1, ROWS, ROWS + 1])
async def test_pages_have_each_item_once_in_one_order(listing: Listing, limit: int) -> None:
    whole = await listing.walk(200)
    assert len(whole) == len(set(whole)) >= ROWS
    assert await listing.walk(limit) == whole


async def test_items_that_are_inserted_meanwhile_hide_and_repeat_none(listing: Listing) -> None:
    before = await listing.walk(200)
    numbers = iter(range(100, 200))

    async def insert() -> None:
        await listing.which.insert(listing.bench, next(numbers))

    found = await listing.walk(2, insert)
    assert len(found) == len(set(found))
    assert [each for each in found if each in before] == before


FOREIGN = Cursors[UUID]("another list", UUID).of(UUID(int=1))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("limit", each) for each in ("0", "201", "-1", "x", "", "1.5", "9" * 30)),
        *(("cursor", each) for each in ("x", "", str(UUID(int=4)), FOREIGN, "A" * 2_000, "커서", "%00")),
    ],
)
async def test_a_bad_page_is_the_same_problem_everywhere(listing: Listing, field: str, value: str) -> None:
    answer = await listing.get(**{field: value})
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")
    problem = answer.json()
    assert problem["title"] == "The request is not valid"
    (error,) = problem["errors"]
    assert error["field"] == field and error["message"] and error["code"]


async def test_pages_may_be_read_at_once(listing: Listing) -> None:
    whole = await listing.walk(200)
    assert await asyncio.gather(*(listing.walk(3) for _ in range(5))) == [whole] * 5
