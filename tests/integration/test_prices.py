"""What products cost: Stock numbers each change, Order keeps the last, and a new Order database hears of all."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from msgspec.structs import replace

from ordersaga import order
from ordersaga.cli.serve import application
from ordersaga.contracts.address import Address
from ordersaga.contracts.messages import ProductPriceMessage, StockResponseMessage
from ordersaga.devstack import DevStack
from ordersaga.messaging.kafka import create_missing_topics
from ordersaga.messaging.refusal import Refusal
from ordersaga.order.commands import Placed, Placement, Placing
from ordersaga.order.handlers import handler
from ordersaga.order.model import Facts, Line, Order
from ordersaga.stock import commands
from tests.integration.operator_rig import OperatorRig, until
from tests.integration.order_rig import ORDERS, body
from tests.integration.service import OPERATOR, Bench, Wire, bench, customer, running
from tests.integration.stock_rig import PRODUCTS, product, stock_bench

NOW = datetime.now(UTC)
AHEAD = timedelta(minutes=2)


@pytest.fixture(scope="module")
async def stock(stack: DevStack) -> AsyncIterator[Bench]:
    async with stock_bench(stack) as one:
        await create_missing_topics(one.settings)
        yield one


@pytest.fixture
async def shop(stack: DevStack) -> AsyncIterator[Bench]:
    async with bench(stack, "order", order, handler) as one:
        yield one


async def changed(stock: Bench, product_id: UUID, price: int, now: datetime) -> ProductPriceMessage:
    """What a Stock process with this clock says of its change."""
    async with stock.pool.acquire() as db, db.transaction():
        written = await commands.change(db, [commands.ChangeProduct(product_id, None, price, None)], now)
    (outgoing,) = written.outgoing
    assert isinstance(outgoing.message, ProductPriceMessage)
    return outgoing.message


async def known(shop: Bench, product_id: UUID) -> Any:
    return await shop.pool.fetchval("SELECT price FROM price WHERE product_id = $1", product_id)


@pytest.mark.parametrize("order_of_arrival", list(itertools.permutations(range(3))))
async def test_the_last_change_counts_whatever_the_clocks_of_stocks_processes_say(
    stock: Bench, shop: Bench, order_of_arrival: tuple[int, ...]
) -> None:
    cup = await product(stock, 0)
    said = [
        await changed(stock, cup, 2_000, NOW + AHEAD),
        await changed(stock, cup, 3_000, NOW),
        await changed(stock, cup, 4_000, NOW - AHEAD),
    ]
    for n in order_of_arrival:
        await shop.turn(said[n])
    assert await known(shop, cup) == 4_000
    await shop.turn(*[said[n] for n in reversed(order_of_arrival)])
    assert await known(shop, cup) == 4_000


async def test_prices_without_a_version_count_by_their_time_and_less_than_any_with_one(shop: Bench) -> None:
    cup = uuid4()

    def said(price: int, minutes: int, version: int | None = None) -> ProductPriceMessage:
        at = NOW + timedelta(minutes=minutes)
        return ProductPriceMessage(product_id=cup, price=price, changed_at=at, version=version)

    await shop.turn(said(2_000, 2))
    await shop.turn(said(1_000, 1))
    assert await known(shop, cup) == 2_000
    await shop.turn(said(3_000, 3), said(500, 0))
    assert await known(shop, cup) == 3_000
    await shop.turn(said(4_000, 0, version=1), said(9_000, 9))
    assert await known(shop, cup) == 4_000
    await shop.turn(said(9_000, 10))
    assert await known(shop, cup) == 4_000


async def test_a_new_order_for_an_inactive_product_is_refused_and_an_older_one_goes_on(shop: Bench) -> None:
    cup, plate = uuid4(), uuid4()
    for n, active in enumerate([True, False, None], 1):
        said = [ProductPriceMessage(product_id=each, price=1_000, changed_at=NOW, version=n) for each in (cup, plate)]
        await shop.turn(replace(said[0], active=active), said[1])
        placed, refused = await placed_now(shop, cup, plate), await placed_now(shop, plate, cup)
        if active is False:
            assert isinstance(placed, Refusal) and isinstance(refused, Refusal)
            assert [(each.field, each.code) for each in placed.errors] == [("items[0].productId", "inactive")]
            assert [(each.field, each.code) for each in refused.errors] == [("items[1].productId", "inactive")]
        else:
            assert isinstance(placed, Placed) and isinstance(refused, Placed)
            last = placed.order.order_id
    reserved = StockResponseMessage(order_id=last, product_id=cup, status="SUCCESS")
    await shop.turn(ProductPriceMessage(product_id=cup, price=1_000, changed_at=NOW, version=9, active=False), reserved)
    facts = await shop.pool.fetchval("SELECT facts FROM saga WHERE order_id = $1", last)
    assert '"stock":"RESERVED"' in facts


async def placed_now(shop: Bench, *products: UUID) -> Placed | Refusal:
    """An order for one piece of each."""
    facts, recipient = Facts(tuple(Line(each, 1) for each in products)), Address("1", None, "1", "1", "1", None)
    wanted = Order(uuid4(), uuid4(), "cups", 1_000 * len(products), recipient, NOW, NOW, facts)
    async with shop.pool.acquire() as db, db.transaction():
        (answer,) = (await Placing(shop.settings)(db, [Placement(wanted, None)], NOW)).answers
    return answer


async def test_prices_published_again_mend_an_order_that_has_others(stock: Bench, shop: Bench) -> None:
    """Stock's database was set back to before its last change, so Order has a price of a version that Stock does not know."""
    cup, plate = await product(stock, 0), await product(stock, 0)
    lost = await changed(stock, cup, 7_000, datetime.now(UTC))
    await shop.turn(lost)
    await stock.pool.execute("UPDATE product SET price = 1_000, version = 1 WHERE product_id = $1", cup)
    said = (await OperatorRig("stock", stock)("products", "publish-prices", json=False, whole=True)).out
    count = await stock.pool.fetchval("SELECT count(*) FROM product")
    assert f"{count} prices are on the way to Order" in said
    wire = Wire(stock.settings)
    (again,) = await wire.receive("product-price-topic", cup, 1)
    assert (again["price"], again["version"] > (lost.version or 0)) == (1_000, True)
    assert (await wire.receive("product-price-topic", plate, 1))[0]["price"] == 1_000
    await shop.turn(ProductPriceMessage(product_id=cup, price=again["price"], changed_at=NOW, version=again["version"]))
    assert await known(shop, cup) == 1_000
    assert await stock.pool.fetchval("SELECT version FROM product WHERE product_id = $1", cup) == again["version"]


async def test_a_new_order_database_hears_of_all_prices_wherever_it_starts(stock: Bench, shop: Bench) -> None:
    """START_AT is for events; prices, and what may be paid, are states."""
    cup, wire = uuid4(), Wire(stock.settings)
    async with running(stock.settings, application("stock")) as client:
        made = {"productId": str(cup), "name": "a cup", "price": 5_000}
        assert (await client.post(PRODUCTS, json=made, headers=OPERATOR)).status_code == 201
    assert await wire.receive("product-price-topic", cup, 1)
    shop.settings = shop.settings.model_copy(update={"start_at": "latest"})
    async with running(shop.settings, application("order")) as client:
        await asyncio.wait_for(until(lambda: known(shop, cup)), 30)
        items = [{"productId": str(cup), "quantity": 1}]
        headers = customer(uuid4()) | {"Prefer": "respond-async"}
        wrong = await client.post(ORDERS, json=body(items=items, totalAmount=4_999), headers=headers)
        right = await client.post(ORDERS, json=body(items=items, totalAmount=5_000), headers=headers)
    assert (wrong.status_code, right.status_code) == (400, 202)
    assert await wire.receive("order-payable-topic", UUID(right.json()["orderId"]), 1)
