"""`serve --workers`: workers live as long as their supervisor, and no longer; what can never work is not tried again."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from ordersaga.cli.supervisor import CANNOT_START
from ordersaga.devstack import DevStack
from ordersaga.messaging.errors import CannotStart
from ordersaga.messaging.instance import Instance
from ordersaga.messaging.runtime import Ports, Runtime
from tests.contract.rig import rig

STARTED_LIMIT_S = 20.0
ENDED_LIMIT_S = 15.0
WORKERS = """
import asyncio, sys
from ordersaga.cli.supervisor import Supervisor
print("started", flush=True)
print(asyncio.run(Supervisor([sys.executable, "-c", sys.argv[1]], 2, "").run()), flush=True)
"""


def environment_of(stack: DevStack, port: int) -> dict[str, str]:
    return os.environ | {
        "ORDERSAGA_KAFKA_BOOTSTRAP_SERVERS": stack.bootstrap_servers,
        "ORDERSAGA_DELIVERY_DATABASE_URL": stack.database_url("workers"),
        "ORDERSAGA_DELIVERY_GROUP": "workers",
        "ORDERSAGA_HTTP_PORT": str(port),
    }


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield taken.getsockname()[1]


def test_workers_end_when_their_supervisor_is_killed(stack: DevStack) -> None:
    stack.create_databases(["workers"])
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "ordersaga", "serve", "delivery", "--workers", "2"]
    with subprocess.Popen(command, env=environment_of(stack, port), stderr=subprocess.DEVNULL) as supervisor:
        workers: list[psutil.Process] = []
        try:
            workers = _listening(supervisor.pid, port)
            supervisor.kill()
            _, alive = psutil.wait_procs(workers, ENDED_LIMIT_S)
            assert not alive
        finally:
            supervisor.kill()
            for each in workers:
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.kill()


@pytest.mark.parametrize("options", [["--workers", "2"], ["--workers", "2", "--share-port"], []])
def test_a_taken_port_ends_serve_with_one_sentence(stack: DevStack, taken_port: int, options: list[str]) -> None:
    """With `--share-port` only the workers find it out, and each of them does."""
    command = [sys.executable, "-m", "ordersaga", "serve", "delivery", *options]
    ended = subprocess.run(
        command,
        env=environment_of(stack, taken_port),
        capture_output=True,
        text=True,
        timeout=STARTED_LIMIT_S,
        check=False,
    )
    assert ended.returncode == CANNOT_START
    assert ended.stderr.count("cannot listen on") == 1
    assert f"127.0.0.1:{taken_port}" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_worker_that_dies_at_each_start_is_started_after_a_growing_wait() -> None:
    command = [sys.executable, "-c", WORKERS, "raise SystemExit(3)"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stderr
        waits = []
        while "in 7 s" not in waits:
            line = supervisor.stderr.readline()
            assert "ended with 3" in line
            waits.append(line.rpartition("is started ")[2].strip())
        assert waits[0] == "now"
        assert waits.index("in 1 s") < waits.index("in 3 s") < waits.index("in 7 s")
        told_at = time.monotonic()
        supervisor.send_signal(signal.SIGTERM)  # while it waits for the next start
        out, _ = supervisor.communicate(timeout=ENDED_LIMIT_S)
        assert time.monotonic() - told_at < 5
        assert out.splitlines()[-1] == "0"


def test_workers_end_with_the_first_that_cannot_start(tmp_path: Path) -> None:
    """Only the first of two cannot: the other would go on for ever."""
    lock = str(tmp_path / "first")
    worker = f"""
import os, sys, time
try:
    os.mkdir({lock!r})
except FileExistsError:
    time.sleep(60)
sys.exit({CANNOT_START})
"""
    ended = subprocess.run(
        [sys.executable, "-c", WORKERS, worker], capture_output=True, text=True, timeout=STARTED_LIMIT_S, check=True
    )
    assert ended.stdout.splitlines()[-1] == str(CANNOT_START)


async def test_what_is_found_impossible_after_the_start_ends_the_process(stack: DevStack) -> None:
    """Kafka may be away at the start, so what only Kafka can tell is found out later."""
    ended = asyncio.Event()

    async def claim(*_: Any) -> Instance:
        raise CannotStart("ORDERSAGA_START_AT names a group that is not there")

    async with rig(stack) as service:
        ports = Ports(claim_instance=claim, end_process=ended.set)
        with pytest.raises(CannotStart, match="ORDERSAGA_START_AT"):
            async with Runtime(service.settings, "delivery", service.handler, ports=ports):
                await asyncio.wait_for(ended.wait(), STARTED_LIMIT_S)


def _listening(supervisor: int, port: int) -> list[psutil.Process]:
    """Both workers, once they listen."""
    end = time.monotonic() + STARTED_LIMIT_S
    while time.monotonic() < end:
        children = psutil.Process(supervisor).children()
        if sum(any(c.laddr.port == port for c in each.net_connections()) for each in children) == 2:
            return children
        time.sleep(0.1)
    raise AssertionError("the workers do not listen")
