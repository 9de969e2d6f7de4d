"""Erases personal data from what the runtime keeps about orders: dead letters, and operators' acts on them.

A record that is still to be handled needs its data, so nothing is erased while one waits.
"""

import json
import re
from collections.abc import Collection, Sequence
from typing import Any, Final
from uuid import UUID

from msgspec import Struct

from ordersaga.contracts.address import HIDDEN
from ordersaga.contracts.personal import hidden_in_words
from ordersaga.messaging.database import Connection
from ordersaga.messaging.queries import queries
from ordersaga.operations.personal import without_personal

sql: Final = queries(__file__)

CHARS_MIN: Final = 2
"""A shorter value would also be found in places that have nothing to do with it."""


class Words:
    """Removes the values of addresses from texts that repeat them, such as a carrier's reason or an operator's note."""

    def __init__(self, values: Collection[str]) -> None:
        told = sorted({each.strip() for each in values if len(each.strip()) >= CHARS_MIN}, key=len, reverse=True)
        self._values: Final = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, told))})(?!\w)") if told else None

    def without(self, text: str) -> str:
        """The text without these values, and without the fields of an address."""
        text = hidden_in_words(text)
        return text if self._values is None else self._values.sub(HIDDEN, text)

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


async def waiting(db: Connection, order_ids: Sequence[UUID]) -> Waiting:
    """What is still to be done about these orders."""
    row = await sql.waiting(db, order_ids=order_ids, keys=_keys(order_ids))
    return Waiting(row["outbox"], row["parked"], row["letters"])


async def erase(db: Connection, order_ids: Sequence[UUID], words: Words) -> tuple[int, int]:
    """Erase from the letters of these orders and from the trail, in the caller's transaction; how many of each were rewritten."""
    letters = acts = 0
    for row in await sql.letters_about(db, order_ids=order_ids, keys=_keys(order_ids)):
        before = dict(row)
        after = {
            "id": row["id"],
            "value": words.without_in_record(row["value"]),
            "header_values": [words.without_in_record(each) for each in row["header_values"]],
            "reason": words.without(row["reason"]),
            "stacktrace": row["stacktrace"] and words.without(row["stacktrace"]),
            "said": row["said"] and words.without_in_json(row["said"]),
        }
        if after != before:
            await sql.rewrite_letter(db, **after)
            letters += 1
    for row in await sql.acts_about(db, order_ids=order_ids):
        before = dict(row)
        after = {
            "id": row["id"],
            "why": words.without(row["why"]),
            "before": words.without_in_json(row["before"]),
            "after": words.without_in_json(row["after"]),
        }
        if after != before:
            await sql.rewrite_act(db, **after)
            acts += 1
    return letters, acts


def _keys(order_ids: Sequence[UUID]) -> list[bytes]:
    return [str(each).encode() for each in order_ids]
