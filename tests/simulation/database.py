"""The real PostgreSQL behind gates: each statement, commit and rollback of a simulated process is one step of the scheduler.

A statement that needs another transaction's lock really waits in PostgreSQL. While a statement waits in a database, only the holders of
its locks go on there. So a released lock lets at most one statement through, and which one does not depend on timing.
A deadlock is ended here instead of by PostgreSQL's own time-out: the statement that closed the circle is cancelled.
"""

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, NamedTuple

import asyncpg

from tests.simulation.scheduler import Gate, Process, Scheduler, StillWaiting

KEPT_TABLES: Final = "yoyo"
CONFIGURATION: Final = {"application_name": "simulation", "jit": "off"}
WORDS_MAX: Final = 6
FENCE: Final = "WITH fenced AS"
FENCE_AT_END: Final = ", fenced AS ("
MOMENTS: Final = {
    "finds parked": "SELECT DISTINCT ON (p.topic, p.partition, p.order_key)",
    "parks": "INSERT INTO parked",
    "reads what is available": "SELECT product_id, available FROM product",
    "takes timers": "SELECT key FROM timer WHERE due_at <=",
}
INSERT_OUTBOX: Final = "INSERT INTO outbox ("
NUMBER: Final = re.compile(r"\$(\d+)")
INSERT_OR_UPDATE: Final = re.compile(r"^\s*(INSERT|UPDATE|DELETE) ", re.MULTILINE)
TIMEOUT: Final = "_timeout"
"""PostgreSQL's clock is not the clock of a history, so settings of its time-outs are not sent."""
READ_ONLY: Final = "SET default_transaction_read_only = on; SET transaction_read_only = on"
TAKE: Final = "SET epoch = l.epoch + 1\nFROM mine"
USED_TABLES: Final = """
    SELECT array_agg(relname ORDER BY relname) FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relname = ANY ($1) AND pg_relation_size(oid) > 0"""


class Database:
    """The database of one service; its connections are used by many histories. `committed`: the noted effects of the history, in commit order."""

    def __init__(self, service: str, url: str) -> None:
        self.service: Final = service
        self._url: Final = url
        self._free: Final[list[Any]] = []
        self._read_only: Final[list[Any]] = []
        """Free connections that are still set read-only; `take` resets them."""
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
        """How long a process waits for a statement to return."""

    async def open(self) -> None:
        """Connect, and read the names of the tables."""
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
        """Delete the rows of the last history, and vacuum: where rows lie decides the order in which PostgreSQL returns them."""
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
        """Take a real connection."""
        real = self._free.pop() if self._free else await self._connect()
        if real in self._read_only:
            self._read_only.remove(real)
            await real.execute("RESET default_transaction_read_only")
        return real

    async def give_back(self, real: Any, is_read_only: bool) -> None:
        """Roll back an open transaction and keep the connection for the next taker."""
        if real.is_in_transaction():
            await real.execute("ROLLBACK")
        if is_read_only:
            self._read_only.append(real)
        self._free.append(real)

    # Waiting for locks -----------------------------------------------------------------------------------------------------

    @property
    def _holders(self) -> set[int]:
        """The sessions that hold a lock others wait for, and do not wait themselves."""
        return {pid for pids in self._waiting.values() for pid in pids} - self._waiting.keys()

    def lets_go_on(self, pid: int) -> bool:
        return not self._waiting or pid in self._holders

    def is_held_up_by(self, process: Process) -> bool:
        """Whether a statement waits for a lock of this process."""
        held = self.in_transaction
        return any(pid in held and held[pid].process is process for pid in self._holders)

    async def perform(self, connection: "Connection", work: Awaitable[Any]) -> Any:
        """Run a statement to its end, or until it waits for a lock."""
        if not self._waiting and not self.in_transaction.keys() - {connection.pid}:
            return await work
        connection.statement = task = asyncio.ensure_future(work)

        async def look() -> bool:
            return await self._came_through(connection, task)

        return task.result() if await look() else StillWaiting(look, task)

    async def _came_through(self, connection: "Connection", task: "asyncio.Task[Any]") -> bool:
        """Whether the statement is done; False: it waits for a lock. No other statement runs meanwhile, so no lock is released."""
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
        """Cancel a waiting statement. One that has just got its lock runs to its end: a late cancellation would hit the next statement."""
        while not task.done() and not await self._blockers(pid):
            pass
        if not task.done():
            await self.monitor.execute("SELECT pg_cancel_backend($1)", pid)
            await asyncio.wait([task])
        self._waiting.pop(pid, None)

    async def _blockers(self, pid: int) -> set[int]:
        """The sessions whose locks a statement waits for. A task of its own asks, so that the statement can end meanwhile."""
        asked = asyncio.ensure_future(self.monitor.fetchval("SELECT pg_blocking_pids($1)", pid))
        await asyncio.wait([asked])
        return set(asked.result())


class Pool:
    """A connection pool without a limit."""

    def __init__(self, process: Process, database: Database) -> None:
        self.process: Final = process
        self._database: Final = database

    @contextlib.asynccontextmanager
    async def acquire(self, *, timeout: float | None = None) -> Any:  # noqa: ASYNC109  # the signature of the real pool
        connection = Connection(self.process, self._database)
        try:
            yield connection
        finally:
            await connection.end()

    async def close(self) -> None:
        """Do nothing: the real connections belong to the database."""


class Connection:
    """A connection of a simulated process, with the methods of asyncpg that the services use."""

    opened: Final = 0
    """The sessions are older than the history."""

    def __init__(self, process: Process, database: Database) -> None:
        self.process: Final = process
        self._scheduler: Final[Scheduler] = process.scheduler
        self._database: Final = database
        self._real: Any = None
        self.pid = 0
        self._frames: Final[list[list[Any]]] = []
        self._soon: Final[list[Any]] = []
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
        async def fetch() -> Any:
            value = await self._real.fetchval(query, *arguments)
            self._note_end(query, arguments, value)
            return value

        commits = not self._frames and INSERT_OR_UPDATE.search(query) is not None
        return await self._statement_of(query, fetch, "commit" if commits else "statement")

    async def execute(self, query: str, *arguments: Any) -> Any:
        result = await self._statement_of(query, lambda: self._real.execute(query, *arguments))
        if query.startswith(INSERT_OUTBOX):
            columns = query.removeprefix(INSERT_OUTBOX).partition(")")[0].split(", ")
            self._note_written(columns, _in_rows(arguments, len(columns)))
        return result

    async def executemany(self, query: str, arguments: Any) -> Any:
        await self._statement_of(query, lambda: self._real.executemany(query, arguments))
        self._tell_moment(query)

    async def copy_records_to_table(self, table: str, *, columns: Any, records: Any) -> Any:
        rows = list(records)

        async def copy() -> None:
            await self._real.copy_records_to_table(table, columns=columns, records=rows)

        await self._statement_of(f"COPY {table}", copy)
        if table == "outbox":
            self._note_written(columns, rows)

    def transaction(self, *, lock_timeout_ms: int | None = None, readonly: bool = False) -> "Transaction":
        return Transaction(self)

    def _tell_moment(self, query: str) -> None:
        for what, text in MOMENTS.items():
            if text in query:
                self._database.moment(self.process, what)

    # What they do ----------------------------------------------------------------------------------------------------------

    def _note_written(self, columns: Sequence[str], rows: Sequence[Any]) -> None:
        for row in rows:
            self.note(OutboxWrite(self._database.service, dict(zip(columns, row, strict=True))))

    def _note_end(self, query: str, arguments: Sequence[Any], value: Any) -> None:
        """Note what a statement has done that ends a transaction: the turn, and the rows that it wrote to the outbox."""
        if FENCE_AT_END in query:
            self.note(Owner("turn", self.process, set(zip(*arguments[:2], strict=True))))
        if INSERT_OUTBOX in query:
            columns, _, rest = query.partition(INSERT_OUTBOX)[2].partition(")")
            numbers = [int(each) for each in NUMBER.findall(rest.partition("\n)")[0])]
            names = columns.split(", ")
            rows = _in_rows([arguments[n - 1] for n in numbers], len(names))
            block, _ = value
            self._note_written(names, [(block + row[0], *row[1:]) for row in rows])
        if not self._frames:
            self._database.committed += self._soon
            self._soon.clear()

    def note_soon(self, effect: Any) -> None:
        """Note an effect of what is sent later: of the transaction, or of the one statement that is all of it."""
        (self._frames[-1] if self._frames else self._soon).append(effect)

    def note(self, effect: Any) -> None:
        """Add an effect to `committed` if the current transaction commits."""
        (self._frames[-1] if self._frames else self._database.committed).append(effect)

    async def _statement_of(self, query: str, work: Callable[[], Awaitable[Any]], kind: str = "statement") -> Any:
        async def run() -> Any:
            await self._begin()
            if TIMEOUT in query:
                return None
            await self._turn_read_only()
            if not _may_wait(query):
                return await work()
            return await self._database.perform(self, work())

        return await self._pass(_in_short(query), run, kind)

    async def _turn_read_only(self) -> None:
        """Refuse writes with the server's own error, as a primary that has become a standby does."""
        if self._database.read_only_until_s > self._scheduler.now_s:
            await self._real.execute(READ_ONLY)
            self._is_read_only = True

    async def _pass(self, what: str, work: Callable[[], Awaitable[Any]], kind: str = "statement") -> Any:
        if self.is_lost:
            raise asyncpg.InterfaceError("connection is closed")
        gate = Gate(self.process, "commit" if what == "COMMIT" else kind, what, lambda: self._reach(work))
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
        """Run the statement. If the server is frozen the client gives the connection up, and the server may still run the statement."""
        if self._database.frozen_until_s <= self._scheduler.now_s:
            return await work()
        if self._scheduler.random.random() < 0.5:
            with contextlib.suppress(asyncpg.PostgresError):
                await work()
        await self._lose()
        raise TimeoutError

    async def _begin(self) -> None:
        """Take a real connection and open the requested transactions. Neither is a step: no other process can see them."""
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
        self._frames[-1] += self._soon
        self._soon.clear()

    async def close_frame(self, commit: bool) -> None:
        """Commit or roll back the innermost transaction."""
        effects = self._frames.pop()
        inner = len(self._frames)
        if self._begin_with and not self.is_lost:
            # No statement was sent since the transaction was opened.
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
        """Cancel the statement that a cancelled task has left waiting for a lock."""
        statement, self.statement = self.statement, None
        if statement is not None:
            await self._database.cancel(self.pid, statement)

    async def _lose(self) -> Exception:
        """Lose the connection; the server rolls the open transaction back."""
        self.is_lost = True
        await self._return()
        return asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")

    async def end(self) -> None:
        """Return the connection to the pool. Only a rollback that a cancelled task left undone is a step."""
        if self._real is None or not self.process.alive:
            return
        if self._real.is_in_transaction() or (self.statement is not None and not self.statement.done()):
            await self._scheduler.gate(Gate(self.process, "statement", "leave a connection", self._return))
        else:
            await self._return()

    async def _return(self) -> None:
        """Return the real connection; also called when the process is killed."""
        await self._drop_statement()
        real, self._real = self._real, None
        self._database.in_transaction.pop(self.pid, None)
        self.process.at_death.pop(self, None)
        if real is not None:
            await self._database.give_back(real, self._is_read_only)


class Owner(NamedTuple):
    """A process took partitions (`take`), or committed a turn over partitions (`turn`)."""

    kind: str
    process: Process
    partitions: set[tuple[str, int]]


class OutboxWrite:
    """A row written to an outbox."""

    def __init__(self, service: str, row: dict[str, Any]) -> None:
        self.service: Final = service
        self.row: Final = row


class Transaction:
    """As asyncpg's transaction; a nested one is a savepoint."""

    def __init__(self, connection: Connection) -> None:
        self._connection: Final = connection

    async def __aenter__(self) -> None:
        self._connection.open_frame()

    async def __aexit__(self, kind: Any, error: Any, trace: Any) -> None:
        await self._connection.close_frame(commit=kind is None)


def _in_rows(values: Sequence[Any], width: int) -> list[Sequence[Any]]:
    return [values[n : n + width] for n in range(0, len(values), width)]


def _may_wait(query: str) -> bool:
    """Whether the statement can wait for another transaction's lock."""
    return not query.lstrip().startswith("SELECT") or "FOR UPDATE" in query


def _in_short(query: str) -> str:
    return " ".join(query.split()[:WORDS_MAX])
