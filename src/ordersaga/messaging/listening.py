"""Waiting for the commits of other processes: PostgreSQL's `NOTIFY` on a channel wakes each process that listens.

The process in which a request waits is seldom the process that commits what the request waits for, so the wait goes through the database.
The notification says only that there is something new: `read` then reads for all who wait, in one query.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, Final

import asyncpg

from ordersaga.messaging.connections import connect_alone
from ordersaga.messaging.loops import Beat

READ_EVERY_S: Final = 1.0
"""`read` also runs this often without a notification, since a notification can be lost with its connection."""


class Listener:
    """Calls `read` after each notification on the channel, after `wake`, and every `READ_EVERY_S`. One call at a time.

    Notifications with the payload `own` are this process's and are ignored.
    """

    def __init__(self, url: str, channel: str, read: Callable[[], Awaitable[None]], own: str | None = None) -> None:
        self._url: Final = url
        self._channel: Final = channel
        self._read: Final = read
        self._own: Final = own
        self._woken: Final = asyncio.Event()

    def wake(self) -> None:
        """Call `read` now, without a notification."""
        self._woken.set()

    async def run(self, beat: Beat) -> None:
        """Listen for as long as the process lives. Raises `ConnectionResetError` when the listening connection is lost."""
        connection = await connect_alone(self._url, f"ordersaga {self._channel}")
        try:
            await connection.add_listener(self._channel, self._heard)
            await self._serve(connection, beat)
        finally:
            connection.terminate()

    def _heard(self, _: Any, __: int, ___: str, payload: object) -> None:
        if self._own is None or payload != self._own:
            self._woken.set()

    async def _serve(self, connection: "asyncpg.Connection[asyncpg.Record]", beat: Beat) -> None:
        while not connection.is_closed():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), READ_EVERY_S)
            self._woken.clear()
            await self._read()
            beat()
        raise ConnectionResetError("the connection that listens was lost")
