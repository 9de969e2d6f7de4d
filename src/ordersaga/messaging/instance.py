"""Instance slots: each process of a service holds the lowest number that no other living process holds.

An advisory lock of the database holds the number, so the number is free the moment its process dies. The number makes Kafka's static member
id (`group.instance.id`). So a restarted process gets the partitions of the dead one at once, without waiting for the session timeout.
A restarted database has no locks any more; each process then locks its own number again at once, and every `LOCK_AGAIN_S` while it cannot.
"""

import asyncio
import contextlib
from typing import Final, TypeAlias

import asyncpg

from ordersaga.messaging.database import DATABASE_ERRORS
from ordersaga.messaging.servers import connect_alone

LOCK_SPACE: Final = 0x0DE5A6A
INSTANCES_MAX: Final = 1_000
ASK_EVERY_S: Final = 5.0
"""How often the server is asked whether it is the primary. That the connection is closed is told without a question."""
LOCK_AGAIN_S: Final = 0.2

Held: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


class Instance:
    """A locked number, kept locked until `release`."""

    def __init__(self, url: str, number: int, connection: Held) -> None:
        self.number: Final = number
        self._url: Final = url
        self._lost: Final = asyncio.Event()
        self._hold(connection)
        self._keeping: Final = asyncio.create_task(self._keep())

    @classmethod
    async def claim(cls, url: str) -> "Instance":
        """Lock the lowest free number. Raises asyncpg's and network errors."""
        connection = await _connect(url)
        for number in range(INSTANCES_MAX):
            if await _lock(connection, number):
                return cls(url, number, connection)
        await connection.close()
        raise RuntimeError(f"{INSTANCES_MAX} instances of this service run already, which is the limit")

    def release(self) -> None:
        """Free the number, whether or not the database still answers."""
        self._keeping.cancel()
        self._connection.terminate()

    def _hold(self, connection: Held) -> None:
        self._connection = connection
        connection.add_termination_listener(lambda _: self._lost.set())

    async def _keep(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._lost.wait(), ASK_EVERY_S)
            self._lost.clear()
            if not self._connection.is_closed() and not await self._leads_to_primary():
                self._connection.terminate()
            while self._connection.is_closed():
                await self._lock_again()
                await asyncio.sleep(LOCK_AGAIN_S)

    async def _leads_to_primary(self) -> bool:
        """False after a failover, even if the old server still answers: a lock there excludes no process at the new primary."""
        with contextlib.suppress(*DATABASE_ERRORS):
            return bool(await self._connection.fetchval("SELECT NOT pg_is_in_recovery()"))
        return False

    async def _lock_again(self) -> None:
        """Lock the number on a new connection.

        The caller tries again while the database is away, or while the server has not yet ended the lost session.
        """
        with contextlib.suppress(*DATABASE_ERRORS):
            connection = await _connect(self._url)
            try:
                if await _lock(connection, self.number):
                    self._hold(connection)
            finally:
                if self._connection is not connection:
                    connection.terminate()


async def _connect(url: str) -> Held:
    return await connect_alone(url, "ordersaga instance")


async def _lock(connection: Held, number: int) -> bool:
    locked: bool = await connection.fetchval("SELECT pg_try_advisory_lock($1, $2)", LOCK_SPACE, number)
    return locked
