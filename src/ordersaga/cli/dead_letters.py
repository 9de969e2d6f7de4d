"""`dead-letters` finds, shows, replays, edits and discards records that could not be handled, and imports a partner's dead letters."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final, TypeAlias
from uuid import UUID

import msgspec
import typer

from ordersaga.cli import letters as view
from ordersaga.cli.change import Change
from ordersaga.cli.importing import import_topic
from ordersaga.cli.operating import (
    Cause,
    Json,
    Order,
    Service,
    Topic,
    Who,
    Why,
    at_desks,
    must_be_local,
    operator,
    out,
    reach,
    run,
    say_json,
    time,
)
from ordersaga.cli.options import err, fail, load_settings
from ordersaga.messaging.acts import Operator
from ordersaga.messaging.bulk_replay import BulkReplay, Pace, Replay
from ordersaga.messaging.letters import STATUSES, LetterFilter, Status, check_value
from ordersaga.operations.jobs import check_pace
from ordersaga.operations.ports import OperatorsDesk
from ordersaga.operations.selection import Selection, by_id, resolve
from ordersaga.said import counted

Desks: TypeAlias = Sequence[OperatorsDesk]

app = typer.Typer(help="Records that could not be handled, and what operators do with them.", no_args_is_help=True)

app.callback()(reach)

LETTERS_SHOWN: Final = 100

Ids = Annotated[list[str] | None, typer.Argument(help="letters' ids; their beginnings will do")]
One = Annotated[str, typer.Argument(metavar="ID", help="a letter's id; its beginning will do")]
Before = Annotated[str | None, typer.Option(help="given up before this time (ISO 8601, UTC)")]
All = Annotated[bool, typer.Option("--all", help="every open letter")]
TypeId = Annotated[
    str | None, typer.Option(help="the `__TypeId__` that a partner's letter goes out with, in place of any")
]


@app.command("list")
def list_letters(
    service: Service = None,
    order: Order = None,
    topic: Topic = None,
    cause: Cause = None,
    before: Before = None,
    status: Annotated[str, typer.Option(help=f"{', '.join(STATUSES)}, or all")] = "OPEN",
    by_cause: Annotated[bool, typer.Option("--by-cause", help="count them by topic and cause")] = False,
    limit: Annotated[int, typer.Option(min=1, help="the latest so many")] = LETTERS_SHOWN,
    json: Json = False,
) -> None:
    """List dead letters, the latest first; only open ones by default."""
    wanted = LetterFilter(order_key=order, topic=topic, cause=cause, statuses=statuses(status), before=time(before))
    if by_cause:
        at_desks(service, lambda found: _count(found, wanted, json))
    else:
        at_desks(service, lambda found: _list(found, wanted, limit, json))


@app.command()
def show(letter_id: One, service: Service = None, json: Json = False) -> None:
    """Show a dead letter: its record, why it was given up, what operators did with it, and the result."""
    at_desks(service, lambda found: _show(found, letter_id, json))


@app.command()
def replay(
    ids: Ids = None,
    service: Service = None,
    order: Order = None,
    topic: Topic = None,
    cause: Cause = None,
    before: Before = None,
    everything: All = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what each would do, and do nothing")] = False,
    rate: Annotated[float, typer.Option(min=0.01, max=1_000, help="letters per second")] = 10.0,
    stop_after: Annotated[
        int, typer.Option(min=1, help="stop after so many renewed failures, and never cause more")
    ] = 10,
    wait: Annotated[float, typer.Option(min=0, help="seconds to wait for each outcome; 0: do not wait")] = 30.0,
    type_id: TypeId = None,
    why: Why = None,
    who: Who = None,
    json: Json = False,
) -> None:
    """Have the records of letters that are open now handled again, and print the result of each.

    A record of ours goes back to the service that failed, which tries it at once; a partner's record is published on its topic. Exit code 1
    unless all letters are resolved or published.
    """
    selection = _selection(ids, order, topic, cause, before, everything)
    if dry_run:
        at_desks(service, lambda found: _rehearse(found, selection, type_id, json))
        return
    pace = Pace(rate, stop_after, wait)
    check_pace(load_settings(), pace)

    async def tell(each: Replay) -> None:
        view.print_replay(each, json)

    bulk = BulkReplay(operator(who, why), pace, type_id, tell)
    _summarize(at_desks(service, lambda found: _replay(found, selection, bulk)), json)


@app.command()
def edit(
    letter_id: One,
    service: Service = None,
    value: Annotated[str | None, typer.Option(help="the new value")] = None,
    value_file: Annotated[
        Path | None, typer.Option(help="a file with the new value", exists=True, dir_okay=False)
    ] = None,
    field: Annotated[
        list[str] | None, typer.Option("--set", help="name=value of a field, as JSON or plain text; may be repeated")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="show the difference, and do nothing")] = False,
    why: Why = None,
    who: Who = None,
    json: Json = False,
) -> None:
    """Make an edited copy of a letter, to be replayed in its place, and show the difference. Without a value, on a terminal, your editor is opened.

    The value must be a message of the letter's topic. The original letter stays unchanged; the copy refers to it.
    """
    said = None if dry_run else operator(who, why)
    change = Change(value, value_file, field or [])
    at_desks(service, lambda found: _edit(found, letter_id, change, said, json))


@app.command()
def discard(
    ids: Ids = None,
    service: Service = None,
    order: Order = None,
    topic: Topic = None,
    cause: Cause = None,
    before: Before = None,
    everything: All = False,
    why: Why = None,
    who: Who = None,
    json: Json = False,
) -> None:
    """Decide that letters will not be replayed. They stay readable, with the operator's name and reason."""
    selection, said = _selection(ids, order, topic, cause, before, everything), operator(who, why)
    at_desks(service, lambda found: _discard(found, selection, said, json))


@app.command("import")
def import_letters(
    topic: Annotated[
        str,
        typer.Argument(
            help="the topic with the letters, whatever its name; for a topic of ours TOPIC-dlt and TOPIC.DLT"
        ),
    ],
    service: Annotated[
        str | None,
        typer.Option(
            help="whose database keeps them and whose outbox sends them; default: the producer of each letter's topic"
        ),
    ] = None,
    original_topic: Annotated[
        str | None, typer.Option(help="where the records come from, if no header of theirs says it")
    ] = None,
    why: Why = "imported",
    who: Who = None,
    json: Json = False,
) -> None:
    """Import dead letters that a partner's consumer has left, and print how many are new. A second import adds only new ones.

    Read are the headers of Spring Kafka, Spring Cloud Stream, Kafka Streams, Kafka Connect, share groups, SmallRye and Watermill. Exit code
    1 if some records are left out, since nothing says which topic they come from or which service keeps them.
    """
    must_be_local("an import")
    run(import_topic(topic, service, original_topic, operator(who, why), json))


# The commands' work ---------------------------------------------------------------------------------------------------


def statuses(text: str) -> Sequence[Status] | None:
    """The statuses of an option; None: all."""
    if text.lower() == "all":
        return None
    found = [status for status in STATUSES if status == text.upper()]
    if not found:
        raise fail(f"{text} is no status; there are {', '.join(STATUSES)}, and all")
    return found


def _selection(
    ids: list[str] | None,
    order: UUID | None,
    topic: str | None,
    cause: str | None,
    before: str | None,
    everything: bool,
) -> Selection:
    selection = Selection(
        ids=ids or [], order_key=order, topic=topic, cause=cause, before=time(before), everything=everything
    )
    if selection.is_empty:
        raise fail("say which: ids, --order, --topic, --cause, --before or --all")
    return selection


async def _count(desks: Desks, wanted: LetterFilter, json: bool) -> None:
    causes = [(desk, each) for desk in desks for each in await desk.redrive.causes(wanted)]
    if json:
        for desk, each in causes:
            say_json(service=desk.service, **msgspec.to_builtins(each))
    elif causes:
        view.print_causes(causes)
    if not causes:
        err.print("no dead letter fits")


async def _list(desks: Desks, wanted: LetterFilter, limit: int, json: bool) -> None:
    letters = [(desk, letter) for desk in desks for letter in await desk.redrive.find(wanted, rows_max=limit)]
    letters = sorted(letters, key=lambda each: each[1].at, reverse=True)[:limit]
    if json:
        for desk, letter in letters:
            say_json(**view.letter_as_json(desk, letter))
    elif letters:
        view.print_letters(letters)
    if not letters:
        err.print("no dead letter fits")
    elif len(letters) == limit:
        err.print(f"[dim]the latest {limit}; there may be more: --limit, --by-cause[/]")


async def _show(desks: Desks, letter_id: str, json: bool) -> None:
    desk, letter = await by_id(letter_id, desks)
    content = (await desk.redrive.contents([letter.id]))[letter.id]
    chain, done = await desk.redrive.history(letter)
    if not json:
        view.print_letter(desk, letter, content, chain, done)
        return
    say_json(
        **view.letter_as_json(desk, letter),
        **view.content_as_json(content),
        same_record=[str(each.id) for each in chain],
        acts=msgspec.to_builtins(done),
    )


async def _rehearse(desks: Desks, selection: Selection, type_id: str | None, json: bool) -> None:
    at = datetime.now(UTC)
    letters = await resolve(selection, desks)
    found = [
        (desk, each)
        for desk in desks
        for each in await desk.rehearse([letter for whose, letter in letters if whose is desk], type_id)
    ]
    if not letters:
        err.print("no open letter fits; nothing would be replayed")
        return
    view.print_rehearsed(found, json)
    if not json:
        out.print(
            f"nothing was changed; for these {len(letters)} and no later ones: --before {at:%Y-%m-%dT%H:%M:%S.%f}"
        )


async def _replay(desks: Desks, selection: Selection, bulk: BulkReplay) -> list[Replay]:
    redrives = {desk.service: desk.redrive for desk in desks}
    return await bulk.run([(redrives[desk.service], letter) for desk, letter in await resolve(selection, desks)])


def _summarize(replays: Sequence[Replay], json: bool) -> None:
    if not replays:
        err.print("no open letter fits; nothing was replayed")
        return
    counts = Counter(replay.result for replay in replays)
    if not json:
        said = ", ".join(f"{count} {result}" for result, count in counts.items())
        out.print(f"[bold]{counted(len(replays), 'letter')}[/]: {said}")
    if counts["resolved"] + counts["published"] < len(replays):
        raise typer.Exit(1)


async def _edit(desks: Desks, letter_id: str, change: Change, said: Operator | None, json: bool) -> None:
    ((desk, letter),) = await resolve(Selection(ids=[letter_id]), desks)
    content = (await desk.redrive.contents([letter.id]))[letter.id]
    value = change.of(content.value)
    check_value(letter.topic, value)
    if not json:
        view.print_diff(content.value, value)
    if said is None:
        err.print("nothing was changed")
        return
    copy = await desk.redrive.edit(letter.id, value, said)
    if json:
        say_json(**view.letter_as_json(desk, copy))
    else:
        out.print(
            f"[bold]{copy.id}[/] follows {letter.id}; have it handled with `ordersaga dead-letters replay {copy.id}`"
        )


async def _discard(desks: Desks, selection: Selection, said: Operator, json: bool) -> None:
    letters = await resolve(selection, desks)
    if not letters:
        err.print("no open letter fits; nothing was discarded")
    for desk, letter in letters:
        await desk.redrive.discard(letter.id, said)
        if json:
            say_json(id=str(letter.id), service=desk.service, record=letter.coordinates, result="discarded")
        else:
            short = str(letter.id)[: view.ID_CHARS]
            out.print(f"discarded  {short}  {letter.coordinates}  order {letter.order_key or '-'}")
