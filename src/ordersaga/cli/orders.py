"""`orders show` tells an order's story."""

import asyncio
from typing import Annotated
from uuid import UUID

import asyncpg
import typer
from rich.table import Table

from ordersaga.cli.options import fail, load_settings, out
from ordersaga.order import store
from ordersaga.order.model import Event, Order
from ordersaga.settings import Settings

app = typer.Typer(help="Orders, as the Order service's database knows them.", no_args_is_help=True)


@app.command()
def show(order_id: Annotated[UUID, typer.Argument(help="the order's id")]) -> None:
    """What came in, what went out, and where the order stands."""
    settings = load_settings()
    try:
        order, events = asyncio.run(_story(settings, order_id))
    except (OSError, asyncpg.PostgresError) as error:
        raise fail(
            f"the database of order does not answer: {error}; is ORDERSAGA_ORDER_DATABASE_URL right?", 1
        ) from error
    if order is None:
        raise fail(f"there is no order {order_id}", 1)
    print_story(order, events)


def print_story(order: Order, events: list[Event]) -> None:
    """The order, its facts and its timeline."""
    reason = f" ({order.reason}{': ' + order.detail if order.detail else ''})" if order.reason else ""
    out.print(
        f"[bold]{order.order_id}[/]  {order.order_name}, {order.total_amount:,} won: [bold]{order.status}[/]{reason}"
    )
    for line in order.facts.lines:
        out.print(f"  stock     {line.quantity} x {line.product_id}: {line.stock}")
    for payment in order.facts.payments:
        out.print(f"  payment   {payment.payment_key}, {payment.amount:,} won: {payment.state}")
    out.print(f"  delivery  {order.facts.delivery}")
    if order.facts.flag:
        out.print(f"  [yellow]flagged   {order.facts.flag}[/]")
    table = Table("at", "came in", "went out", "status", "note", box=None, padding=(0, 2, 0, 0))
    for event in events:
        at = event.at.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
        table.add_row(at, event.came_in, ", ".join(event.went_out) or "-", event.status, event.note or "")
    out.print(table)


async def _story(settings: Settings, order_id: UUID) -> tuple[Order | None, list[Event]]:
    db = await asyncpg.connect(settings.database_url("order"))
    try:
        order = (await store.find(db, [order_id])).get(order_id)
        return order, [event for _, event in await store.events_after(db, {order_id: 0})]
    finally:
        await db.close()
