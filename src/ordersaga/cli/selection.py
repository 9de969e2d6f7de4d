"""The letters that a command is about: named by the beginnings of their ids, or all open ones that fit the options."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from msgspec import Struct

from ordersaga.cli.operating import Desk
from ordersaga.cli.options import fail
from ordersaga.messaging.acts import NotPossible
from ordersaga.messaging.redrive import STATUSES, Letter, LetterFilter, Status

ID_CHARS_MIN: Final = 6

Found = list[tuple[Desk, Letter]]


class Selection(Struct, frozen=True):
    """The letters of a command: these ids, or all open ones that fit the options. At least one of these is required."""

    ids: Sequence[str]
    order: UUID | None = None
    topic: str | None = None
    cause: str | None = None
    before: datetime | None = None
    everything: bool = False

    async def resolve(self, found: Sequence[Desk]) -> Found:
        """The letters as they are now, in the order of their records, in which they are replayed. Raises `NotPossible` for an unknown or ambiguous id."""
        if self.ids:
            return [await self._one(text, found) for text in dict.fromkeys(self.ids)]
        said = (self.order, self.topic, self.cause, self.before)
        if all(each is None for each in said) and not self.everything:
            raise fail("say which: ids, --order, --topic, --cause, --before or --all")
        wanted = LetterFilter(order_key=self.order, topic=self.topic, cause=self.cause, before=self.before)
        letters = [(desk, letter) for desk in found for letter in await desk.redrive.find(wanted)]
        return sorted(letters, key=lambda each: _place_in_order(*each))

    @staticmethod
    async def _one(text: str, found: Sequence[Desk]) -> tuple[Desk, Letter]:
        desk, letter = await by_id(text, found)
        if refusal := await desk.redrive.refusal(letter):
            raise NotPossible(refusal)
        return desk, letter


def _place_in_order(desk: Desk, letter: Letter) -> tuple[Any, ...]:
    offset = -1 if letter.offset is None else letter.offset
    return desk.service, letter.topic, -1 if letter.partition is None else letter.partition, offset, letter.at


async def by_id(text: str, found: Sequence[Desk]) -> tuple[Desk, Letter]:
    """The one letter whose id begins with this text, with its service. Raises `NotPossible`."""
    if len(text) < ID_CHARS_MIN or set(text.lower()) - set("0123456789abcdef-"):
        raise NotPossible(f"{text} is no letter's id, nor the first {ID_CHARS_MIN} characters of one")
    wanted = LetterFilter(ids=[text.lower()], statuses=None)
    matches = [(desk, letter) for desk in found for letter in await desk.redrive.find(wanted, rows_max=2)]
    if not matches:
        raise NotPossible(f"no dead letter of {', '.join(desk.service for desk in found)} has the id {text}")
    if len(matches) > 1:
        raise NotPossible(f"more than one id begins with {text}: {', '.join(str(letter.id) for _, letter in matches)}")
    return matches[0]


def statuses(text: str) -> Sequence[Status] | None:
    """The statuses of an option; None: all."""
    if text.lower() == "all":
        return None
    found = [status for status in STATUSES if status == text.upper()]
    if not found:
        raise fail(f"{text} is no status; there are {', '.join(STATUSES)}, and all")
    return found


def time(text: str | None) -> datetime | None:
    """The time of an option; UTC if it has no zone."""
    try:
        at = None if text is None else datetime.fromisoformat(text)
    except ValueError as error:
        raise fail(f"{text} is no time; write it like 2026-11-24T09:30:00") from error
    return at.replace(tzinfo=UTC) if at and at.tzinfo is None else at
