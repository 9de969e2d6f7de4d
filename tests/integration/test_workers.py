"""`serve --workers`: workers live as long as their supervisor, and no longer."""

import contextlib
import os
import socket
import subprocess
import sys
import time

import psutil

from ordersaga.devstack import DevStack

STARTED_LIMIT_S = 20.0
ENDED_LIMIT_S = 15.0


def test_workers_end_when_their_supervisor_is_killed(stack: DevStack) -> None:
    stack.create_databases(["workers"])
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = os.environ | {
        "ORDERSAGA_KAFKA_BOOTSTRAP_SERVERS": stack.bootstrap_servers,
        "ORDERSAGA_DELIVERY_DATABASE_URL": stack.database_url("workers"),
        "ORDERSAGA_DELIVERY_GROUP": "workers",
        "ORDERSAGA_HTTP_PORT": str(port),
    }
    command = [sys.executable, "-m", "ordersaga", "serve", "delivery", "--workers", "2"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as supervisor:
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


def _listening(supervisor: int, port: int) -> list[psutil.Process]:
    """Both workers, once they listen."""
    end = time.monotonic() + STARTED_LIMIT_S
    while time.monotonic() < end:
        children = psutil.Process(supervisor).children()
        if sum(any(c.laddr.port == port for c in each.net_connections()) for each in children) == 2:
            return children
        time.sleep(0.1)
    raise AssertionError("the workers do not listen")
