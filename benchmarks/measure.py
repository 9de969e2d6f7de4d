"""CPU seconds of every process of a system, and what PostgreSQL did meanwhile."""

import os
import platform
from collections.abc import Iterable
from typing import Any

import psutil
import psycopg

from ordersaga.devstack.system import System
from ordersaga.settings import SERVICES

Counts = dict[str, float]


def processes(system: System) -> dict[str, list[psutil.Process]]:
    """Each part of the system with its processes: the services, the broker, the database."""
    roots = {name: process.pid for name, process in system.processes.items()}
    roots |= {"kafka": system.stack.kafka.pid, "postgres": system.stack.postgres.pid}
    found = {}
    for name, pid in roots.items():
        if pid is not None:
            root = psutil.Process(pid)
            found[name] = [root, *root.children(recursive=True)]
    return found


def cpu_s(groups: dict[str, list[psutil.Process]]) -> Counts:
    """User and system seconds of each part so far, ended children of its processes included."""
    return {name: sum(map(_seconds, group)) for name, group in groups.items()}


def _seconds(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return times.user + times.system + times.children_user + times.children_system


def statements(system: System, services: Iterable[str] = SERVICES) -> Counts:
    """SQL statements, transactions and WAL bytes of all databases so far."""
    with psycopg.connect(system.stack.database_url("postgres"), autocommit=True) as db:
        db.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        names = [f"ordersaga_{name}" for name in services]
        row = db.execute(
            "SELECT coalesce(sum(s.calls), 0) FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid "
            "WHERE d.datname = ANY(%s) AND s.query NOT ILIKE 'begin%%' AND s.query NOT ILIKE 'commit%%'",
            [names],
        ).fetchone()
        commits = db.execute(
            "SELECT sum(xact_commit) FROM pg_stat_database WHERE datname = ANY(%s)", [names]
        ).fetchone()
        wal = db.execute("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn").fetchone()
    assert row and commits and wal
    return {"statements": float(row[0]), "transactions": float(commits[0]), "wal_bytes": float(wal[0])}


def machine() -> str:
    """What it was measured on."""
    memory_gib = psutil.virtual_memory().total / 2**30
    return f"{os.cpu_count()} cores, {memory_gib:.0f} GiB, {platform.system()} {platform.machine()}, Python {platform.python_version()}"


def difference(after: Counts, before: Counts) -> Counts:
    """What came between two readings."""
    return {name: after[name] - before.get(name, 0.0) for name in after}


def flat(figures: dict[str, Any]) -> dict[str, Any]:
    """Figures with three digits behind the point."""
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in figures.items()}
