"""What the console reads of a service beside the dead letters, parked records, acts and jobs, whose shapes are those of `operations`.

Unknown fields are ignored, so a newer service can say more.
"""

from datetime import datetime
from uuid import UUID

from msgspec import Struct

from ordersaga.said import Saying
from ordersaga.web.shop.model import Order


class Alarm(Struct, rename="camel", frozen=True):
    """An alarm of a service: what is wrong, where, and what to do. `age_s`: seconds."""

    alarm: str
    where: str
    what: str
    todo: str
    since: datetime
    age_s: int
    what_said: tuple[Saying, ...] = ()
    todo_said: tuple[Saying, ...] = ()


class Alike(Struct, frozen=True):
    """An alarm, and of how many other places it says the same."""

    alarm: Alarm
    others: int


class HealthStatus(Struct, rename="camel", frozen=True):
    """A service's own word about its health: UP, DEGRADED or DOWN."""

    status: str
    problems: list[str] = []
    alarms: list[Alarm] = []
    problem_codes: list[tuple[Saying, ...]] = []

    @property
    def alike(self) -> list[Alike]:
        """The alarms: those of one kind that say the same of many places, as of the partitions of a paused topic, are one."""
        found: dict[tuple[str, str], list[Alarm]] = {}
        for each in self.alarms:
            found.setdefault((each.alarm, each.what), []).append(each)
        return [Alike(several[0], len(several) - 1) for several in found.values()]


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
    problem_said: tuple[Saying, ...] = ()
    todo_said: tuple[Saying, ...] = ()

    @property
    def needs_help(self) -> bool:
        return self.state in ("STOPPED", "NOT_ASSIGNED")


class OutboxTopic(Struct, rename="camel", frozen=True):
    """How many rows of an outbox are for one topic."""

    topic: str
    rows: int


class Outbox(Struct, rename="camel", frozen=True):
    """Records that are committed and not yet in Kafka. Seconds."""

    rows: int
    oldest_age_s: float
    topics: tuple[OutboxTopic, ...] = ()

    def of(self, topic: str) -> int:
        """How many are for this topic."""
        return sum(each.rows for each in self.topics if each.topic == topic)


class ConsumerFaults(Struct, rename="camel", frozen=True):
    """What goes wrong on purpose in a service's consumer. `allowed` false: the service was started without."""

    allowed: bool
    version: str
    turn_delay_ms: int
    turn_records_max: int | None
    passing_percent: float
    lasting_percent: float

    @property
    def are_on(self) -> bool:
        return bool(self.turn_delay_ms or self.turn_records_max or self.passing_percent or self.lasting_percent)


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
    can_resend: bool = False


class OperatorsOrder(Order, rename="camel", frozen=True):
    """An order as Order shows it to operators."""

    detail_said: tuple[Saying, ...] = ()
    flag: str | None = None
    flag_said: tuple[Saying, ...] = ()
    version: str = ""
    seen: str = ""
    waits_for: tuple[Wait, ...] = ()

    @property
    def can_resend(self) -> bool:
        """Whether it waits for a request that may be sent again."""
        return any(each.can_resend for each in self.waits_for)


class TimelineEvent(Struct, rename="camel", frozen=True):
    """One line of an order's timeline."""

    at: datetime
    came_in: str
    went_out: list[str]
    status: str
    reason: str | None = None
    note: str | None = None
    note_said: tuple[Saying, ...] = ()


class PaymentView(Struct, rename="camel", frozen=True):
    """A payment as Payment knows it. Amounts in won."""

    payment_key: str
    amount: int
    status: str
    captured_amount: int
    refunded_amount: int
    requested_at: datetime
    approved_at: datetime | None = None


class ReservedItem(Struct, rename="camel", frozen=True):
    """One product of a reservation. `message`: why it was short."""

    product_id: UUID
    quantity: int
    state: str
    message: str | None = None
    said: tuple[Saying, ...] = ()


class ReservationView(Struct, rename="camel", frozen=True):
    """What Stock has decided for an order: when it did first, and how it stands now."""

    state: str
    at: datetime
    items: tuple[ReservedItem, ...] = ()


class IntentView(Struct, rename="camel", frozen=True):
    """A confirm or refund that the gateway has not settled. Amounts in won. `due_at` None: a refund that waits for the confirm."""

    id: UUID
    version: str
    kind: str
    payment_key: str
    amount: int
    created_at: datetime
    due_at: datetime | None
    tries: int
    message: str | None = None
    said: tuple[Saying, ...] = ()


class DeliveryView(Struct, rename="camel", frozen=True):
    """A delivery as Delivery knows it."""

    delivery_id: UUID
    status: str
    tracking_number: str | None
    at: datetime
    refusal: str | None = None
    refusal_said: tuple[Saying, ...] = ()
