"""A PostgreSQL of its own for tests that freeze it, make it read-only, or put a network in between that swallows what is sent."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import psutil
import psycopg

from ordersaga.devstack.folder import StackFolder
from ordersaga.devstack.postgres import PostgresServer


class TroubledPostgres(PostgresServer):
    """A server that can be made to answer nothing, or to refuse every write."""

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """All of its processes are stopped; what is sent to it stays in the kernel, as with a machine that hangs."""
        server = psutil.Process(self.pid)
        server.suspend()  # first, so that it starts no others
        stopped = [server, *server.children(recursive=True)]
        for each in stopped:
            each.suspend()
        try:
            yield
        finally:
            for each in reversed(stopped):
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.resume()

    @contextlib.contextmanager
    def read_only(self) -> Iterator[None]:
        """As a primary that has become a standby: it answers, and takes no write."""
        self._say("ALTER SYSTEM SET default_transaction_read_only = on")
        try:
            yield
        finally:
            self._say("ALTER SYSTEM RESET default_transaction_read_only")

    def _say(self, what: str) -> None:
        with psycopg.connect(self.database_url("postgres"), autocommit=True) as db:
            db.execute(what)
            db.execute("SELECT pg_reload_conf()")


@contextlib.contextmanager
def troubled_postgres() -> Iterator[TroubledPostgres]:
    """A started one, that is gone afterwards."""
    folder = StackFolder(None)
    server = TroubledPostgres(folder)
    try:
        server.start()
        yield server
    finally:
        server.kill()
        folder.close()


class Network:
    """Passes on what is sent between clients and a server, until it is told to swallow it: then nobody hears that the other is gone."""

    def __init__(self, to_port: int) -> None:
        self._to_port = to_port
        self._swallows: set[asyncio.StreamWriter] = set()
        self._open: set[asyncio.StreamWriter] = set()
        self.port = 0

    def swallow(self) -> None:
        """On the connections that are open now; new ones pass."""
        self._swallows |= self._open

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator["Network"]:
        tasks: set[asyncio.Task[Any]] = set()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            tasks.add(asyncio.current_task())  # type: ignore[arg-type]
            there, back = await asyncio.open_connection("127.0.0.1", self._to_port)
            self._open |= {writer, back}
            with contextlib.suppress(OSError):
                await asyncio.gather(self._pass(reader, back), self._pass(there, writer))

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for writer in self._open:
                writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            if writer not in self._swallows:
                writer.write(data)
        if writer not in self._swallows:
            writer.close()
