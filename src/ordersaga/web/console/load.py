"""The load generator of the page of faults: `ordersaga load` as a process of its own, so that it takes no time of the pages.

The web process that was asked starts it; the sandbox keeps what it says and what it is to do, so every web process shows and steers the same
one. It ends after its time, when it is stopped, when nobody looks at the console any more, and with the web process that started it: its
standard input then ends.
"""

import asyncio
import contextlib
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, Self

import msgspec
import structlog

from ordersaga.operations.load_figures import Figures
from ordersaga.operations.sandbox import Sandbox
from ordersaga.web.console.audience import Audience

log: Final = structlog.get_logger()

END_S: Final = 3.0
SAID_CHARS_MAX: Final = 500
TELL_EVERY_S: Final = 2.0
ALONE_S_MAX: Final = 60.0
"""So long the generator goes on while the sandbox does not answer."""


class Load:
    """The generator that this process has started, if any, and the word to the sandbox of who looks at the console here.

    Use with `async with`: leaving it ends the generator.
    """

    def __init__(self, sandbox: Sandbox, audience: Audience) -> None:
        self.sandbox: Final = sandbox
        self._audience: Final = audience
        self._process: Process | None = None
        self._tasks: Final[set[asyncio.Task[None]]] = set()
        self._rate = 0.0

    async def __aenter__(self) -> Self:
        self._begin_task(self._tell_of_audience())
        return self

    async def __aexit__(self, *_: object) -> None:
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), END_S)
            except TimeoutError:
                process.kill()
        for each in self._tasks:
            each.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if process is not None:
            await self.sandbox.ended("")

    async def begin(self, rate: float, seconds: int, announce: Callable[[], Awaitable[bool]]) -> bool:
        """Start a generator, once `announce` has told the sandbox of it. False: one is running, here or beside another web process."""
        await self._tell_of_audience_now()
        if not await announce():
            return False
        options = ["--json", "--steered", "--rate", f"{rate:g}", "--seconds", str(seconds)]
        self._rate = rate
        try:
            self._process = process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "ordersaga", "load", *options, stdin=PIPE, stdout=PIPE, stderr=PIPE
            )
        except OSError as error:
            await self.sandbox.ended(str(error))
            raise
        log.info("a load generator is started", orders_per_second=rate, seconds=seconds)
        self._begin_task(self._follow(process))
        return True

    def _begin_task(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _tell_of_audience(self) -> None:
        while True:
            await asyncio.sleep(TELL_EVERY_S)
            await self._tell_of_audience_now()

    async def _tell_of_audience_now(self) -> None:
        if news := self._audience.news():
            await self.sandbox.seen(news)

    async def _follow(self, process: Process) -> None:
        trouble = ""
        try:
            has_said, said = await asyncio.gather(self._hear(process), self._said(process))
            code = await process.wait()
            trouble = said if code and not has_said else ""
            log.info("the load generator has ended", code=code, said=said)
        finally:
            self._process = None
            await self.sandbox.ended(trouble)

    async def _hear(self, process: Process) -> bool:
        """Pass on what the generator says, and what it is to do. Returns whether it has said anything."""
        assert process.stdout is not None
        heard_at_s, has_said = time.monotonic(), False
        async for line in process.stdout:
            with contextlib.suppress(msgspec.MsgspecError):
                figures, has_said = msgspec.json.decode(line, type=Figures), True
                orders = await self.sandbox.tell(figures)
                heard_at_s = time.monotonic() if orders else heard_at_s
                if orders and orders.rate != self._rate:
                    self._steer(process, orders.rate)
                if (orders and not orders.goes_on) or time.monotonic() - heard_at_s > ALONE_S_MAX:
                    self._stop(process)
        return has_said

    def _steer(self, process: Process, rate: float) -> None:
        """Have orders placed at another rate."""
        if process.stdin is not None and not process.stdin.is_closing():
            self._rate = rate
            process.stdin.write(f"{rate:g}\n".encode())

    def _stop(self, process: Process) -> None:
        """Have no more orders placed; those in flight end."""
        if process.stdin is not None:
            process.stdin.close()

    async def _said(self, process: Process) -> str:
        """The end of what the process says of its errors."""
        assert process.stderr is not None
        said = ""
        async for line in process.stderr:
            said = (said + line.decode(errors="replace"))[-SAID_CHARS_MAX:]
        return said.strip()
