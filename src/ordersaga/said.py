"""Sentences for people in English, each with a code and its values, by which a page says the same in another language.

The code stays the same from version to version. A page that does not know it shows the English text.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final, TypeAlias
from uuid import UUID

from msgspec import Struct

Value: TypeAlias = str | int | float | UUID | datetime | timedelta
_CHOICE: Final = re.compile(r"\{(\w+):([^|{}]*)\|([^|{}]*)\}")
UNITS: Final = (("days", 86_400), ("hours", 3_600), ("minutes", 60))


class Saying(Struct, frozen=True):
    """One sentence. `values` fill its text in, in the language that it is shown in; a length of time is written as `PT90S`."""

    code: str
    values: dict[str, str] = {}


class Said(str):
    """An English text, and the sayings that it consists of. Text added to it is a name for whoever reads English, and adds no saying.

    `str(said)` is the text alone, for JSON and for the database.
    """

    sayings: tuple[Saying, ...]

    def __new__(cls, text: str, sayings: Iterable[Saying]) -> "Said":
        said = super().__new__(cls, text)
        said.sayings = tuple(sayings)
        return said

    def __add__(self, other: str) -> "Said":
        return Said(str(self) + str(other), (*self.sayings, *sayings_of(other)))

    def __radd__(self, other: str) -> "Said":
        return Said(str(other) + str(self), (*sayings_of(other), *self.sayings))


def say(code: str, text: str, **values: Value) -> Said:
    """A sentence: `text` with its values."""
    english = {name: length(each) if isinstance(each, timedelta) else _plain(each) for name, each in values.items()}
    told = {name: _seconds(each) if isinstance(each, timedelta) else _plain(each) for name, each in values.items()}
    return Said(inflected(text, english).format(**english), (Saying(code, told),))


def inflected(text: str, values: Mapping[str, object]) -> str:
    """The text with the one of two words that fits a number: `{count} {count:record is|records are} parked`."""
    return _CHOICE.sub(lambda at: at[2] if str(values.get(at[1])) == "1" else at[3], text) if "|" in text else text


def counted(count: int, one: str, many: str | None = None) -> str:
    """A number with the noun that fits it: `1 letter`, `1,200 letters`. `many`: None: `one` with an s."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


class Sentence:
    """A sentence that is kept or sent as English alone, where there is no room for its code, and read back into its
    code and values. No value has a space in it."""

    def __init__(self, code: str, text: str) -> None:
        self._code: Final = code
        self._text: Final = text
        pattern = re.sub(r"\\\{(\w+)\\\}", lambda name: rf"(?P<{name[1]}>\S+)", re.escape(text))
        self._pattern: Final = re.compile(pattern)

    def __call__(self, **values: Value) -> str:
        """The English with its values."""
        return self._text.format(**values)

    def read(self, text: str) -> Said | None:
        """The text as this sentence; None: it is another one."""
        found = self._pattern.fullmatch(text)
        return Said(text, [Saying(self._code, found.groupdict())]) if found else None


def read_back(text: str, sentences: Iterable[Sentence]) -> str:
    """The text with its code, if it is one of these sentences; otherwise as it is."""
    return next((said for each in sentences if (said := each.read(text))), text)


def joined(separator: str, parts: Iterable[str]) -> str:
    """The parts as one text, which keeps their sayings."""
    listed = list(parts)
    text = separator.join(map(str, listed))
    sayings = [saying for each in listed for saying in sayings_of(each)]
    return Said(text, sayings) if sayings else text


def sayings_of(text: str | None) -> tuple[Saying, ...]:
    """The sayings of a text; none, if it is a plain one."""
    return text.sayings if isinstance(text, Said) else ()


def words_of(error: BaseException) -> str:
    """An error's text, with its sayings where it has some: `str(error)` loses them."""
    return error.args[0] if error.args and isinstance(error.args[0], Said) else str(error)


def length(time: timedelta) -> str:
    """A length of time in English words."""
    seconds = max(0, int(time.total_seconds()))
    for unit, size in UNITS:
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def _plain(value: Value) -> str:
    return f"{value:%Y-%m-%d %H:%M:%S}" if isinstance(value, datetime) else str(value)


def _seconds(time: timedelta) -> str:
    return f"PT{max(0, int(time.total_seconds()))}S"
