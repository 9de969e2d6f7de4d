"""`dead-letters replay --dry-run`: says for each letter what a replay would do."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import msgspec
from rich.markup import escape
from rich.table import Table

from ordersaga.cli.letters import ID_CHARS, effect_in_words
from ordersaga.cli.operating import Desk, desks, out, say_json
from ordersaga.cli.options import err, load_settings
from ordersaga.cli.selection import Found, Selection
from ordersaga.messaging.database import Connection
from ordersaga.messaging.redrive import Letter, has_type_id, record_of, restored
from ordersaga.messaging.rehearsal import Effect, Rehearsal
from ordersaga.order import store as orders


async def rehearse(service: str | None, selection: Selection, type_id: str | None, json: bool) -> None:
    """Print for each selected letter what a replay would do now."""
    async with desks(load_settings(), service) as found:
        at = datetime.now(UTC)
        letters = await selection.resolve(found)
        table = Table("id", "service", "record", "order", "a replay now")
        for desk, group in _by_order(letters):
            for letter, words, effect in await _effects(desk, group, type_id):
                if json:
                    known = msgspec.to_builtins(effect) if effect else {}
                    say_json(id=str(letter.id), service=desk.service, record=letter.coordinates, would=words, **known)
                table.add_row(
                    str(letter.id)[:ID_CHARS],
                    desk.service,
                    letter.coordinates,
                    str(letter.order_key or "-"),
                    escape(words),
                )
    if not letters:
        err.print("no open letter fits; nothing would be replayed")
    elif not json:
        out.print(table)
        out.print(
            f"nothing was changed; for these {len(letters)} and no later ones: --before {at:%Y-%m-%dT%H:%M:%S.%f}"
        )


def _by_order(letters: Found) -> list[tuple[Desk, list[Letter]]]:
    """Group letters by order: the rehearsal of an order's second letter begins with the state that the first one left."""
    groups: dict[tuple[str, UUID], tuple[Desk, list[Letter]]] = {}
    for desk, letter in letters:
        groups.setdefault((desk.service, letter.order_key or letter.id), (desk, []))[1].append(letter)
    return list(groups.values())


async def _effects(
    desk: Desk, letters: Sequence[Letter], type_id: str | None
) -> list[tuple[Letter, str, Effect | None]]:
    """What a replay of each letter would do, in words, with its effect where the service's handler can be rehearsed."""
    contents = await desk.redrive.contents([letter.id for letter in letters])
    told: list[tuple[Letter, str, Effect | None]] = []
    for letter in letters:
        if letter.replay_publishes:
            with_type = has_type_id(restored(desk.redrive.settings, letter, contents[letter.id], type_id))
            told.append((letter, f"goes out on {letter.topic}, {'with' if with_type else 'without'} __TypeId__", None))
    handler = desk.handler()
    read = {topic.name for topic in handler.topics}
    told += [
        (each, f"is refused: {desk.service} does not read {each.topic}", None)
        for each in letters
        if not each.replay_publishes and each.topic not in read
    ]
    ours = [letter for letter in letters if not letter.replay_publishes and letter.topic in read]
    rehearsal = Rehearsal(handler.handle, *(ORDER_TELLS if desk.service == "order" else NOBODY_TELLS))
    async with desk.redrive.pool.acquire() as db:
        records = [record_of(letter, contents[letter.id]) for letter in ours]
        effects = await rehearsal.run(db, records, desk.redrive.clock(), desk.redrive.new_id)
    return told + [(each, effect_in_words(effect), effect) for each, effect in zip(ours, effects, strict=True)]


async def _last_note(db: Connection, order_id: UUID) -> str | None:
    events = await orders.events_after(db, {order_id: 0})
    return events[-1][1].note if events else None


ORDER_TELLS: Final = (frozenset({"order_event"}), _last_note)
NOBODY_TELLS: Final = (frozenset[str](), None)
