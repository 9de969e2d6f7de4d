"""Which instance of its service a process is: the lowest number that no living process holds.

The number is held by an advisory lock of the database, so it is free the moment its holder dies. With it as Kafka's static member id a
killed and restarted process gets its partitions back at once, instead of waiting until the group gives up on the dead one.
"""

from typing import Final

import asyncpg

LOCK_SPACE: Final = 0x0DE5A6A
INSTANCES_MAX: Final = 1_000


class Instance:
    """A held number. `release` gives it back."""

    def __init__(self, number: int, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        self.number: Final = number
        self._connection: Final = connection

    @classmethod
    async def claim(cls, url: str) -> "Instance":
        """Take the lowest free number. Raises asyncpg's and network errors."""
        connection = await asyncpg.connect(url, server_settings={"application_name": "ordersaga instance"})
        for number in range(INSTANCES_MAX):
            if await connection.fetchval("SELECT pg_try_advisory_lock($1, $2)", LOCK_SPACE, number):
                return cls(number, connection)
        await connection.close()
        raise RuntimeError(f"more than {INSTANCES_MAX} instances of one service")

    def release(self) -> None:
        """Let go of it, whether or not the database still answers."""
        self._connection.terminate()
