"""A process's health: the problems that keep it from answering HTTP, and its alarms.

An alarm tells a person of a trouble that does not keep the process from answering HTTP: a stopped partition, Kafka away, parked records. It
says what is wrong, where, since when, and what to do. The part of the runtime that raised an alarm also clears it.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final, NamedTuple, Protocol

from msgspec import Struct
from prometheus_client import Gauge

from ordersaga.said import Saying, say, sayings_of
from ordersaga.service_context import metric

ALARM_SINCE: Final = metric(
    Gauge,
    "ordersaga_alarm_since_seconds",
    "Unix time at which a raised alarm began; no sample: the alarm is not raised",
    "alarm",
    "where",
)


class Alarm(Struct, frozen=True, rename="camel"):
    """A raised alarm. `where`: a topic/partition, a topic, or the name of a loop; empty for the whole process.

    `what_said`, `todo_said`: the same as `what` and `todo`, for pages in another language.
    """

    alarm: str
    where: str
    what: str
    todo: str
    since: datetime
    age_s: int
    what_said: tuple[Saying, ...] = ()
    todo_said: tuple[Saying, ...] = ()


class Health(Struct, frozen=True):
    """`problems` keep the process from answering HTTP. `started`: the consumer has joined; each of its partitions is read or stopped."""

    problems: list[str] = []
    alarms: list[Alarm] = []
    started: bool = True


class Reporter(Protocol):
    """The source of a process's health endpoints."""

    async def health(self) -> Health:
        """The health now."""

    def dead(self) -> list[str]:
        """The problems that only a restart of the process can solve. Does no I/O, so it returns at once."""


class Trouble(NamedTuple):
    """What is wrong, and what to do about it."""

    what: str
    todo: str = ""


def topic_missing() -> Trouble:
    """A topic that is not in Kafka."""
    return Trouble(
        say("alarm.no_topic", "the topic does not exist"),
        say("todo.no_topic", "create it with `ordersaga topics create`"),
    )


def no_leader() -> Trouble:
    """A partition that no broker leads, or whose leader does not answer."""
    return Trouble(
        say("alarm.no_leader", "no broker leads the partition, or its leader does not answer"),
        say("todo.no_leader", "Kafka chooses another leader within seconds; if it does not, see to the brokers"),
    )


class _Raised(Struct):
    trouble: Trouble
    since: datetime


class Alarms:
    """The raised alarms of a process, by name and `where`."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock: Final = clock
        self._raised: Final[dict[tuple[str, str], _Raised]] = {}

    def tell(self, alarm: str, where: str, trouble: Trouble | None, since: datetime | None = None) -> bool:
        """Raise or update an alarm; `trouble` None clears it. Returns True if the alarm is new.

        Its age counts from `since`, by default from the first call that raised it.
        """
        if trouble is None:
            if self._raised.pop((alarm, where), None) is not None:
                ALARM_SINCE.remove(alarm, where)
            return False
        before = self._raised.get((alarm, where))
        began = since or (before.since if before else self._clock())
        self._raised[alarm, where] = _Raised(trouble, began)
        if before is None or before.since != began:
            ALARM_SINCE.labels(alarm, where).set(began.timestamp())
        return before is None

    def only(self, alarm: str, found: Mapping[str, Trouble]) -> list[str]:
        """Raise an alarm for each `where` of `found`, and clear it for every other. Returns those for which it was not raised before."""
        for where in [each for name, each in self._raised if name == alarm and each not in found]:
            self.tell(alarm, where, None)
        return [where for where, trouble in found.items() if self.tell(alarm, where, trouble)]

    def now(self) -> list[Alarm]:
        """All raised alarms, oldest first."""
        now = self._clock()
        return [
            _alarm(alarm, where, raised, now)
            for (alarm, where), raised in sorted(self._raised.items(), key=lambda each: each[1].since)
        ]


def _alarm(alarm: str, where: str, raised: _Raised, now: datetime) -> Alarm:
    what, todo = raised.trouble
    age_s = max(0, int((now - raised.since).total_seconds()))
    return Alarm(alarm, where, str(what), str(todo), raised.since, age_s, sayings_of(what), sayings_of(todo))
