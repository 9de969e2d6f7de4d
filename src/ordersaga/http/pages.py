"""One dialect for every list over HTTP: it is asked for with `cursor` and `limit` and answers `{items, next}`.

A cursor stands for the key of the last item of a page. The next page begins after that key, so an item that is inserted or deleted meanwhile
neither hides nor repeats another one. Clients send a cursor back as it is: its form may change with any version.
"""

import base64
import binascii
import hashlib
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Any, Final, Generic, TypeVar

import msgspec
from litestar.params import QueryParameter
from msgspec import Meta, Struct

from ordersaga.http.problems import invalid

Item = TypeVar("Item")
Row = TypeVar("Row")
Key = TypeVar("Key")

LIMIT_DEFAULT: Final = 50
LIMIT_MAX: Final = 200
CHECK_BYTES: Final = 4

Limit = Annotated[int, QueryParameter(ge=1, le=LIMIT_MAX, description="How many items a page has at most.")]
Cursor = Annotated[
    str | None, QueryParameter(description="`next` of the page before. Without a cursor: the first page.")
]


TEXT_CHARS_MAX: Final = 200
NO_NUL: Final = r"^[^\x00]*$"
"""PostgreSQL stores no NUL."""
Text = Annotated[str | None, QueryParameter(max_length=TEXT_CHARS_MAX, pattern=NO_NUL)]
"""A text that a list is searched or filtered by."""
KeyNumber = Annotated[int, Meta(ge=0, le=2**63 - 1)]
KeyText = Annotated[str, Meta(pattern=NO_NUL)]
KeyTime = Annotated[datetime, Meta(tz=True)]
"""Parts of a cursor's key, within what PostgreSQL can compare with: anybody can forge a cursor."""


class Page(Struct, Generic[Item]):
    """A part of a list. `next` is the cursor of the next page, null on the last."""

    items: list[Item]
    next: str | None


class Cursors(Generic[Key]):
    """Makes and reads the cursors of one list.

    A cursor carries a check over the list's name and the key, so one of another list, or one that was cut off or altered, is refused. The check
    is no secret: a cursor only says where a page begins, and a forged one shows nothing that its caller may not see.
    """

    def __init__(self, name: str, key: Any) -> None:
        self._name: Final = name.encode()
        self._decoder: Final[msgspec.json.Decoder[Key]] = msgspec.json.Decoder(key)

    def of(self, key: Key) -> str:
        """The cursor of the page that begins after this key."""
        value = msgspec.json.encode(key)
        return base64.urlsafe_b64encode(self._check(value) + value).rstrip(b"=").decode()

    def key(self, cursor: str | None) -> Key | None:
        """The key after which the page begins; None: the first page. Raises `Problem` 400 for a text that is no cursor of this list."""
        if cursor is None:
            return None
        try:
            value = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
            key = self._decoder.decode(value[CHECK_BYTES:])
        except (binascii.Error, ValueError):  # msgspec's errors and UnicodeDecodeError are ValueErrors
            key = None
        if key is None or self.of(key) != cursor:
            raise invalid("cursor", "is not a cursor of this list; send `next` of the page before, as it is")
        return key

    def cut(self, rows: Sequence[Row], limit: int, key_of: Callable[[Row], Key]) -> tuple[Sequence[Row], str | None]:
        """The rows of a page, and the cursor of the next one. `rows` were read with one row more than `limit`, which says if more follow."""
        shown = rows[:limit]
        return shown, self.of(key_of(shown[-1])) if len(rows) > limit else None

    def _check(self, value: bytes) -> bytes:
        return hashlib.blake2s(value, digest_size=CHECK_BYTES, key=self._name).digest()
