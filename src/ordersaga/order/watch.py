"""Wakes requests and event streams that wait for an order's next event.

`messaging/listening.py` wakes each process when another one has saved events, and one query reads the new events for all its watchers. A request
that waits for the order that it places is told by the turns of its own process, without a query.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Final
from uuid import UUID

import structlog

from ordersaga.messaging.isolation import narrow
from ordersaga.messaging.listening import Listener
from ordersaga.messaging.runtime import Runtime
from ordersaga.messaging.sqlstate import is_transient
from ordersaga.order import store
from ordersaga.order.model import Event, Order

log: Final = structlog.get_logger()

CHANNEL: Final = "order_event"
CONNECTION_WAIT_S: Final = 5.0
UNREAD_EVENTS_MAX: Final = 100
"""Events in the queue of one watcher. A full watcher reads no further events; they stay in the database, so none is lost."""

NumberedEvent = tuple[int, Event]
"""An event and its sequence number."""


class Watch:
    """Reads the events of all watched orders of this process, and gives each event to the watchers of its order."""

    def __init__(self, runtime: Runtime, url: str) -> None:
        self._runtime: Final = runtime
        self._url: Final = url
        self._watchers: Final[dict[UUID, set[Watcher]]] = defaultdict(set)
        self._listener: Final = Listener(url, CHANNEL, self._read_all, wanted=lambda: bool(self._watchers))
        self.run: Final = self._listener.run
        """Reads events for as long as the process lives."""
        self.read_soon: Final = self._listener.wake
        """Reads events now, without a notification."""

    def order(self, order_id: UUID, after_seq: int = 0) -> "Watcher":
        """A watcher of one order; use it as a context manager. `Watcher.next` returns its events after `after_seq`."""
        return Watcher(self, order_id, after_seq)

    def new_order(self, order_id: UUID) -> "Watcher":
        """A watcher of an order that is not placed yet; use it with `Watcher.next_or_order`."""
        return Watcher(self, order_id, 0, is_new=True)

    def is_watched(self, order_id: UUID) -> bool:
        """Whether a request or a stream of this process waits for the order."""
        return order_id in self._watchers

    def saved(self, orders: Iterable[Order]) -> None:
        """Give orders that a turn of this process has committed to the requests that have placed them."""
        for order in orders:
            for watcher in self._watchers.get(order.order_id, ()):
                watcher.give_order(order)

    async def _read_all(self) -> None:
        after = {}
        for order_id, watchers in self._watchers.items():
            if seqs := [each.seen_seq for each in watchers if not each.is_full]:
                after[order_id] = min(seqs)
        await self._read(after)

    async def _read(self, after: dict[UUID, int]) -> None:
        """Read the events of these orders after the given sequence numbers, and give them to their watchers.

        One order may cause an error that is not transient, such as an event that cannot be decoded. The set of orders is then halved until
        that order is alone, and its watchers end.
        """
        if after:
            await narrow(list(after), partial(self._give, after), _may_be_one, self._end)

    async def _give(self, after: dict[UUID, int], order_ids: Sequence[UUID]) -> None:
        async with self._runtime.pool.acquire(timeout=CONNECTION_WAIT_S) as db:
            seen = {order_id: after[order_id] for order_id in order_ids}
            found = await store.events_after(db, seen, UNREAD_EVENTS_MAX)
        for seq, event in found:
            for watcher in self._watchers.get(event.order_id, ()):
                watcher.give(seq, event)
        if len(found) >= UNREAD_EVENTS_MAX:
            self.read_soon()  # the query returns at most `each_max` events of an order; there may be more

    async def _end(self, order_ids: Sequence[UUID], error: Exception) -> None:
        """End the watchers of an order whose events cannot be read. Raises a transient error."""
        if not _may_be_one(error):
            raise error
        [order_id] = order_ids
        log.error("the events of an order cannot be read", order_id=str(order_id), exc_info=error)
        for watcher in self._watchers.pop(order_id, ()):
            watcher.end()

    def add(self, watcher: "Watcher") -> None:
        """Begin to read events for this watcher."""
        self._watchers[watcher.order_id].add(watcher)
        if not (watcher.is_new and self._listener.listens):
            self.read_soon()

    def remove(self, watcher: "Watcher") -> None:
        """Read no more events for this watcher."""
        mine = self._watchers.get(watcher.order_id, set())
        mine.discard(watcher)
        if not mine:
            self._watchers.pop(watcher.order_id, None)


def _may_be_one(error: Exception) -> bool:
    """Whether one order of several may have caused the error."""
    return not is_transient(error)


class WatchEnded(Exception):
    """The events of this order cannot be read, so no further event comes."""


class Watcher:
    """The queue of one order's events for one request or stream."""

    def __init__(self, watch: Watch, order_id: UUID, after_seq: int, is_new: bool = False) -> None:
        self._watch: Final = watch
        self.is_new: Final = is_new
        self.order_id: Final = order_id
        self.seen_seq = after_seq
        self._events: Final[asyncio.Queue[NumberedEvent | Order | None]] = asyncio.Queue()

    @property
    def is_full(self) -> bool:
        """Whether the queue holds as many events as it may."""
        return self._events.qsize() >= UNREAD_EVENTS_MAX

    def give(self, seq: int, event: Event) -> None:
        """Queue an event. An event that was queued before is dropped, and an event for a full queue is read again later."""
        if seq > self.seen_seq and not self.is_full:
            self.seen_seq = seq
            self._events.put_nowait((seq, event))

    def give_order(self, order: Order) -> None:
        """Queue the order itself for a request that has placed it."""
        if self.is_new and not self.is_full:
            self._events.put_nowait(order)

    def end(self) -> None:
        """Make `next` raise `WatchEnded` after the queued events."""
        self._events.put_nowait(None)

    async def next(self, wait_s: float) -> NumberedEvent | None:
        """The next event and its sequence number, or None if none comes within `wait_s`. Raises `WatchEnded`."""
        found = await self.next_or_order(wait_s)
        return None if isinstance(found, Order) else found

    async def next_or_order(self, wait_s: float) -> NumberedEvent | Order | None:
        """The same, or the order as a turn of this process has left it."""
        was_full = self.is_full
        try:
            async with asyncio.timeout(wait_s):
                found = await self._events.get()
        except TimeoutError:
            return None
        if found is None:
            raise WatchEnded
        if was_full:
            self._watch.read_soon()
        return found

    def __enter__(self) -> "Watcher":
        self._watch.add(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._watch.remove(self)
