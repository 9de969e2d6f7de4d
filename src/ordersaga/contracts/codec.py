"""Encodes and decodes messages as the Java side's Jackson does.

Two habits of Jackson are copied, so that records are the same byte for byte: a character outside the basic plane is written as two
upper-case `\\uXXXX` escapes, and control characters use upper-case hexadecimal digits.
"""

import json
import re
from typing import Final
from uuid import UUID

import msgspec
from msgspec.structs import fields

from ordersaga.contracts.messages import Message
from ordersaga.contracts.topics import BY_NAME, TOPICS, Topic, register

REASON_CHARS_MAX: Final = 300

_encoder: Final = msgspec.json.Encoder()
_decoders: Final[dict[str, msgspec.json.Decoder[Message]]] = {}
_quoted_keys: Final[dict[str, bytes]] = {}
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


def _learn(topic: Topic) -> None:
    key = next(field.encode_name for field in fields(topic.message) if field.name == topic.key)
    _decoders[topic.name] = msgspec.json.Decoder(topic.message)
    _quoted_keys[topic.name] = f'"{key}"'.encode()


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
    """The message that a record of `topic` carries.

    Raises `Undecodable` for a null value, for bytes that are not JSON, for JSON that is not this topic's message, and for JSON that has its
    business key twice, since two parsers may read different values.
    """
    if value is None:
        raise Undecodable("the record's value is null; this topic carries messages only")
    try:
        message = _decoders[topic].decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        name = BY_NAME[topic].message.__name__
        raise Undecodable(f"not a {name}: {_in_words(error, value)}"[:REASON_CHARS_MAX]) from error
    if b"\\u0000" in value and _has_nul(msgspec.to_builtins(message)):
        raise Undecodable("a text has the character NUL (\\u0000) in it, which the database cannot store")
    quoted = _quoted_keys[topic]
    if value.count(quoted) > 1:
        key = quoted.decode().strip('"')
        if _says_twice(value, key):
            raise Undecodable(f"the field {key} is there twice, and readers may take different values")
    return message


def _in_words(error: Exception, value: bytes) -> str:
    if not value.strip():
        return "the value is empty"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, UnicodeDecodeError) or value.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        return f"the text is not UTF-8, begins with a byte order mark, or is not JSON: {error}"
    return str(error).replace("Input data was truncated", "the JSON ends too early (truncated)")


def _says_twice(value: bytes, name: str) -> bool:
    """Whether the outermost object has a field twice. The same name in nested objects, such as the lines of an order, does not count."""
    outermost: list[tuple[str, object]] = []

    def last(pairs: list[tuple[str, object]]) -> None:
        nonlocal outermost
        outermost = pairs  # the hook is called last for the outermost object

    try:
        json.loads(value, object_pairs_hook=last)
    except (ValueError, RecursionError):
        return True  # msgspec accepts these bytes and json does not, so two parsers may read them differently
    return [field for field, _ in outermost].count(name) > 1


def _has_nul(part: object) -> bool:
    if isinstance(part, str):
        return "\0" in part
    if isinstance(part, dict):
        return any(map(_has_nul, part.values()))
    return isinstance(part, list | tuple) and any(map(_has_nul, part))


def _surrogate_escapes(match: re.Match[str]) -> str:
    point = ord(match.group()) - 0x10000
    return f"\\u{0xD800 + (point >> 10):04X}\\u{0xDC00 + (point & 0x3FF):04X}"


def _with_upper_case_escapes(value: bytes) -> bytes:
    return _lower_hex_escape.sub(lambda m: m[1] + rb"\u" + m[2].upper(), value)
