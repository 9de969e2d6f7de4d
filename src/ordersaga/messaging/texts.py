"""Makes text from outside storable in PostgreSQL, keeps the sayings of our own, and makes bytes readable for a person."""

from typing import Final

import msgspec

from ordersaga.masking import masked_sayings
from ordersaga.said import Said, Saying, sayings_of

SAYINGS_CHARS_MAX: Final = 8_000
_sayings: Final = msgspec.json.Decoder(list[Saying])


def storable(text: str, chars_max: int | None = None) -> str:
    """The text with NUL and lone surrogates escaped, which PostgreSQL refuses, cut to `chars_max`."""
    return text.encode(errors="backslashreplace").decode().replace("\0", "\\x00")[:chars_max]


def readable(value: bytes | None) -> str | None:
    """Bytes as text; bytes that are not UTF-8 are escaped."""
    return None if value is None else value.decode(errors="backslashreplace")


def stored_sayings(text: str | None) -> str | None:
    """The sayings of a text, for a column beside its own. None: it has none, or too much for a column."""
    sayings = masked_sayings(sayings_of(text))
    stored = storable(msgspec.json.encode(sayings).decode()) if sayings else ""
    return stored if 0 < len(stored) <= SAYINGS_CHARS_MAX else None


def read_sayings(stored: str | None) -> list[Saying]:
    """The sayings in such a column; none where a newer version has written what this one cannot read."""
    try:
        return _sayings.decode(stored) if stored else []
    except msgspec.MsgspecError:
        return []


def with_sayings(text: str, stored: str | None) -> str:
    """A text from the database, with the sayings of the column beside it."""
    sayings = read_sayings(stored)
    return Said(text, sayings) if sayings else text
