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
    Desk,
    Json,
    Order,
    Service,
    Topic,
    Who,
    Why,
    desks,
    operator,
    out,
    run,
    say_json,
)
from ordersaga.cli.options import err, fail, load_settings
from ordersaga.contracts.topics import BY_NAME
from ordersaga.messaging.acts import NotPossible
from ordersaga.messaging.handler import Coordinates
from ordersaga.messaging.queues import Queue, QueueFilter, parse_coordinates

app = typer.Typer(help="Records that failed and are tried again, and what waits behind them.", no_args_is_help=True)

Places = Annotated[list[str] | None, typer.Argument(help="topic/partition/offset, as `parked list` shows it")]
All = Annotated[bool, typer.Option("--all", help="every queue")]


@app.command("list")
def list_queues(
    service: Service = None, order: Order = None, topic: Topic = None, cause: Cause = None, json: Json = False
) -> None:
    """List each queue: its first record, the tries, the next try, the cause, and the number of records in the queue."""
    found = run(_list(service, order, topic, cause))
    if json:
        for desk, queue in found:
            say_json(service=desk.service, place=str(queue.first), **msgspec.to_builtins(queue))
        return
    if not found:
        out.print("nothing is parked")
        return
    table = Table("service", "first record", "order", "records", "tries", "next try", "cause")
    for desk, queue in found:
        tries_max = desk.queues.settings.park_attempts_max
        table.add_row(
            desk.service,
            str(queue.first),
            str(queue.order_key),
            str(queue.records),
            f"{queue.attempts - queue.attempts_before} of {tries_max}",
            _next_try(queue),
            escape(f"{queue.cause}: {queue.reason}" if queue.cause else "-"),
        )
    out.print(table)


def _next_try(queue: Queue) -> str:
    if queue.due_at is None:
        return "-"
    seconds = (queue.due_at - datetime.now(UTC)).total_seconds()
    return f"in {seconds:.0f} s" if seconds > 0 else f"due for {-seconds:.0f} s"


@app.command()
def retry(
    places: Places = None,
    service: Service = None,
    order: Order = None,
    topic: Topic = None,
    cause: Cause = None,
    everything: All = False,
    why: Why = "tried at once",
    who: Who = None,
    json: Json = False,
) -> None:
    """Try the first record of queues now instead of at its due time. The try counts."""
    said = operator(who, why)

    async def act(desk: Desk, place: Coordinates) -> str:
        await desk.queues.retry(place, said)
        return "due now"

    run(_act(Selection(places or [], service, order, topic, cause, everything), act, json))


@app.command()
def discard(
    places: Places = None,
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
    said = operator(who, why)

    async def act(desk: Desk, place: Coordinates) -> str:
        waiting = await desk.queues.discard(place, said)
        return f"discarded; {waiting} waited behind it" if waiting else "discarded"

    run(_act(Selection(places or [], service, order, topic, cause, everything), act, json))


class Selection(msgspec.Struct, frozen=True):
    """The queues that a command is about: those named, or all that fit the options. At least one of these is required."""

    places: Sequence[str]
    service: str | None
    order: UUID | None
    topic: str | None
    cause: str | None
    everything: bool

    async def resolve(self, found: Sequence[Desk]) -> list[tuple[Desk, Coordinates]]:
        """The first record of each chosen queue, with its service."""
        if self.places:
            return [(_reader_of(place, found), place) for place in map(parse_coordinates, self.places)]
        if not (self.order or self.topic or self.cause or self.everything):
            raise fail("say which: places, --order, --topic, --cause or --all")
        return [
            (desk, queue.first)
            for desk in found
            for queue in await desk.queues.find(QueueFilter(order_key=self.order, topic=self.topic, cause=self.cause))
        ]


async def _list(
    service: str | None, order: UUID | None, topic: str | None, cause: str | None
) -> list[tuple[Desk, Queue]]:
    async with desks(load_settings(), service) as found:
        return [
            (desk, queue)
            for desk in found
            for queue in await desk.queues.find(QueueFilter(order_key=order, topic=topic, cause=cause))
        ]


async def _act(selection: Selection, act: Callable[[Desk, Coordinates], Awaitable[str]], json: bool) -> None:
    async with desks(load_settings(), selection.service) as found:
        chosen = await selection.resolve(found)
        if not chosen:
            err.print("nothing is parked that fits")
        for desk, place in chosen:
            result = await act(desk, place)
            if json:
                say_json(service=desk.service, place=str(place), result=result)
            else:
                out.print(f"{desk.service}  {place}  {result}")


def _reader_of(place: Coordinates, found: Sequence[Desk]) -> Desk:
    """The service that would have parked a record: the consumer of its topic, if it is among those asked for."""
    consumer = BY_NAME[place.topic].consumer if place.topic in BY_NAME else None
    desk = next((desk for desk in found if desk.service == consumer), None)
    if desk is None:
        raise NotPossible(f"{place}: {' and '.join(desk.service for desk in found)} read no topic {place.topic}")
    return desk
