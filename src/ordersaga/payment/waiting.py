"""Requests that wait for a confirm's outcome.

The process that settles a payment tells those who wait in it; for the rest one set-based read serves all, now and then.
"""

import asyncio
from collections import defaultdict
from typing import Final

from ordersaga.messaging.runtime import Runtime
from ordersaga.payment import store
from ordersaga.payment.model import Payment

LOOK_EVERY_S: Final = 0.25


class Waiting:
    """Who waits here for which payment."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime: Final = runtime
        self._futures: Final[dict[str, set[asyncio.Future[Payment]]]] = defaultdict(set)

    def join(self, payment_key: str) -> "asyncio.Future[Payment]":
        """A future that gets the payment once its confirm has come to its end. Join before the intent is carried out; then `leave`."""
        future: asyncio.Future[Payment] = asyncio.get_running_loop().create_future()
        self._futures[payment_key].add(future)
        return future

    def leave(self, payment_key: str, future: "asyncio.Future[Payment]") -> None:
        """Wait no longer."""
        future.cancel()
        mine = self._futures[payment_key]
        mine.discard(future)
        if not mine:
            del self._futures[payment_key]

    def tell(self, payment: Payment) -> None:
        """A payment's confirm has come to its end."""
        if payment.status != "PENDING":
            for future in self._futures.get(payment.payment_key, ()):
                if not future.done():
                    future.set_result(payment)

    async def look(self) -> None:
        """Tell those who wait for what other processes settled."""
        waited_for = [key for key, futures in self._futures.items() if not all(future.done() for future in futures)]
        if waited_for:
            async with self._runtime.reading() as db:
                for payment in (await store.settled_payments(db, waited_for)).values():
                    self.tell(payment)
