"""The JSON of dead letters, their records and the acts on them, as the HTTP face answers it and as its clients read it."""

import base64
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from ordersaga.contracts.personal import hidden_in_words
from ordersaga.http.caller import Caller
from ordersaga.masking import masked_sayings
from ordersaga.messaging.acts import Act
from ordersaga.messaging.calls import CallCount
from ordersaga.messaging.letters import CauseCount, Content, Letter, Repeats, ReplayState
from ordersaga.messaging.rehearsal import Effect
from ordersaga.messaging.spring_headers import Headers
from ordersaga.messaging.texts import read_sayings, readable
from ordersaga.operations.personal import hidden_in_value, sayings_for, words_for
from ordersaga.operations.rehearsing import Rehearsed
from ordersaga.said import Saying, sayings_of

PATH: Final = "/api/v1/operations"
VALUE_CHARS_MAX: Final = 1_000_000
"""Of an edited value. A topic of Kafka takes about as much, unless it is set to take more."""


class ServiceResource(Struct, rename="camel", kw_only=True):
    """The service behind this face. `attemptsMax`: how often a parked record is tried."""

    service: str
    attempts_max: int


class BytesResource(Struct, rename="camel"):
    """Bytes of a record. `text`: with escapes where they are not UTF-8. `base64` is null for a reader, who sees no personal data."""

    text: str
    base64: str | None


class HeaderResource(Struct):
    """One header of a record; a header may have no value, and a name may come more than once."""

    name: str
    value: BytesResource | None


class ContentResource(Struct, rename="camel"):
    """Key, value and headers of a record."""

    key: BytesResource | None
    value: BytesResource | None
    headers: list[HeaderResource]
    timestamp_ms: int | None


class RepeatsResource(Struct, rename="camel", kw_only=True):
    """How often an order has failed on one topic for one cause, the letter itself counted, and when it did first."""

    letters: int
    first_at: datetime


class DeadLetterResource(Struct, rename="camel", kw_only=True):
    """A dead letter. `offset` is null for a record that Kafka refused. `importedFrom`: the record of a partner's letter.

    `follows`: the letter of the same record before this one. `replayedAs`: the `message-id` with which the record was published again.
    `repeats`: in a list with `latestOfOrder`, how often the order has failed so; null elsewhere, and for a letter without an order.
    `said`: the reason as codes with values, for pages in another language.
    """

    id: UUID
    version: str
    status: str
    topic: str
    partition: int | None
    offset: int | None
    order_id: UUID | None
    cause: str
    reason: str
    attempts: int
    at: datetime
    follows: UUID | None
    replayed_as: UUID | None
    imported_from: str | None
    consumer_group: str | None
    repeats: RepeatsResource | None = None
    said: list[Saying] = []


class ActResource(Struct, rename="camel", kw_only=True):
    """An operator's act: who, when, what, on what, why, and the state before and after. `jobId`: the bulk job that has carried it out."""

    at: datetime
    who: str
    what: str
    target: str
    why: str
    before: dict[str, Any]
    after: dict[str, Any]
    job_id: UUID | None = None


class CallsResource(Struct, rename="camel", kw_only=True):
    """A service's calls over HTTP since its database was made: those that came, those that it made, and how they were answered."""

    calls: list[CallCount]


class ReplayResource(Struct):
    """What became of a replayed letter: `resolved`, `published` (a partner has its record again) or `failed again`; null: not known yet, for the reason in `detail`."""

    result: str | None
    detail: str
    said: list[Saying] = []


class DeadLetterDetails(Struct, rename="camel", kw_only=True):
    """A dead letter with its record, all letters of the same record, and what operators did with them."""

    letter: DeadLetterResource
    content: ContentResource
    stacktrace: str | None
    replay: ReplayResource | None
    same_record: list[DeadLetterResource]
    acts: list[ActResource]


class EffectResource(Struct):
    """What a replay would do, in words; and, where the service's handler takes the record: the rows by table, and the messages sent."""

    words: str
    changes: dict[str, int]
    sends: list[str]
    problem: str | None
    said: list[Saying] = []


class ReplayedResource(Struct, kw_only=True):
    """The letter after its replay; with `dryRun` the letter as it is, and what a replay would do."""

    letter: DeadLetterResource
    effect: EffectResource | None


class EditedResource(Struct, kw_only=True):
    """The edited copy, to be replayed instead of the letter; null with `dryRun`. `diff`: lines of a unified diff."""

    letter: DeadLetterResource | None
    diff: list[str]


class CauseResource(Struct, rename="camel", kw_only=True):
    """How many dead letters of a topic have a cause and a status, since when and until when, and the reason of the latest."""

    topic: str
    cause: str
    status: str
    letters: int
    first_at: datetime
    last_at: datetime
    last_reason: str
    last_said: list[Saying] = []


class CausesResource(Struct):
    """All groups, the largest first."""

    items: list[CauseResource]


def letter_resource(letter: Letter) -> DeadLetterResource:
    """The JSON of a dead letter."""
    return DeadLetterResource(
        id=letter.id,
        version=letter.status,
        status=letter.status,
        topic=letter.topic,
        partition=letter.partition,
        offset=letter.offset,
        order_id=letter.order_key,
        cause=letter.cause,
        reason=letter.reason,
        attempts=letter.attempts,
        at=letter.at,
        follows=letter.follows,
        replayed_as=letter.replayed_as,
        imported_from=letter.imported_from,
        consumer_group=letter.consumer_group,
        said=read_sayings(letter.said),
    )


def letter_for(letter: Letter, caller: Caller) -> DeadLetterResource:
    """The JSON of a dead letter, for a reader without personal data."""
    shown = letter_resource(letter)
    return replace(shown, reason=words_for(caller, letter.reason), said=sayings_for(caller, shown.said))


def repeats_resource(repeats: Repeats | None) -> RepeatsResource | None:
    """The JSON of an order's repeated failure."""
    return RepeatsResource(letters=repeats.letters, first_at=repeats.first_at) if repeats else None


def replay_resource(state: ReplayState | None, caller: Caller) -> ReplayResource | None:
    """The JSON of a replay's result."""
    if state is None:
        return None
    said = sayings_for(caller, masked_sayings(sayings_of(state.detail)))
    return ReplayResource(state.result, words_for(caller, str(state.detail)), said)


def effect_resource(rehearsed: Rehearsed) -> EffectResource:
    """The JSON of a rehearsed effect."""
    effect = rehearsed.effect or Effect()
    problem = None if effect.problem is None else str(effect.problem)
    said = list(masked_sayings(sayings_of(rehearsed.words)))
    return EffectResource(str(rehearsed.words), effect.changes, list(effect.sends), problem, said)


def cause_resource(count: CauseCount, caller: Caller) -> CauseResource:
    """The JSON of a group of dead letters."""
    return CauseResource(
        topic=count.topic,
        cause=count.cause,
        status=count.status,
        letters=count.letters,
        first_at=count.first_at,
        last_at=count.last_at,
        last_reason=words_for(caller, count.last_reason),
        last_said=sayings_for(caller, read_sayings(count.last_said)),
    )


def act_resource(act: Act, caller: Caller) -> ActResource:
    """The JSON of an act. A reader sees no personal data in the values of records, which acts keep as texts."""
    before, after = act.before, act.after
    if not caller.is_operator:
        before, after = _without_personal(before), _without_personal(after)
    return ActResource(
        at=act.at,
        who=act.who,
        what=act.what,
        target=act.target,
        why=act.why,
        before=before,
        after=after,
        job_id=act.job_id,
    )


def _without_personal(state: dict[str, Any]) -> dict[str, Any]:
    hide = {"value": hidden_in_value, "reason": hidden_in_words}
    return {name: hide[name](each) if name in hide and isinstance(each, str) else each for name, each in state.items()}


def content_resource(content: Content, caller: Caller) -> ContentResource:
    """The JSON of a record's bytes; without personal data for a reader."""
    shown = _shown if caller.is_operator else _masked
    return ContentResource(
        _shown(content.key), shown(content.value), _headers(content.headers, caller), content.timestamp_ms
    )


def _headers(headers: Headers, caller: Caller) -> list[HeaderResource]:
    if caller.is_operator:
        return [HeaderResource(name, _shown(value)) for name, value in headers]
    return [
        HeaderResource(name, None if value is None else BytesResource(hidden_in_words(readable(value) or ""), None))
        for name, value in headers
    ]


def _shown(value: bytes | None) -> BytesResource | None:
    if value is None:
        return None
    return BytesResource(readable(value) or "", base64.b64encode(value).decode())


def _masked(value: bytes | None) -> BytesResource | None:
    return None if value is None else BytesResource(hidden_in_value(readable(value) or ""), None)
