"""Claims intents that are due: new refunds, postponed intents, and intents that a killed process left open.

Promise: when an intent's lease is over, some process claims the intent, until it is settled. The column `due_at` is the lease. A live
process extends the leases of its intents in flight, so no other process begins an intent again because the gateway is slow.
"""

import asyncio
from datetime import timedelta
from typing import Final

import structlog
from prometheus_client import Gauge

from ordersaga.messaging.loops import Beat
from ordersaga.messaging.runtime import Runtime
from ordersaga.payment import store
from ordersaga.payment.intents import Intents
from ordersaga.service_context import metric

CLAIM_EVERY_S: Final = 0.1
IDLE_S: Final = 1.0
"""The pause after a look that found no due intent."""
CLAIMED_MAX: Final = 500
"""Limit of the intents that recovery has in flight in one process. New confirms do not count, so a rush of customers delays no refund."""
LOOK_UPS_CLAIMED_AT_ONCE_MAX: Final = 5
LOOK_UPS_IN_FLIGHT_MAX: Final = 20
"""Limits of the look-ups that one process claims every `CLAIM_EVERY_S` (so 50 a second) and has in flight. They are low because webhooks are
unsigned: strangers must not use up the gateway's connections."""
WATCH_EVERY_S: Final = 15.0
LATE_AFTER_S: Final = 120.0

INTENTS_OPEN: Final = metric(
    Gauge,
    "ordersaga_payment_intents_open",
    "Confirms and refunds that the gateway has not settled yet",
    service="payment",
    of_service=True,
)
INTENTS_LATE: Final = metric(
    Gauge,
    "ordersaga_payment_intents_late",
    "Confirms and refunds that are open for more than two minutes",
    service="payment",
    of_service=True,
)
log: Final = structlog.get_logger()


class Recovery:
    """The loops that claim due intents, extend their leases and watch them. `start` needs a running runtime."""

    def __init__(self, runtime: Runtime, intents: Intents) -> None:
        self._runtime: Final = runtime
        self._intents: Final = intents
        self._lease: Final = timedelta(milliseconds=runtime.settings.recovery_after_ms)

    def start(self) -> None:
        """Start the loops; they run until the process stops."""
        self._runtime.supervise("claiming due intents", self._claiming)
        self._runtime.every(WATCH_EVERY_S, self.watch, "watching open intents")
        self._runtime.every(self._lease.total_seconds() / 3, self.extend_leases, "extending leases of intents")

    async def _claiming(self, beat: Beat) -> None:
        while True:
            claimed = await self.claim()
            beat()
            await asyncio.sleep(CLAIM_EVERY_S if claimed else IDLE_S)

    async def claim(self) -> int:
        """Claim due intents and start them in the background. Returns how many."""
        room = max(0, CLAIMED_MAX - self._intents.claimed)
        look_ups = max(0, min(LOOK_UPS_CLAIMED_AT_ONCE_MAX, LOOK_UPS_IN_FLIGHT_MAX - self._intents.look_ups))
        if not room and not look_ups:
            return 0
        now = self._runtime.clock()
        async with self._runtime.pool.acquire() as db:
            due = await store.claim_due(db, now, now + self._lease, room, look_ups)
        for intent in due:
            self._intents.start(intent, claimed=True)
        return len(due)

    async def extend_leases(self) -> None:
        """Extend the leases of intents that this process has had in flight for a third of the lease."""
        now = self._runtime.clock()
        long_in_flight = self._intents.started_before(now - self._lease / 3)
        if long_in_flight:
            async with self._runtime.pool.acquire() as db:
                await store.extend_leases(db, long_in_flight, now + self._lease)

    async def watch(self) -> None:
        """Count the open intents, and warn if some are open for longer than `LATE_AFTER_S`, for example because of a wrong secret key."""
        before = self._runtime.clock() - timedelta(seconds=LATE_AFTER_S)
        async with self._runtime.pool.acquire() as db:
            open_ones, late, message = await store.open_intents(db, before)
        INTENTS_OPEN.set(open_ones)
        INTENTS_LATE.set(late)
        if late:
            log.warning("intents are open for long", intents=late, after_s=LATE_AFTER_S, oldest_message=message)
