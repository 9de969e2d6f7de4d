"""What a process says of itself: what keeps it from answering HTTP, and the alarms, each with what, where, since when and what to do.

An alarm is a trouble that a person should see and that does not keep the process from answering: a stopped partition, Kafka away, parked
records. It lasts until whoever raised it says that it is over.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final, NamedTuple, Protocol

from msgspec import Struct
from prometheus_client import Gauge

ALARM_SINCE: Final = Gauge(
    "ordersaga_alarm_since_seconds", "Unix time since when an alarm is raised; no sample: it is not", ["alarm", "where"]
)


class Alarm(Struct, frozen=True, rename="camel"):
    """One trouble. `where` is a topic/partition, a topic, or the name of a loop; empty: the whole process."""

    alarm: str
    where: str
    what: str
    todo: str
    since: datetime
    age_s: int


class Health(Struct, frozen=True):
    """`problems` keep the process from answering HTTP; `started`: it has joined its group, and all its partitions are taken or stopped."""

    problems: list[str] = []
    alarms: list[Alarm] = []
    started: bool = True


class Reporter(Protocol):
    """Whoever knows how a process is."""

    async def health(self) -> Health:
        """How it is now."""

    def dead(self) -> list[str]:
        """What only a new process can mend; answered without waiting for anything."""


class Trouble(NamedTuple):
    """What is wrong somewhere, and what to do about it."""

    what: str
    todo: str = ""


class _Raised(Struct):
    trouble: Trouble
    since: datetime


class Alarms:
    """The alarms of a process, by name and place."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock: Final = clock
        self._raised: Final[dict[tuple[str, str], _Raised]] = {}

    def tell(self, alarm: str, where: str, trouble: Trouble | None, since: datetime | None = None) -> bool:
        """Raise an alarm, say it anew, or, with None, end it. Returns whether it is new. Without `since` it counts from when it was raised."""
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
        """Raise an alarm at these places and end it at all others. Returns where it is new."""
        for where in [place for name, place in self._raised if name == alarm and place not in found]:
            self.tell(alarm, where, None)
        return [where for where, trouble in found.items() if self.tell(alarm, where, trouble)]

    def now(self) -> list[Alarm]:
        """All of them, the oldest first."""
        now = self._clock()
        return [
            Alarm(alarm, where, *raised.trouble, raised.since, max(0, int((now - raised.since).total_seconds())))
            for (alarm, where), raised in sorted(self._raised.items(), key=lambda each: each[1].since)
        ]
