"""What the console reads from the operators' HTTP face of a service. Unknown fields are ignored, so a newer service can say more."""

from datetime import datetime
from typing import Any
from uuid import UUID

from msgspec import Struct

from ordersaga.web.shop.model import Order


class Alarm(Struct, rename="camel", frozen=True):
    """An alarm of a service: what is wrong, where, and what to do. `age_s`: seconds."""

    alarm: str
    where: str
    what: str
    todo: str
    since: datetime
    age_s: int


class HealthStatus(Struct, frozen=True):
    """A service's own word about its health: UP, DEGRADED or DOWN."""

    status: str
    problems: list[str] = []
    alarms: list[Alarm] = []


class PartitionState(Struct, rename="camel", frozen=True):
    """A partition that a service reads. `lag` None: Kafka does not answer."""

    topic: str
    partition: int
    version: str
    state: str
    position: int
    end: int | None
    lag: int | None
    owner: str | None = None
    problem: str | None = None
    todo: str | None = None
    reported_at: datetime | None = None
    paused_by: str | None = None
    pause_reason: str | None = None
    paused_at: datetime | None = None

    @property
    def needs_help(self) -> bool:
        return self.state in ("STOPPED", "NOT_ASSIGNED")


class Outbox(Struct, rename="camel", frozen=True):
    """Records that are committed and not yet in Kafka. Seconds."""

    rows: int
    oldest_age_s: float


class Cause(Struct, rename="camel", frozen=True):
    """Dead letters of one topic with one cause and status."""

    topic: str
    cause: str
    status: str
    letters: int
    first_at: datetime
    last_at: datetime
    last_reason: str


class Causes(Struct, frozen=True):
    """All groups, the largest first."""

    items: list[Cause]


class Letter(Struct, rename="camel", frozen=True):
    """A dead letter. `offset` None: a record that Kafka refused."""

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
    follows: UUID | None = None
    replayed_as: UUID | None = None
    imported_from: str | None = None
    consumer_group: str | None = None


class Bytes(Struct, frozen=True):
    """Bytes of a record. `base64` None: hidden from a reader."""

    text: str
    base64: str | None


class Header(Struct, frozen=True):
    """One header of a record."""

    name: str
    value: Bytes | None


class Content(Struct, rename="camel", frozen=True):
    """Key, value and headers of a record."""

    key: Bytes | None
    value: Bytes | None
    headers: list[Header]
    timestamp_ms: int | None = None


class Act(Struct, frozen=True):
    """Something that an operator did."""

    at: datetime
    who: str
    what: str
    target: str
    why: str
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}


class ReplayResult(Struct, frozen=True):
    """What became of a replayed letter; `result` None: not known yet."""

    result: str | None
    detail: str


class LetterDetails(Struct, rename="camel", frozen=True):
    """A dead letter with its record, its history and the acts on it."""

    letter: Letter
    content: Content
    stacktrace: str | None = None
    replay: ReplayResult | None = None
    same_record: list[Letter] = []
    acts: list[Act] = []


class Effect(Struct, frozen=True):
    """What a replay would do."""

    words: str
    changes: dict[str, int] = {}
    sends: list[str] = []
    problem: str | None = None


class Replayed(Struct, frozen=True):
    """A letter after its replay, or with the effect of a dry run."""

    letter: Letter
    effect: Effect | None = None


class Edited(Struct, frozen=True):
    """The edited copy of a letter, and the difference as lines of a unified diff."""

    letter: Letter | None
    diff: list[str]


class Queue(Struct, rename="camel", frozen=True):
    """A queue of parked records, by its first record."""

    topic: str
    partition: int
    offset: int
    version: str
    order_id: UUID
    attempts: int
    attempts_before_replay: int
    attempts_max: int
    due_at: datetime | None
    cause: str | None
    reason: str | None
    parked_at: datetime
    records: int


class ParkedDetails(Struct, rename="camel", frozen=True):
    """A parked record with its bytes."""

    topic: str
    partition: int
    offset: int
    version: str
    order_id: UUID
    attempts: int
    attempts_before_replay: int
    attempts_max: int
    due_at: datetime | None
    cause: str | None
    reason: str | None
    parked_at: datetime
    ahead: int
    behind: int
    content: Content
    acts: list[Act] = []


class Job(Struct, rename="camel", frozen=True):
    """A bulk job over frozen dead letters. `counts`: letters by result."""

    id: UUID
    version: str
    state: str
    act: str
    dry_run: bool
    who: str
    why: str
    letters_per_second: float
    stop_after: int
    created_at: datetime
    ended_at: datetime | None
    stopped_by: str | None
    stop_reason: str | None
    letters: int
    counts: dict[str, int]
    problem: str | None = None

    @property
    def done(self) -> int:
        """How many letters have a result."""
        return self.letters - self.counts.get("waiting", 0) - self.counts.get("in flight", 0)


class JobItem(Struct, rename="camel", frozen=True):
    """One letter of a job and its result."""

    number: int
    letter_id: UUID
    topic: str | None
    partition: int | None
    offset: int | None
    order_id: UUID | None
    status: str | None
    result: str | None
    detail: str | None


class Anything(Struct):
    """An answer whose content does not matter."""


class Waiting(Struct, rename="camel", frozen=True):
    """An order that has not ended."""

    order_id: UUID
    order_name: str
    placed_at: datetime


class OrderStates(Struct, rename="camel", frozen=True):
    """How many orders of the last `hours` have each status, at most `counted_max` of each, and the oldest that has not ended."""

    hours: int
    counted_max: int
    counts: dict[str, int]
    oldest: Waiting | None


class Wait(Struct, rename="camel", frozen=True):
    """An answer that an order waits for."""

    message: str
    topic: str
    about: list[str]
    since: datetime
    attempts: int
    next_attempt_at: datetime | None = None
    ends_at: datetime | None = None


class OperatorsOrder(Order, rename="camel", frozen=True):
    """An order as Order shows it to operators."""

    flag: str | None = None
    waits_for: tuple[Wait, ...] = ()


class TimelineEvent(Struct, rename="camel", frozen=True):
    """One line of an order's timeline."""

    at: datetime
    came_in: str
    went_out: list[str]
    status: str
    reason: str | None = None
    note: str | None = None


class PaymentView(Struct, rename="camel", frozen=True):
    """A payment as Payment knows it. Won."""

    payment_key: str
    amount: int
    status: str
    captured_amount: int
    refunded_amount: int
    requested_at: datetime
    approved_at: datetime | None = None


class DeliveryView(Struct, rename="camel", frozen=True):
    """A delivery as Delivery knows it."""

    delivery_id: UUID
    status: str
    tracking_number: str | None
    at: datetime
    refusal: str | None = None
