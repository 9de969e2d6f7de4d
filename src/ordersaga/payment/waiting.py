"""Wakes HTTP requests that wait for the outcome of a confirm.

The process that settles the payment wakes its own requests at once, and those of other processes through `messaging/listening.py`.
"""

import asyncio
from collections import defaultdict
from typing import Final
from uuid import uuid4

from ordersaga.messaging.listening import Listener
from ordersaga.messaging.runtime import Runtime
from ordersaga.payment import store
from ordersaga.payment.model import Payment

CHANNEL: Final = "payment_settled"


class Waiting:
    """The futures of the requests that wait in this process, by payment key."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime: Final = runtime
        self.name: Final = str(uuid4())
        """Says in a notification that this process has settled the payments."""
        url = runtime.settings.database_url("payment")
        self.run: Final = Listener(url, CHANNEL, self._read, own=self.name).run
        self._futures: Final[dict[str, set[asyncio.Future[Payment]]]] = defaultdict(set)

    def join(self, payment_key: str) -> "asyncio.Future[Payment]":
        """A future that gets the payment when its confirm is settled. Call before the intent starts, and `leave` afterwards."""
        future: asyncio.Future[Payment] = asyncio.get_running_loop().create_future()
        self._futures[payment_key].add(future)
        return future

    def leave(self, payment_key: str, future: "asyncio.Future[Payment]") -> None:
        """Remove the future of a request that waits no longer."""
        future.cancel()
        mine = self._futures[payment_key]
        mine.discard(future)
        if not mine:
            del self._futures[payment_key]

    def tell(self, payment: Payment) -> None:
        """Wake the requests that wait for this payment, if its confirm is settled."""
        if payment.status != "PENDING":
            for future in self._futures.get(payment.payment_key, ()):
                if not future.done():
                    future.set_result(payment)

    async def _read(self) -> None:
        """Wake the requests whose payments another process has settled."""
        waited_for = [key for key, futures in self._futures.items() if not all(future.done() for future in futures)]
        if waited_for:
            async with self._runtime.reading() as db:
                for payment in (await store.settled_payments(db, waited_for)).values():
                    self.tell(payment)
