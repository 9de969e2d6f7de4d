"""Takes the snapshots and judges every invariant of the system."""

import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import asyncpg

from ordersaga.audit import orders, records
from ordersaga.audit.finding import Finding
from ordersaga.messaging.database import Connection, queries
from ordersaga.settings import SERVICES, ServiceName, Settings

sql: Final = queries(__file__)


async def verify(settings: Settings, unchanged_for_s: float = 0.0) -> list[Finding]:
    """Judge every invariant. Raises database and Kafka errors.

    `unchanged_for_s` 0 judges a system at rest: everything must have come to its end. More judges a live one: orders and records
    younger than that are in flight, and named as such. Each database is read in one snapshot; the completion records and the gateway's
    books are read after the snapshots were taken.
    """
    now = datetime.now(UTC)
    cutoff = now - timedelta(seconds=unchanged_for_s)
    async with contextlib.AsyncExitStack() as stack:
        # Order's snapshot is the last: whatever the others hold by then is of an order that it knows.
        db = {name: await stack.enter_async_context(_snapshot(settings, name)) for name in reversed(SERVICES)}
        found = [await _stock(db["stock"])]
        found += await _orders(settings, db, now, cutoff)
        found.append(records.outboxes({name: await sql.outbox_rows(each) for name, each in db.items()}, cutoff))
        positions: dict[str, list[Any]] = {name: await sql.ledger_rows(each) for name, each in db.items()}
        found.append(await records.ledgers(settings, positions, unchanged_for_s == 0))
        letters: dict[str, list[Any]] = {name: await sql.dead_letter_rows(each) for name, each in db.items()}
        lost: dict[str, list[Any]] = {name: await sql.lost_dead_letters(each) for name, each in db.items()}
        found.append(records.dead_letters(letters, lost))
        found.append(records.parked({name: await sql.parked_rows(each) for name, each in db.items()}))
    return found


@contextlib.asynccontextmanager
async def _snapshot(settings: Settings, name: ServiceName) -> AsyncIterator[Connection]:
    db = await asyncpg.connect(settings.database_url(name), server_settings={"application_name": "ordersaga audit"})
    try:
        async with db.transaction(isolation="repeatable_read", readonly=True):
            await db.fetchval("SELECT 1")  # the snapshot is taken by the first statement, not by BEGIN
            yield db
    finally:
        await db.close()


async def _stock(db: Connection) -> Finding:
    finding = Finding(
        "stock is conserved: received - reserved + released = available, never below zero", unit="products"
    )
    for row in await sql.products(db):
        finding.count += 1
        counters = (row["received"], row["reserved"], row["released"])
        moved = (row["moved_in"], row["moved_out"], row["moved_back"])
        if counters != moved:
            finding.breaks(f"{row['product_id']}: counters {counters}, movements {moved}")
        if row["available"] != row["received"] - row["reserved"] + row["released"] or row["available"] < 0:
            finding.breaks(f"{row['product_id']}: {row['available']} available of {counters}")
        if row["reserved"] - row["released"] != row["held"]:
            finding.breaks(
                f"{row['product_id']}: {row['reserved'] - row['released']} reserved, orders hold {row['held']}"
            )
    return finding


async def _orders(
    settings: Settings, db: dict[ServiceName, Connection], now: datetime, cutoff: datetime
) -> list[Finding]:
    audit = orders.OrderAudit(now, cutoff, await records.completion_records(settings))
    held: dict[str, int] = {}
    streams = [
        orders.stream(db["order"], sql.orders),
        orders.stream(db["stock"], sql.reservations),
        _noting(orders.stream(db["payment"], sql.payments), held),
        orders.stream(db["delivery"], sql.deliveries),
    ]
    async for order_id, groups in orders.by_order(streams):
        audit.judge(order_id, *groups)
    at_rest = cutoff == now
    open_ones = set() if at_rest else {row["payment_key"] for row in await sql.open_intents(db["payment"])}
    books = await records.books(settings, held, open_ones, None if at_rest else cutoff)
    return audit.findings + ([books] if books else [])


async def _noting(payments: AsyncIterator[Any], held: dict[str, int]) -> AsyncIterator[Any]:
    async for row in payments:
        held[row["payment_key"]] = row["captured"] - row["refunded"]
        yield row
