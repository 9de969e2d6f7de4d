"""Alarms that a turn cannot raise while it hangs: the turn does not end, or Kafka answers nothing at all.

Another task calls `check` every second, beside the turns.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

import structlog

from ordersaga.messaging.health import Alarms, Trouble
from ordersaga.messaging.kafka import PartitionConsumer
from ordersaga.said import say

log: Final = structlog.get_logger()

LONG_S: Final = 15.0
AWAY_S: Final = 10.0

# Alarms
AWAY: Final = "Kafka away"
LONG: Final = "turn lasts"


class Stalls:
    """Knows since when the current turn has been running, and asks the consumer since when Kafka has been silent."""

    def __init__(
        self, consumer: PartitionConsumer, bootstrap_servers: str, clock: Callable[[], datetime], alarms: Alarms
    ) -> None:
        self._consumer: Final = consumer
        self._bootstrap_servers: Final = bootstrap_servers
        self._clock: Final = clock
        self._alarms: Final = alarms
        self._began_at_s: float | None = None
        self._ended = False

    def turn_began(self) -> None:
        self._began_at_s = _now_s()

    def turn_ended(self) -> None:
        self._began_at_s = None

    def check(self) -> None:
        """Raise or clear the two alarms."""
        if self._ended:
            return
        now, lasted_s = self._clock(), 0.0 if self._began_at_s is None else _now_s() - self._began_at_s
        what = say("alarm.long_turn", "the current turn has lasted for {seconds} s", seconds=f"{lasted_s:.0f}")
        long = Trouble(what, say("todo.long_turn", "see in pg_stat_activity what the turn's connection waits for"))
        if self._alarms.tell(LONG, "", long if lasted_s > LONG_S else None, now - timedelta(seconds=lasted_s)):
            log.warning(what)
        # During a turn the consumer does not fetch, so the time of the turn does not count as Kafka's silence.
        silent_s = max(0.0, self._consumer.silent_s - lasted_s)
        away = Trouble(
            say("alarm.kafka_away", "Kafka does not answer"),
            say(
                "todo.kafka_away",
                "check that Kafka at {servers} is up and can be reached",
                servers=self._bootstrap_servers,
            ),
        )
        self._alarms.tell(AWAY, "", away if silent_s > AWAY_S else None, now - timedelta(seconds=silent_s))

    def end(self) -> None:
        """Stop checking, since this consumer is being closed.

        The alarm `Kafka away` keeps its age until Kafka answers: the next consumer would count from its own start.
        """
        self._alarms.tell(LONG, "", None)
        self._ended = True


def _now_s() -> float:
    return asyncio.get_running_loop().time()
