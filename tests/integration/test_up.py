"""`up` as a person meets it: in a shell that is set up for something else, in the middle of a start, after a kill, with a topic gone."""

import asyncio
import contextlib
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
from confluent_kafka.admin import AdminClient

from ordersaga.cli import running
from ordersaga.devstack import DevStack
from ordersaga.messaging.kafka import create_missing_topics
from ordersaga.settings import HTTP_PORTS, Settings
from tests.commands import Answer, type_command

LIMIT_S = 90.0
END_LIMIT_S = 60.0
"""Two seconds on an idle machine."""
SHELL = {
    "PGSSLMODE": "require",
    "PGHOSTADDR": "10.255.255.1",
    "PGUSER": "shop",
    "PGOPTIONS": "-c no_such_setting=on",
    "PGSERVICE": "none",
    "PGTZ": "Asia/Seoul",
    "PGDATA": "/nowhere",
    "JAVA_TOOL_OPTIONS": "-Xmx1k",
    "KAFKA_OPTS": "-Xmx1k",
    "CLASSPATH": "/nowhere",
    "LC_ALL": "xx_XX",
    "ORDERSAGA_KAFKA_SECURITY_PROTOCOL": "SSL",
    "ORDERSAGA_STOCK_GROUP": "stock-of-up",
    "ORDERSAGA_KAFKA_SESSION_TIMEOUT_MS": "6000",
}


def free_ports() -> int:
    """The first of as many free ports in a row as `up` takes."""
    for first in range(21_000, 31_000, 7):
        with contextlib.suppress(OSError), contextlib.ExitStack() as taken:
            for n in range(len(HTTP_PORTS)):
                taken.enter_context(socket.socket()).bind(("127.0.0.1", first + n))
            return first
    raise RuntimeError("no free ports")


class Up:
    """An `ordersaga up` in a folder of its own."""

    def __init__(self, folder: Path, *arguments: str, **environment: str) -> None:
        self.folder = folder
        self.log = folder / "up.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ordersaga", "up", "--first-port", str(free_ports()), *arguments],
                cwd=folder,
                env=os.environ | environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def says(self, text: str) -> None:
        """Wait for a text in its output."""
        end = time.monotonic() + LIMIT_S
        while text not in self.log.read_text():
            said = self.log.read_text()
            assert self.process.poll() is None and time.monotonic() < end, f"{text!r} is not said:\n{said}"
            time.sleep(0.05)

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def type(self, *arguments: str) -> Answer:
        return type_command(arguments, SHELL_FOR_POSTGRES, self.folder)

    def end(self) -> None:
        """Ctrl-C."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait(LIMIT_S)


SHELL_FOR_POSTGRES = {name: value for name, value in SHELL.items() if name.startswith("PG")}


@pytest.fixture
def begin() -> Iterator[Callable[..., Up]]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as parent:
        Path(parent).chmod(0o711)  # PostgreSQL passes through it as another user where the tests run as root
        begun: list[Up] = []

        def begin_one(*arguments: str, **environment: str) -> Up:
            begun.append(Up(Path(parent), *arguments, **environment))
            return begun[-1]

        yield begin_one
        for each in begun:
            each.process.kill()
            each.process.wait()


def gone(processes: list[psutil.Process]) -> bool:
    end = time.monotonic() + END_LIMIT_S
    while any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in processes):
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.timeout(300)
def test_up_in_a_strange_shell_killed_and_started_again_beside_a_topic_made_anew(begin: Callable[..., Up]) -> None:
    up = begin("--only", "stock", "--data", "data", **SHELL)
    up.says("ready")
    for server in up.family():
        if server.name() in ("java", "postgres"):
            seen = set(server.environ()) & set(SHELL) - {"LC_ALL", "CLASSPATH"}
            assert not seen and server.environ().get("LC_ALL") != "xx_XX", (server.name(), seen)
    file = up.folder / running.SETTINGS_FILE
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    for line in ("ORDERSAGA_STOCK_GROUP=stock-of-up", "ORDERSAGA_UP_ROLES=stock"):
        assert line in file.read_text()
    listed = up.type("dead-letters", "list")
    assert listed.code == 0 and "order, payment, delivery left out" in listed.err
    assert "stock-of-up" in up.type("settings").out
    assert up.type("migrate").out == "stock: up to date\n"
    assert up.type("verify").code in (0, 1), "it reads what is there, whatever it finds"
    second = up.type("up")
    assert second.code == 1 and f"process {up.process.pid}" in second.err

    servers = dict(line.split("=", 1) for line in file.read_text().splitlines()[1:])
    make_anew(servers["ORDERSAGA_KAFKA_BOOTSTRAP_SERVERS"], "order-created")
    family = up.family()
    up.process.kill()
    assert gone(family)
    stale = up.type("settings")
    assert stale.code == 0 and "no longer runs" in stale.err and "stock-of-up" not in stale.out

    again = begin("--only", "stock", "--data", "data", **SHELL)
    again.says("ordersaga topics accept order-created")
    again.says("ready")
    accepted = again.type("topics", "accept", "order-created")
    assert accepted.code == 0, accepted
    again.says("over: order-created")
    family = again.family()
    again.end()
    assert again.process.returncode == 0 and gone(family) and not file.exists()


def make_anew(bootstrap_servers: str, topic: str) -> None:
    """Delete a topic and create it again, under another id."""
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    admin.delete_topics([topic])[topic].result(30)
    settings = Settings.model_validate({"kafka_bootstrap_servers": bootstrap_servers})
    end = time.monotonic() + LIMIT_S
    while topic not in [change.topic for change in asyncio.run(create_missing_topics(settings))]:
        assert time.monotonic() < end
        time.sleep(0.2)


@pytest.mark.parametrize(
    "step, next_step",
    [("starting Kafka", "making databases"), ("making databases", "starting order"), ("starting order", "ready")],
)
def test_ctrl_c_ends_a_start_at_once_and_leaves_nothing(begin: Callable[..., Up], step: str, next_step: str) -> None:
    up = begin()
    up.says(step)
    time.sleep(0.3)  # into the middle of it
    family = up.family()
    up.end()
    said = up.log.read_text()
    assert next_step not in said and said.endswith("stopped\n")
    assert gone(family)
    assert not (up.folder / running.SETTINGS_FILE).exists()


def test_a_kafka_that_is_away_ends_up(begin: Callable[..., Up]) -> None:
    up = begin("--bootstrap", "127.0.0.1:1")
    assert up.process.wait(END_LIMIT_S) == 1
    assert (
        "Kafka at 127.0.0.1:1 cannot be used: Connect to ipv4#127.0.0.1:1 failed: Connection refused"
        in up.log.read_text()
    )


def test_a_database_server_that_cannot_be_used_is_told_in_a_sentence(stack: DevStack, tmp_path: Path) -> None:
    url = stack.database_url("postgres")
    with psycopg.connect(url, autocommit=True) as db:
        db.execute("DROP ROLE IF EXISTS up_may_not")
        db.execute("CREATE ROLE up_may_not LOGIN")

    def said(database_url: str) -> str:
        options = ["--only", "stock", "--bootstrap", stack.bootstrap_servers, "--first-port", str(free_ports())]
        answer = type_command(["up", *options, "--database-url", database_url], {}, tmp_path)
        assert answer.code == 1 and "Traceback" not in answer.err and "pa55word" not in answer.err, answer
        return answer.err

    assert "Connection refused" in said("postgresql://u:pa55word@127.0.0.1:1/x")
    assert 'role "no_such_role" does not exist' in said(url.replace("postgres@", "no_such_role:pa55word@"))
    refused = said(url.replace("postgres@", "up_may_not:pa55word@"))
    assert "may not make databases" in refused and "Have ordersaga_stock made" in refused


def test_a_taken_port_is_told_before_anything_is_started(begin: Callable[..., Up]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        up = begin("--first-port", str(min(port, 65_000)))
        assert up.process.wait(LIMIT_S) == 1
    assert "cannot listen on 127.0.0.1:" in up.log.read_text() and "starting Kafka" not in up.log.read_text()
