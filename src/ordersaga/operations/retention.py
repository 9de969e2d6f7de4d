"""The retention of personal data: each service clears by itself what `customers erase` erases, so many days after the last that happened to an order.

Orders are looked at in the sequence of their ages, and a row says how far this has come, so no column or index of an order is needed for it. An
order that goes on, whose money is to go back, or about which a record is parked, unpublished or an open dead letter, is left alone and looked at
again a day later.
Dead letters that were decided so many days ago lose the fields of an address too: a letter may come after its order was cleared, and
Stock and Payment have no addresses by which they would find them in words.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, NamedTuple, Protocol, TypeAlias
from uuid import UUID

import structlog
from prometheus_client import Counter, Gauge

from ordersaga.contracts.topics import TOPICS
from ordersaga.messaging.database import Connection, Pool
from ordersaga.messaging.ids import first_id_at
from ordersaga.messaging.loops import Beat
from ordersaga.messaging.queries import queries
from ordersaga.operations import erasing
from ordersaga.operations.erasing import Theirs, Words
from ordersaga.service_context import metric

log: Final = structlog.get_logger()
sql: Final = queries(__file__)

LOOK_EVERY_S: Final = 30.0
"""Well below the time in which a loop must give a sign of life (`LIMIT_S`): a look comes on top."""
SET_MAX: Final = 100
LOOK_AGAIN_AFTER: Final = timedelta(days=1)
ORDERS, LETTERS = "orders", "dead letters"
FIRST: Final = UUID(int=0)
NO_WORDS: Final = Words(())
NOT_ABOUT_ORDERS: Final = [name for each in TOPICS if each.key != "order_id" for name in (each.name, each.dead_letters)]
"""Their records have other things under the names of an address's fields, such as the name of a product."""

CLEARED: Final = metric(
    Counter,
    "ordersaga_personal_data_cleared",
    "Orders, and dead letters, whose personal data was cleared after its retention",
    "what",
)
HELD: Final = metric(
    Gauge,
    "ordersaga_personal_data_held_orders",
    "Orders that keep their personal data beyond its retention: they go on, or a record about them waits",
    of_service=True,
)


class Aged(Protocol):
    """What has an address: an order, or a delivery. `place`: its place in the sequence of their ages, a UUIDv7 of its own time."""

    @property
    def order_id(self) -> UUID: ...

    @property
    def place(self) -> UUID: ...

    @property
    def is_erased(self) -> bool: ...

    @property
    def values(self) -> tuple[str, ...]: ...

    @property
    def last_at(self) -> datetime: ...

    @property
    def needs_its_address(self) -> bool: ...


class Ageing(Protocol):
    """All that has an address in a service, by age."""

    async def after(self, db: Connection, place: UUID, below: UUID, rows_max: int) -> Sequence[Any]:
        """The oldest between these places, locked."""

    async def of_orders(self, db: Connection, order_ids: Sequence[UUID]) -> Sequence[Any]:
        """Those of these orders, locked."""

    async def erase(self, db: Connection, each: Any, words: Words, now: datetime) -> None:
        """Erase an address, and what stands beside it and repeats it."""


class Retention:
    """The retention of one service. Any number of processes may have one: a set belongs to the process that locks it."""

    def __init__(self, pool: Pool, clock: Callable[[], datetime], kept_days: int, ageing: Ageing | None) -> None:
        self._pool: Final = pool
        self._clock: Final = clock
        self._kept: Final = timedelta(days=kept_days)
        self._ageing: Final = ageing

    async def run(self, beat: Beat) -> None:
        """Clear for as long as the process lives."""
        while True:
            await self.clear(beat)
            await asyncio.sleep(LOOK_EVERY_S)

    async def clear(self, beat: Beat) -> None:
        """Clear all whose time has come, in small sets, each in a transaction. A pause as long as the set follows each."""
        if self._ageing is not None:
            await self._sets(ORDERS, partial(self._oldest, self._ageing), beat)
            await self._sets(ORDERS, partial(self._left, self._ageing), beat)
        await self._sets(LETTERS, self._letters, beat)
        async with self._pool.acquire() as db:
            HELD.set(await sql.held(db))
        beat()

    async def _sets(self, what: str, work: "Work", beat: Beat) -> None:
        loop = asyncio.get_running_loop()
        total, looked = 0, Looked(SET_MAX, 0)
        while looked.at >= SET_MAX:
            began_s = loop.time()
            async with self._pool.acquire() as db, db.transaction():
                looked = await work(db, self._clock(), beat)
            total += looked.cleared
            CLEARED.labels(what).inc(looked.cleared)
            beat()
            await asyncio.sleep(loop.time() - began_s)
            beat()
        if total:
            log.info(
                "personal data is cleared after its retention", what=what, cleared=total, kept_days=self._kept.days
            )

    async def _oldest(self, ageing: Ageing, db: Connection, now: datetime, beat: Beat) -> "Looked":
        """Look at the next orders that are old enough."""
        position = await _claim(db, ORDERS)
        if position is None:
            return NOTHING
        found = await ageing.after(db, position["last_id"], first_id_at(now - self._kept), SET_MAX)
        if not found:
            return NOTHING
        await sql.move(db, kind=ORDERS, last_id=found[-1].place, at=None)
        return Looked(len(found), await self._clear(ageing, db, found, now, beat))

    async def _left(self, ageing: Ageing, db: Connection, now: datetime, beat: Beat) -> "Looked":
        """Look again at orders that were left alone."""
        rows = await sql.to_look_at_again(db, now=now, rows_max=SET_MAX)
        order_ids = [row["order_id"] for row in rows]
        await sql.done(db, order_ids=order_ids)
        found = await ageing.of_orders(db, order_ids) if order_ids else []
        return Looked(len(rows), await self._clear(ageing, db, found, now, beat))

    async def _clear(self, ageing: Ageing, db: Connection, found: Sequence[Aged], now: datetime, beat: Beat) -> int:
        cleared, later = 0, []
        for each in found:
            if each.is_erased:
                continue
            if each.last_at > now - self._kept:
                later.append((each.order_id, each.last_at + self._kept, False))
                continue
            theirs = await erasing.find(db, None, [each.order_id])
            if each.needs_its_address or (await erasing.waiting(db, theirs)).is_something:
                later.append((each.order_id, now + LOOK_AGAIN_AFTER, True))
                continue
            words = Words(each.values)
            await erasing.erase(db, theirs, words, now, beat)
            await ageing.erase(db, each, words, now)
            cleared += 1
        if later:
            order_ids, look_ats, held = map(list, zip(*later, strict=True))
            await sql.leave_for_later(db, order_ids=order_ids, look_ats=look_ats, held=held)
        return cleared

    async def _letters(self, db: Connection, now: datetime, beat: Beat) -> "Looked":
        """Look at the next dead letters, once a day at all of them: a letter is decided at any time."""
        position = await _claim(db, LETTERS)
        if position is None or (position["at"] is not None and now - position["at"] < LOOK_AGAIN_AFTER):
            return NOTHING
        rows = await sql.decided_letters(
            db,
            after=position["last_id"],
            before=now - self._kept,
            not_about_orders=NOT_ABOUT_ORDERS,
            rows_max=SET_MAX,
        )
        letter_ids = [row["id"] for row in rows]
        cleared, _ = await erasing.erase(db, Theirs([], letter_ids), NO_WORDS, now, beat)
        if len(rows) == SET_MAX:
            await sql.move(db, kind=LETTERS, last_id=letter_ids[-1], at=None)
        else:
            await sql.move(db, kind=LETTERS, last_id=FIRST, at=now)
        return Looked(len(rows), cleared)


class Looked(NamedTuple):
    """How many a set has looked at, and how many of them it has cleared."""

    at: int
    cleared: int


NOTHING: Final = Looked(0, 0)
Work: TypeAlias = Callable[[Connection, datetime, Beat], Awaitable[Looked]]


async def _claim(db: Connection, kind: str) -> Any:
    """Where the clearing of a kind is. None: another process is at it."""
    await sql.begin(db, kind=kind, first_id=FIRST)
    return await sql.claim(db, kind=kind)
