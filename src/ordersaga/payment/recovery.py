"""Takes up intents that are due: refunds just asked for, what a busy gateway put off, and what a killed process left behind.

Promise: an intent is carried out to its end by some instance, once its lease is over, whoever began it. The lease is `due_at`: an
instance that lives moves it on for what it carries out, so a slow gateway does not make others begin the same thing.
"""

from datetime import timedelta
from typing import Final

import structlog
from prometheus_client import Gauge

from ordersaga.messaging.runtime import Runtime
from ordersaga.payment import store
from ordersaga.payment.intents import Intents

TAKE_EVERY_S: Final = 0.1
TAKEN_MAX: Final = 500
"""Taken up and not yet settled or put off. Customers' own confirms are not among them, so a rush of those holds no refund up."""
LOOKS_TAKEN_AT_ONCE_MAX: Final = 5
LOOKS_UNDER_WAY_MAX: Final = 20
"""Webhooks ask for look-ups, and nobody signs them: together at most 50 a second here, and few of the gateway's connections."""
WATCH_EVERY_S: Final = 15.0
LATE_AFTER_S: Final = 120.0

INTENTS_OPEN: Final = Gauge(
    "ordersaga_payment_intents_open", "Confirms and refunds that the gateway has not settled yet"
)
INTENTS_LATE: Final = Gauge("ordersaga_payment_intents_late", "Those of them that are open for more than two minutes")
log: Final = structlog.get_logger()


class Recovery:
    """`start` it once the runtime runs."""

    def __init__(self, runtime: Runtime, intents: Intents) -> None:
        self._runtime: Final = runtime
        self._intents: Final = intents
        self._lease: Final = timedelta(milliseconds=runtime.settings.recovery_after_ms)

    def start(self) -> None:
        """Look again and again until the process stops."""
        self._runtime.every(TAKE_EVERY_S, self.take, "taking up open intents")
        self._runtime.every(WATCH_EVERY_S, self.watch, "watching open intents")
        self._runtime.every(self._lease.total_seconds() / 3, self.hold, "holding open intents")

    async def take(self) -> int:
        """Take up what is due and carry it out in the background; returns how many were taken."""
        room = max(0, TAKEN_MAX - self._intents.taken_up)
        looks = max(0, min(LOOKS_TAKEN_AT_ONCE_MAX, LOOKS_UNDER_WAY_MAX - self._intents.looking))
        if not room and not looks:
            return 0
        now = self._runtime.clock()
        async with self._runtime.pool.acquire() as db:
            due = await store.take_due(db, now, now + self._lease, room, looks)
        for intent in due:
            self._intents.start(intent, taken_up=True)
        return len(due)

    async def hold(self) -> None:
        """Keep the lease of what takes long here."""
        now = self._runtime.clock()
        held = self._intents.started_before(now - self._lease / 3)
        if held:
            async with self._runtime.pool.acquire() as db:
                await store.hold(db, held, now + self._lease)

    async def watch(self) -> None:
        """Show a person what is open, and say so when something is open for long: a gateway's new status, say, or our wrong keys."""
        before = self._runtime.clock() - timedelta(seconds=LATE_AFTER_S)
        async with self._runtime.pool.acquire() as db:
            open_ones, late, said = await store.open_intents(db, before)
        INTENTS_OPEN.set(open_ones)
        INTENTS_LATE.set(late)
        if late:
            log.warning("intents are open for long", intents=late, after_s=LATE_AFTER_S, the_oldest_says=said)
