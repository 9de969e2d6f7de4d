"""Waiting for the commits of other processes: PostgreSQL's `NOTIFY` on a channel wakes each process that listens.

The process in which a request waits is seldom the process that commits what the request waits for, so the wait goes through the database.
The notification says only that there is something new: `read` then reads for all who wait, in one query.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, Final

import asyncpg

from ordersaga.messaging.loops import Beat
from ordersaga.messaging.servers import connect_alone

READ_EVERY_S: Final = 1.0
"""`read` also runs this often without a notification, since a notification can be lost with its connection."""

STILL_LISTENS_S: Final = 5.0
"""How long after the last one who waited a process still listens."""


class Listener:
    """Calls `read` after each notification on the channel, after `wake`, and every `READ_EVERY_S`. One call at a time.

    Notifications with the payload `own` are this process's and are ignored. `wanted`: whether somebody waits. While nobody does, no
    notification wakes this process or its connection; call `wake` when somebody begins to wait.
    """

    def __init__(
        self,
        url: str,
        channel: str,
        read: Callable[[], Awaitable[None]],
        own: str | None = None,
        wanted: Callable[[], bool] = lambda: True,
    ) -> None:
        self._url: Final = url
        self._channel: Final = channel
        self._read: Final = read
        self._own: Final = own
        self._wanted: Final = wanted
        self._listens = False
        self._listens_until_s = 0.0
        self._woken: Final = asyncio.Event()

    @property
    def listens(self) -> bool:
        """Whether each notification from now on is heard, or followed by a call of `read` at least."""
        return self._listens

    def wake(self) -> None:
        """Call `read` now, without a notification."""
        self._woken.set()

    async def run(self, beat: Beat) -> None:
        """Listen for as long as the process lives. Raises `ConnectionResetError` when the listening connection is lost."""
        self._listens = False
        connection = await connect_alone(self._url, f"ordersaga {self._channel}")
        try:
            await self._serve(connection, beat)
        finally:
            connection.terminate()

    def _heard(self, _: Any, __: int, ___: str, payload: object) -> None:
        if self._own is None or payload != self._own:
            self._woken.set()

    async def _serve(self, connection: "asyncpg.Connection[asyncpg.Record]", beat: Beat) -> None:
        await self._follow(connection)
        while not connection.is_closed():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), READ_EVERY_S)
            self._woken.clear()
            # Before `read`, which thus sees what was committed before this process listened.
            await self._follow(connection)
            await self._read()
            beat()
        raise ConnectionResetError("the connection that listens was lost")

    async def _follow(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        """Listen while somebody waits, and for `STILL_LISTENS_S` after that."""
        now_s = asyncio.get_running_loop().time()
        if self._wanted():
            self._listens_until_s = now_s + STILL_LISTENS_S
        if self._listens != (now_s < self._listens_until_s):
            self._listens = not self._listens
            await (connection.add_listener if self._listens else connection.remove_listener)(self._channel, self._heard)
