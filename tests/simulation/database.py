"""The real PostgreSQL behind gates: each statement, commit and rollback of a simulated process is one step of the scheduler.

A statement that has to wait for another transaction's lock really waits in PostgreSQL. While one waits in a database, only those it
waits for go on there; so at most one statement comes through when a lock is given back, and which one does not depend on chance.
A circle of waiting transactions is broken here as PostgreSQL's own deadlock time-out would: the last to come is the victim.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple

import asyncpg

from tests.simulation.scheduler import Gate, Process, Scheduler, StillWaiting

KEPT_TABLES: Final = "yoyo"
CONFIGURATION: Final = {"application_name": "simulation", "jit": "off"}
WORDS_MAX: Final = 6
FENCE: Final = "WITH fenced AS"
MOMENTS: Final = {
    "finds parked": "SELECT DISTINCT ON (p.topic, p.partition, p.order_key)",
    "parks": "INSERT INTO parked",
    "reads what is available": "SELECT product_id, available FROM product",
    "takes timers": "SELECT key FROM timer WHERE due_at <=",
}
TIMEOUT: Final = "_timeout"
"""Time in PostgreSQL is not the time of a history: no statement of ours may end by it."""
READ_ONLY: Final = "SET default_transaction_read_only = on; SET transaction_read_only = on"
TAKE: Final = "SET epoch = l.epoch + 1\nFROM mine"
USED_TABLES: Final = """
    SELECT array_agg(relname ORDER BY relname) FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relname = ANY ($1) AND pg_relation_size(oid) > 0"""


class Database:
    """One service's database, with connections that outlive a history. `committed` is what the history has done to it, in order."""

    def __init__(self, service: str, url: str) -> None:
        self.service: Final = service
        self._url: Final = url
        self._free: Final[list[Any]] = []
        self._read_only: Final[list[Any]] = []
        """Those that are set so since they were used last; whoever takes one sets it back, at a gate."""
        self._tables: list[str] = []
        self._sequences: list[str] = []
        self.monitor: Any = None
        self.moment: Callable[[Process, str], None] = lambda process, what: None
        self.committed: list[Any] = []
        self.in_transaction: Final[dict[int, Connection]] = {}
        self._waiting: Final[dict[int, set[int]]] = {}
        self.deadlocks = 0
        self.read_only_until_s = 0.0
        self.frozen_until_s = 0.0
        self.patience_s = 0.0
        """For how long a process waits for a statement."""

    async def open(self) -> None:
        """Connect, and learn which tables there are."""
        self.monitor = await self._connect()
        self._tables, self._sequences = await self._names(b"r"), await self._names(b"S")

    async def _names(self, kind: bytes) -> list[str]:
        query = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = $1 ORDER BY 1"
        rows = await self.monitor.fetch(query, kind)
        return [row["relname"] for row in rows if KEPT_TABLES not in row["relname"]]

    async def close(self) -> None:
        for connection in [self.monitor, *self._free]:
            await connection.close()

    async def _connect(self) -> Any:
        return await asyncpg.connect(self._url, server_settings=CONFIGURATION)

    async def empty(self) -> None:
        """Forget the last history, and the place where its rows lay: the order in which PostgreSQL finds rows depends on it."""
        statements = [f"DELETE FROM {table}" for table in self._tables]
        statements += [f"SELECT setval('{name}', 1, false)" for name in self._sequences]
        await self.monitor.execute(";".join(statements))
        used = await self.monitor.fetchval(USED_TABLES, self._tables)
        if used:
            await self.monitor.execute(f"VACUUM (INDEX_CLEANUP ON) {', '.join(used)}")
        self.committed = []
        self.in_transaction.clear()
        self._waiting.clear()
        self.deadlocks = 0
        self.read_only_until_s = self.frozen_until_s = 0.0

    async def take(self) -> Any:
        """A real connection."""
        real = self._free.pop() if self._free else await self._connect()
        if real in self._read_only:
            self._read_only.remove(real)
            await real.execute("RESET default_transaction_read_only")
        return real

    async def give_back(self, real: Any, is_read_only: bool) -> None:
        """For the next who takes one; an open transaction is undone."""
        if real.is_in_transaction():
            await real.execute("ROLLBACK")
        if is_read_only:
            self._read_only.append(real)
        self._free.append(real)

    # Waiting for locks -----------------------------------------------------------------------------------------------------

    @property
    def _holders(self) -> set[int]:
        """Who may go on: those for whom others wait, and who do not wait themselves."""
        return {pid for pids in self._waiting.values() for pid in pids} - self._waiting.keys()

    def lets_go_on(self, pid: int) -> bool:
        return not self._waiting or pid in self._holders

    def is_held_up_by(self, process: Process) -> bool:
        """Whether somebody here waits for a lock of this process."""
        held = self.in_transaction
        return any(pid in held and held[pid].process is process for pid in self._holders)

    async def perform(self, connection: "Connection", work: Awaitable[Any]) -> Any:
        """Run a statement that may meet a lock, to its end or until it has to wait."""
        if not self._waiting and not self.in_transaction.keys() - {connection.pid}:
            return await work
        connection.statement = task = asyncio.ensure_future(work)

        async def look() -> bool:
            return await self._came_through(connection, task)

        return task.result() if await look() else StillWaiting(look, task)

    async def _came_through(self, connection: "Connection", task: "asyncio.Task[Any]") -> bool:
        """Whether the statement is done; False: it waits for a lock. Nobody else is at work, so no wait ends by itself."""
        while not task.done():
            blockers = await self._blockers(connection.pid)
            if not blockers or task.done():
                continue
            self._waiting[connection.pid] = blockers
            if not self._is_circle(connection.pid):
                return False
            self.deadlocks += 1
            connection.is_victim = True
            await self.cancel(connection.pid, task)
        self._waiting.pop(connection.pid, None)
        return True

    def _is_circle(self, begin: int) -> bool:
        seen: set[int] = set()
        todo = [begin]
        while todo:
            for pid in self._waiting.get(todo.pop(), ()):
                if pid == begin:
                    return True
                if pid not in seen:
                    seen.add(pid)
                    todo.append(pid)
        return False

    async def cancel(self, pid: int, task: "asyncio.Future[Any]") -> None:
        """End a statement that may wait; one that has just got its lock is let come to its end, for a cancellation would hit what follows."""
        while not task.done() and not await self._blockers(pid):
            pass
        if not task.done():
            await self.monitor.execute("SELECT pg_cancel_backend($1)", pid)
            await asyncio.wait([task])
        self._waiting.pop(pid, None)

    async def _blockers(self, pid: int) -> set[int]:
        """For whose locks a statement waits. Asked by a task of its own, so that the statement can end meanwhile."""
        asked = asyncio.ensure_future(self.monitor.fetchval("SELECT pg_blocking_pids($1)", pid))
        await asyncio.wait([asked])
        return set(asked.result())


class Pool:
    """What a process has for a connection pool; it never runs out."""

    def __init__(self, process: Process, database: Database) -> None:
        self.process: Final = process
        self._database: Final = database

    @contextlib.asynccontextmanager
    async def acquire(self, *, timeout: float | None = None) -> Any:  # noqa: ASYNC109  # as the pool in earnest has it
        connection = Connection(self.process, self._database)
        try:
            yield connection
        finally:
            await connection.end()

    async def close(self) -> None:
        """Nothing: the real connections belong to the database."""


class Connection:
    """A connection of a simulated process, with what of asyncpg's the services use."""

    def __init__(self, process: Process, database: Database) -> None:
        self.process: Final = process
        self._scheduler: Final[Scheduler] = process.scheduler
        self._database: Final = database
        self._real: Any = None
        self.pid = 0
        self._frames: Final[list[list[Any]]] = []
        self._begin_with = ""
        self.is_lost = False
        self._is_read_only = False
        self.is_victim = False
        self.statement: asyncio.Future[Any] | None = None

    # What services call ----------------------------------------------------------------------------------------------------

    async def fetch(self, query: str, *arguments: Any) -> Any:
        rows = await self._statement_of(query, lambda: self._real.fetch(query, *arguments))
        for kind, text in (("turn", FENCE), ("take", TAKE)):
            if text in query:
                self.note(Owner(kind, self.process, {(row["topic"], row["partition"]) for row in rows}))
        if rows:
            self._tell_moment(query)
        return rows

    async def fetchrow(self, query: str, *arguments: Any) -> Any:
        return await self._statement_of(query, lambda: self._real.fetchrow(query, *arguments))

    async def fetchval(self, query: str, *arguments: Any) -> Any:
        return await self._statement_of(query, lambda: self._real.fetchval(query, *arguments))

    async def execute(self, query: str, *arguments: Any) -> Any:
        return await self._statement_of(query, lambda: self._real.execute(query, *arguments))

    async def executemany(self, query: str, arguments: Any) -> Any:
        await self._statement_of(query, lambda: self._real.executemany(query, arguments))
        self._tell_moment(query)

    async def copy_records_to_table(self, table: str, *, columns: Any, records: Any) -> Any:
        rows = list(records)

        async def copy() -> None:
            await self._real.copy_records_to_table(table, columns=columns, records=rows)

        await self._statement_of(f"COPY {table}", copy)
        for row in rows if table == "outbox" else ():
            self.note(OutboxWrite(self._database.service, dict(zip(columns, row, strict=True))))

    def transaction(self, *, lock_timeout_ms: int | None = None) -> "Transaction":
        return Transaction(self)

    def _tell_moment(self, query: str) -> None:
        for what, text in MOMENTS.items():
            if text in query:
                self._database.moment(self.process, what)

    # What they do ----------------------------------------------------------------------------------------------------------

    def note(self, effect: Any) -> None:
        """Something that counts if what this connection is doing now commits."""
        (self._frames[-1] if self._frames else self._database.committed).append(effect)

    async def _statement_of(self, query: str, work: Callable[[], Awaitable[Any]]) -> Any:
        async def run() -> Any:
            await self._begin()
            if TIMEOUT in query:
                return None
            await self._turn_read_only()
            if not _may_wait(query):
                return await work()
            return await self._database.perform(self, work())

        return await self._pass(_in_short(query), run)

    async def _turn_read_only(self) -> None:
        """As a server that was the primary until now: it takes no write of anybody, and says so itself."""
        if self._database.read_only_until_s > self._scheduler.now_s:
            await self._real.execute(READ_ONLY)
            self._is_read_only = True

    async def _pass(self, what: str, work: Callable[[], Awaitable[Any]]) -> Any:
        if self.is_lost:
            raise asyncpg.InterfaceError("connection is closed")
        gate = Gate(self.process, "commit" if what == "COMMIT" else "statement", what, lambda: self._reach(work))
        gate.allowed = lambda: self._database.lets_go_on(self.pid)
        gate.fail = self._lose
        if self._database.frozen_until_s > self._scheduler.now_s:
            gate.not_before_s = min(self._database.frozen_until_s, self._scheduler.now_s + self._database.patience_s)
        try:
            return await self._scheduler.gate(gate)
        except asyncpg.QueryCanceledError as error:
            if self.is_victim:
                raise asyncpg.DeadlockDetectedError("deadlock detected") from error
            raise

    async def _reach(self, work: Callable[[], Awaitable[Any]]) -> Any:
        """Do it, unless the server stands still: then we give the connection up, and the server may still do what has reached it."""
        if self._database.frozen_until_s <= self._scheduler.now_s:
            return await work()
        if self._scheduler.random.random() < 0.5:
            with contextlib.suppress(asyncpg.PostgresError):
                await work()
        await self._lose()
        raise TimeoutError

    async def _begin(self) -> None:
        """Take a real connection, and open the transactions that were asked for. No step of their own: nobody can tell."""
        if self._real is None:
            self._real = await self._database.take()
            self.pid = self._real.get_server_pid()
            self.process.at_death[self] = self._return
        await self._drop_statement()
        if self._begin_with:
            begin, self._begin_with = self._begin_with, ""
            await self._real.execute(begin)
            self._database.in_transaction[self.pid] = self

    def open_frame(self) -> None:
        self._begin_with += f"SAVEPOINT s{len(self._frames)};" if self._frames else "BEGIN;"
        self._frames.append([])

    async def close_frame(self, commit: bool) -> None:
        """Commit or roll back the innermost transaction."""
        effects = self._frames.pop()
        inner = len(self._frames)
        if self._begin_with and not self.is_lost:
            # Nothing was sent since it was opened.
            self._begin_with = "".join(f"{each};" for each in self._begin_with.split(";")[:-2])
            return
        if inner:
            what = f"{'RELEASE' if commit else 'ROLLBACK TO'} SAVEPOINT s{inner}"
        else:
            what = "COMMIT" if commit else "ROLLBACK"

        async def run() -> None:
            await self._drop_statement()
            await self._real.execute(what)
            if not inner:
                self._database.in_transaction.pop(self.pid, None)
            if commit:
                (self._frames[-1] if inner else self._database.committed).extend(effects)

        await self._pass(what, run)

    async def _drop_statement(self) -> None:
        """End the statement that a cancelled task has left waiting for a lock."""
        statement, self.statement = self.statement, None
        if statement is not None:
            await self._database.cancel(self.pid, statement)

    async def _lose(self) -> Exception:
        """The network forgets this connection; the server undoes what was not committed."""
        self.is_lost = True
        await self._return()
        return asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")

    async def end(self) -> None:
        """Back to the pool. Only what a cancelled task has left undone takes a step."""
        if self._real is None or not self.process.alive:
            return
        if self._real.is_in_transaction() or (self.statement is not None and not self.statement.done()):
            await self._scheduler.gate(Gate(self.process, "statement", "leave a connection", self._return))
        else:
            await self._return()

    async def _return(self) -> None:
        """Also how a dead process's connection ends."""
        await self._drop_statement()
        real, self._real = self._real, None
        self._database.in_transaction.pop(self.pid, None)
        self.process.at_death.pop(self, None)
        if real is not None:
            await self._database.give_back(real, self._is_read_only)


class Owner(NamedTuple):
    """A process took partitions, or committed a turn of partitions it had taken."""

    kind: str
    process: Process
    partitions: set[tuple[str, int]]


class OutboxWrite:
    """A row that was written to an outbox."""

    def __init__(self, service: str, row: dict[str, Any]) -> None:
        self.service: Final = service
        self.row: Final = row


class Transaction:
    """asyncpg's transaction: a savepoint inside another one."""

    def __init__(self, connection: Connection) -> None:
        self._connection: Final = connection

    async def __aenter__(self) -> None:
        self._connection.open_frame()

    async def __aexit__(self, kind: Any, error: Any, trace: Any) -> None:
        await self._connection.close_frame(commit=kind is None)


def _may_wait(query: str) -> bool:
    """Whether the statement can meet another transaction's lock."""
    return not query.lstrip().startswith("SELECT") or "FOR UPDATE" in query


def _in_short(query: str) -> str:
    return " ".join(query.split()[:WORDS_MAX])
