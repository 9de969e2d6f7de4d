"""Dead letters as operators see them: what a letter is, what it contains, and which letters an operator may ask for. No I/O."""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

import msgspec
from msgspec import Struct

from ordersaga.contracts.codec import Undecodable, decode
from ordersaga.contracts.headers import TYPE_ID
from ordersaga.contracts.topics import BY_NAME
from ordersaga.messaging import spring_headers
from ordersaga.messaging.acts import NotPossible
from ordersaga.messaging.handler import Record
from ordersaga.messaging.spring_headers import Headers
from ordersaga.settings import Settings

ID_BEGINNING: Final = re.compile("[0-9a-f]{1,32}")

Status = Literal["OPEN", "REPLAYED", "RESOLVED", "PUBLISHED", "DISCARDED", "SUPERSEDED"]
STATUSES: Final[tuple[Status, ...]] = ("OPEN", "REPLAYED", "RESOLVED", "PUBLISHED", "DISCARDED", "SUPERSEDED")


class Letter(Struct, frozen=True):
    """A dead letter without its bytes. `offset` None: Kafka refused the record. `imported_from`: the record of a partner's letter.

    `said`: the sayings of the reason.
    """

    id: UUID
    status: Status
    topic: str
    partition: int | None
    offset: int | None
    order_key: UUID | None
    cause: str
    reason: str
    attempts: int
    at: datetime
    follows: UUID | None
    replayed_as: UUID | None
    imported_from: str | None
    consumer_group: str | None
    said: str | None = None

    @property
    def replay_publishes(self) -> bool:
        """Whether a replay publishes the record on its topic, instead of parking it in this service."""
        return self.imported_from is not None or self.offset is None

    @property
    def has_place(self) -> bool:
        """Whether it is known where the record was in Kafka. Kafka may have refused it, or a partner's letter not say."""
        return self.partition is not None and self.offset is not None

    @property
    def coordinates(self) -> str:
        """topic/partition/offset of the record, with `-` for a part that is not known."""
        parts = (self.topic, self.partition, self.offset)
        return "/".join("-" if part is None else str(part) for part in parts)


class Content(Struct, frozen=True):
    """Key, value and headers of the record, as they were before it was given up."""

    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp_ms: int | None
    stacktrace: str | None

    def header(self, name: str) -> bytes | None:
        """The last value of a header, or None."""
        return dict(self.headers).get(name)


class LetterFilter(Struct, frozen=True, kw_only=True):
    """A filter of letters: all conditions that are given must hold.

    `ids` may be the beginnings of ids; `before` is exclusive. `after`: time and id of the letter that ends the page before, latest first.
    `latest_of_order`: of the letters of one order, topic and cause only the latest; a letter without an order is always one.
    """

    ids: Sequence[str] | None = None
    order_key: UUID | None = None
    topic: str | None = None
    cause: str | None = None
    statuses: Sequence[Status] | None = ("OPEN",)
    before: datetime | None = None
    after: tuple[datetime, UUID] | None = None
    latest_of_order: bool = False

    def conditions(self) -> dict[str, Any]:
        """The parameters of the queries `dead_letters` and `dead_letter_causes`."""
        statuses = None if self.statuses is None else list(self.statuses)
        first_id, last_id = _bounds(self.ids)
        return {
            "id_patterns": None if self.ids is None else [f"{each}%" for each in self.ids],
            "first_id": first_id,
            "last_id": last_id,
            "order_key": self.order_key,
            "topic": self.topic,
            "cause": self.cause,
            "status": statuses[0] if statuses and len(statuses) == 1 else None,
            "statuses": statuses if statuses is None or len(statuses) != 1 else None,
            "before": self.before,
            "after_at": self.after and self.after[0],
            "after_id": self.after and self.after[1],
            "latest_of_order": self.latest_of_order,
        }


def _bounds(beginnings: Sequence[str] | None) -> tuple[UUID | None, UUID | None]:
    """The first and the last id that may begin so, for the index; None where a text is the beginning of no id."""
    digits = [each.replace("-", "") for each in beginnings or ()]
    if not digits or not all(ID_BEGINNING.fullmatch(each) for each in digits):
        return None, None
    return UUID(min(each.ljust(32, "0") for each in digits)), UUID(max(each.ljust(32, "f") for each in digits))


class CauseCount(Struct, frozen=True):
    """How many letters of a topic have a cause and status, since when, until when, and the reason of the latest."""

    topic: str
    cause: str
    status: Status
    letters: int
    first_at: datetime
    last_at: datetime
    last_reason: str
    last_said: str | None = None


class Repeats(Struct, frozen=True):
    """How many dead letters of any status an order has of one topic and cause, and when the first of them failed."""

    letters: int
    first_at: datetime


class ReplayState(Struct, frozen=True):
    """The result of a replayed letter; None: not known yet, for the reason in `detail`. `published`: a partner's letter is on its topic again,
    and only the partner knows whether it was handled. `behind`: an earlier record of its queue comes first."""

    result: Literal["resolved", "published", "failed again"] | None
    detail: str
    behind: bool = False


def restored(settings: Settings, letter: Letter, content: Content, type_id: str | None) -> Headers:
    """The headers that a letter is published with: the record's own, with `type_id` or, if it has none, the configured `__TypeId__`."""
    headers = spring_headers.with_type_id(content.headers, type_id, instead=True)
    return spring_headers.with_type_id(headers, settings.type_ids.get(letter.topic), instead=False)


def has_type_id(headers: Headers) -> bool:
    """Whether the record has the `__TypeId__` that Spring's JSON deserializer reads by default."""
    return any(name == TYPE_ID for name, _ in headers)


def record_of(letter: Letter, content: Content) -> Record:
    """The record as a consumer gets it."""
    return Record(
        letter.topic,
        letter.partition or 0,
        letter.offset or 0,
        content.key,
        content.value,
        content.headers or None,
        content.timestamp_ms or 0,
    )


def check_value(topic: str, value: bytes) -> None:
    """Raise `NotPossible` unless the value is a message of the topic, or, for a topic outside of the contract, JSON."""
    try:
        if topic in BY_NAME:
            decode(topic, value)
        else:
            msgspec.json.decode(value)
    except (Undecodable, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise NotPossible(f"the value does not fit {topic}: {error}", "INVALID") from error


def letter_of(row: Any) -> Letter:
    """The letter of a row of `dead_letter`."""
    return Letter(*row.values())
