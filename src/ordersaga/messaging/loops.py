"""Loops that run beside the turns for as long as the process lives: supervised, so that one that fails, ends or hangs is seen and begun again.

A loop says each time it has gone round. One that has not for `limit_s` is cancelled and begun again; if it does not even end then, only
a new process helps, and liveness says so.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, Protocol

import structlog

from ordersaga.messaging.health import Alarms, Trouble
from ordersaga.messaging.kafka import KafkaUnavailable
from ordersaga.messaging.sqlstate import is_transient

log: Final = structlog.get_logger()

LIMIT_S: Final = 60.0
LOOK_EVERY_S: Final = 5.0
ENDS_WITHIN_S: Final = 30.0
SAY_AGAIN_S: Final = 30.0
AGAIN_S: Final = 1.0
ALARM: Final = "loop"


class Beat(Protocol):
    """What a loop calls each time it has gone round; `well` False: it goes on, but what failed is not known to work again."""

    def __call__(self, well: bool = True) -> None: ...


Work = Callable[[Beat], Awaitable[None]]


class Hangs(Exception):
    """A loop has not gone round for longer than it may."""


class Loop:
    """One loop and how it fares."""

    def __init__(self, name: str, limit_s: float, again_s: float, needed_for_http: bool) -> None:
        self.name: Final = name
        self.limit_s: Final = limit_s
        self.again_s: Final = again_s
        self.needed_for_http: Final = needed_for_http
        self.task: asyncio.Task[None]
        self.alive_at_s = _now_s()
        self.given_up_at_s: float | None = None
        self.failure: str | None = None
        self.said_at_s = -SAY_AGAIN_S
        self.is_said = False

    @property
    def is_dead(self) -> bool:
        """Whether it is gone without its supervisor, or hangs although it was cancelled."""
        return self.task.done() or (self.given_up_at_s is not None and _now_s() - self.given_up_at_s > ENDS_WITHIN_S)


class Loops:
    """The loops of a process."""

    def __init__(self, alarms: Alarms, stopping: asyncio.Event) -> None:
        self._alarms: Final = alarms
        self._stopping: Final = stopping
        self._loops: Final[list[Loop]] = []
        self._said_passing_at_s = -SAY_AGAIN_S
        self._watching: asyncio.Task[None] | None = None

    def start(
        self,
        name: str,
        work: Work,
        *,
        limit_s: float = LIMIT_S,
        again_s: float = AGAIN_S,
        needed_for_http: bool = False,
    ) -> None:
        """Run `work` until the process stops; when it fails, ends or hangs it is begun again after `again_s`."""
        if self._watching is None:
            self._watching = asyncio.create_task(self._watch())
        loop = Loop(name, limit_s, again_s, needed_for_http)
        self._loops.append(loop)
        loop.task = asyncio.create_task(self._supervise(loop, work))

    async def _supervise(self, loop: Loop, work: Work) -> None:
        def beat(well: bool = True) -> None:
            loop.alive_at_s = _now_s()
            if well and loop.failure is not None:
                self._recovered(loop)

        while not self._stopping.is_set():
            loop.alive_at_s, loop.given_up_at_s = _now_s(), None
            try:
                await work(beat)
                if not self._stopping.is_set():
                    self._failed(loop, RuntimeError("it ended, which it never should"))
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if loop.given_up_at_s is None or task is None or task.uncancel():
                    raise
                self._failed(loop, Hangs(f"it did not go round for {loop.limit_s:.0f} s"))
            except Exception as error:
                self._failed(loop, error)
            loop.alive_at_s, loop.given_up_at_s = _now_s(), None
            await asyncio.sleep(0 if self._stopping.is_set() else loop.again_s)

    def _failed(self, loop: Loop, error: Exception) -> None:
        """Say it at once and then now and then; a neighbour that is away fails many loops, and is said once for all of them."""
        loop.failure = f"{type(error).__name__}: {error}"
        passing = is_transient(error) or isinstance(error, KafkaUnavailable)
        todo = "nothing: it is tried again" if passing else "the log has where it failed; it is begun again and again"
        self._alarms.tell(ALARM, loop.name, Trouble(f"{loop.name} fails: {loop.failure}", todo))
        now_s = _now_s()
        said_at_s = self._said_passing_at_s if passing else loop.said_at_s
        if now_s - said_at_s < SAY_AGAIN_S:
            return
        loop.said_at_s, loop.is_said = now_s, True
        if passing:
            self._said_passing_at_s = now_s
            log.warning(f"{loop.name} fails and is begun again", error=loop.failure)
        else:
            log.error(f"{loop.name} fails and is begun again", error=loop.failure, exc_info=error)

    def _recovered(self, loop: Loop) -> None:
        if loop.is_said:
            log.info(f"{loop.name} goes on again", after=loop.failure)
        loop.failure, loop.is_said, loop.said_at_s = None, False, -SAY_AGAIN_S
        self._alarms.tell(ALARM, loop.name, None)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            for loop in self._loops:
                if loop.given_up_at_s is None and _now_s() - loop.alive_at_s > loop.limit_s + loop.again_s:
                    log.error(f"{loop.name} hangs and is cancelled", limit_s=loop.limit_s)
                    loop.given_up_at_s = _now_s()
                    loop.task.cancel()

    @property
    def problems(self) -> list[str]:
        """Loops that HTTP needs and that fail or are gone."""
        needed = [each for each in self._loops if each.needed_for_http and (each.failure or each.is_dead)]
        return [f"{each.name}: {each.failure or 'it is dead'}" for each in needed]

    @property
    def dead(self) -> list[str]:
        """Loops that only a new process can bring back."""
        if self._stopping.is_set():
            return []
        found = [f"{each.name} is dead" for each in self._loops if each.is_dead]
        return [*found, *(["nobody looks after the loops"] if self._watching and self._watching.done() else [])]

    async def stop(self, last: str, within_s: float) -> None:
        """End all of them at once, but for `last`, which gets this time to end by itself."""
        if self._watching is not None:
            self._watching.cancel()
        for loop in self._loops:
            if loop.name != last:
                loop.task.cancel()
        if self._loops:
            await asyncio.wait([loop.task for loop in self._loops], timeout=within_s)
        self.kill()

    def kill(self) -> None:
        """End all of them in the middle of whatever they do."""
        for task in [loop.task for loop in self._loops] + ([self._watching] if self._watching else []):
            task.cancel()
        for loop in self._loops:
            self._alarms.tell(ALARM, loop.name, None)


def every(seconds: float, work: Callable[[], Coroutine[Any, Any, Any]] | Callable[[], Awaitable[Any]]) -> Work:
    """The loop that does something again and again."""

    async def rounds(beat: Beat) -> None:
        while True:
            await work()
            beat()
            await asyncio.sleep(seconds)

    return rounds


def _now_s() -> float:
    return asyncio.get_running_loop().time()
