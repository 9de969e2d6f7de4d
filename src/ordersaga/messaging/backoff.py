"""Back-off: after a failed turn the consumer waits before it reads again, longer after each failure, and an alarm says why."""

import asyncio
import random
from typing import Final

import structlog

from ordersaga.messaging.health import Alarms, Trouble
from ordersaga.messaging.kafka import KafkaUnavailable
from ordersaga.messaging.log_limit import LogLimit
from ordersaga.messaging.sqlstate import is_connection_lost, is_transient
from ordersaga.said import say

log: Final = structlog.get_logger()

BACKOFF_MS_MIN: Final = 50
AWAY_MS_MAX: Final = 1_000
"""The longest wait for a server that is away: to ask whether it is back costs little, and all orders wait for the answer."""
FAILED: Final = "turn failed"


def is_retriable(error: BaseException) -> bool:
    """Whether the error is transient and no record caused it: Kafka does not answer, or PostgreSQL's error is transient."""
    return isinstance(error, KafkaUnavailable) or is_transient(error)


def backoff_s(tries: int, ms_max: int) -> float:
    """The wait in seconds after `tries` failures in a row: doubled each time up to `ms_max`, less a jitter of up to half."""
    ceiling_ms = min(ms_max, BACKOFF_MS_MIN * 2 ** min(tries, 16))
    return random.uniform(ceiling_ms / 2, ceiling_ms) / 1000


class Backoff:
    """Counts the failures since the last successful turn. While there are any, the alarm `turn failed` is raised."""

    def __init__(self, ms_max: int, alarms: Alarms, log_limit: LogLimit) -> None:
        self._ms_max: Final = ms_max
        self._alarms: Final = alarms
        self._log_limit: Final = log_limit
        self._failed_at_s = 0.0
        self._is_away = False
        self.failures = 0

    def failed(self, error: Exception) -> None:
        """Count a failed turn, raise the alarm, and log now and then."""
        retriable = is_retriable(error)
        self._is_away = isinstance(error, KafkaUnavailable) or is_connection_lost(error)
        self.failures += 1
        self._failed_at_s = _now_s()
        trouble = f"{type(error).__name__}: {error}"
        todo = (
            say("todo.turn_retried", "no action is needed: the turn is retried")
            if retriable
            else say("todo.turn_failed", "the log has the stack trace; the turn is retried")
        )
        what = say("alarm.turn_failed", "the last turn failed: {error}", error=trouble)
        self._alarms.tell(FAILED, "", Trouble(what, todo))
        if self.failures == 1 or self._log_limit.allows():
            log.log(
                30 if retriable else 50,
                "a turn failed and is retried",
                error=trouble,
                exc_info=None if retriable else error,
            )

    def wait_s(self) -> float:
        """How long the consumer waits before it reads again."""
        return backoff_s(self.failures, min(self._ms_max, AWAY_MS_MAX) if self._is_away else self._ms_max)

    def succeeded(self, handled: bool) -> None:
        """Clear the error state after a turn that handled records, or after 2 x retry_backoff without a failure.

        Without records a success proves little; after that time the failed records belong to another instance.
        """
        quiet_s = _now_s() - self._failed_at_s
        if self.failures and (handled or quiet_s > 2 * self._ms_max / 1000):
            log.info("turns succeed again", failures=self.failures)
            self.failures = 0
            self._alarms.tell(FAILED, "", None)

    def end(self) -> None:
        """Clear the alarm: the process takes no more turns with this consumer."""
        self._alarms.tell(FAILED, "", None)


def _now_s() -> float:
    return asyncio.get_running_loop().time()
