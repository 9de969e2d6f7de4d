"""The devstack's promises: real servers, one owner per folder, data kept where asked for, and no orphans ever."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from ordersaga.devstack import DevStack, DevStackError
from ordersaga.devstack.folder import StackFolder
from ordersaga.devstack.server import LEASH

LIMIT_S = 30.0

# A process that starts a stack, says which processes that took and where its files are, and then hangs, deaf to Ctrl-C.
OWNER = """
import signal, sys, time
from pathlib import Path
from ordersaga.devstack import DevStack
stack = DevStack.start(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
print(stack.kafka.pid, stack.postgres.pid, stack.kafka.path.parent)
signal.signal(signal.SIGINT, lambda *_: None)
print("ready", flush=True)
time.sleep(600)
"""


@pytest.fixture
def topic(stack: DevStack, request: pytest.FixtureRequest) -> str:
    name = f"devstack-{request.node.name}"
    admin = AdminClient({"bootstrap.servers": stack.bootstrap_servers})
    admin.create_topics([NewTopic(name, 1)])[name].result(LIMIT_S)
    return name


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that PostgreSQL reaches as another user too, where the tests run as root; pytest's tmp_path is not."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as parent:
        Path(parent).chmod(0o711)
        yield Path(parent) / "stack"


@pytest.fixture
def owner() -> Iterator["Owner"]:
    started = Owner([])
    yield started
    started.process.kill()
    started.process.wait()
    shutil.rmtree(started.folder, ignore_errors=True)


class Owner:
    """A stack in another process."""

    def __init__(self, arguments: list[str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", OWNER, *arguments], stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        assert self.process.stdout is not None
        kafka, postgres, folder = self.process.stdout.readline().split()
        assert self.process.stdout.readline() == "ready\n"
        self.servers = [psutil.Process(int(pid)) for pid in (kafka, postgres)]
        self.family = psutil.Process(self.process.pid).children(recursive=True)
        self.folder = Path(folder)


def produce(stack: DevStack, topic: str, *values: bytes) -> None:
    producer = Producer({"bootstrap.servers": stack.bootstrap_servers})
    for value in values:
        producer.produce(topic, value)
    assert producer.flush(LIMIT_S) == 0


def consume(stack: DevStack, topic: str, count: int) -> list[bytes | None]:
    consumer = Consumer(
        {
            "bootstrap.servers": stack.bootstrap_servers,
            "group.id": f"{topic}-group",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([topic])
    values: list[bytes | None] = []
    deadline_s = time.monotonic() + LIMIT_S
    while len(values) < count and time.monotonic() < deadline_s:
        record = consumer.poll(0.1)
        if record is not None and record.error() is None:
            values.append(record.value())
    consumer.close()
    return values


def wait_until_gone(processes: list[psutil.Process]) -> None:
    deadline_s = time.monotonic() + LIMIT_S
    while alive := [each for each in processes if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]:
        assert time.monotonic() < deadline_s, f"still there: {alive}"
        time.sleep(0.05)


def test_a_record_goes_through_kafka(stack: DevStack, topic: str) -> None:
    produce(stack, topic, b"one", b"two")
    assert consume(stack, topic, 2) == [b"one", b"two"]


def test_postgres_18_runs_with_full_durability(stack: DevStack) -> None:
    stack.create_databases(["devstack_sql"])
    stack.create_databases(["devstack_sql"])
    with psycopg.connect(stack.database_url("devstack_sql"), autocommit=True) as db:
        shown = [db.execute(f"SHOW {name}").fetchone() for name in ("fsync", "synchronous_commit", "full_page_writes")]
        assert shown == [("on",)] * 3
        assert db.info.server_version // 10_000 == 18
        db.execute("CREATE EXTENSION pg_stat_statements")
        assert db.execute("SELECT count(*) > 0 FROM pg_stat_statements").fetchone() == (True,)


def test_kafka_killed_and_started_again_keeps_its_address_and_its_records(stack: DevStack, topic: str) -> None:
    produce(stack, topic, b"before")
    address, pid = stack.bootstrap_servers, stack.kafka.pid
    stack.kafka.kill()
    assert not stack.kafka.is_running
    assert stack.kafka.pid is None
    stack.kafka.start()
    assert stack.bootstrap_servers == address
    assert stack.kafka.pid != pid
    produce(stack, topic, b"after")
    assert consume(stack, topic, 2) == [b"before", b"after"]


def test_postgres_killed_and_started_again_keeps_what_was_committed(stack: DevStack) -> None:
    stack.create_databases(["devstack_kill"])
    url = stack.database_url("devstack_kill")
    with psycopg.connect(url, autocommit=True) as db:
        db.execute("CREATE TABLE kept (id int)")
        db.execute("INSERT INTO kept VALUES (1)")
        stack.postgres.kill()
        with pytest.raises(psycopg.OperationalError):
            db.execute("SELECT 1")
    stack.postgres.start()
    with psycopg.connect(url) as db:
        assert db.execute("SELECT id FROM kept").fetchall() == [(1,)]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has SCHED_BATCH")
def test_servers_wait_for_their_turn_of_the_processor(stack: DevStack) -> None:
    for server in (stack.kafka, stack.postgres):
        assert server.pid is not None
        everyone = [server.pid, *(child.pid for child in psutil.Process(server.pid).children(recursive=True))]
        assert {os.sched_getscheduler(pid) for pid in everyone} == {os.SCHED_BATCH}, server.name


def test_no_process_and_no_file_outlives_an_owner_killed_with_kill_9(owner: Owner) -> None:
    assert len(owner.family) > 4
    owner.process.kill()
    wait_until_gone(owner.family)
    assert not owner.folder.exists()


def test_ctrl_c_in_a_terminal_does_not_reach_the_servers(owner: Owner) -> None:
    os.killpg(owner.process.pid, signal.SIGINT)
    with pytest.raises(psutil.TimeoutExpired):
        owner.servers[0].wait(1.0)
    assert all(server.is_running() and server.status() != psutil.STATUS_ZOMBIE for server in owner.servers)


@pytest.mark.skipif(sys.platform != "linux", reason="needs PR_SET_PDEATHSIG")
def test_a_server_dies_with_its_leash(owner: Owner) -> None:
    for server in owner.servers:
        server.parent().kill()  # type: ignore[union-attr]
    wait_until_gone(owner.servers)


def test_a_server_that_stands_still_ends_with_its_children_when_its_owner_is_gone() -> None:
    server = """if True:
        import signal, subprocess, sys
        child = subprocess.Popen(["sleep", "600"])
        signal.signal(signal.SIGTERM, lambda *_: child.terminate())
        print(child.pid, file=sys.stderr, flush=True)
        child.wait()"""
    command = [sys.executable, str(LEASH), "--signal", "SIGTERM", "--limit-s", "2", "--", sys.executable, "-c", server]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    ) as leash:
        assert leash.stdin is not None and leash.stdout is not None and leash.stderr is not None
        family = [psutil.Process(int(said.readline())) for said in (leash.stderr, leash.stdout)]
        try:
            for each in family:
                each.suspend()
            leash.stdin.close()
            wait_until_gone(family)
        finally:
            for each in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.kill()


def test_a_folder_keeps_data_and_ports_also_after_kill_9_and_has_one_owner(folder: Path) -> None:
    owner = Owner([str(folder)])
    try:
        with pytest.raises(DevStackError, match=f"already running, started by process {owner.process.pid}"):
            DevStack.start(folder)
    finally:
        owner.process.kill()
        owner.process.wait()
    with DevStack.start(folder) as stack:
        stack.create_databases(["kept"])
        first = stack.bootstrap_servers, stack.database_url("kept")
        admin = AdminClient({"bootstrap.servers": stack.bootstrap_servers})
        admin.create_topics([NewTopic("kept", 1)])["kept"].result(LIMIT_S)
        produce(stack, "kept", b"kept")
    with DevStack.start(folder) as stack:
        assert (stack.bootstrap_servers, stack.database_url("kept")) == first
        assert consume(stack, "kept", 1) == [b"kept"]
        psycopg.connect(stack.database_url("kept")).close()


def test_ports_are_outside_the_range_of_outgoing_connections() -> None:
    folder = StackFolder(None)
    ports = {folder.port(name) for name in "abc"}
    folder.close()
    assert len(ports) == 3
    assert all(15_000 <= port < 32_000 for port in ports)
