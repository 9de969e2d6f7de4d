"""Supervised loops: tasks that run for as long as the process lives. A loop that fails, ends or hangs is an alarm, and is restarted.

A loop calls `beat` after each round. Without a beat for `limit_s` it is cancelled and restarted. If it does not even end after the
cancellation, only a restart of the process helps, and `/health/live` answers 503.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, Protocol

import structlog

from ordersaga.messaging.backoff import is_retriable
from ordersaga.messaging.health import Alarms, Trouble
from ordersaga.messaging.log_limit import LOG_AGAIN_S
from ordersaga.said import say

log: Final = structlog.get_logger()

LIMIT_S: Final = 60.0
CHECK_EVERY_S: Final = 5.0
ENDS_WITHIN_S: Final = 30.0
AGAIN_S: Final = 1.0
ALARM: Final = "loop"


class Beat(Protocol):
    """Called by a loop after each round. `well` False: the loop is alive, but has not recovered from its last failure."""

    def __call__(self, well: bool = True) -> None: ...


Work = Callable[[Beat], Awaitable[None]]


class Hangs(Exception):
    """A loop was cancelled because it did not beat for `limit_s`."""


class Loop:
    """One loop: its task, its last beat, and its failure until it has recovered."""

    def __init__(self, name: str, limit_s: float, again_s: float, needed_for_http: bool) -> None:
        self.name: Final = name
        self.limit_s: Final = limit_s
        self.again_s: Final = again_s
        self.needed_for_http: Final = needed_for_http
        self.task: asyncio.Task[None]
        self.beat_at_s = _now_s()
        self.cancelled_at_s: float | None = None
        self.failure: str | None = None
        self.logged_at_s = -LOG_AGAIN_S
        self.is_logged = False

    @property
    def is_dead(self) -> bool:
        """Whether the task has ended, or has not ended `ENDS_WITHIN_S` after it was cancelled for hanging."""
        return self.task.done() or (self.cancelled_at_s is not None and _now_s() - self.cancelled_at_s > ENDS_WITHIN_S)


class Loops:
    """The loops of a process, each with a name of its own."""

    def __init__(self, alarms: Alarms, stopping: asyncio.Event) -> None:
        self._alarms: Final = alarms
        self._stopping: Final = stopping
        self._loops: Final[list[Loop]] = []
        self._logged_retriable_at_s = -LOG_AGAIN_S
        self._watchdog: asyncio.Task[None] | None = None

    def start(
        self,
        name: str,
        work: Work,
        *,
        limit_s: float = LIMIT_S,
        again_s: float = AGAIN_S,
        needed_for_http: bool = False,
    ) -> Loop:
        """Run `work` until the process stops. When it fails, ends or hangs it is restarted after `again_s`."""
        if self._watchdog is None:
            self._watchdog = asyncio.create_task(self._watch_for_hangs())
        loop = Loop(name, limit_s, again_s, needed_for_http)
        self._loops.append(loop)
        loop.task = asyncio.create_task(self._supervise(loop, work))
        return loop

    async def _supervise(self, loop: Loop, work: Work) -> None:
        def beat(well: bool = True) -> None:
            loop.beat_at_s = _now_s()
            if well and loop.failure is not None:
                self._recovered(loop)

        while not self._stopping.is_set():
            loop.beat_at_s, loop.cancelled_at_s = _now_s(), None
            try:
                await work(beat)
                if not self._stopping.is_set():
                    self._failed(loop, RuntimeError("the loop ended, although it must run for ever"))
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if loop.cancelled_at_s is None or task is None or task.uncancel():
                    raise
                self._failed(loop, Hangs(f"no round of the loop ended within {loop.limit_s:.0f} s"))
            except Exception as error:
                self._failed(loop, error)
            loop.beat_at_s, loop.cancelled_at_s = _now_s(), None
            await asyncio.sleep(0 if self._stopping.is_set() else loop.again_s)

    def _failed(self, loop: Loop, error: Exception) -> None:
        """Raise the alarm. Log the first failure, then one every `LOG_AGAIN_S`.

        Retriable failures share that limit: when the database is away all loops fail, and one line is enough.
        """
        loop.failure = f"{type(error).__name__}: {error}"
        retriable = is_retriable(error)
        todo = (
            say("todo.loop_restarted", "no action is needed: the loop is restarted")
            if retriable
            else say("todo.loop_failed", "the log has the stack trace; the loop is restarted each time")
        )
        what = say("alarm.loop", "{loop} fails: {error}", loop=loop.name, error=loop.failure)
        self._alarms.tell(ALARM, loop.name, Trouble(what, todo))
        now_s = _now_s()
        logged_at_s = self._logged_retriable_at_s if retriable else loop.logged_at_s
        if now_s - logged_at_s < LOG_AGAIN_S:
            return
        loop.logged_at_s, loop.is_logged = now_s, True
        if retriable:
            self._logged_retriable_at_s = now_s
            log.warning(f"the loop {loop.name} fails and is restarted", error=loop.failure)
        else:
            log.error(f"the loop {loop.name} fails and is restarted", error=loop.failure, exc_info=error)

    def _recovered(self, loop: Loop) -> None:
        if loop.is_logged:
            log.info(f"the loop {loop.name} has recovered", failure=loop.failure)
        loop.failure, loop.is_logged, loop.logged_at_s = None, False, -LOG_AGAIN_S
        self._alarms.tell(ALARM, loop.name, None)

    async def _watch_for_hangs(self) -> None:
        while True:
            await asyncio.sleep(CHECK_EVERY_S)
            for loop in self._loops:
                if loop.cancelled_at_s is None and _now_s() - loop.beat_at_s > loop.limit_s + loop.again_s:
                    log.error(f"the loop {loop.name} hangs and is cancelled", limit_s=loop.limit_s)
                    loop.cancelled_at_s = _now_s()
                    loop.task.cancel()

    @property
    def problems(self) -> list[str]:
        """Each loop that HTTP needs and that fails or is dead."""
        needed = [each for each in self._loops if each.needed_for_http and (each.failure or each.is_dead)]
        return [
            say("problem.loop", "{loop}: {error}", loop=each.name, error=each.failure)
            if each.failure
            else say("problem.dead", "{loop}: the loop is dead", loop=each.name)
            for each in needed
        ]

    @property
    def dead(self) -> list[str]:
        """Each loop that only a restart of the process can bring back."""
        if self._stopping.is_set():
            return []
        found = [f"{each.name} is dead" for each in self._loops if each.is_dead]
        return [*found, *(["the watchdog of the loops is dead"] if self._watchdog and self._watchdog.done() else [])]

    async def stop(self, last: Loop, within_s: float) -> None:
        """Cancel all loops but `last`, wait up to `within_s` for them and for `last` to end, then cancel `last`, too."""
        if self._watchdog is not None:
            self._watchdog.cancel()
        for loop in self._loops:
            if loop is not last:
                loop.task.cancel()
        if self._loops:
            await asyncio.wait([loop.task for loop in self._loops], timeout=within_s)
        self.kill()

    def kill(self) -> None:
        """Cancel all loops at once."""
        for task in [loop.task for loop in self._loops] + ([self._watchdog] if self._watchdog else []):
            task.cancel()
        for loop in self._loops:
            self._alarms.tell(ALARM, loop.name, None)


def every(seconds: float, work: Callable[[], Coroutine[Any, Any, Any]] | Callable[[], Awaitable[Any]]) -> Work:
    """A loop whose rounds call `work`, with a pause of so many seconds after each."""

    async def rounds(beat: Beat) -> None:
        while True:
            await work()
            beat()
            await asyncio.sleep(seconds)

    return rounds


def _now_s() -> float:
    return asyncio.get_running_loop().time()
