"""Erases personal data from what the runtime keeps about orders: dead letters, and operators' acts on them.

A record that is still to be handled needs its data, so nothing is erased while one waits.
"""

import asyncio
import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec
from msgspec import Struct

from ordersaga.contracts.address import HIDDEN
from ordersaga.contracts.personal import hidden_in_words
from ordersaga.messaging.database import Connection
from ordersaga.messaging.queries import queries
from ordersaga.messaging.texts import read_sayings
from ordersaga.operations.personal import without_personal
from ordersaga.said import Saying

sql: Final = queries(__file__)

CHARS_MIN: Final = 2
"""A shorter value would also be found in places that have nothing to do with it."""
LARGE_CHARS: Final = 32_768
IDS_AND_TIMES: Final = (
    r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|\d{4}-\d\d-\d\d[T ][\d:.]+(?:Z|[+-]\d\d:?\d\d)?"
)
"""A short value, such as the 11 of a house, may be a part of them."""


class Words:
    """Removes the values of addresses from texts that repeat them, such as a carrier's reason or an operator's note.

    A value ends before any letter that is not ASCII: in Korean a particle follows a name without a space. Ids and times stay as they are.
    """

    def __init__(self, values: Collection[str]) -> None:
        told = sorted({each.strip() for each in values if len(each.strip()) >= CHARS_MIN}, key=len, reverse=True)
        found = rf"(?P<stays>{IDS_AND_TIMES})|(?<!\w)(?:{'|'.join(map(re.escape, told))})(?!\w)"
        self._values: Final = re.compile(found, re.ASCII) if told else None

    def without(self, text: str) -> str:
        """The text without these values, and without the fields of an address."""
        text = hidden_in_words(text)
        return text if self._values is None else self._values.sub(lambda found: found["stays"] or HIDDEN, text)

    def without_in_sayings(self, sayings: Iterable[Saying]) -> tuple[Saying, ...]:
        """The sayings of such a text. Their codes stay."""
        return tuple(
            Saying(each.code, {name: self.without(value) for name, value in each.values.items()}) for each in sayings
        )

    def without_in_stored(self, stored: str | None) -> str | None:
        """The same for the column with the sayings."""
        sayings = read_sayings(stored)
        cleared = list(self.without_in_sayings(sayings))
        return stored if cleared == sayings else msgspec.json.encode(cleared).decode()

    def without_in_json(self, text: str) -> str:
        """JSON whose texts are without them. Numbers and names of fields stay."""
        value = json.loads(text)
        cleared = self._in(without_personal(value))
        return text if cleared == value else json.dumps(cleared, ensure_ascii=False, separators=(",", ":"))

    def without_in_record(self, record: bytes | None) -> bytes | None:
        """A record's value or header. One that is no JSON may have them anywhere."""
        if record is None:
            return None
        try:
            return self.without_in_json(record.decode()).encode()
        except (ValueError, RecursionError):
            text = record.decode(errors="backslashreplace")
            cleared = self.without(text)
            return record if cleared == text else cleared.encode()

    def _in(self, part: Any) -> Any:
        if isinstance(part, dict):
            return {name: self._in(each) for name, each in part.items()}
        if isinstance(part, list):
            return [self._in(each) for each in part]
        return self.without(part) if isinstance(part, str) else part


class Waiting(Struct, frozen=True):
    """How much about orders is still to be done in one database."""

    outbox: int
    parked: int
    letters: int

    @property
    def is_something(self) -> bool:
        return bool(self.outbox or self.parked or self.letters)


class Theirs(Struct, frozen=True):
    """What one database has about a customer: the orders, and the letters of these orders or, where they have no order, of the customer."""

    order_ids: Sequence[UUID]
    letter_ids: Sequence[UUID]

    @property
    def keys(self) -> list[UUID]:
        """Of parked records and acts. A letter without an order is parked under its own id."""
        return [*self.order_ids, *self.letter_ids]


async def find(db: Connection, customer_id: UUID | None, order_ids: Sequence[UUID]) -> Theirs:
    """What there is about a customer, or, without one, about orders."""
    named = order_ids if customer_id is None else (customer_id, *order_ids)
    rows = await sql.letters_of_customer(db, order_ids=order_ids, names=[str(each).encode() for each in named])
    return Theirs(order_ids, [row["id"] for row in rows])


async def waiting(db: Connection, theirs: Theirs) -> Waiting:
    """What is still to be done about a customer's orders."""
    row = await sql.waiting(
        db,
        outbox_keys=[str(each).encode() for each in theirs.order_ids],
        parked_keys=theirs.keys,
        letter_ids=theirs.letter_ids,
    )
    return Waiting(row["outbox"], row["parked"], row["letters"])


async def erase(
    db: Connection, theirs: Theirs, words: Words, now: datetime, alive: Callable[[], object] = lambda: None
) -> tuple[int, int]:
    """Erase from letters, jobs and the trail, in the caller's transaction; how many letters and acts were rewritten. `alive` is called after each."""
    letters, jobs = 0, []
    if theirs.letter_ids:  # no index has the letters of jobs, and nearly no order has a letter
        letters = await _erase_letters(db, theirs, words, now, alive)
        jobs = [row["job_id"] for row in await sql.jobs_about(db, letter_ids=theirs.letter_ids)]
        await _erase_jobs(db, theirs, jobs, words)
    return letters, await _erase_acts(db, theirs, jobs, words, alive)


async def _erase_letters(
    db: Connection, theirs: Theirs, words: Words, now: datetime, alive: Callable[[], object]
) -> int:
    letters = 0
    for locked in await sql.lock_letters(db, letter_ids=theirs.letter_ids):
        before = dict(await sql.letter_texts(db, id=locked["id"]))
        after = await _beside_the_loop(_letter_without, before, words)
        if after != before:
            await sql.rewrite_letter(db, **after, now=now)
            letters += 1
        alive()
    return letters


def _letter_without(row: Mapping[str, Any], words: Words) -> dict[str, Any]:
    return {
        "id": row["id"],
        "value": words.without_in_record(row["value"]),
        "header_values": [words.without_in_record(each) for each in row["header_values"]],
        "reason": words.without(row["reason"]),
        "stacktrace": row["stacktrace"] and words.without(row["stacktrace"]),
        "said": words.without_in_stored(row["said"]),
    }


def _act_without(row: Mapping[str, Any], words: Words) -> dict[str, Any]:
    return {
        "id": row["id"],
        "why": words.without(row["why"]),
        "before": words.without_in_json(row["before"]),
        "after": words.without_in_json(row["after"]),
    }


async def _beside_the_loop(
    without: Callable[[Mapping[str, Any], Words], dict[str, Any]], row: Mapping[str, Any], words: Words
) -> dict[str, Any]:
    """The row without the words. A long one, which takes a second for some megabytes, in a thread: the event loop also answers requests."""
    texts = [each for value in row.values() for each in (value if isinstance(value, list) else [value])]
    if sum(len(each) for each in texts if isinstance(each, str | bytes)) > LARGE_CHARS:
        return await asyncio.to_thread(without, row, words)
    return without(row, words)


async def _erase_jobs(db: Connection, theirs: Theirs, job_ids: Sequence[UUID], words: Words) -> None:
    for row in await sql.job_items_about(db, letter_ids=theirs.letter_ids):
        before = dict(row)
        after = before | {"detail": words.without(row["detail"]), "said": words.without_in_stored(row["said"])}
        if after != before:
            await sql.rewrite_job_item(db, **after)
    for row in await sql.lock_jobs(db, job_ids=job_ids):
        before = dict(row)
        after = before | {name: row[name] and words.without(row[name]) for name in ("why", "stop_why", "problem")}
        if after != before:
            await sql.rewrite_job(db, **after)


async def _erase_acts(
    db: Connection, theirs: Theirs, job_ids: Sequence[UUID], words: Words, alive: Callable[[], object]
) -> int:
    acts = 0
    targets = [str(each) for each in (*theirs.letter_ids, *job_ids)]
    for locked in await sql.acts_about(db, keys=theirs.keys, targets=targets):
        before = dict(await sql.act_texts(db, id=locked["id"]))
        after = await _beside_the_loop(_act_without, before, words)
        if after != before:
            await sql.rewrite_act(db, **after)
            acts += 1
        alive()
    return acts
