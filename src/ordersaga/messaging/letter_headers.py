"""Reads what other stacks write on the records that they give up, and takes it off again. docs/dead-letters.md lists the stacks.

Each stack names the record's original place and the error in headers of its own. A record may carry those of several failures: it was
replayed with them, or its dead letter was given up, too. The newest say the error. The place is where the record was before it got into
queues of dead letters. A header that cannot be read counts as missing: a repair tool must not fail on a broken record.
"""

import base64
import binascii
import json
import re
from collections.abc import Callable, Sequence
from typing import Final

from msgspec import Struct

from ordersaga.contracts.headers import TYPE_ID
from ordersaga.contracts.topics import BY_NAME, DEAD_LETTER_SUFFIX
from ordersaga.messaging import spring_headers
from ordersaga.messaging.handler import Record
from ordersaga.messaging.letter_stacks import (
    OFFSET_MAX,
    PARTITION_MAX,
    RETRY_ATTEMPTS,
    RETRY_TOPICS,
    SPRING,
    STACKS,
    Stack,
    binary,
)
from ordersaga.messaging.spring_headers import Headers

BYTES_TYPE: Final = b"[B"
"""Java's name of an array of bytes, which Spring's JSON serializer writes as a text in base64."""
TEXT_TYPE: Final = b"java.lang.String"
WRAPPINGS: Final = (SPRING.topic, "kafka_dlt-exception-fqcn", RETRY_TOPICS.topic, "kafka_exception-fqcn")
"""The headers that are there once for each failure, some by default and others by a setting."""
KEY_TYPE_ID: Final = "__Key_TypeId__"
FASTSTREAM: Final = frozenset({"content-type", "correlation_id"})
"""Headers of every record that a FastStream service publishes, also of a letter by its own code. The first tells how the letter was written: with
`text/plain` there, FastStream does not read a replayed record as JSON."""
_CAUSED_BY: Final = "\nCaused by: "
_ENDS_OF_MESSAGE: Final = ("\n\tat ", "\n\t... ", _CAUSED_BY, "\n\tSuppressed: ")
_OTHERS: Final = ("kafka_deliveryAttempt", "springDeserializerExceptionKey", "springDeserializerExceptionValue")
_PREFIXES: Final = tuple(prefix for stack in STACKS for prefix in stack.prefixes)
_CLASS: Final = re.compile(r"[\w$]+(?:\.[\w$]+)+", re.ASCII)


class Failure(Struct, frozen=True):
    """Who gave a record up, where the record was, and why. `topic` None: no header says it. `lost_key`: the letter has no key, whatever the
    record had."""

    stack: str | None = None
    topic: str | None = None
    partition: int | None = None
    offset: int | None = None
    timestamp_ms: int | None = None
    group: str | None = None
    cause: str | None = None
    message: str | None = None
    stacktrace: str | None = None
    attempts: int = 1
    is_altered: bool = False
    """Whether the letter may lack something of the record: a stack has written the value again, without the fields that it does not know, or has
    left out the record's headers."""
    lost_key: bool = False


def read(headers: Headers) -> Failure:
    """The newest failure that the headers tell of."""
    found = _newest_first(headers)
    if not found:
        return Failure("FastStream", lost_key=True) if _is_faststreams(headers) else Failure()
    newest = found[0]
    last = dict(reversed(headers)) if newest.comes_first else dict(headers)
    text = _first_text(last)
    stacktrace = text(newest.stacktraces)
    cause, message = root_of(stacktrace) or (text(newest.causes), text(newest.messages))
    group = last.get(newest.group)
    place = _place(found, headers)
    return Failure(
        newest.name,
        place.topic,
        place.partition,
        place.offset,
        place.timestamp_ms,
        place.group or (newest.group_prefix + group.decode(errors="replace") if group else None),
        cause,
        text(newest.messages) if message is None else message,
        stacktrace,
        _attempts(newest, last, sum(name == newest.tries for name, _ in headers)),
        any(stack.alters for stack in found),
        any(stack.loses_key for stack in found),
    )


def is_of(record: Record, groups: frozenset[str]) -> bool:
    """Whether a consumer of these groups gave the record up, and no other after it: its headers are the newest, and the queue is its own."""
    found = _newest_first(record.headers or ())
    if not found or found[0] is not SPRING:
        return False
    newest = spring_headers.read(record.headers or ())
    return newest.group in groups and record.topic == f"{newest.topic}{DEAD_LETTER_SUFFIX}"


def without(headers: Headers) -> Headers:
    """The record's own headers: without those of any stack, and without the types that Spring gives to bytes and texts."""
    others = (*_OTHERS, *FASTSTREAM) if _is_faststreams(headers) and not _newest_first(headers) else _OTHERS
    return tuple(
        (name, value)
        for name, value in headers
        if not name.startswith(_PREFIXES)
        and name not in others
        and (name not in (TYPE_ID, KEY_TYPE_ID) or value not in (BYTES_TYPE, TEXT_TYPE))
    )


def unwrapped(value: bytes | None, headers: Headers) -> bytes | None:
    """The value as it was before Spring's JSON serializer made a text of it, once for each failure that headers tell of: in base64, if it was
    bytes. A sender may have made such a text, too, so what is inside does not say how often."""
    names = [name for name, _ in headers]
    inside = _text_in if dict(headers).get(TYPE_ID) == TEXT_TYPE else _bytes_in
    for _ in range(max(map(names.count, WRAPPINGS))):
        inner = inside(value)
        if inner is None:
            break
        value = inner
    return value


def object_in(value: bytes) -> bytes | None:
    """What begins as a JSON object and is in a JSON text, in base64 or not, or in a text in a text; None where nothing does."""
    inmost = layers_of(value)[-1]
    return inmost if inmost.lstrip().startswith(b"{") else None


def unwrapped_key(key: bytes | None, headers: Headers) -> bytes | None:
    """The key as it was, likewise. Spring's JSON serializer says of a key that it was bytes."""
    return layers_of(key)[-1] if key is not None and (KEY_TYPE_ID, BYTES_TYPE) in headers else key


def layers_of(value: bytes | None) -> list[bytes]:
    """The value, what the JSON text in it stands for, what the text in that stands for, and so on. Empty if there is no value."""
    layers = []
    while value is not None:
        layers.append(value)
        value = _inside(value)
    return layers


def root_of(stacktrace: str | None) -> tuple[str, str | None] | None:
    """Class and message of the innermost error of a Java stack trace, behind the last `Caused by:`."""
    if not stacktrace:
        return None
    text = stacktrace.rpartition(_CAUSED_BY)[2]
    ends = [at for end in _ENDS_OF_MESSAGE if (at := text.find(end)) >= 0]
    name, _, message = text[: min(ends, default=len(text))].partition(":")
    return (name.strip(), message.strip() or None) if _CLASS.fullmatch(name.strip()) else None


def _is_faststreams(headers: Headers) -> bool:
    """Whether a FastStream service has published this."""
    return {name for name, _ in headers} >= FASTSTREAM


def _newest_first(headers: Headers) -> list[Stack]:
    """The stacks whose headers are there. New headers are appended, but for one stack that puts its own before all others."""
    names = [name for name, _ in headers]
    at = {}
    for stack in STACKS:
        theirs = [n for n, name in enumerate(names) if name and name in (stack.topic, *stack.causes, *stack.messages)]
        if theirs:
            at[stack.name] = len(names) if stack.comes_first and names[0].startswith(stack.prefixes) else theirs[-1]
    return sorted((stack for stack in STACKS if stack.name in at), key=lambda stack: at[stack.name], reverse=True)


class _Place(Struct, frozen=True):
    topic: str | None = None
    partition: int | None = None
    offset: int | None = None
    timestamp_ms: int | None = None
    group: str | None = None


def _place(found: Sequence[Stack], headers: Headers) -> _Place:
    """Where the record was before it got into any queue of dead letters.

    Places in the order of the failures: a place on another topic than the one before is a queue's, unless that topic is of the contract.
    A place on the same topic is that of a record which was replayed with its old headers.
    """
    meant = _Place()
    for place in (place for stack in reversed(found) for place in _places(stack, headers)):
        if meant.topic in (None, place.topic) or place.topic in BY_NAME:
            meant = place
    return meant


def _places(stack: Stack, headers: Headers) -> list[_Place]:
    """The places that a stack names, in the order of its failures."""

    def all_of(name: str) -> list[bytes | None]:
        values = [value for each, value in headers if each == name] if name else []
        return values[::-1] if stack.comes_first else values

    topics = all_of(stack.topic)

    def nth(name: str, n: int) -> bytes | None:
        values = all_of(name)
        # Of a header that is not there once for each failure the last counts.
        return values[n] if len(values) == len(topics) else values[-1] if values else None

    return [
        _Place(
            _name_in(topic) if topic else None,
            stack.number(nth(stack.partition, n), PARTITION_MAX),
            stack.number(nth(stack.offset, n), OFFSET_MAX),
            stack.number(nth(stack.timestamp, n), OFFSET_MAX),
            _name_in(group) if (group := nth(stack.group, n)) and not stack.group_prefix else None,
        )
        for n, topic in enumerate(topics)
    ]


def _name_in(value: bytes) -> str:
    """The name of a topic or a group. Spring's header mapper writes a text as JSON, in quotes, where its `encodeStrings` is set."""
    return (_text_in(value) or value).decode(errors="replace")


def _first_text(last: dict[str, bytes | None]) -> Callable[[Sequence[str]], str | None]:
    def text(names: Sequence[str]) -> str | None:
        values = (last.get(name) for name in names)
        return next((value.decode(errors="replace") for value in values if value), None)

    return text


def _attempts(newest: Stack, last: dict[str, bytes | None], tries: int) -> int:
    """How often the record was tried. Spring's retry topics name the attempt that would have been the next."""
    next_attempt = binary(last.get(RETRY_ATTEMPTS), PARTITION_MAX)
    if next_attempt is not None and newest in (SPRING, RETRY_TOPICS):
        return max(1, next_attempt - 1)
    return max(1, tries, newest.number(last.get(newest.attempts), PARTITION_MAX) or 1)


def _inside(value: bytes) -> bytes | None:
    """The JSON object in a JSON text, or the bytes in one in base64; None for anything else."""
    text = _text_in(value)
    return text if text is not None and text.lstrip().startswith(b"{") else _bytes_in(value)


def _text_in(value: bytes | None) -> bytes | None:
    """What a JSON text says; None for anything else."""
    if value is None or not value.startswith(b'"'):
        return None
    try:
        text = json.loads(value)
    except ValueError:
        return None
    return text.encode(errors="replace") if isinstance(text, str) else None


def _bytes_in(value: bytes | None) -> bytes | None:
    """The bytes in a JSON text in base64; None for anything else."""
    text = _text_in(value)
    try:
        return None if text is None else base64.b64decode(text, validate=True)
    except binascii.Error:
        return None
