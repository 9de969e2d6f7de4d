"""`orders show` prints an order and its timeline; `accept-refund`, `receive-return` and `refuse-return` are operators' decisions."""

import asyncio
from typing import Annotated, Final
from uuid import UUID

import typer
from rich.markup import escape
from rich.table import Table

from ordersaga.cli.errors import DATABASE_PROBLEMS, database_problem
from ordersaga.cli.operating import Who, Why, open_desks, operator, run, shown
from ordersaga.cli.options import fail, load_settings, out
from ordersaga.masking import masked
from ordersaga.messaging import guests
from ordersaga.messaging.acts import Operator
from ordersaga.messaging.held_records import HeldRecord, held_records
from ordersaga.messaging.refusal import Refusal
from ordersaga.order import store
from ordersaga.order.deadlines import Deadlines
from ordersaga.order.explanation import Explanation, explain
from ordersaga.order.model import Event, Order, OrderPayment
from ordersaga.order.operators import Operating, OperatorAct
from ordersaga.order.returns import ReceiveReturn, RefuseReturn
from ordersaga.order.saga import OperatorCommand
from ordersaga.settings import SERVICES, Settings

UNASKED: Final = {
    "PaymentSuccessMessage": "to be sent once the customer has paid",
    "ProductPriceMessage": "to be sent by Stock, which sends all prices again with `ordersaga products publish-prices`",
}

app = typer.Typer(help="Orders, read from the Order service's database.", no_args_is_help=True)


@app.command()
def show(order_id: Annotated[UUID, typer.Argument(help="the order's id")]) -> None:
    """Show an order, its timeline (what came in, what went out), and why it waits."""
    settings = load_settings()
    try:
        order, events = asyncio.run(_story(settings, order_id))
    except DATABASE_PROBLEMS as error:
        raise fail(database_problem("order", error), 1) from error
    if order is None:
        raise fail(f"there is no order {order_id}", 1)
    print_story(order, events)
    print_obstacles(explain(order, Deadlines.of(settings)), asyncio.run(_held(settings, order_id)))


@app.command()
def accept_refund(
    order_id: Annotated[UUID, typer.Argument(help="the order's id")], why: Why = None, who: Who = None
) -> None:
    """Accept the refunds made at the gateway: the order goes on with the money still held, and its flag is removed."""
    run(_accept(load_settings(), order_id, operator(who, why)))


@app.command()
def receive_return(
    order_id: Annotated[UUID, typer.Argument(help="the order's id")], why: Why = None, who: Who = None
) -> None:
    """The goods have arrived: the order is CANCELLED, RETURNED; its refund and the release of its products are requested."""
    run(_return(load_settings(), order_id, operator(who, why), ReceiveReturn))


@app.command()
def refuse_return(
    order_id: Annotated[UUID, typer.Argument(help="the order's id")], why: Why = None, who: Who = None
) -> None:
    """Refuse a return: the order stays COMPLETED, and its customer may ask again."""
    run(_return(load_settings(), order_id, operator(who, why), RefuseReturn))


async def _return(settings: Settings, order_id: UUID, by: Operator, command: type[OperatorCommand]) -> None:
    order = await _carried_out(settings, OperatorAct(order_id, by, command))
    out.print(f"{order_id}: {order.status}, return {order.facts.returning}", soft_wrap=True)


async def _carried_out(settings: Settings, act: OperatorAct) -> Order:
    """Carries out the operator's command; returns the order after it, or ends the command with the refusal."""
    async with open_desks(settings, "order") as [desk]:
        answer = await desk.gather(Operating(settings))(act)
    if isinstance(answer, Refusal):
        if answer.kind == "UNKNOWN":
            raise fail(f"there is no order {act.order_id}", 1)
        raise fail(f"{answer.detail}; nothing was changed")
    return answer


async def _accept(settings: Settings, order_id: UUID, by: Operator) -> None:
    order = await _carried_out(settings, OperatorAct(order_id, by))
    held = ", ".join(f"{each.left:,} of {each.amount:,} won of {each.payment_key}" for each in order.facts.payments)
    out.print(f"{order_id}: accepted; held: {held}; the order is {order.status}", soft_wrap=True)


def print_obstacles(waits: list[Explanation], held: dict[str, list[HeldRecord] | str]) -> None:
    """Print why the order waits: the answers that it awaits, and its records that a service has parked or given up."""
    for each in waits:
        about = f" about {', '.join(each.about)}" if each.about else ""
        asked = f"asked {each.attempts} times" if each.attempts else UNASKED[each.message]
        then = "a person must look"
        if each.next_attempt_at:
            then = f"next attempt {shown(each.next_attempt_at)}"
        elif each.ends_at:
            then = f"the order ends without it at {shown(each.ends_at)}"
        out.print(
            f"[bold]waits for[/] {each.message}{about}, since {shown(each.since)}, {asked}, {then}", soft_wrap=True
        )
    for service, records in held.items():
        if isinstance(records, str):
            out.print(f"[yellow]left out[/]  {escape(records)}", soft_wrap=True)
            continue
        for record in records:
            what = "parked" if record.state == "PARKED" else f"dead letter, {record.state}"
            then = f", next attempt {shown(record.next_attempt_at)}" if record.next_attempt_at else ""
            said = escape(f"{record.cause}: {record.reason}") if record.cause else "behind another record"
            out.print(
                f"[red]not handled[/] by {service}: {record.topic}/{record.partition}/{record.offset}, {what} since "
                f"{shown(record.since)}, {record.attempts} attempts{then}: {said}",
                soft_wrap=True,
            )


def print_story(order: Order, events: list[Event]) -> None:
    """Print the order, its facts and its timeline."""
    reason = f" ({order.reason}{': ' + order.detail if order.detail else ''})" if order.reason else ""
    out.print(
        f"[bold]{order.order_id}[/]  {order.order_name}, {order.total_amount:,} won: [bold]{order.status}[/]{reason}"
    )
    for line in order.facts.lines:
        out.print(f"  stock     {line.quantity} x {line.product_id}: {line.stock}")
    for payment in order.facts.payments:
        out.print(f"  payment   {payment.payment_key}, {payment.amount:,} won: {payment.state}{_gone(payment)}")
    out.print(f"  delivery  {order.facts.delivery}")
    if order.facts.returning != "NOT_REQUESTED":
        out.print(f"  return    {order.facts.returning}")
    if order.facts.flag:
        out.print(f"  [yellow]flagged   {order.facts.flag}[/]")
    table = Table("at", "came in", "went out", "status", "note", box=None, padding=(0, 2, 0, 0))
    for event in events:
        at = event.at.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
        table.add_row(at, event.came_in, ", ".join(event.went_out) or "-", event.status, event.note or "")
    out.print(table)


def _gone(payment: OrderPayment) -> str:
    """How much of a payment went back. Nothing for a full refund that Order asked for or an operator accepted: the state shows it."""
    meant = payment.meant >= payment.given_back
    if payment.given_back <= 0 or (meant and not payment.left):
        return ""
    return f", {payment.given_back:,} won went back{' as Order asked or an operator accepted' if meant else ''}"


async def _held(settings: Settings, order_id: UUID) -> dict[str, list[HeldRecord] | str]:
    """Each service's parked and given-up records of an order, or why its database could not be read."""
    found: dict[str, list[HeldRecord] | str] = {}
    for service in SERVICES:
        try:
            async with guests.connection(settings.database_url(service), settings) as db:
                found[service] = await held_records(db, order_id)
        except DATABASE_PROBLEMS as error:
            found[service] = masked(database_problem(service, error))
    return found


async def _story(settings: Settings, order_id: UUID) -> tuple[Order | None, list[Event]]:
    async with guests.connection(settings.database_url("order"), settings) as db:
        order = (await store.find(db, [order_id])).get(order_id)
        return order, [event for _, event in await store.events_after(db, {order_id: 0})]
