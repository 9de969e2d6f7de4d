"""Which instance of its service a process is: the lowest number that no living process holds.

The number is held by an advisory lock of the database, so it is free the moment its holder dies. With it as Kafka's static member id a
killed and restarted process gets its partitions back at once, instead of waiting until the group gives up on the dead one.
A database that was started anew has forgotten who holds what; each holder takes its own number again before anybody else comes.
"""

import asyncio
import contextlib
from typing import Final, TypeAlias

import asyncpg

from ordersaga.messaging.connections import connect_alone
from ordersaga.messaging.database import DATABASE_ERRORS

LOCK_SPACE: Final = 0x0DE5A6A
INSTANCES_MAX: Final = 1_000
LOOK_EVERY_S: Final = 0.2
CHECK_EVERY_LOOKS: Final = 25

Held: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


class Instance:
    """A held number. `release` gives it back."""

    def __init__(self, url: str, number: int, connection: Held) -> None:
        self.number: Final = number
        self._url: Final = url
        self._connection = connection
        self._keeping: Final = asyncio.create_task(self._keep())

    @classmethod
    async def claim(cls, url: str) -> "Instance":
        """Take the lowest free number. Raises asyncpg's and network errors."""
        connection = await _connect(url)
        for number in range(INSTANCES_MAX):
            if await _lock(connection, number):
                return cls(url, number, connection)
        await connection.close()
        raise RuntimeError(f"more than {INSTANCES_MAX} instances of one service")

    def release(self) -> None:
        """Let go of it, whether or not the database still answers."""
        self._keeping.cancel()
        self._connection.terminate()

    async def _keep(self) -> None:
        looks = 0
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            looks += 1
            if looks % CHECK_EVERY_LOOKS == 0 and not await self._leads_to_primary():
                self._connection.terminate()
            if self._connection.is_closed():
                await self._take_again()

    async def _leads_to_primary(self) -> bool:
        """Not after a failover that left the old server answering: a lock there keeps nobody from the number at the new one."""
        with contextlib.suppress(*DATABASE_ERRORS):
            return bool(await self._connection.fetchval("SELECT NOT pg_is_in_recovery()"))
        return False

    async def _take_again(self) -> None:
        """Not while the database is away, and not while it takes another for the holder, perhaps our own lost connection."""
        with contextlib.suppress(*DATABASE_ERRORS):
            connection = await _connect(self._url)
            try:
                if await _lock(connection, self.number):
                    self._connection = connection
            finally:
                if self._connection is not connection:
                    connection.terminate()


async def _connect(url: str) -> Held:
    return await connect_alone(url, "ordersaga instance")


async def _lock(connection: Held, number: int) -> bool:
    locked: bool = await connection.fetchval("SELECT pg_try_advisory_lock($1, $2)", LOCK_SPACE, number)
    return locked
