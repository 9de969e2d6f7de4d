"""The folder of a stack: its data, its ports, and the lock that gives it to one process."""

import fcntl
import json
import os
import random
import shutil
import socket
import tempfile
import time
from pathlib import Path

import psutil

from ordersaga.devstack.errors import DevStackError

LEFTOVERS_LIMIT_S = 30.0
"""How long a new owner waits for the children of a killed one."""

# Below the range of local ports for outgoing connections (Linux from 32768, macOS from 49152). Inside that range a client that keeps
# connecting to a stopped broker may get the broker's own port as its local one. The client then connects to itself, and the broker cannot
# start again.
PORTS = range(15000, 32000)
ROOM = 4
"""Another name may have taken as many ports in a row as there are services."""


class StackFolder:
    """A folder that one live stack owns: the given one, kept, or a temporary one, removed by `close`.

    The owner holds a lock on a file, and so does each child that writes in the folder. The lock ends with the last of these processes, so
    after a `kill -9` the next owner waits until the children of the last one have ended.
    """

    def __init__(self, given: Path | None) -> None:
        self.temporary = given is None
        self.path = Path(tempfile.mkdtemp(prefix="ordersaga-")) if given is None else given.absolute()
        if not self.path.exists() or self.temporary:
            self.path.mkdir(parents=True, exist_ok=True)
            if os.geteuid() == 0:
                self.path.chmod(0o711)  # PostgreSQL runs as another user and must be able to enter the folder
        self._lock = None if self.temporary else self._acquire()
        self._record = self.path / "ports.json"
        self._ports: dict[str, int] = json.loads(self._record.read_text()) if self._record.exists() else {}

    def _acquire(self) -> int:
        lock = self.path / "lock"
        fd = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
        deadline_s = time.monotonic() + LEFTOVERS_LIMIT_S
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                owner = os.pread(fd, 32, 0).decode().strip()
                if (owner and psutil.pid_exists(int(owner))) or time.monotonic() > deadline_s:
                    os.close(fd)
                    raise DevStackError(
                        f"The stack in {self.path} is already running, started by process {owner}.\n"
                        "Stop that one first, or give another folder with --data."
                    ) from None
            time.sleep(0.1)
        os.ftruncate(fd, 0)
        os.pwrite(fd, str(os.getpid()).encode(), 0)
        return fd

    def port(self, name: str, count: int = 1) -> int:
        """A free port for `name`, the first of `count` in a row. That of the last start is taken again if it is free, so that addresses stay the
        same."""
        if name not in self._ports or not _are_free(self._ports[name], count):
            self._ports[name] = _free_ports(set(self._ports.values()), count)
            if not self.temporary:
                self._record.write_text(json.dumps(self._ports))
        return self._ports[name]

    @property
    def lock_fds(self) -> tuple[int, ...]:
        """The lock's file descriptor, for each child that writes in the folder to inherit. The folder is locked while one of them lives."""
        return () if self._lock is None else (self._lock,)

    def close(self) -> None:
        if self.temporary:
            shutil.rmtree(self.path, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _free_ports(taken: set[int], count: int) -> int:
    for port in random.sample(PORTS, k=200):
        if not taken & set(range(port - ROOM + 1, port + count)) and _are_free(port, count):
            return port
    raise DevStackError(f"None of 200 ports tried between {PORTS.start} and {PORTS.stop} on 127.0.0.1 is free.")


def _are_free(first: int, count: int) -> bool:
    return all(_is_free(first + n) for n in range(count))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # The servers set SO_REUSEADDR too, so a port whose old connections are in TIME_WAIT counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
