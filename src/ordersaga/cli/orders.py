"""`orders show` prints an order and its timeline; the other commands are an operator's acts on an order."""

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any, Final
from uuid import UUID

import typer
from msgspec import Struct
from rich.markup import escape
from rich.table import Table

from ordersaga.cli.errors import DATABASE_PROBLEMS, database_problem
from ordersaga.cli.operating import Service, Who, Why, at_desks, must_be_local, open_desks, operator, reach, run, shown
from ordersaga.cli.options import err, fail, load_settings, out
from ordersaga.masking import masked
from ordersaga.messaging import guests
from ordersaga.messaging.acts import Operator
from ordersaga.messaging.held_records import HeldRecord, held_records
from ordersaga.messaging.queues import QueueFilter
from ordersaga.messaging.refusal import Refusal
from ordersaga.operations.desk import Desk
from ordersaga.operations.ports import OperatorsDesk
from ordersaga.order import store
from ordersaga.order.deadlines import Deadlines
from ordersaga.order.explanation import Explanation, explain
from ordersaga.order.model import Event, Order, OrderPayment
from ordersaga.order.operators import Operating, OperatorAct
from ordersaga.order.resending import Resend
from ordersaga.order.returns import ReceiveReturn, RefuseReturn
from ordersaga.order.saga import OperatorCommand
from ordersaga.payment.operators import OpenIntent, OpenIntents
from ordersaga.said import counted
from ordersaga.settings import SERVICES, Settings

UNASKED: Final = {
    "PaymentSuccessMessage": "to be sent once the customer has paid",
    "ProductPriceMessage": "to be sent by Stock, which sends all prices again with `ordersaga products publish-prices`",
}

app = typer.Typer(help="One order: why it waits, and an operator's acts on it.", no_args_is_help=True)

app.callback()(reach)


@app.command()
def show(order_id: Annotated[UUID, typer.Argument(help="the order's id")]) -> None:
    """Show an order, its timeline (what came in, what went out), and why it waits."""
    must_be_local("orders show")
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
    must_be_local("orders accept-refund")
    run(_accept(load_settings(), order_id, operator(who, why)))


@app.command()
def receive_return(
    order_id: Annotated[UUID, typer.Argument(help="the order's id")], why: Why = None, who: Who = None
) -> None:
    """The goods have arrived: the order is CANCELLED, RETURNED; its refund and the release of its products are requested."""
    must_be_local("orders receive-return")
    run(_return(load_settings(), order_id, operator(who, why), ReceiveReturn))


@app.command()
def refuse_return(
    order_id: Annotated[UUID, typer.Argument(help="the order's id")], why: Why = None, who: Who = None
) -> None:
    """Refuse a return: the order stays COMPLETED, and its customer may ask again."""
    must_be_local("orders refuse-return")
    run(_return(load_settings(), order_id, operator(who, why), RefuseReturn))


@app.command()
def resend(order_id: Annotated[UUID, typer.Argument(help="the order's id")], why: Why = None, who: Who = None) -> None:
    """Send the last request for each answer that the order waits for once more, now. Partners that may act twice are not asked."""
    said = operator(who, why)
    waits = at_desks("order", lambda desks: _resend(desks[0], order_id, said))
    out.print(f"{order_id}: sent again", soft_wrap=True)
    print_obstacles(waits, {})


async def _resend(desk: OperatorsDesk, order_id: UUID, by: Operator) -> list[Explanation]:
    """The answers that the order waits for after the resend."""
    if isinstance(desk, Desk):
        order = await _act_at(desk, OperatorAct(order_id, by, Resend))
        return explain(order, Deadlines.of(desk.settings))
    remote: Any = desk
    return list((await remote.http.act_now(f"orders/{order_id}", "resend", by, _Waits)).waits_for)


class _Waits(Struct, rename="camel"):
    waits_for: list[Explanation]


@app.command()
def retry(
    order_id: Annotated[UUID, typer.Argument(help="the order's id")],
    service: Service = None,
    why: Why = "tried at once",
    who: Who = None,
) -> None:
    """Try now what is put off for an order: its parked records in every service, and its calls to the gateway in Payment."""
    said = operator(who, why)
    tried = at_desks(service, lambda desks: _retry(desks, order_id, said))
    for each in tried:
        out.print(each, soft_wrap=True)
    if not tried:
        err.print("nothing of this order is parked or put off")


async def _retry(desks: Sequence[OperatorsDesk], order_id: UUID, by: Operator) -> list[str]:
    tried = []
    for desk in desks:
        for queue in await desk.queues.find(QueueFilter(order_key=order_id)):
            await desk.queues.retry(queue.first, by)
            tried.append(f"{desk.service}  {queue.first}  due now")
        if desk.service == "payment":
            tried += [f"payment  {each}  due now" for each in await _retry_intents(desk, order_id, by)]
    return tried


async def _retry_intents(desk: OperatorsDesk, order_id: UUID, by: Operator) -> list[str]:
    """Make the gateway's open calls for an order due now. A refund that waits for its confirm is left."""
    found: list[OpenIntent]
    if isinstance(desk, Desk):
        intents = OpenIntents(desk.pool, desk.clock)
        found = [each for each in await intents.of_order(order_id) if each.due_at]
        for each in found:
            await intents.retry(each.id, by, each.version)
    else:
        remote: Any = desk
        found = [each for each in await remote.http.pages("intents", OpenIntent, orderId=order_id) if each.due_at]
        for each in found:
            body = {"reason": by.why, "version": each.version}
            await remote.http.act(f"intents/{each.id}/retry", OpenIntent, body)
    return [f"{each.kind.lower()} of {each.payment_key}" for each in found]


async def _return(settings: Settings, order_id: UUID, by: Operator, command: type[OperatorCommand]) -> None:
    order = await _carried_out(settings, OperatorAct(order_id, by, command))
    out.print(f"{order_id}: {order.status}, return {order.facts.returning}", soft_wrap=True)


async def _carried_out(settings: Settings, act: OperatorAct) -> Order:
    """Carries out the operator's command; returns the order after it, or ends the command with the refusal."""
    async with open_desks(settings, "order") as [desk]:
        return await _act_at(desk, act)


async def _act_at(desk: Desk, act: OperatorAct) -> Order:
    answer = await desk.gather(Operating(desk.settings))(act)
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
        asked = f"asked {counted(each.attempts, 'time')}" if each.attempts else UNASKED[each.message]
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
                f"{shown(record.since)}, {counted(record.attempts, 'attempt')}{then}: {said}",
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
