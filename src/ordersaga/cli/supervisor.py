"""Runs the workers of `serve --workers N`: processes that share a port, started again until the supervisor is told to stop."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Sequence
from typing import Final

CANNOT_START: Final = 78
"""Exit code of a server that cannot work with its settings (`EX_CONFIG` of sysexits.h). Another start would end in the same way."""

STEADY_S: Final = 60.0
RESTART_WAIT_S_MAX: Final = 30.0
STOP_WITHIN_S: Final = 40.0
REASON_BYTES_MAX: Final = 4_096


class Supervisor:
    """Runs `command` as `count` workers, which reach each other by sockets in `folder`.

    A worker that dies is started again; the wait before that grows while workers die soon after their start. A worker that cannot start
    ends all workers.
    """

    def __init__(self, command: Sequence[str], count: int, folder: str) -> None:
        self._command: Final = command
        self._count: Final = count
        self._folder: Final = folder
        self._children: Final[set[asyncio.subprocess.Process]] = set()
        self._stopping: Final = asyncio.Event()
        self._read_reason, self._tell_reason = os.pipe()
        os.set_blocking(self._read_reason, False)
        self._exit_code = 0
        self.reason: str | None = None

    async def run(self) -> int:
        """Run until SIGTERM, SIGINT, or a worker that cannot start; returns the exit code. `reason` is that worker's reason."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        await asyncio.gather(*(self._keep_one(number) for number in range(self._count)))
        return self._exit_code

    def _stop(self) -> None:
        self._stopping.set()
        for child in self._children:
            self._end(child)

    async def _keep_one(self, number: int) -> None:
        soon_dead = 0
        while not self._stopping.is_set():
            began_at = time.monotonic()
            child = await self._start(number)
            code = await child.wait()
            self._children.discard(child)
            if code == CANNOT_START:
                self._cannot_start()
            if self._stopping.is_set():
                return
            soon_dead = soon_dead + 1 if time.monotonic() - began_at < STEADY_S else 1
            wait_s = min(RESTART_WAIT_S_MAX, 2.0 ** (soon_dead - 1) - 1)
            when = f"in {wait_s:.0f} s" if wait_s else "now"
            print(f"worker {child.pid} ended with {code}; another is started {when}", file=sys.stderr, flush=True)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._stopping.wait()

    async def _start(self, number: int) -> asyncio.subprocess.Process:
        options = ["--supervisor", str(os.getpid()), "--reason-to", str(self._tell_reason)]
        options += ["--worker", str(number), "--worker-count", str(self._count), "--workers-folder", self._folder]
        child = await asyncio.create_subprocess_exec(*self._command, *options, pass_fds=[self._tell_reason])
        self._children.add(child)
        if self._stopping.is_set():
            self._end(child)  # the signal to stop came while this worker was being started
        return child

    def _cannot_start(self) -> None:
        said = b""
        with contextlib.suppress(BlockingIOError):
            said = os.read(self._read_reason, REASON_BYTES_MAX)
        self.reason = self.reason or said.decode(errors="replace").split("\n")[0] or None
        self._exit_code = CANNOT_START
        self._stop()

    def _end(self, child: asyncio.subprocess.Process) -> None:
        """Stop a worker in order; kill it after STOP_WITHIN_S."""
        with contextlib.suppress(ProcessLookupError):
            child.terminate()
        asyncio.get_running_loop().call_later(STOP_WITHIN_S, self._kill, child)

    @staticmethod
    def _kill(child: asyncio.subprocess.Process) -> None:
        if child.returncode is None:
            child.kill()
