"""The backlog: gauges and alarms on rows that wait in the outbox, in the parking and as dead letters."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import structlog
from msgspec import Struct
from prometheus_client import Gauge

from ordersaga.contracts.topics import DEAD_LETTER_SUFFIX
from ordersaga.messaging import dead_letters
from ordersaga.messaging.database import Connection, Pool
from ordersaga.messaging.dead_letters import REFUSED
from ordersaga.messaging.health import Alarms, Trouble
from ordersaga.messaging.queries import queries
from ordersaga.said import say
from ordersaga.service_context import metric
from ordersaga.settings import Settings

log: Final = structlog.get_logger()
sql: Final = queries(__file__)

MEASURE_EVERY_S: Final = 5.0

OUTBOX_ROWS: Final = metric(
    Gauge,
    "ordersaga_outbox_rows",
    "Records committed and not yet known to be published",
    of_service=True,
)
OUTBOX_LAG_S: Final = metric(
    Gauge,
    "ordersaga_outbox_lag_seconds",
    "Age of the oldest record that is not known to be published",
    of_service=True,
)
PARKED_ROWS: Final = metric(
    Gauge,
    "ordersaga_parked_records",
    "Records parked after a failure, or waiting behind a parked one",
    of_service=True,
)
DEAD_LETTERS_OPEN: Final = metric(
    Gauge,
    "ordersaga_dead_letters_open",
    "Dead letters that wait for an operator",
    of_service=True,
)


class OutboxTopic(Struct, frozen=True):
    """The rows of the outbox for one topic, and how long the oldest has waited."""

    topic: str
    rows: int
    oldest_age_s: float


async def outbox_by_topic(db: Connection, settings: Settings, now: datetime) -> list[OutboxTopic]:
    """The topics that have rows in the outbox."""
    return [
        OutboxTopic(row["topic"], row["rows"], _age_s(row["oldest_adopt_at"], settings, now))
        for row in await sql.outbox_topics(db)
    ]


def _age_s(oldest_adopt_at: datetime | None, settings: Settings, now: datetime) -> float:
    if oldest_adopt_at is None:
        return 0.0
    written_at = oldest_adopt_at - timedelta(milliseconds=settings.outbox_adopt_after_ms)
    return max(0.0, (now - written_at).total_seconds())


class Backlog:
    """The backlog of one service."""

    def __init__(self, settings: Settings, pool: Pool, clock: Callable[[], datetime], alarms: Alarms) -> None:
        self._settings: Final = settings
        self._pool: Final = pool
        self._clock: Final = clock
        self._alarms: Final = alarms

    async def measure(self) -> None:
        """Set the gauges, and raise or clear the alarms on the outbox, parked records and dead letters."""
        async with self._pool.acquire() as db:
            (row,) = await sql.backlog(db)
            any_open = row["dead_letters_open"] > 0
            refused = await sql.refused_letters(db, cause=REFUSED) if any_open else []
            unpublished = await dead_letters.unpublished_by_topic(db) if any_open else []
            lag_s = self._lag_s(row["oldest_adopt_at"])
            late = await sql.outbox_topics(db) if lag_s > self._settings.outbox_lag_alarm_s else []
        OUTBOX_ROWS.set(row["outbox_rows"])
        PARKED_ROWS.set(row["parked_rows"])
        DEAD_LETTERS_OPEN.set(row["dead_letters_open"])
        OUTBOX_LAG_S.set(lag_s)
        self._tell_of_lag(late)
        self._tell_of_refusals(refused, unpublished)
        parked = Trouble(
            say(
                "alarm.parked",
                "{count} {count:record is|records are} parked: {count:its|their} handling failed, or {count:it waits|they wait} behind such a record",
                count=row["parked_rows"],
            ),
            say("todo.parked", "`ordersaga parked list` says why"),
        )
        self._alarms.tell("parked", "", parked if row["parked_rows"] else None, row["oldest_parked_at"])
        letters = Trouble(
            say(
                "alarm.letters",
                "{count} dead {count:letter waits|letters wait} for an operator",
                count=row["dead_letters_open"],
            ),
            say("todo.letters", "`ordersaga dead-letters list` says why; then replay, edit or discard them"),
        )
        self._alarms.tell("dead letters", "", letters if row["dead_letters_open"] else None, row["oldest_letter_at"])

    def _tell_of_lag(self, topics: Sequence[Any]) -> None:
        lags = {}
        for row in topics:
            lag_s = self._lag_s(row["oldest_adopt_at"])
            if lag_s > self._settings.outbox_lag_alarm_s:
                lags[row["topic"]] = Trouble(
                    say(
                        "alarm.outbox",
                        "the oldest of {count} committed {count:record|records} for {topic} has waited {seconds} s to be published",
                        count=row["rows"],
                        topic=row["topic"],
                        seconds=f"{lag_s:.0f}",
                    ),
                    say(
                        "todo.outbox",
                        "check that Kafka is up and its partitions have leaders (`ordersaga topics check`), and read the log",
                    ),
                )
        for topic in self._alarms.only("outbox", lags):
            log.critical("the outbox lags", topic=topic, alarm=lags[topic].what)

    def _tell_of_refusals(self, refused: Sequence[Any], unpublished: Sequence[Any]) -> None:
        """Raise or clear the alarms on refused records and unpublished dead letters. The reason in each says how to fix it."""
        self._alarms.only(
            "refused records",
            {
                row["topic"]: Trouble(
                    say(
                        "alarm.refused",
                        "Kafka refused {count} {count:record|records} for {target}, which {count:is a dead letter|are dead letters} now: {reason}",
                        count=row["letters"],
                        target=_target(row),
                        reason=row["reason"],
                    ),
                    say("todo.refused", "when that is fixed: `{command}`", command=replay_command(row["topic"])),
                )
                for row in refused
            },
        )
        self._alarms.only(
            "unpublished dead letters",
            {
                row["topic"] + DEAD_LETTER_SUFFIX: Trouble(
                    say(
                        "alarm.unpublished",
                        "Kafka refuses {count} dead {count:letter|letters} of {topic}, which {count:is|are} in the table dead_letter only: {reason}",
                        count=row["letters"],
                        topic=row["topic"],
                        reason=row["reason"],
                    ),
                    say("todo.unpublished", "when that is fixed they are published without a command"),
                )
                for row in unpublished
            },
        )

    def _lag_s(self, oldest_adopt_at: datetime | None) -> float:
        return _age_s(oldest_adopt_at, self._settings, self._clock())


def replay_command(topic: str) -> str:
    """The command that publishes a topic's refused records again."""
    return f"ordersaga dead-letters replay --topic {topic} --cause {REFUSED} --why mended"


def _target(row: Any) -> str:
    return str(row["topic"]) if row["partition"] is None else f"{row['topic']}/{row['partition']}"
