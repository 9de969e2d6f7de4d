"""What a service looks up by key is never read whole, even where PostgreSQL keeps a plan that it made while the table was small.

It keeps one from the sixth use of a statement on, if it believes that to be cheaper; here it must, from the first.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from types import ModuleType
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import pytest

from ordersaga import delivery, order, payment, stock
from ordersaga.contracts.address import Address
from ordersaga.contracts.messages import Message, OrderPayableMessage, PaymentCancelRequestedMessage
from ordersaga.contracts.status import ORDER_CODES
from ordersaga.delivery.app import handler as delivery_handler
from ordersaga.devstack import DevStack
from ordersaga.messaging import ledger, timers
from ordersaga.messaging.database import Connection
from ordersaga.messaging.short_transaction import ShortTransaction
from ordersaga.order.commands import Placement, Placing
from ordersaga.order.handlers import handler as order_handler
from ordersaga.order.model import Facts, Line, Order
from ordersaga.payment.commands import Beginning
from ordersaga.payment.handlers import handler as payment_handler
from ordersaga.payment.model import Confirm
from ordersaga.settings import ServiceName
from ordersaga.stock.handlers import handler as stock_handler
from tests.integration.order_rig import PRICE, PRODUCT, paid, reserved
from tests.integration.service import Bench, bench
from tests.integration.test_delivery import ask as ask_for_delivery
from tests.integration.test_stock import ask as ask_for_stock
from tests.integration.test_stock import roll_back

ROWS = 20_000
AT_ONCE = 5
READ_MAX = 500
KEPT = "SET plan_cache_mode = force_generic_plan"
READ = (
    "SELECT relname::text, coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) AS rows FROM pg_stat_xact_user_tables"
)

SOME_ROWS = {
    "order": [
        "INSERT INTO orders SELECT gen_random_uuid(), gen_random_uuid(), 'x', 1, '{}', now(), now() FROM generate_series(1, $1)",
        "INSERT INTO saga SELECT order_id, 'PENDING', NULL, NULL, '{}' FROM orders ON CONFLICT DO NOTHING",
        "INSERT INTO timer SELECT order_id, now() FROM orders ON CONFLICT DO NOTHING",
    ],
    "stock": [
        "INSERT INTO product SELECT gen_random_uuid(), 'x', 1 FROM generate_series(1, $1)",
        "INSERT INTO listing SELECT product_id, '', NULL, NULL, true, 'x', ARRAY['x'] FROM product ON CONFLICT DO NOTHING",
        "INSERT INTO reservation SELECT product_id, 'RESERVED', '[]', now() FROM product",
    ],
    "payment": [
        "INSERT INTO payable SELECT gen_random_uuid(), gen_random_uuid(), 1, now(), 'ORD0001' FROM generate_series(1, $1)",
        "INSERT INTO payment SELECT order_id::text, order_id, NULL, 1, 'FAILED', 0, 0, NULL, NULL, now() FROM payable",
        "INSERT INTO intent SELECT order_id, 'CONFIRM', order_id::text, order_id, 1, '', false, 'DONE', 1, 0, NULL, NULL, now() FROM payable",
    ],
    "delivery": [
        "INSERT INTO delivery (order_id, delivery_id, customer_id, status, tracking_number, at)"
        " SELECT gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 'STARTED', 'x', now() FROM generate_series(1, $1)",
    ],
}


async def orders(shop: Bench, db: Connection) -> None:
    """Placed, reserved and paid, so that their deliveries are asked for."""
    now = datetime.now(UTC)
    facts = Facts((Line(PRODUCT, 1),))
    recipient = Address("1", None, "1", "1", "1", None)
    placed = [Order(uuid4(), uuid4(), "keyboard", PRICE, recipient, now, now, facts) for _ in range(AT_ONCE)]
    settings = shop.settings.model_copy(update={"foreign_partners": ["stock"]})
    await Placing(settings)(db, [Placement(each, None) for each in placed], now)
    for answer in reserved, paid:
        await shop.handle(db, [answer(str(each.order_id)) for each in placed])


async def reservations(shop: Bench, db: Connection) -> None:
    """Made, of products that are there, and given back."""
    products = [uuid4() for _ in range(AT_ONCE)]
    for product in products:
        await db.execute("INSERT INTO product (product_id, name, price, received) VALUES ($1, 'x', 1, 9)", product)
    wanted = {uuid4(): (product, 1) for product in products}
    await shop.handle(db, [ask_for_stock(each, piece) for each, piece in wanted.items()])
    await shop.handle(db, [roll_back(each, piece) for each, piece in wanted.items()])


async def payments(shop: Bench, db: Connection) -> None:
    """Begun, and their refund asked for."""
    now = datetime.now(UTC)
    keys = {str(uuid4()): uuid4() for _ in range(AT_ONCE)}
    customer = uuid4()
    await shop.handle(db, [_payable(each, customer, now) for each in keys.values()])
    confirms = [Confirm(uuid4(), key, each, PRICE, customer, False) for key, each in keys.items()]
    await Beginning(shop.settings)(db, confirms, now)
    await shop.handle(db, [_refund(key, each) for key, each in keys.items()])


def _payable(order_id: UUID, customer: UUID, now: datetime) -> OrderPayableMessage:
    return OrderPayableMessage(
        order_id=order_id,
        customer_id=customer,
        total_amount=PRICE,
        pay_before=now.replace(year=now.year + 1, day=1),
        status=ORDER_CODES["PENDING"],
    )


def _refund(key: str, order_id: UUID) -> PaymentCancelRequestedMessage:
    return PaymentCancelRequestedMessage(order_id=order_id, payment_key=key, amount=PRICE, reason="RETURNED")


async def deliveries(depot: Bench, db: Connection) -> None:
    """Asked for, and asked for again."""
    requests = [ask_for_delivery(uuid4()) for _ in range(AT_ONCE)]
    for _ in range(2):
        await depot.handle(db, requests)


Work = Callable[[Bench, Connection], Awaitable[None]]


class Service(NamedTuple):
    """A service and a turn of its work."""

    name: ServiceName
    package: ModuleType
    handler: Any
    work: Work


SERVICES = [
    Service("order", order, order_handler, orders),
    Service("stock", stock, stock_handler, reservations),
    Service("payment", payment, payment_handler, payments),
    Service("delivery", delivery, delivery_handler, deliveries),
]


class InShortTurns:
    """A service whose batches are handled by short turns."""

    def __init__(self, one: Bench) -> None:
        self.settings = one.settings
        self._one = one

    async def handle(self, db: Connection, messages: Sequence[Message]) -> None:
        async with ShortTransaction(db, as_read=True) as turn:
            await self._one.handle(turn.itself, messages)
            await ledger.fence_at_end(turn.last, [])


async def rows_read(db: Connection) -> dict[str, int]:
    return {row["relname"]: row["rows"] for row in await db.fetch(READ)}


async def read_whole(one: Any, db: Connection, work: Work, service: str) -> dict[str, int]:
    """Of the tables that have grown since `work` was done last, those that it reads far more of than it needs, and how many rows."""
    for statement in SOME_ROWS[service]:
        await db.execute(statement, *([ROWS] if "$1" in statement else []))
    async with db.transaction():
        before = await rows_read(db)
        await work(one, db)
        after = await rows_read(db)
    read = {table: rows - before.get(table, 0) for table, rows in after.items()}
    assert any(read.values())
    return {table: rows for table, rows in read.items() if rows > READ_MAX}


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
async def test_a_table_that_has_grown_is_not_read_whole(stack: DevStack, service: Service) -> None:
    async with bench(stack, service.name, service.package, service.handler) as one, one.pool.acquire() as db:
        await db.execute(KEPT)
        for _ in range(2):  # the plans of the second time are kept, when the tables are known to be small
            await db.execute("ANALYZE")
            async with db.transaction():
                await service.work(one, db)
        assert await read_whole(one, db, service.work, service.name) == {}


@pytest.mark.parametrize(
    "service", SERVICES[:-1], ids=lambda service: service.name
)  # Delivery's short turn reads nothing
async def test_a_short_turn_does_not_read_it_whole_either(stack: DevStack, service: Service) -> None:
    async with bench(stack, service.name, service.package, service.handler) as real, real.pool.acquire() as db:
        one: Any = InShortTurns(real)
        await db.execute(KEPT)
        await db.execute("ANALYZE")
        async with db.transaction():
            await service.work(one, db)
        assert await read_whole(one, db, service.work, service.name) == {}


async def test_timers_are_not_compared_with_all_others_when_a_rush_comes_after_none(stack: DevStack) -> None:
    async def set_and_take_away(_: Bench, db: Connection) -> None:
        keys = [uuid4() for _ in range(AT_ONCE)]
        for due_at in datetime.now(UTC), datetime.max.replace(tzinfo=UTC), None:
            await timers.put(db, dict.fromkeys(keys, due_at))

    async with bench(stack, "order", order, order_handler) as one, one.pool.acquire() as db:
        await db.execute(KEPT)
        await db.execute("ANALYZE")  # says that there are none
        async with db.transaction():
            await set_and_take_away(one, db)
        assert await read_whole(one, db, set_and_take_away, "order") == {}
