"""What a system has used so far: CPU seconds of every process, SQL statements, bytes written; and what came between two readings."""

import os
import platform
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil
import psycopg
from confluent_kafka import Consumer, TopicPartition

from benchmarks.report import Figures
from ordersaga.devstack.server import Server
from ordersaga.devstack.stack import DevStack
from ordersaga.devstack.system import System
from ordersaga.settings import SERVICES

CPU = "cpu_s_"
POLL_S = 0.02
KAFKA_TIMEOUT_S = 10.0


def reading(system: System) -> Figures:
    """All counters of a system of ours."""
    pids = {name: process.pid for name, process in system.processes.items()}
    return reading_of(system.stack, pids, [f"ordersaga_{name}" for name in SERVICES])


def reading_of(stack: DevStack, pids: Mapping[str, int | None], databases: Sequence[str]) -> Figures:
    """All counters of a stack, of the processes that use it and of their children, and of these databases."""
    parts = {**pids, "kafka": stack.kafka.pid, "postgres": stack.postgres.pid}
    cpu = {f"{CPU}{name}": _cpu_s(pid) for name, pid in parts.items() if pid is not None}
    return cpu | _database(stack, databases) | {"kafka_bytes": _log_bytes(stack.folder.path / "kafka" / "log")}


def per_order(after: Figures, before: Figures, orders: int) -> Figures:
    """What came between two readings, for each order: CPU-ms of all parts together and of each, statements, bytes."""
    cpu, rest = _between(after, before, orders)
    return {
        "cpu_ms_per_order": sum(cpu.values()) * 1000,
        **{f"{name}_per_order": value for name, value in rest.items()},
        **{f"cpu_ms_per_order_{name}": value * 1000 for name, value in cpu.items()},
    }


def per_second(after: Figures, before: Figures, seconds: float) -> Figures:
    """What came between two readings, for each second: cores of all parts together and of each, statements, bytes."""
    cpu, rest = _between(after, before, seconds)
    return {
        "cores": sum(cpu.values()),
        **{f"{name}_per_s": value for name, value in rest.items()},
        **{f"cores_{name}": value for name, value in cpu.items()},
    }


def _between(after: Figures, before: Figures, units: float) -> tuple[Figures, Figures]:
    """CPU seconds of each part, and all else, for each unit."""
    used = {name: (after[name] - before.get(name, 0.0)) / units for name in after}
    cpu = {name.removeprefix(CPU): value for name, value in used.items() if name.startswith(CPU)}
    return cpu, {name: value for name, value in used.items() if not name.startswith(CPU)}


def rss_mib(processes: Mapping[str, Server]) -> Figures:
    """Resident memory of each that runs, with its children."""
    roots = {name: psutil.Process(process.pid) for name, process in processes.items() if process.pid is not None}
    return {
        name: sum(each.memory_info().rss for each in [root, *root.children(recursive=True)]) / 2**20
        for name, root in roots.items()
    }


def machine() -> str:
    """What it was measured on."""
    memory_gib = psutil.virtual_memory().total / 2**30
    system = f"{platform.system()} {platform.machine()}"
    return f"{_cpu_model()}, {os.cpu_count()} cores, {memory_gib:.0f} GiB, {system}, Python {platform.python_version()}"


def percentiles(latencies_ms: Sequence[float], *, prefix: str = "latency_ms") -> Figures:
    """p50, p95, p99, p99.9 and the worst."""
    ordered = sorted(latencies_ms)
    ranks = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "p99_9": 0.999}
    found = {
        f"{prefix}_{name}": ordered[min(len(ordered) - 1, int(len(ordered) * rank))] for name, rank in ranks.items()
    }
    return found | {f"{prefix}_max": ordered[-1]}


class TopicEnd:
    """How many records a topic has got since this was made, by its watermarks: costs the broker a look, the databases nothing."""

    def __init__(self, bootstrap_servers: str, topic: str) -> None:
        self._consumer = Consumer({"bootstrap.servers": bootstrap_servers, "group.id": "bench", "log_level": 2})
        partitions = self._consumer.list_topics(topic, KAFKA_TIMEOUT_S).topics[topic].partitions
        self._places = [TopicPartition(topic, partition) for partition in partitions]
        self._first = 0
        self._first = self.count()

    def count(self) -> int:
        """Records so far."""
        ends = [self._consumer.get_watermark_offsets(place, KAFKA_TIMEOUT_S) for place in self._places]
        return sum(high for _, high in ends) - self._first

    def wait(self, count: int, limit_s: float = 1_800.0) -> float:
        """Block until so many have come; the time of day then, `POLL_S` late at most. Raises TimeoutError."""
        deadline_s = time.monotonic() + limit_s
        while (there := self.count()) < count:
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"{there} of {count} records after {limit_s:.0f} s")
            time.sleep(POLL_S)
        return time.time()

    def close(self) -> None:
        self._consumer.close()


def _cpu_s(pid: int) -> float:
    """User and system seconds of a process and all below it so far; what has ended counts in its parent."""
    seconds = 0.0
    try:
        root = psutil.Process(pid)
        for process in [root, *root.children(recursive=True)]:
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            seconds += times.user + times.system + times.children_user + times.children_system
    except psutil.NoSuchProcess:
        pass
    return seconds


def _database(stack: DevStack, databases: Sequence[str]) -> Figures:
    """SQL statements but BEGIN and COMMIT, transactions, and bytes of write-ahead log of the whole server."""
    with psycopg.connect(stack.database_url("postgres"), autocommit=True) as db:
        db.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        row = db.execute(
            "SELECT (SELECT coalesce(sum(s.calls), 0) FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid "
            "        WHERE d.datname = ANY (%(names)s) AND s.query NOT ILIKE 'begin%%' AND s.query NOT ILIKE 'commit%%'), "
            "       (SELECT sum(xact_commit) FROM pg_stat_database WHERE datname = ANY (%(names)s)), "
            "       pg_current_wal_insert_lsn() - '0/0'::pg_lsn",
            {"names": list(databases)},
        ).fetchone()
    assert row is not None
    return {"statements": float(row[0]), "transactions": float(row[1]), "wal_bytes": float(row[2])}


def _log_bytes(log: Path) -> float:
    """What the broker has written: the segments of all topics but its own."""
    return float(sum(path.stat().st_size for path in log.glob("[!_]*/*.log")))


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(": ", 1)[1] for line in lines if line.startswith("model name")), platform.machine())
