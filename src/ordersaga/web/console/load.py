"""The load generator of the page of faults: `ordersaga load` as a process of its own, so that it takes no time of the pages.

It ends after its time, when it is stopped, when nobody looks at the console any more, and with the web process: its standard input then ends.
"""

import asyncio
import contextlib
import sys
from asyncio.subprocess import PIPE, Process
from typing import Final, Self

import msgspec
import structlog

from ordersaga.operations.load_figures import Figures
from ordersaga.web.console.audience import Audience

log: Final = structlog.get_logger()

END_S: Final = 3.0
SAID_CHARS_MAX: Final = 500
RATE_FIRST: Final = 20.0


class Load:
    """At most one generator at a time. `rate`: the one that it was told last. `figures`: its last ones, also after its end. `trouble`: why it
    could place no order at all, in its own words.

    Use with `async with`: leaving it ends the generator.
    """

    def __init__(self, audience: Audience) -> None:
        self._audience: Final = audience
        self._process: Process | None = None
        self._begins = False
        self._following: asyncio.Task[None] | None = None
        self.rate = RATE_FIRST
        self.figures: Figures | None = None
        self.trouble = ""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), END_S)
            except TimeoutError:
                process.kill()
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)

    @property
    def is_running(self) -> bool:
        return self._process is not None

    async def begin(self, rate: float, seconds: int) -> bool:
        """Start a generator. False: one is running."""
        if self.is_running or self._begins:
            return False
        self._begins = True
        options = ["--json", "--steered", "--rate", f"{rate:g}", "--seconds", str(seconds)]
        self.rate, self.figures, self.trouble = rate, None, ""
        try:
            self._process = process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "ordersaga", "load", *options, stdin=PIPE, stdout=PIPE, stderr=PIPE
            )
        finally:
            self._begins = False
        log.info("a load generator is started", orders_per_second=rate, seconds=seconds)
        self._following = asyncio.create_task(self._follow(process))
        return True

    def steer(self, rate: float) -> bool:
        """Have orders placed at another rate. False: no generator is running."""
        if self._process is None or self._process.stdin is None or self._process.stdin.is_closing():
            return False
        self.rate = rate
        self._process.stdin.write(f"{rate:g}\n".encode())
        return True

    def stop(self) -> bool:
        """Have no more orders placed; those in flight end. False: no generator is running."""
        if self._process is None or self._process.stdin is None:
            return False
        self._process.stdin.close()
        return True

    async def _follow(self, process: Process) -> None:
        try:
            _, said = await asyncio.gather(self._hear(process), self._said(process))
            code = await process.wait()
            self.trouble = said if code and self.figures is None else ""
            log.info("the load generator has ended", code=code, said=said)
        finally:
            self._process = None

    async def _hear(self, process: Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            with contextlib.suppress(msgspec.MsgspecError):
                self.figures = msgspec.json.decode(line, type=Figures)
            if self._audience.is_gone:
                self.stop()

    async def _said(self, process: Process) -> str:
        """The end of what the process says of its errors."""
        assert process.stderr is not None
        said = ""
        async for line in process.stderr:
            said = (said + line.decode(errors="replace"))[-SAID_CHARS_MAX:]
        return said.strip()
