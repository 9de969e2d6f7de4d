"""The servers of a database's URL: which one a connection goes to, and when a silent one is given up.

A machine that is cut off causes no error. Its network does not even acknowledge what is sent, which tells it from a server that is busy or
frozen. So a connection to it is given up after `silence_ms`, long before a statement would have had to end. So is one whose server takes no more
of what is sent, megabytes of it, for as long: Linux counts that as silence.
"""

import asyncio
import os
import socket
from typing import Any, Final, NamedTuple
from urllib.parse import unquote, urlsplit

import asyncpg

from ordersaga.messaging.connections import SERVER_SETTINGS, AsyncpgConnection, Connection
from ordersaga.messaging.errors import CannotStart

CONNECT_S: Final = 3.0
"""Limit for one server of the URL, for network, TLS and authentication."""
NEXT_S: Final = 1.0
"""After so long without an answer of one server the next one is asked, too."""
AGAIN_S: Final = 0.2
"""For so long after all servers have refused nobody is asked: hundreds of waiting requests would otherwise keep a server from being promoted."""
PORT: Final = "5432"
READ_WRITE: Final = "read-write"
SILENCE_MS: Final = 3_000
PROBES: Final = 3
"""So often an idle connection's machine is asked for a sign of life before it counts as silent."""
FAILURES: Final = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


class Address(NamedTuple):
    """Where a server is."""

    host: str
    port: str


class Servers:
    """The server or servers of a URL. Connects to the first one that takes writes, and waits for no silent one."""

    def __init__(self, url: str, silence_ms: int = SILENCE_MS) -> None:
        try:
            named = _several(url) if "," in unquote(url) else {"port": urlsplit(url).port}
            self._addresses = _addresses(str(named.get("host") or ""), str(named.get("port") or ""))
        except ValueError as error:
            raise CannotStart("the URL of a database cannot be read; `ordersaga settings` shows the URLs") from error
        self._url: Final = url
        self._silence_ms: Final = silence_ms
        self._refused_until_s = 0.0
        self._refusal: Exception | None = None
        self._attributes: Final = named.get("target_session_attrs") or os.environ.get("PGTARGETSESSIONATTRS")

    async def connect(self, *_: Any, **options: Any) -> AsyncpgConnection:
        """`asyncpg.connect` to the first usable server. Raises the last server's error if there is none, and for `AGAIN_S` after that."""
        loop = asyncio.get_running_loop()
        if self._refusal is not None and loop.time() < self._refused_until_s:
            raise self._refusal.with_traceback(None)
        options.setdefault("timeout", CONNECT_S)
        try:
            if len(self._addresses) == 1:
                return await self._connect(**options)
            return await self._first_usable({**options, "target_session_attrs": self._attributes or READ_WRITE})
        except FAILURES as error:
            self._refusal, self._refused_until_s = error, loop.time() + AGAIN_S
            raise

    async def _first_usable(self, options: dict[str, Any]) -> AsyncpgConnection:
        """Ask one server after the other, the one that was used last first.

        While one is silent, those that have refused are asked again: a standby refuses until it is promoted.
        """
        loop = asyncio.get_running_loop()
        end_s = loop.time() + options["timeout"]
        to_ask = list(self._addresses)
        asking: dict[asyncio.Task[AsyncpgConnection], Address] = {}
        failure: BaseException | None = None
        try:
            while to_ask or asking:
                if to_ask:
                    address = to_ask.pop(0)
                    at = {"host": address.host, "port": int(address.port)}
                    asking[asyncio.create_task(self._connect(**at, **options))] = address
                done, _ = await asyncio.wait(asking, timeout=NEXT_S, return_when=asyncio.FIRST_COMPLETED)
                for each in done:
                    failure = each.exception()
                    if failure is None:
                        address = asking.pop(each)
                        self._addresses.remove(address)
                        self._addresses.insert(0, address)  # the next connection asks this server first
                        return each.result()
                    if not isinstance(failure, FAILURES):
                        raise failure
                    del asking[each]
                if asking and not to_ask and not done and loop.time() < end_s:
                    to_ask = [each for each in self._addresses if each not in asking.values()]
            assert failure is not None
            raise failure
        finally:
            await _give_up(asking)

    async def _connect(self, **options: Any) -> AsyncpgConnection:
        connection: AsyncpgConnection = await asyncpg.connect(self._url, **{"connection_class": Connection, **options})
        _limit_silence(connection, self._silence_ms)
        return connection


async def _give_up(asking: dict[asyncio.Task[AsyncpgConnection], Address]) -> None:
    """Cancel what is not needed any more, and close a connection that was made all the same."""
    for each in asking:
        each.cancel()
    for made in await asyncio.gather(*asking, return_exceptions=True):
        if isinstance(made, asyncpg.Connection):
            made.terminate()


def _several(url: str) -> dict[str, Any]:
    """The parts of a URL that names several servers, read as libpq reads them. Raises ValueError."""
    # Imported here: psycopg takes 9 MiB of a process, and few need it.
    from psycopg import ProgrammingError
    from psycopg.conninfo import conninfo_to_dict

    try:
        return conninfo_to_dict(url)
    except ProgrammingError as error:
        raise ValueError(str(error)) from error


def _addresses(hosts: str, ports: str) -> list[Address]:
    """Each host with its port; one port is that of all hosts, and a host without one has the usual one. Raises ValueError."""
    names, numbers = hosts.split(","), ports.split(",")
    numbers *= len(names) if len(numbers) == 1 else 1
    return [Address(host, port or PORT) for host, port in zip(names, numbers, strict=True)]


def _limit_silence(connection: Any, silence_ms: int) -> None:
    """Have the operating system end the connection after so long without a sign of life. Not every one has all of these options."""
    wire = connection._transport.get_extra_info("socket")  # the socket on which asyncpg sets TCP_NODELAY
    if wire is None or wire.family not in (socket.AF_INET, socket.AF_INET6):
        return
    between_s = max(1, silence_ms // (PROBES + 1) // 1000)
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", between_s),
        ("TCP_KEEPINTVL", between_s),
        ("TCP_KEEPCNT", PROBES),
        ("TCP_USER_TIMEOUT", silence_ms),
    ):
        if hasattr(socket, name):
            wire.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


async def connect_alone(url: str, name: str) -> AsyncpgConnection:
    """A connection outside of the pool, for an advisory lock or LISTEN. `name` is its `application_name`, for a DBA."""
    settings = {"application_name": name, **SERVER_SETTINGS}
    return await Servers(url).connect(server_settings=settings, command_timeout=CONNECT_S)
