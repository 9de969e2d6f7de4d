"""`parked` lists the queues of parked records, and retries or discards the first record of a queue."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

import msgspec
import typer
from rich.markup import escape
from rich.table import Table

from ordersaga.cli.operating import (
    Cause,
    Json,
    Order,
    Service,
    Topic,
    Who,
    Why,
    at_desks,
    operator,
    out,
    reach,
    say_json,
)
from ordersaga.cli.options import err, fail
from ordersaga.messaging.handler import Coordinates
from ordersaga.messaging.queues import Queue, QueueFilter
from ordersaga.operations.ports import OperatorsDesk
from ordersaga.operations.queues import QueueSelection, resolve

app = typer.Typer(help="Records that failed and are tried again, and what waits behind them.", no_args_is_help=True)

app.callback()(reach)

Records = Annotated[list[str] | None, typer.Argument(help="topic/partition/offset, as `parked list` shows it")]
All = Annotated[bool, typer.Option("--all", help="every queue")]
ActOn = Callable[[OperatorsDesk, Coordinates], Awaitable[str]]


@app.command("list")
def list_queues(
    service: Service = None, order: Order = None, topic: Topic = None, cause: Cause = None, json: Json = False
) -> None:
    """List each queue: its first record, the tries, the next try, the cause, and the number of records in the queue."""
    wanted = QueueFilter(order_key=order, topic=topic, cause=cause)
    found = at_desks(service, lambda desks: _list(desks, wanted))
    if json:
        for desk, queue in found:
            say_json(service=desk.service, record=str(queue.first), **msgspec.to_builtins(queue))
        return
    if not found:
        out.print("nothing is parked")
        return
    table = Table("service", "first record", "order", "records", "tries", "next try", "cause")
    for desk, queue in found:
        table.add_row(
            desk.service,
            str(queue.first),
            str(queue.order_key),
            str(queue.records),
            f"{queue.attempts - queue.attempts_before} of {desk.attempts_max}",
            _next_try(queue),
            escape(f"{queue.cause}: {queue.reason}" if queue.cause else "-"),
        )
    out.print(table)


def _next_try(queue: Queue) -> str:
    if queue.due_at is None:
        return "-"
    seconds = (queue.due_at - datetime.now(UTC)).total_seconds()
    return f"in {seconds:.0f} s" if seconds > 0 else f"overdue by {-seconds:.0f} s"


@app.command()
def retry(
    records: Records = None,
    service: Service = None,
    order: Order = None,
    topic: Topic = None,
    cause: Cause = None,
    everything: All = False,
    why: Why = "tried at once",
    who: Who = None,
    json: Json = False,
) -> None:
    """Try the first record of queues now instead of at its due time. The try counts towards `ORDERSAGA_PARK_ATTEMPTS_MAX`."""
    selection, said = _selection(records, order, topic, cause, everything), operator(who, why)

    async def act(desk: OperatorsDesk, record: Coordinates) -> str:
        await desk.queues.retry(record, said)
        return "due now"

    at_desks(service, lambda desks: _act(desks, selection, act, json))


@app.command()
def discard(
    records: Records = None,
    service: Service = None,
    order: Order = None,
    topic: Topic = None,
    cause: Cause = None,
    everything: All = False,
    why: Why = None,
    who: Who = None,
    json: Json = False,
) -> None:
    """Give up the first record of queues, so that the next one is tried. The record becomes a DISCARDED dead letter."""
    selection, said = _selection(records, order, topic, cause, everything), operator(who, why)

    async def act(desk: OperatorsDesk, record: Coordinates) -> str:
        waiting = await desk.queues.discard(record, said)
        return f"discarded; {waiting} waited behind it" if waiting else "discarded"

    at_desks(service, lambda desks: _act(desks, selection, act, json))


def _selection(
    records: list[str] | None, order: UUID | None, topic: str | None, cause: str | None, everything: bool
) -> QueueSelection:
    wanted = QueueFilter(order_key=order, topic=topic, cause=cause)
    selection = QueueSelection(records=records or [], wanted=wanted, everything=everything)
    if selection.is_empty:
        raise fail("say which: records, --order, --topic, --cause or --all")
    return selection


async def _list(desks: Sequence[OperatorsDesk], wanted: QueueFilter) -> list[tuple[OperatorsDesk, Queue]]:
    return [(desk, queue) for desk in desks for queue in await desk.queues.find(wanted)]


async def _act(desks: Sequence[OperatorsDesk], selection: QueueSelection, act: ActOn, json: bool) -> None:
    chosen = await resolve(selection, desks)
    if not chosen:
        err.print("nothing is parked that fits")
    for desk, record in chosen:
        result = await act(desk, record)
        if json:
            say_json(service=desk.service, record=str(record), result=result)
        else:
            out.print(f"{desk.service}  {record}  {result}")
