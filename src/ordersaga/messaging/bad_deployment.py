"""Detects a bad deployment: code that fails for most records, or that does not fit the database's schema.

No record is parked then, since that would set every record aside. The partitions of the failing records are held back and tried again with
a growing wait, until an operator rolls back or migrates; all other partitions go on.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final

import structlog

from ordersaga.messaging.assignment import Assignment
from ordersaga.messaging.backoff import backoff_s
from ordersaga.messaging.handler import Record
from ordersaga.messaging.health import Alarms, Trouble
from ordersaga.messaging.isolation import FailedRecord
from ordersaga.messaging.kafka import Partition
from ordersaga.said import say, words_of
from ordersaga.settings import Settings

log: Final = structlog.get_logger()

SUSPECTED: Final = "bad deployment"
WINDOW_RECORDS: Final = 100


class BadDeployment(Exception):
    """A turn failed because of the deployment. `partitions`: those of the records that failed; empty where that is not known."""

    def __init__(self, why: str, partitions: Collection[Partition] = ()) -> None:
        super().__init__(why)
        self.partitions: Final = set(partitions)


class Suspicion:
    """Tells a bad deployment from bad records: more than a set share of the last `WINDOW_RECORDS` failed, and at least `stop_failures_min`.

    Only a record's first attempt counts. Retries of parked records say nothing about today's deployment.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings: Final = settings
        self._recent: list[bool] = []

    def check(self, failed: Sequence[FailedRecord], handled: int) -> None:
        """Raise `BadDeployment` if the recent outcomes and these failures among `handled` records look like one."""
        if failed and self._confirmed_by(len(failed), handled):
            first = failed[0]
            raise BadDeployment(
                say(
                    "alarm.bad_deployment",
                    "{failed} of {handled} records failed, and so did most records before. This looks like a bad deployment, so no record "
                    "is parked. The first error: {cause}: {reason}",
                    failed=len(failed),
                    handled=handled,
                    cause=first.cause,
                    reason=first.reason,
                ),
                {Partition(each.incoming.record.topic, each.incoming.record.partition) for each in failed},
            )

    def _confirmed_by(self, failed: int, handled: int) -> bool:
        recent = [*self._recent, *[True] * failed, *[False] * (handled - failed)][-max(WINDOW_RECORDS, handled) :]
        failures = sum(recent)
        return failures >= self._settings.stop_failures_min and failures > self._settings.stop_share * len(recent)

    def add(self, failed: int, handled: int) -> None:
        """Count a committed turn."""
        self._recent = [*self._recent, *[True] * failed, *[False] * min(handled - failed, WINDOW_RECORDS)][
            -WINDOW_RECORDS:
        ]


class Suspects:
    """The partitions whose records fail because of a bad deployment, each with how often it was held back in a row."""

    def __init__(
        self, backoff_ms_max: int, assignment: Assignment, clock: Callable[[], datetime], alarms: Alarms
    ) -> None:
        self._backoff_ms_max: Final = backoff_ms_max
        self._assignment: Final = assignment
        self._clock: Final = clock
        self._alarms: Final = alarms
        self._tries: Final[dict[Partition, int]] = {}

    def __bool__(self) -> bool:
        return bool(self._tries)

    def apart(self, records: Sequence[Record]) -> Iterable[Sequence[Record]]:
        """Split the records: first those of all unsuspected partitions, then those of each suspect alone."""
        parts: dict[Partition | None, list[Record]] = {None: []}
        for record in records:
            partition = Partition(record.topic, record.partition)
            parts.setdefault(partition if partition in self._tries else None, []).append(record)
        return [part for part in parts.values() if part]

    async def hold_back(self, partitions: Collection[Partition], error: BadDeployment) -> None:
        """Read nothing of these partitions for a growing wait, and raise an alarm for each."""
        todo = say(
            "todo.bad_deployment",
            "roll back or migrate; no record was parked, and the partition is tried again without a command",
        )
        trouble = Trouble(words_of(error), todo)
        for partition in sorted(partitions):
            if self._alarms.tell(SUSPECTED, str(partition), trouble):
                log.critical(
                    "a partition is held back: this looks like a bad deployment", where=str(partition), error=str(error)
                )
            self._tries[partition] = self._tries.get(partition, 0) + 1
        tries = max(self._tries[partition] for partition in partitions)
        until = self._clock() + timedelta(seconds=backoff_s(tries, self._backoff_ms_max))
        await self._assignment.hold_back(dict.fromkeys(partitions, trouble), until)

    def clear(self, partitions: Iterable[Partition]) -> None:
        """A turn over these partitions was committed: clear their alarms."""
        for partition in partitions:
            if self._tries.pop(partition, None) is not None:
                self._alarms.tell(SUSPECTED, str(partition), None)
                log.info("a held back partition goes on", where=str(partition))

    def end(self) -> None:
        """Clear all alarms: the process takes no more turns with this consumer."""
        self.clear(list(self._tries))
