"""What the servers have in common as child processes: start, stop, kill, start again on the same port and data."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

import psutil

from ordersaga.devstack.errors import DevStackError
from ordersaga.devstack.folder import StackFolder

READY_LIMIT_S = 180.0
STOP_LIMIT_S = 20.0
POLL_INTERVAL_S = 0.02
LEASH = Path(__file__).with_name("leash.py")


class Server(ABC):
    """One server on a leash. Its data and its log (`log_path`) are in `path`; the port stays the same for life.

    `start` returns when the server answers and raises DevStackError with the end of its log if it does not. `kill` is a
    power cut: every process of the server gets SIGKILL at once. All methods may be called again in any order.
    """

    name: ClassVar[str]
    stop_signal: ClassVar[signal.Signals]
    user: str | None = None

    def __init__(self, folder: StackFolder) -> None:
        self.path = folder.path / self.name
        self.port = folder.port(self.name)
        self.log_path = self.path / f"{self.name}.log"
        self.environment = dict(os.environ)
        self._folder = folder
        self._leash: subprocess.Popen[bytes] | None = None
        self._pid: int | None = None

    @abstractmethod
    def _prepare(self) -> None:
        """Make the data folder ready; called before every start, so it does its work only once."""

    @abstractmethod
    def _command(self) -> list[str]:
        """The command line of the server, which must stay in the foreground."""

    @abstractmethod
    def _is_ready(self, log_from: int) -> bool:
        """Whether the server answers; its log since this start begins at byte `log_from`."""

    @property
    def is_running(self) -> bool:
        return self._leash is not None and self._leash.poll() is None

    @property
    def pid(self) -> int | None:
        """Process id of the server itself (not of its leash), None when it is not running."""
        return self._pid if self.is_running else None

    def start(self) -> None:
        if self.is_running:
            return
        self._close()
        self.path.mkdir(parents=True, exist_ok=True)
        self._prepare()
        log_from = self.log_path.stat().st_size if self.log_path.exists() else 0
        self._launch()
        deadline_s = time.monotonic() + READY_LIMIT_S
        while not self._is_ready(log_from):
            if not self.is_running:
                raise DevStackError(f"{self.name} ended while starting.\n{self.log_tail()}")
            if time.monotonic() > deadline_s:
                self.kill()
                raise DevStackError(f"{self.name} was not ready after {READY_LIMIT_S:.0f} s.\n{self.log_tail()}")
            time.sleep(POLL_INTERVAL_S)

    def stop(self) -> None:
        """Stop in order, within STOP_LIMIT_S; after that as `kill`."""
        if not self.is_running or self._leash is None or self._pid is None:
            return
        os.kill(self._pid, self.stop_signal)
        try:
            self._leash.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self.kill()
        self._close()

    def kill(self) -> None:
        """SIGKILL to the server and all its children, and wait until none is left."""
        if not self.is_running or self._leash is None or self._pid is None:
            return
        server = psutil.Process(self._pid)
        victims = [server, *server.children(recursive=True)]
        for victim in victims:
            with contextlib.suppress(psutil.NoSuchProcess):
                victim.kill()
        self._leash.wait(STOP_LIMIT_S)
        while any(_is_alive(victim) for victim in victims):
            time.sleep(POLL_INTERVAL_S)
        self._close()

    def log_tail(self, lines: int = 30) -> str:
        """The end of the server's log, with the log's place."""
        text = self.log_path.read_text(errors="replace") if self.log_path.exists() else ""
        return "\n".join([f"The end of {self.log_path}:", *text.splitlines()[-lines:]])

    def _launch(self) -> None:
        options = ["--signal", self.stop_signal.name, "--limit-s", str(STOP_LIMIT_S)]
        if self.user:
            options += ["--user", self.user]
        if self._folder.temporary:
            options += ["--then-remove", str(self.path)]
        with self.log_path.open("ab") as log:
            self._leash = subprocess.Popen(
                [sys.executable, "-I", "-S", str(LEASH), *options, "--", *self._command()],
                stdin=subprocess.PIPE,  # never written to: its end tells the leash that this process has ended
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=self.path,
                env=self.environment,
                start_new_session=True,  # Ctrl-C in a terminal must not end the databases before the services
                pass_fds=self._folder.lock_fds,  # the folder stays locked while a leash lives
            )
        assert self._leash.stdout is not None
        line = self._leash.stdout.readline()
        if not line:
            raise DevStackError(f"{self.name} could not be run.\n{self.log_tail()}")
        self._pid = int(line)

    def _close(self) -> None:
        if self._leash is not None:
            for pipe in (self._leash.stdin, self._leash.stdout):
                if pipe is not None:
                    pipe.close()
        self._leash = None
        self._pid = None


def _is_alive(process: psutil.Process) -> bool:
    try:
        # Orphans of a killed server belong to process 1, which in many containers leaves them as zombies for long. A zombie whose
        # other threads have not ended still has its sockets.
        ended = process.status() == psutil.STATUS_ZOMBIE and process.num_threads() <= 1
        return bool(process.is_running() and not ended)
    except psutil.NoSuchProcess:
        return False
