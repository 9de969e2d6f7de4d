"""A short turn about rows that this process has written last does not read them, and finds out if another one has changed them."""

import contextlib
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from ordersaga import order as service
from ordersaga import stock
from ordersaga.contracts.address import Address
from ordersaga.contracts.messages import Message, StockResponseMessage
from ordersaga.devstack import DevStack
from ordersaga.messaging import ledger, outbox_rows
from ordersaga.messaging.gather import Gather
from ordersaga.messaging.refusal import Refusal
from ordersaga.messaging.short_transaction import RESTS, Known, NotAsRead, ShortTransaction
from ordersaga.order import store
from ordersaga.order.commands import Placement, Placing
from ordersaga.order.handlers import handler
from ordersaga.order.model import Facts, Line, Order
from ordersaga.stock.handlers import handler as stock_handler
from tests.integration.order_rig import PRICE, PRODUCT, paid, reserved
from tests.integration.service import Bench, bench
from tests.integration.test_stock import ask as ask_for_stock

NOW = datetime(2026, 1, 2, 3, 4, 5, 678_901, UTC)
READS = "FROM saga s JOIN orders o"


class Shop:
    """Order's own parts over its database, and how often orders were read for their turns."""

    def __init__(self, one: Bench, known: store.KnownOrders) -> None:
        self.one = one
        self.known = known
        self.reads = 0
        self._handler = handler(one.settings, known)
        self._one_turn = Bench("order", one.settings, one.pool, self._handler)

    def _count(self, query: Any) -> None:
        self.reads += READS in query.query

    async def placed(self) -> UUID:
        recipient = Address("1 Sejong-daero", None, "04524", "010-0000-0000", "김하나", "문 앞에")
        wanted = Order(uuid7(), uuid7(), "keyboard", PRICE, recipient, NOW, NOW, Facts((Line(PRODUCT, 1),)))
        async with self.one.pool.acquire() as connection, ShortTransaction(connection) as db:
            write = await Placing(self.one.settings, self.known)(db.itself, [Placement(wanted, None)], NOW)
            assert len(write.answers) == 1
            await outbox_rows.end(db.last)
        return wanted.order_id

    async def turn(self, *messages: Message) -> None:
        async with self.one.pool.acquire() as connection:
            connection.add_query_logger(self._count)
            try:
                async with ShortTransaction(connection, as_read=True) as db:
                    await self._one_turn.handle(db.itself, messages)
                    await ledger.fence_at_end(db.last, [])
            finally:
                connection.remove_query_logger(self._count)

    async def known_of(self, order_id: UUID) -> list[tuple[Order, str]] | None:
        async with self.one.pool.acquire() as db:
            return self.known.all_of([order_id], ShortTransaction(db))

    async def is_known_as_it_is(self, order_id: UUID) -> bool:
        found = await self.known_of(order_id)
        async with self.one.pool.acquire() as db:
            stored = (await store.find(db, [order_id]))[order_id]
            version = await db.fetchval("SELECT xmin::text FROM saga WHERE order_id = $1", order_id)
        return found == [(stored, version)]


@pytest.fixture
async def shop(stack: DevStack) -> AsyncIterator[Shop]:
    known = store.KnownOrders()
    async with bench(stack, "order", service, lambda settings: handler(settings, known)) as one:
        one.settings = one.settings.model_copy(update={"foreign_partners": []})
        yield Shop(one, known)


async def test_what_is_known_of_an_order_is_what_the_database_has(shop: Shop) -> None:
    order_id = await shop.placed()
    assert await shop.is_known_as_it_is(order_id)
    for answer in reserved, paid:
        await shop.turn(answer(str(order_id)))
        assert await shop.is_known_as_it_is(order_id)
    assert shop.reads == 0


async def test_an_order_that_another_process_has_changed_is_read_again(shop: Shop) -> None:
    order_id = await shop.placed()
    await shop.one.pool.execute("UPDATE saga SET detail = 'changed' WHERE order_id = $1", order_id)
    with pytest.raises(NotAsRead):
        await shop.turn(reserved(str(order_id)))
    assert shop.reads == 0
    async with shop.one.pool.acquire() as db, db.transaction():  # as a turn is taken again
        await store.lock(db, [order_id], shop.known)
    await shop.turn(reserved(str(order_id)))
    assert shop.reads == 1
    assert await shop.one.pool.fetchval("SELECT detail FROM saga WHERE order_id = $1", order_id) == "changed"


async def test_a_turn_that_failed_leaves_nothing_known(shop: Shop) -> None:
    order_id = await shop.placed()
    before = await shop.known_of(order_id)
    assert before is not None
    with pytest.raises(ZeroDivisionError):
        async with shop.one.pool.acquire() as connection, ShortTransaction(connection, as_read=True) as db:
            await shop._one_turn.handle(db.itself, [reserved(str(order_id))])
            raise ZeroDivisionError
    assert await shop.known_of(order_id) == before


async def test_pieces_of_a_product_are_known_and_those_that_another_process_took_are_found_out(stack: DevStack) -> None:
    reads = 0

    def count(query: Any) -> None:
        nonlocal reads
        reads += query.query.startswith("SELECT product_id, available")

    async with bench(stack, "stock", stock, stock_handler) as one, one.pool.acquire() as connection:
        connection.add_query_logger(count)

        async def turn() -> None:
            async with ShortTransaction(connection, as_read=True) as db:
                await one.handle(db.itself, [ask_for_stock(uuid7(), (PRODUCT, 1))])
                await ledger.fence_at_end(db.last, [])

        try:
            await connection.execute(
                "INSERT INTO product (product_id, name, price, received) VALUES ($1, 'x', 1, 9)", PRODUCT
            )
            for _ in range(3):
                await turn()
            assert reads == 1
            await connection.execute("UPDATE product SET reserved = received")
            with pytest.raises(NotAsRead):
                await turn()
            async with connection.transaction():  # as the turn is taken again
                [refused], _ = await one.handle(connection, [ask_for_stock(uuid7(), (PRODUCT, 1))])
            assert isinstance(refused, StockResponseMessage)
            assert refused.status == "FAILED"
            assert await connection.fetchval("SELECT available FROM product") == 0
        finally:
            connection.remove_query_logger(count)


def wanted() -> Placement:
    recipient = Address("1 Sejong-daero", None, "04524", "010-0000-0000", "김하나", "문 앞에")
    return Placement(Order(uuid7(), uuid7(), "keyboard", PRICE, recipient, NOW, NOW, Facts((Line(PRODUCT, 1),))), None)


@pytest.mark.parametrize("change", ["price = price + 1", "active = false"])
async def test_a_price_is_read_once_and_one_that_another_process_has_changed_is_found_out(
    shop: Shop, change: str
) -> None:
    reads = 0

    def count(query: Any) -> None:
        nonlocal reads
        reads += query.query.startswith("SELECT product_id, price")

    one = shop.one
    settings = one.settings.model_copy(update={"gather_transactions_max": 1})
    outbox: Any = SimpleNamespace(publish_soon=lambda *_: None)
    place = Gather(Placing(settings, shop.known), settings, one.pool, outbox, lambda: NOW, uuid7, short=True)
    await one.pool.execute(
        "INSERT INTO price (product_id, name, price, changed_at) VALUES ($1, 'keyboard', $2, now())", PRODUCT, PRICE
    )
    async with one.pool.acquire() as connection:
        connection.add_query_logger(count)
        one.pool.acquire = lambda **_: contextlib.nullcontext(connection)  # type: ignore[method-assign,assignment]
        for _ in range(3):
            assert not isinstance(await place(wanted()), Refusal)
        assert reads == 1
        await connection.execute(f"UPDATE price SET {change}")
        assert isinstance(await place(wanted()), Refusal)
        await connection.execute("UPDATE price SET price = $1, active = true", PRICE)
        assert not isinstance(await place(wanted()), Refusal)
        assert await connection.fetchval("SELECT count(*) FROM orders") == 4
        connection.remove_query_logger(count)


async def test_nothing_is_known_over_a_connection_that_is_younger(shop: Shop) -> None:
    """A server that is restored, or takes over, may number its transactions as the one before did."""
    order_id = await shop.placed()
    assert await shop.known_of(order_id)
    await shop.one.pool.expire_connections()
    assert await shop.known_of(order_id) is None
    await shop.turn(reserved(str(order_id)))
    assert shop.reads == 1
    assert await shop.is_known_as_it_is(order_id)


def test_only_an_erasure_changes_the_row_of_an_order_which_is_not_compared() -> None:
    """It erases no order that goes on, and no other order is known as its saga row is. No turn reads the search words."""
    folder = Path(service.__file__).parent
    changing = [
        (path.name, found[1])
        for path in [*folder.glob("*.sql"), *folder.glob("*.py")]
        for found in re.finditer(r"UPDATE\s+orders\b.*?SET\s+(\w+)", path.read_text(), re.IGNORECASE | re.DOTALL)
        if found[1] != "search_words"
    ]
    assert {name for name, _ in changing} == {"erasing.sql"}, (
        "what changes the row of an order that goes on has to change its saga row, too"
    )


def over(opened: int = 0) -> ShortTransaction:
    return ShortTransaction(cast(Any, SimpleNamespace(opened=opened)))


def test_keys_that_failed_a_turn_let_the_next_turns_read() -> None:
    known: Known[str] = Known()
    one, other, ended = uuid7(), uuid7(), uuid7()
    known.keep({one: "one", other: "other", ended: None}, over())
    assert known.all_of([other, one], over()) == ["other", "one"]
    assert known.all_of([ended], over()) is None
    known.keep({one: "one"}, over())
    known.forget([one])
    assert known.all_of([one], over()) is None
    assert known.all_of([other], over()) == ["other"]
    known.forget([other])
    known.keep({one: "one"}, over())
    assert [known.all_of([one], over()) for _ in range(RESTS)] == [None] * RESTS
    assert known.all_of([one], over()) == ["one"]
    assert known.all_of([one, other], over()) is None


def test_no_more_is_known_than_a_limit() -> None:
    known: Known[str] = Known(keys_max=2)
    keys = [uuid7() for _ in range(3)]
    for key in keys:
        known.keep({key: "it"}, over())
    assert [known.all_of([key], over()) is not None for key in keys] == [False, True, True]
