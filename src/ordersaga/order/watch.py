"""Requests and streams that wait for an order's next event: one set-based read for all of them, woken by NOTIFY.

The process that waits is seldom the one that gets the answer, so waiting goes through the database.
"""

import asyncio
import contextlib
from collections import defaultdict
from typing import Any, Final
from uuid import UUID

import asyncpg
import structlog

from ordersaga.messaging.connections import connect_alone
from ordersaga.messaging.database import is_transient
from ordersaga.messaging.loops import Beat
from ordersaga.messaging.runtime import Runtime
from ordersaga.order import store
from ordersaga.order.model import Event

log: Final = structlog.get_logger()

CHANNEL: Final = "order_event"
LOOK_EVERY_S: Final = 1.0
LOOK_LIMIT_S: Final = 5.0
WAITING_EVENTS_MAX: Final = 100
"""Events that wait for one stream to send them. While it has so many, its order is not looked at for it, and nothing is lost."""

Seen = tuple[int, Event]


class Watch:
    """Hands out events of orders to whoever waits in this process."""

    def __init__(self, runtime: Runtime, url: str) -> None:
        self._runtime: Final = runtime
        self._url: Final = url
        self._watchers: Final[dict[UUID, set[Watcher]]] = defaultdict(set)
        self._woken: Final = asyncio.Event()

    def order(self, order_id: UUID, after_seq: int = 0) -> "Watcher":
        """Use with `with`; events after `after_seq` come out of `next`."""
        return Watcher(self, order_id, after_seq)

    async def run(self, beat: Beat) -> None:
        """Listen for as long as the process lives; also looks now and then by itself, should a notification be lost."""
        connection = await connect_alone(self._url, "ordersaga watch")
        try:
            await connection.add_listener(CHANNEL, self._wake)
            await self._serve(connection, beat)
        finally:
            connection.terminate()

    def _wake(self, *_: Any) -> None:
        self._woken.set()

    async def _serve(self, connection: "asyncpg.Connection[asyncpg.Record]", beat: Beat) -> None:
        while not connection.is_closed():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), LOOK_EVERY_S)
            self._woken.clear()
            if self._watchers:
                await self._look()
            beat()
        raise ConnectionResetError("the connection that listens was lost")

    async def _look(self) -> None:
        seen = {}
        for order_id, watchers in self._watchers.items():
            if after := [each.seen_seq for each in watchers if not each.is_full]:
                seen[order_id] = min(after)
        await self._hand_out(seen)

    async def _hand_out(self, seen: dict[UUID, int]) -> None:
        """Read for all, and where that fails by what is asked for, for the halves: only whose order is to blame goes without."""
        if not seen:
            return
        try:
            async with self._runtime.pool.acquire(timeout=LOOK_LIMIT_S) as db:
                found = await store.events_after(db, seen, WAITING_EVENTS_MAX)
        except Exception as error:
            if is_transient(error):
                raise
            await self._isolate(seen, error)
            return
        for seq, event in found:
            for watcher in self._watchers.get(event.order_id, ()):
                watcher.give(seq, event)
        if len(found) >= WAITING_EVENTS_MAX:
            self.look_soon()  # there may be more

    async def _isolate(self, seen: dict[UUID, int], error: Exception) -> None:
        if len(seen) == 1:
            (order_id,) = seen
            log.error("the events of an order cannot be read", order_id=str(order_id), exc_info=error)
            for watcher in self._watchers.pop(order_id, ()):
                watcher.end()
            return
        orders = list(seen.items())
        middle = len(orders) // 2
        await self._hand_out(dict(orders[:middle]))
        await self._hand_out(dict(orders[middle:]))

    def look_soon(self) -> None:
        """Look without waiting for a notification."""
        self._woken.set()

    def add(self, watcher: "Watcher") -> None:
        self._watchers[watcher.order_id].add(watcher)
        self.look_soon()

    def remove(self, watcher: "Watcher") -> None:
        mine = self._watchers.get(watcher.order_id, set())
        mine.discard(watcher)
        if not mine:
            self._watchers.pop(watcher.order_id, None)


class WatchEnded(Exception):
    """Nothing more comes: the events of this order cannot be read."""


class Watcher:
    """Somebody who waits for the events of one order."""

    def __init__(self, watch: Watch, order_id: UUID, after_seq: int) -> None:
        self._watch: Final = watch
        self.order_id: Final = order_id
        self.seen_seq = after_seq
        self._events: Final[asyncio.Queue[Seen | None]] = asyncio.Queue()

    @property
    def is_full(self) -> bool:
        """Whether as many events wait here as may."""
        return self._events.qsize() >= WAITING_EVENTS_MAX

    def give(self, seq: int, event: Event) -> None:
        if seq > self.seen_seq and not self.is_full:
            self.seen_seq = seq
            self._events.put_nowait((seq, event))

    def end(self) -> None:
        self._events.put_nowait(None)

    async def next(self, wait_s: float) -> Seen | None:
        """The next event and its number, or None when none came in time. Raises `WatchEnded`."""
        was_full = self.is_full
        try:
            async with asyncio.timeout(wait_s):
                found = await self._events.get()
        except TimeoutError:
            return None
        if found is None:
            raise WatchEnded
        if was_full:
            self._watch.look_soon()
        return found

    def __enter__(self) -> "Watcher":
        self._watch.add(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._watch.remove(self)
