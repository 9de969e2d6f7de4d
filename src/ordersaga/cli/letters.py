"""Prints dead letters: tables, one letter with its record, JSON, dry runs and differences."""

from collections.abc import Sequence
from typing import Any

import msgspec
from rich.markup import escape
from rich.table import Table

from ordersaga.cli.operating import out, say_json, shown
from ordersaga.messaging.acts import Act
from ordersaga.messaging.bulk_replay import Replay
from ordersaga.messaging.letters import CauseCount, Content, Letter
from ordersaga.messaging.texts import readable
from ordersaga.operations.letters import difference, pretty
from ordersaga.operations.ports import OperatorsDesk
from ordersaga.operations.rehearsing import Rehearsed

ID_CHARS: int = 8
COLOURS = {
    "resolved": "green",
    "published": "green",
    "failed again": "red",
    "refused": "red",
    "waits": "yellow",
    "not replayed": "yellow",
}


def print_letters(found: Sequence[tuple[OperatorsDesk, Letter]]) -> None:
    """One line for each letter. Ids are cut to a length that the commands accept."""
    table = Table("id", "service", "at", "record", "order", "tries", "cause", "status")
    for desk, letter in found:
        status = letter.status + (" (imported)" if letter.imported_from else "")
        why = escape(f"{letter.cause}: {letter.reason}")
        table.add_row(
            str(letter.id)[:ID_CHARS],
            desk.service,
            shown(letter.at),
            letter.coordinates,
            str(letter.order_key or "-"),
            str(letter.attempts),
            why,
            status,
        )
    out.print(table)


def print_causes(found: Sequence[tuple[OperatorsDesk, CauseCount]]) -> None:
    """One line for each cause."""
    table = Table("letters", "service", "topic", "cause", "status", "first", "last", "the last one says")
    for desk, each in found:
        table.add_row(
            str(each.letters),
            desk.service,
            each.topic,
            escape(each.cause),
            each.status,
            shown(each.first_at),
            shown(each.last_at),
            escape(each.last_reason),
        )
    out.print(table)


def print_letter(
    desk: OperatorsDesk, letter: Letter, content: Content, chain: Sequence[Letter], done: Sequence[Act]
) -> None:
    """Print a letter with its record, the letters of the same record, and the acts on them."""
    lines = {
        "status": letter.status,
        "record": letter.coordinates,
        "order": letter.order_key,
        "given up by": letter.consumer_group or desk.service,
        "at": shown(letter.at),
        "tries": letter.attempts,
        "cause": letter.cause,
        "reason": letter.reason,
        "imported from": letter.imported_from,
        "published as": letter.replayed_as,
        "key": readable(content.key),
    }
    out.print(f"[bold]{letter.id}[/]  {desk.service}")
    for name, said in lines.items():
        if said is not None:
            out.print(f"  {name:14} {escape(str(said))}", soft_wrap=True)
    for header, value in content.headers:
        out.print(f"  {'header':14} {escape(f'{header}: {readable(value)}')}", soft_wrap=True)
    out.print(f"  {'value':14} {escape(pretty(content.value))}", soft_wrap=True)
    if content.stacktrace:
        out.print(f"  {'stack trace':14} {escape(content.stacktrace)}", soft_wrap=True)
    for each in chain if len(chain) > 1 else ():
        out.print(
            f"  {'same record':14} {shown(each.at)}  {each.id}  {each.status}  {escape(each.cause)}", soft_wrap=True
        )
    for act in done:
        out.print(f"  {'act':14} {shown(act.at)}  {act.what} by {escape(act.who)}: {escape(act.why)}", soft_wrap=True)


def letter_as_json(desk: OperatorsDesk, letter: Letter) -> dict[str, Any]:
    """A letter as JSON."""
    return {"service": desk.service, **msgspec.to_builtins(letter)}


def content_as_json(content: Content) -> dict[str, Any]:
    """The record's bytes: as text, or in base64 where they are not UTF-8."""
    return {
        "key": _bytes_as_json(content.key),
        "value": _bytes_as_json(content.value),
        "headers": [[name, _bytes_as_json(value)] for name, value in content.headers],
        "timestamp_ms": content.timestamp_ms,
        "stacktrace": content.stacktrace,
    }


def _bytes_as_json(value: bytes | None) -> Any:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return {"base64": msgspec.to_builtins(value)}


def print_replay(replay: Replay, as_json: bool) -> None:
    """The result of a letter's replay."""
    letter = replay.letter
    if as_json:
        say_json(
            id=str(letter.id),
            service=replay.redrive.service,
            record=letter.coordinates,
            order_key=letter.order_key,
            result=replay.result,
            detail=replay.detail,
        )
        return
    result = f"[{COLOURS[replay.result]}]{replay.result:12}[/]"
    line = f"{result}  {str(letter.id)[:ID_CHARS]}  {letter.coordinates}  order {letter.order_key or '-'}"
    out.print(f"{line}  {escape(replay.detail)}", soft_wrap=True)


def print_rehearsed(found: Sequence[tuple[OperatorsDesk, Rehearsed]], as_json: bool) -> None:
    """One line for each letter of a dry run."""
    table = Table("id", "service", "record", "order", "a replay now")
    for desk, each in found:
        letter = each.letter
        if as_json:
            effect = msgspec.to_builtins(each.effect, enc_hook=str) if each.effect else {}
            say_json(id=str(letter.id), service=desk.service, record=letter.coordinates, would=each.words, **effect)
        table.add_row(
            str(letter.id)[:ID_CHARS],
            desk.service,
            letter.coordinates,
            str(letter.order_key or "-"),
            escape(each.words),
        )
    if not as_json:
        out.print(table)


def print_diff(before: bytes | None, after: bytes) -> None:
    """The difference that an edit makes."""
    for line in difference(before, after):
        colour = {"+": "green", "-": "red"}.get(line[:1], "dim")
        out.print(f"[{colour}]{escape(line)}[/]", soft_wrap=True)
