"""Retention: deletes rows that are older than their retention, in bounded batches."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Final

import structlog
from prometheus_client import Counter

from ordersaga.messaging import dead_letters
from ordersaga.messaging.database import Pool
from ordersaga.messaging.queries import queries
from ordersaga.messaging.sizes import SetSize
from ordersaga.messaging.sqlstate import is_too_large
from ordersaga.service_context import metric
from ordersaga.settings import Settings

log: Final = structlog.get_logger()
sql: Final = queries(__file__)

PRUNE_EVERY_S: Final = 60.0
PRUNE_ROWS_MAX: Final = 5_000
BATCHES_MAX: Final = 20

PRUNED_ROWS: Final = metric(
    Counter,
    "ordersaga_pruned_rows",
    "Rows removed after their retention",
    "table",
)


Prune = Callable[..., Awaitable[int]]
"""`prune(db, before=…, rows_max=…)` deletes up to `rows_max` rows older than `before`, and returns how many."""


class Pruning:
    """The retention of one service's tables: those of the runtime, and those that the service adds."""

    def __init__(self, settings: Settings, pool: Pool, clock: Callable[[], datetime]) -> None:
        self._pool: Final = pool
        self._clock: Final = clock
        self._kept: Final[list[tuple[str, timedelta, Prune, SetSize]]] = []
        self.add("idempotency_key", timedelta(hours=settings.idempotency_key_kept_hours), sql.prune_idempotency_key)
        self.add("dead_letter", timedelta(days=settings.dead_letters_kept_days), sql.prune_dead_letter)
        acts_kept = timedelta(days=settings.operator_acts_kept_days)
        self.add("operator_act", acts_kept, sql.prune_operator_act)
        self.add("operator_job", acts_kept, sql.prune_operator_job)

    def add(self, table: str, kept: timedelta, prune: Prune) -> None:
        """Let `prune` delete the rows of this table that are older than `kept`, beside the runtime's own tables."""
        self._kept.append((table, kept, prune, SetSize(PRUNE_ROWS_MAX)))

    async def prune(self) -> None:
        """Delete rows that are older than their retention: at most `PRUNE_ROWS_MAX` rows a statement and `BATCHES_MAX` statements a table."""
        now = self._clock()
        async with self._pool.acquire() as db:
            await dead_letters.settle_published(db, now)
        for table, kept, prune, size in self._kept:
            for _ in range(BATCHES_MAX):
                rows_max = size.now
                try:
                    with size.trying(rows_max):
                        async with self._pool.acquire() as db:
                            removed = await prune(db, before=now - kept, rows_max=rows_max)
                except Exception as error:
                    if not is_too_large(error) or rows_max == 1:
                        raise
                    log.warning(
                        "pruning goes on with fewer rows a statement", table=table, rows=size.now, error=str(error)
                    )
                    continue
                PRUNED_ROWS.labels(table).inc(removed)
                if removed < rows_max:
                    break
