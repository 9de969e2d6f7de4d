"""Runs a server as a child process: start, stop, kill, abandon, and start again on the same port and data."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

import psutil

from ordersaga.devstack.errors import DevStackError
from ordersaga.devstack.folder import StackFolder

READY_LIMIT_S = 180.0
TELL_EVERY_S = 5.0
STOP_LIMIT_S = 20.0
POLL_INTERVAL_S = 0.02
LEASH = Path(__file__).with_name("leash.py")

# The whole environment of an embedded server. Variables of the caller's shell (PGSSLMODE, JAVA_TOOL_OPTIONS, LD_PRELOAD, TZ) are meant for
# other programs. Every system has the locale `C`.
SERVER_ENVIRONMENT: Final = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}


class Server(ABC):
    """One server on a leash. Its data and its log (`log_path`) are in `path`; the port stays the same for life.

    `start` returns when the server answers; it raises DevStackError with the end of the log if the server does not. `kill` sends SIGKILL to
    every process of the server at once, like a power cut. Methods may be called again in any order. `abandon` is final: after it no `start`
    succeeds, not even one that is under way in another thread.
    """

    name: ClassVar[str]
    stop_signal: ClassVar[signal.Signals]
    user: str | None = None
    port_count: int = 1
    host: str = "127.0.0.1"
    before: Sequence[str] = ()
    """Words before the command line, such as those that enter a network namespace."""
    not_ready_because: str = ""

    def __init__(self, folder: StackFolder) -> None:
        self.path = folder.path / self.name
        self.port = folder.port(self.name, self.port_count)
        self.log_path = self.path / f"{self.name}.log"
        self.environment = dict(os.environ)
        self._folder = folder
        self._abandoned = False
        self._beginning = threading.Lock()
        self._step: subprocess.Popen[str] | None = None
        self._leash: subprocess.Popen[bytes] | None = None
        self._pid: int | None = None

    @abstractmethod
    def _prepare(self) -> None:
        """Prepare the data folder. Called before every start, so the work must be done only the first time."""

    @abstractmethod
    def _command(self) -> list[str]:
        """The command line of the server, which must stay in the foreground."""

    @abstractmethod
    def _is_ready(self, log_from: int) -> bool:
        """Whether the server answers. This start's part of the log begins at byte `log_from`."""

    @property
    def is_running(self) -> bool:
        return self._leash is not None and self._leash.poll() is None

    @property
    def pid(self) -> int | None:
        """Process id of the server itself (not of its leash), None when it is not running."""
        return self._pid if self.is_running else None

    def start(self, say: Callable[[str], None] = lambda _: None) -> None:
        """Start the server and wait until it answers. Every few seconds `say` gets what the start waits for."""
        if self.is_running:
            return
        self._close()
        self.path.mkdir(parents=True, exist_ok=True)
        self._prepare()
        log_from = self.log_path.stat().st_size if self.log_path.exists() else 0
        with self._beginning:
            self._refuse_if_abandoned()
            self._launch()
        began_s = told_s = time.monotonic()
        while not self._is_ready(log_from):
            self._refuse_if_abandoned()
            if not self.is_running:
                raise DevStackError(f"{self.name} ended while starting.\n{self.log_tail()}")
            now_s = time.monotonic()
            if now_s > began_s + READY_LIMIT_S:
                self.kill()
                raise DevStackError(
                    f"{self.name} was not ready after {READY_LIMIT_S:.0f} s{self._because()}.\n{self.log_tail()}"
                )
            if now_s > told_s + TELL_EVERY_S:
                told_s = now_s
                say(
                    f"waiting for {self.name}, for {now_s - began_s:.0f} s{self._because()}; its log is {self.log_path}"
                )
            time.sleep(POLL_INTERVAL_S)

    def _because(self) -> str:
        return f": {self.not_ready_because}" if self.not_ready_because else ""

    def _refuse_if_abandoned(self) -> None:
        if self._abandoned:
            raise DevStackError(f"{self.name} was abandoned and cannot be started again.")

    def abandon(self) -> None:
        """Kill the server and end a start that is under way; the server cannot be started again."""
        self._abandoned = True
        step = self._step
        if step is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(step.pid, signal.SIGKILL)
        with self._beginning:
            self.kill()

    def _run_step(self, command: list[str], **options: Any) -> tuple[int, str]:
        """Run a program of the preparation to its end; returns its exit code and output."""
        with self._beginning:
            self._refuse_if_abandoned()
            self._step = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                cwd=self.path,
                env=self.environment,
                start_new_session=True,
                pass_fds=self._folder.lock_fds,
                **options,
            )
        said, _ = self._step.communicate()
        code, self._step = self._step.returncode, None
        self._refuse_if_abandoned()
        return code, said

    def stop(self) -> None:
        """Send the stop signal; after STOP_LIMIT_S, kill."""
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
        """The path and the end of the server's log."""
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
                [*self.before, sys.executable, "-I", "-S", str(LEASH), *options, "--", *self._command()],
                stdin=subprocess.PIPE,  # never written to: when this process ends, the kernel closes the pipe, and the leash notices
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
        # Orphans of a killed server become children of process 1, which in many containers leaves them as zombies. A zombie keeps its
        # sockets until its last thread has ended.
        ended = process.status() == psutil.STATUS_ZOMBIE and process.num_threads() <= 1
        return bool(process.is_running() and not ended)
    except psutil.NoSuchProcess:
        return False
