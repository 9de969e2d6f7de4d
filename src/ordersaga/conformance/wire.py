"""What a case sends and hears: records, and answers read so leniently that one fault does not hide the others."""

import base64
import contextlib
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from functools import cached_property
from typing import Any, Final

from msgspec import Struct

from ordersaga.messaging.handler import Coordinates, Record
from ordersaga.messaging.letter_headers import Failure
from ordersaga.messaging.letter_headers import read as read_letter_headers

Json = dict[str, Any]

FAILURE_WORDS: Final = frozenset(
    {
        *("FAILED", "FAIL", "FAILURE", "ERROR", "REJECTED", "DECLINED", "REFUSED", "DENIED", "CANCELLED", "CANCELED"),
        *(
            "OUT_OF_STOCK",
            "SOLD_OUT",
            "INSUFFICIENT",
            "INSUFFICIENT_STOCK",
            "UNAVAILABLE",
            "NOT_FOUND",
            "UNDELIVERABLE",
        ),
    }
)
_uuid: Final = re.compile(rb"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_control: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_base64_text: Final = re.compile(r'"[A-Za-z0-9+/]{16,}={0,2}"')


def compact(message: Mapping[str, Any]) -> bytes:
    """The message as Jackson writes it by default: no blanks, Korean as UTF-8."""
    return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()


def instant(moment: datetime) -> str:
    """A moment in UTC as Jackson writes it, in milliseconds."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def moment(ms: float) -> str:
    """Milliseconds since 1970 as a date and time in UTC."""
    try:
        return datetime.fromtimestamp(ms / 1000, UTC).isoformat(sep=" ", timespec="seconds")
    except (ValueError, OverflowError, OSError):
        return "no time"


class Sent(Struct, frozen=True):
    """A record that the kit sent. `at_s` is a time of the event loop. `note`: what is special about it."""

    place: Coordinates
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    at_s: float
    note: str = ""


class Heard(Struct, frozen=True, dict=True):
    """A record that came from Kafka. `at_s` is a time of the event loop."""

    record: Record
    at_s: float
    heard_at_s: float = 0.0
    """The same as seconds since 1970."""

    @property
    def topic(self) -> str:
        return self.record.topic

    @cached_property
    def json(self) -> Json | None:
        """The value as a JSON object; None if it is none."""
        try:
            value = json.loads((self.record.value or b"").decode("utf-8-sig"))
        except (ValueError, RecursionError):
            return None
        return value if isinstance(value, dict) else None

    @cached_property
    def _plain_names(self) -> Json:
        return {_plain(name): value for name, value in (self.json or {}).items()}

    def field(self, name: str) -> Any:
        """The value of a field of the guide, also where the service spells its name in another way (`order_id`, `OrderId`)."""
        return self._plain_names.get(_plain(name))

    def number(self, name: str) -> Decimal | None:
        """The number in a field, as `number_in` reads it."""
        return number_in(self.field(name))

    @property
    def failed(self) -> bool:
        """Whether the answer says that something failed, in whatever word."""
        return str(self.field("status")).upper() in FAILURE_WORDS

    @cached_property
    def origin(self) -> Coordinates | None:
        """Where the record of this dead letter was first, if its headers say so."""
        said = self.failure
        if said.topic is None or said.partition is None or said.offset is None:
            return None
        return Coordinates(said.topic, said.partition, said.offset)

    @cached_property
    def failure(self) -> Failure:
        """What the headers of this dead letter say, whatever stack wrote them."""
        return read_letter_headers(self.record.headers or ())

    def has(self, value: bytes | None) -> bool:
        """Whether the value of this dead letter has the bytes of a record in it: as they are, in Base64, or escaped in a JSON text."""
        there, wanted = self.record.value or b"", value or b""
        texts = {wanted.decode("latin-1"), wanted.decode(errors="replace")}
        escaped = [json.dumps(text, ensure_ascii=plain)[1:-1].encode() for text in texts for plain in (True, False)]
        return any(each in there for each in (wanted, base64.b64encode(wanted), *escaped))

    @cached_property
    def ids(self) -> frozenset[str]:
        """Every UUID in the key, in the value, and in a value that is wrapped in a JSON text as Base64."""
        value, wrapped = self.record.value or b"", b""
        if _base64_text.fullmatch(value.decode(errors="replace").strip()):
            with contextlib.suppress(ValueError):
                wrapped = base64.b64decode(value.strip().strip(b'"'))
        return uuids_in(self.record.key, value, wrapped)


def uuids_in(*parts: bytes | None) -> frozenset[str]:
    """Every UUID in these bytes, in lower case."""
    return frozenset(found.decode().lower() for part in parts for found in _uuid.findall(part or b""))


def number_in(value: object) -> Decimal | None:
    """The number that a value says, also where it is written as a text or with decimals; None if it says none."""
    try:
        found = Decimal(str(value))
    except InvalidOperation:
        return None
    return found if found.is_finite() else None


def _plain(name: str) -> str:
    return name.replace("_", "").replace("-", "").lower()


def shown(value: bytes | None, chars_max: int = 600) -> str:
    """A key or value for a person. Control characters are written as escapes: a terminal would obey them."""
    if value is None:
        return "null"
    text = _control.sub(lambda found: f"\\x{ord(found[0]):02x}", value.decode(errors="backslashreplace"))
    return text if len(text) <= chars_max else f"{text[:chars_max]}… ({len(value):,} bytes)"


def shortened(text: str, chars_max: int) -> str:
    """The text, or its beginning."""
    return text if len(text) <= chars_max else text[:chars_max] + "…"
