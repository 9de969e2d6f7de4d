"""Encodes and decodes messages as the Java side's Jackson does.

Two habits of Jackson are copied, so that records are the same byte for byte: a character outside the basic plane is written as two
upper-case `\\uXXXX` escapes, and control characters use upper-case hexadecimal digits.
"""

import codecs
import json
import re
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Final, NamedTuple
from uuid import UUID

import msgspec
from msgspec.structs import FieldInfo, fields

from ordersaga.contracts import lenient
from ordersaga.contracts.messages import Message, StockDecreaseRequestMessage, StockRollbackRequestedMessage
from ordersaga.contracts.topics import BY_NAME, TOPICS, Topic, register
from ordersaga.said import Said, say

REASON_CHARS_MAX: Final = 300
NOT_JSON: Final = (ValueError, RecursionError)
"""What decoders raise for what is no JSON, has no UTF-8 in it, does not fit its type, or is nested too deeply."""
LINES: Final = tuple(
    field.type
    for field in (*fields(StockDecreaseRequestMessage), *fields(StockRollbackRequestedMessage))
    if field.name in ("products", "items")
)
"""The types of a list of lines, each of which has one id."""

BACKSLASH: Final = ord("\\")

MARKS: Final = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_REGISTRY: Final = re.compile(rb"\0\0.{3}[^\0]", re.DOTALL)
"""How a value begins that a serializer of Confluent's Schema Registry has written: zero, and the schema's number in four bytes, the first of which is zero for 16 million schemas."""

_encoder: Final = msgspec.json.Encoder()
_readers: "Final[dict[str, _Ids]]" = {}
_outside_basic_plane: Final = re.compile("[\U00010000-\U0010ffff]")
_lower_hex_escape: Final = re.compile(rb"(?<!\\)((?:\\\\)*)\\u(00[01][a-f])")


class Undecodable(ValueError):
    """The bytes are not a message of their topic. The text says why, for a person."""


def declare(topic: Topic) -> Topic:
    """Make a topic's messages encodable and decodable, and let `@consumes` take their class; returns the topic.

    A service of another system declares its topics once, before its handler; those of the order process are declared already. Raises
    `ValueError` where the name or the message is taken, or where the key is no UUID field of the message.
    """
    register(topic)
    _learn(topic)
    return topic


class _Ids(NamedTuple):
    """How to decode a topic's records, and what its ids look like, so that one that is there twice is found by counting.

    `pattern` is in a plain record so many `times`, and once more for each of its `lines`. Where the `optional` id is absent, the `key` could
    have its place. `other`: the name of an id that has not the pattern.
    """

    decode: Callable[[bytes], Message]
    pattern: bytes
    times: int
    lines: Callable[[Message], Sequence[object]] | None
    optional: Callable[[Message], object] | None
    key: bytes
    other: bytes | None


def _learn(topic: Topic) -> None:
    known = fields(topic.message)
    ids = [field for field in known if field.encode_name.endswith("Id")]
    lines = [attrgetter(field.name) for field in known if field.type in LINES]
    optional = [attrgetter(field.name) for field in ids if not field.required]
    others = [_quoted(field) for field in known if field.encode_name.endswith("Key")]
    key = _quoted(next(field for field in known if field.name == topic.key))
    decode = msgspec.json.Decoder(topic.message).decode
    has_key = any(field.name == topic.key for field in ids)
    if has_key and (not optional or len(ids) <= 2) and len(others) < 2:
        _readers[topic.name] = _Ids(
            decode,
            b'Id"',
            len(ids),
            lines[0] if lines else None,
            optional[0] if optional else None,
            key,
            others[0] if others else None,
        )
    else:  # a message of another system, with more ids than are told apart by counting: its key alone
        _readers[topic.name] = _Ids(decode, key, 1, None, None, key, None)


def _quoted(field: FieldInfo) -> bytes:
    return f'"{field.encode_name}"'.encode()


for _topic in TOPICS:
    _learn(_topic)


def encode(message: Message) -> bytes:
    """The message as JSON."""
    value = _encoder.encode(message)
    if value.isascii():
        return value if b"\\u00" not in value else _with_upper_case_escapes(value)
    text = value.decode()
    if len(text.encode("utf-16-le")) != 2 * len(text):  # a character outside the basic plane takes two units
        value = _outside_basic_plane.sub(_surrogate_escapes, text).encode()
    return value if b"\\u00" not in value else _with_upper_case_escapes(value)


def text_of(id: UUID) -> bytes:
    """The id as text, for a record key. msgspec's encoder prints a UUID faster than `str` does."""
    return _encoder.encode(id)[1:-1]


def decode(topic: str, value: bytes | None) -> Message:
    """The message that a record of `topic` carries. What the strict decoder refuses is read as Jackson would, see `lenient.py`.

    Raises `Undecodable` for a null value, for bytes that are not JSON, for JSON that is not this topic's message, and for an id that is
    there twice with different values, since two parsers may read different ones.
    """
    if value is None:
        raise Undecodable(say("letter.null", "the record's value is null; this topic carries messages only"))
    decode, pattern, times, lines, optional, key, other = _readers[topic]
    try:
        message = decode(value)
    except NOT_JSON as error:
        return _leniently(topic, value, error)
    found = value.count(pattern)
    if lines is not None:
        found -= len(lines(message))
    if (
        found != times
        or (optional is not None and optional(message) is None and value.count(key) > 1)
        or (other is not None and value.count(other) > 1)
        or (BACKSLASH in value and b"\\u00" in value)  # a name may be written with escapes, and a text may have a NUL
    ):
        _leniently(
            topic, value, None
        )  # raises where an id has two values or a text a NUL; otherwise the message stands
    return message


def _leniently(topic: str, value: bytes, strict: Exception | None) -> Message:
    """The message by the lenient reader. `strict`: why the strict decoder refuses the value."""
    kind = BY_NAME[topic].message
    try:
        message = lenient.read(kind, value)
    except lenient.NotPlain as error:
        why = str(error)
    except NOT_JSON as error:
        # Where both find no JSON, the strict decoder's words are the better ones: they count bytes. It knows UTF-8 without a mark alone.
        if strict is None or isinstance(strict, msgspec.ValidationError) or value.startswith(MARKS):
            strict = error
        why = _in_words(strict, value)
    else:
        if (at := _nul_at(msgspec.to_builtins(message), "$")) is not None:
            raise Undecodable(
                say(
                    "letter.nul",
                    "a text has the character NUL (\\u0000) in it, which the database cannot store - at `{path}`",
                    path=at,
                )
            )
        return message
    raise Undecodable(_not_a(kind.__name__, why)) from strict


def _not_a(message: str, why: str) -> Said:
    text = f"not a {message}: {why}"
    return say(
        "letter.not_a",
        "not a {message}: {why}",
        message=message,
        why=why[: len(why) - max(0, len(text) - REASON_CHARS_MAX)],
    )


def _in_words(error: Exception, value: bytes) -> str:
    if not value.strip():
        return "the value is empty"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if _REGISTRY.match(value):
        return "it begins with the five bytes of a Schema Registry: send plain JSON, with a serializer that uses no registry"
    if isinstance(error, UnicodeDecodeError):
        return f"its text is not {error.encoding.upper()}: {_first_wrong(value) or error.reason}"
    if isinstance(error, json.JSONDecodeError):
        return f"JSON is malformed: {error.msg} (character {error.pos})"
    return str(error).replace("Input data was truncated", "the JSON ends too early (truncated)")


def _first_wrong(value: bytes) -> str | None:
    """Which byte of the value is wrong: the decoder counts from the beginning of the text that the byte is in."""
    try:
        value.decode(json.detect_encoding(value).removesuffix("-sig"))  # with `-sig` the mark's bytes are not counted
    except UnicodeDecodeError as error:
        return f"{error.reason}, 0x{value[error.start]:02x} (byte {error.start})"
    return None


def _nul_at(part: object, path: str) -> str | None:
    """Where the first text with a NUL is, or None."""
    if isinstance(part, str):
        return path if "\0" in part else None
    if isinstance(part, dict):
        parts = [(each, f"{path}.{name}") for name, each in part.items()]
    elif isinstance(part, list | tuple):
        parts = [(each, f"{path}[{index}]") for index, each in enumerate(part)]
    else:
        return None
    return next((found for each, where in parts if (found := _nul_at(each, where)) is not None), None)


def _surrogate_escapes(match: re.Match[str]) -> str:
    point = ord(match.group()) - 0x10000
    return f"\\u{0xD800 + (point >> 10):04X}\\u{0xDC00 + (point & 0x3FF):04X}"


def _with_upper_case_escapes(value: bytes) -> bytes:
    return _lower_hex_escape.sub(lambda m: m[1] + rb"\u" + m[2].upper(), value)
