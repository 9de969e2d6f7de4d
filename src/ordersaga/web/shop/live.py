"""Open order streams: what happens in Kafka wakes the order that it is about, and the order is read once for all its streams.

Records say *that* something has happened; Order says *what*, over HTTP and in the name of the order's customer. `order-completed-topic` is the
guide's step 11, Order's word to its client: it completes the order here even if Order does not answer then. Each web process reads every record, without a
group and without commits, so each instance can answer for its own browsers. An order whose records are missed is read every `SLOW_S`, and every
`DEAF_S` while Kafka does not answer.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Final
from uuid import UUID

import msgspec
import structlog
from msgspec import Struct
from msgspec.structs import replace

from ordersaga.contracts.codec import NOT_JSON
from ordersaga.contracts.messages import OrderCompletedMessage
from ordersaga.contracts.status import ORDER_CODES
from ordersaga.messaging.handler import Record
from ordersaga.messaging.kafka import KafkaUnavailable, Tap
from ordersaga.messaging.loops import Beat
from ordersaga.settings import Settings
from ordersaga.web.accounts import User
from ordersaga.web.services import Refused, SignInEnded, Unavailable
from ordersaga.web.shop.model import Delivery, Event, Order, Payment

log: Final = structlog.get_logger()

COMPLETED: Final = "order-completed-topic"
BEFORE_COMMIT: Final = ("stock-response-topic", "payment-success-topic", "payment-cancelled-topic")
"""Answers of partners. Order commits what they change a moment after they can be read here."""
AFTER_COMMIT: Final = ("order-payable-topic", COMPLETED)
"""Order's own records, published after its commit."""
TOPICS: Final = (*BEFORE_COMMIT, *AFTER_COMMIT)
AGAIN_AFTER_S: Final = (0.03, 0.1, 0.4, 1.5)
SLOW_S: Final = 15.0
DEAF_S: Final = 2.0
READS_PER_S_MAX: Final = 70
"""Without Kafka all orders together are read no more often than this, so many orders are read more seldom than every `DEAF_S`."""
SILENT_S: Final = 2.0
"""Without a record for this long, Kafka is asked whether it is there."""
LOOK_FOR_PARTITIONS_S: Final = 5.0
RECORDS_MAX: Final = 2_000
FETCH_S: Final = 0.5
READS_MAX: Final = 50


class Shown(Struct, frozen=True):
    """An order as the services told it last. `payments`: Payment's, only while it is asked about a confirm. `delivery_away`: the order is on its
    way, and Delivery has not said yet by which tracking number."""

    order: Order
    timeline: tuple[Event, ...] = ()
    payments: tuple[Payment, ...] = ()
    delivery: Delivery | None = None
    delivery_away: bool = False


Read = Callable[[UUID, User, Shown], Awaitable[Shown | None]]
"""Reads an order in a user's name; None if that user has no such order. Raises `Unavailable`."""


class _About(Struct, rename="camel"):
    order_id: UUID


class Watched:
    """One order that at least one stream shows."""

    def __init__(self, order_id: UUID, user: User, shown: Shown) -> None:
        self.order_id: Final = order_id
        self.user = user
        self.shown: Shown = shown
        self.gone = False
        self.is_completed = False
        self.streams = 0
        self.woken: Final = asyncio.Event()
        self.unsettled = False
        self.changed: asyncio.Event = asyncio.Event()
        self.task: asyncio.Task[None]

    def wake(self, committed: bool) -> None:
        """Have the order read: now, or, if Order may not have committed yet what is told, again and again for a moment."""
        self.unsettled |= not committed
        self.woken.set()

    def show(self, shown: Shown | None) -> None:
        """Take what was read. If it differs, every stream of the order is woken."""
        if shown == self.shown:
            return
        self.gone = shown is None
        self.shown = shown or self.shown
        self.changed.set()
        self.changed = asyncio.Event()


class Live:
    """The watched orders of this process."""

    def __init__(self, settings: Settings, read: Read) -> None:
        self._settings: Final = settings
        self._read: Final = read
        self._orders: Final[dict[UUID, Watched]] = {}
        self._keys: Final[dict[bytes, Watched]] = {}
        self._reads: Final = asyncio.Semaphore(READS_MAX)
        self._deaf_until_s = 0.0
        self.listening = False

    @contextlib.contextmanager
    def watch(self, user: User, shown: Shown) -> Iterator[Watched]:
        """Watch an order while the block lasts. `user` is its customer; `shown` was just read."""
        order_id = shown.order.order_id
        watched = self._orders.get(order_id)
        if watched is None:
            watched = self._orders[order_id] = Watched(order_id, user, shown)
            self._keys[str(order_id).encode()] = watched
            watched.task = asyncio.create_task(self._follow(watched))
        watched.user = user
        watched.show(shown)
        watched.wake(committed=True)  # a record may have come after `shown` was read and before this line
        watched.streams += 1
        try:
            yield watched
        finally:
            watched.streams -= 1
            if not watched.streams:
                watched.task.cancel()
                del self._orders[order_id], self._keys[str(order_id).encode()]

    async def _follow(self, watched: Watched) -> None:
        """Read the order when it is woken, and now and then."""
        pauses: Iterator[float] = iter(())
        while True:
            pause_s = next(pauses, self._slow_s() * random.uniform(0.8, 1.2))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await watched.woken.wait()
            watched.woken.clear()
            if watched.unsettled:
                watched.unsettled = False
                pauses = iter(AGAIN_AFTER_S)
            else:
                await self._refresh(watched)

    def _slow_s(self) -> float:
        """After how long an order is read that no record was about."""
        if self.listening and time.monotonic() > self._deaf_until_s:
            return SLOW_S
        return min(SLOW_S, max(DEAF_S, len(self._orders) / READS_PER_S_MAX))

    def _turn(self, listening: bool) -> None:
        """Note whether records are heard. Each order is read, since records of the time in between were missed.

        Right after Kafka came back, Order has not handled everything yet, so orders are still read often for `SLOW_S`.
        """
        self.listening = listening
        self._deaf_until_s = time.monotonic() + SLOW_S
        for watched in self._orders.values():
            watched.wake(committed=True)

    async def _refresh(self, watched: Watched) -> None:
        async with self._reads:
            try:
                watched.show(await self._read(watched.order_id, watched.user, watched.shown))
            except (Unavailable, Refused, SignInEnded):
                pass  # it is read again, at the latest after `SLOW_S`
            except Exception as error:
                log.error("an order cannot be shown", order_id=str(watched.order_id), exc_info=error)
        shown = watched.shown
        if watched.is_completed and shown.order.status == "PENDING":
            completed = replace(shown.order, status="COMPLETED", delivery="STARTED")
            watched.show(replace(shown, order=completed, delivery_away=True))

    async def listen(self, beat: Beat) -> None:
        """Read records for as long as the process lives. Raises `KafkaUnavailable`."""
        tap = await Tap.open(self._settings, TOPICS)
        try:
            self._turn(listening=True)
            heard_at_s = looked_at_s = time.monotonic()
            while True:
                if time.monotonic() - looked_at_s > LOOK_FOR_PARTITIONS_S:
                    await tap.read_added()
                    looked_at_s = time.monotonic()
                records = await tap.fetch(RECORDS_MAX, FETCH_S)
                for record in records:
                    self.hear(record)
                if records:
                    heard_at_s = time.monotonic()
                elif time.monotonic() - heard_at_s > SILENT_S:
                    if not await tap.reaches_kafka():
                        raise KafkaUnavailable("Kafka does not answer")
                    heard_at_s = time.monotonic()
                beat()
        finally:
            self._turn(listening=False)
            await tap.end()

    def hear(self, record: Record) -> None:
        """Wake the order that a record is about. A record that cannot be read is no concern of a page."""
        if not self._orders:
            return
        watched = self._keys.get(record.key) if record.key else None
        if watched is None:
            if record.key and len(record.key) == 36:
                return  # the key is the order id, of an order that nobody looks at
            with contextlib.suppress(
                *NOT_JSON,
            ):
                watched = self._orders.get(msgspec.json.decode(record.value or b"", type=_About).order_id)
        if watched is None:
            return
        watched.is_completed |= record.topic == COMPLETED and _says_completed(record)
        watched.wake(record.topic in AFTER_COMMIT)


def _says_completed(record: Record) -> bool:
    try:
        said = msgspec.json.decode(record.value or b"", type=OrderCompletedMessage)
    except NOT_JSON:
        return False
    return said.status in (ORDER_CODES["COMPLETED"], "COMPLETED")
