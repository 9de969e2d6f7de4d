"""Counts of a service's calls over HTTP, for operators: those that came, those that it made, and how they were answered.

Each process adds what it has counted to the service's counts in the database, so they are right with any number of processes and go on
after a restart. A process that is killed loses what it counted in the last `ADD_EVERY_S`.
"""

import contextlib
import os
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Final
from uuid import uuid4

from msgspec import Struct

from ordersaga.messaging.database import Connection, Pool
from ordersaga.messaging.queries import queries

sql: Final = queries(__file__)

ADD_EVERY_S: Final = 1.0
TELLS_FOR: Final = timedelta(seconds=15)
"""Calls in hand that a process told of longer ago are in nobody's hand: it has ended."""
GONE_AFTER: Final = timedelta(days=1)


class CallCount(Struct, frozen=True, rename="camel"):
    """The calls of one name. `in_hand`: they have no answer yet."""

    name: str
    total: int
    in_hand: int


class Calls:
    """The counts of one process."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock: Final = clock
        self._owner: Final = f"{socket.gethostname()} {os.getpid()} {uuid4().hex[:8]}"
        self._new: Counter[str] = Counter()
        self._in_hand: Final[Counter[str]] = Counter()
        self._told: dict[str, int] = {}
        self._folded = False

    def count(self, name: str) -> None:
        """One more call."""
        self._new[name] += 1

    @contextlib.contextmanager
    def call(self, name: str) -> Iterator[None]:
        """One more call, which is in hand while the block lasts."""
        self._new[name] += 1
        self._in_hand[name] += 1
        try:
            yield
        finally:
            self._in_hand[name] -= 1

    async def add(self, pool: Pool) -> None:
        """Add the new ones to the service's counts. Without new calls there is no statement. Raises database errors."""
        in_hand = {name: count for name, count in self._in_hand.items() if count or self._told.get(name)}
        names = sorted(self._new.keys() | in_hand.keys())
        if not names:
            return
        now, added = self._clock(), Counter(self._new)
        async with pool.acquire() as db:
            if not self._folded:
                await sql.fold_calls(db, before=now - GONE_AFTER)
                self._folded = True
            counts, held = [added[name] for name in names], [in_hand.get(name, 0) for name in names]
            await sql.add_calls(db, owner=self._owner, names=names, counts=counts, in_hand=held, now=now)
        self._new -= added
        self._told = in_hand


async def counts(db: Connection, now: datetime) -> list[CallCount]:
    """The counts of the service."""
    return [CallCount(row["name"], row["total"], row["in_hand"]) for row in await sql.calls(db, since=now - TELLS_FOR)]
