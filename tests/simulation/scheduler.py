"""The scheduler of a history, and its clock, which only the scheduler moves.

A simulated process waits at a gate before each statement and each call to Kafka or the gateway. When every task waits, the scheduler opens
one gate, does the work behind it and resumes the owner. The seed chooses the gate, so the same seed gives the same history. Between
gates plain asyncio runs, which is deterministic as long as no input comes from outside.
"""

import asyncio
import contextvars
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, Protocol

from msgspec import Struct

STEPS_MAX: Final = 12_000
START_S: Final = 1_000.0
STEP_MS: Final = (0.0, 0.0, 0.0, 1.0, 5.0)
TIE_S: Final = 1e-9
LEAP_S_MIN: Final = 0.02
LEAP_S_MAX: Final = 5.0
DUE_LEAP_S_MAX: Final = 20.0
"""The longest leap to the next due time. A wrong clock may have set that time far ahead, and a longer leap would look like a hung loop."""
LEAPS_MAX: Final = 40
LIFE_S_MAX: Final = 3_600.0
FAVOUR_SHARE: Final = 0.6
FAVOUR_CHANGE_SHARE: Final = 0.08

CURRENT: Final[contextvars.ContextVar["Process | None"]] = contextvars.ContextVar("process", default=None)


class Violation(Exception):
    """A broken promise ends the history; the text names the promise and the place."""


class Gone(Exception):
    """The process died, or did not answer in time."""


class Loop(asyncio.SelectorEventLoop):
    """An event loop on simulated time that knows whether a callback is ready.

    It reads two private queues of asyncio, since no public method does; every version so far has them.
    """

    now_s = START_S
    _timers = 0

    def begin(self) -> None:
        """Reset the clock and drop the timers of the last history."""
        self.now_s = START_S
        self._scheduled.clear()  # type: ignore[attr-defined]
        self._timer_cancelled_count = 0
        self._timers = 0

    def time(self) -> float:
        return self.now_s

    def call_at(  # type: ignore[override]
        self, when: float, callback: Any, *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        """Schedule a timer. Timers of processes that are due at the same time fire in the order in which they were set."""
        if CURRENT.get() is not None:
            self._timers += 1
            when += self._timers * TIE_S
        return super().call_at(when, callback, *args, context=context)

    @property
    def is_quiet(self) -> bool:
        return not self._ready  # type: ignore[attr-defined]

    @property
    def next_timer_s(self) -> float | None:
        """The due time of the next timer."""
        return min((timer.when() for timer in self._scheduled if not timer.cancelled()), default=None)  # type: ignore[attr-defined]


class Process:
    """One simulated process, or an actor outside such as the customers. After a kill no code of it runs, not even a `finally` block."""

    def __init__(self, scheduler: "Scheduler", name: str) -> None:
        self.scheduler: Final = scheduler
        self.name: Final = name
        self.alive = True
        self.frozen_until_step = 0
        self.tasks: Final[dict[asyncio.Task[Any], None]] = {}
        self.requests: Final[dict[asyncio.Task[Any], None]] = {}
        self.at_death: Final[dict[Any, Callable[[], Awaitable[None]]]] = {}
        self.holds_others_up: Callable[[], bool] = lambda: False

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Start a task in this process; the tasks that it starts belong to the process too."""
        context = contextvars.copy_context()
        context.run(CURRENT.set, self)
        return self.scheduler.loop.create_task(work, context=context)

    async def call(self, work: Coroutine[Any, Any, Any], patience_s: float) -> Any:
        """Send the process a request. Raises `Gone` if the process dies or does not answer in time; it may still do the work."""
        task = self.spawn(work)
        self.requests[task] = None
        task.add_done_callback(lambda done: self.requests.pop(done, None))
        await asyncio.wait([task], timeout=patience_s)
        if not task.done() or task.cancelled():
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
            raise Gone(self.name)
        return task.result()

    @property
    def frozen(self) -> bool:
        return self.frozen_until_step > self.scheduler.step and not self.holds_others_up()


class Gate:
    """One step that a process waits to take. The gate stays closed until `not_before_s`, unless `early()` is true."""

    __slots__ = ("allowed", "early", "fail", "future", "kind", "not_before_s", "process", "what", "work")

    def __init__(self, process: Process, kind: str, what: str, work: Callable[[], Awaitable[Any]]) -> None:
        self.process = process
        self.kind = kind
        self.what = what
        self.work = work
        self.future: asyncio.Future[Any] = process.scheduler.loop.create_future()
        self.not_before_s = 0.0
        self.early: Callable[[], bool] = lambda: False
        self.allowed: Callable[[], bool] = lambda: True
        self.fail: Callable[[], Awaitable[Exception]] | None = None

    def is_open(self, now_s: float) -> bool:
        return not self.process.frozen and (self.not_before_s <= now_s or self.early()) and self.allowed()


class GateFaults(Protocol):
    """The faults of a history that strike at gates."""

    def at(self, gate: Gate) -> str | None:
        """The fault at this gate: None, `crash before`, `crash after`, `fail before`, `fail after` or `freeze`."""


class Rest(Struct, frozen=True):
    """Work that is left though no gate is open: when the first of it is due, when the world acts next, and whether a fault still lasts."""

    what: str
    until_s: float | None = None
    act_s: float | None = None
    is_troubled: bool = False


class StillWaiting:
    """The result of a statement that waits for a lock. `look` tells whether the statement is done."""

    def __init__(self, look: Callable[[], Awaitable[bool]], task: "asyncio.Task[Any]") -> None:
        self.look: Final = look
        self.task: Final = task


class Scheduler:
    """Opens one gate after the other until no work is left."""

    def __init__(self, seed: str) -> None:
        self.loop: Final[Loop] = asyncio.get_running_loop()  # type: ignore[assignment]
        self.loop.begin()
        self.loop.set_task_factory(_registering)
        self.random: Final = random.Random(seed)
        self.step = 0
        self.trace: Final[list[tuple[int, float, str, str, str]]] = []
        self.counts: Final[Counter[str]] = Counter()
        self.gates: Final[list[Gate]] = []
        self.waiting: Final[list[tuple[Gate, StillWaiting]]] = []
        self.deliverers: Final[list[Any]] = []
        self.faults: GateFaults
        self._favourite = ""
        self._leaps = 0

    @property
    def now_s(self) -> float:
        return self.loop.now_s

    def say(self, who: str, what: str, how: str = "") -> None:
        """Add a line to the trace of the history."""
        self.trace.append((self.step, self.now_s - START_S, who, what, how))

    # Gates --------------------------------------------------------------------------------------------------------------

    async def gate(self, gate: Gate) -> Any:
        """Wait until the gate is open; returns the result of its work."""
        if not gate.process.alive:
            raise asyncio.CancelledError
        self.gates.append(gate)
        try:
            return await gate.future
        finally:
            if gate in self.gates:
                self.gates.remove(gate)

    async def do(self, kind: str, what: str, work: Callable[[], Awaitable[Any]]) -> Any:
        """Make a gate for the running process, and wait at it."""
        process = CURRENT.get()
        assert process is not None, f"{what} outside of any process"
        return await self.gate(Gate(process, kind, what, work))

    async def kill(self, process: Process) -> None:
        """Kill a process. Its open transactions are rolled back, and its producers lose what was not sent."""
        process.alive = False
        self.gates[:] = [gate for gate in self.gates if gate.process is not process]
        self.waiting[:] = [each for each in self.waiting if each[0].process is not process]
        for task in list(process.tasks):
            task.cancel()
        await self.quiet()
        for undo in list(process.at_death.values()):
            await undo()

    # The loop of steps ---------------------------------------------------------------------------------------------------

    async def run(self, unsettled: Callable[[], Awaitable["Rest | None"]]) -> None:
        """Open gates until none is open and `unsettled` finds no work left. Raises `Violation` if that never happens."""
        while True:
            await self.quiet()
            self.step += 1
            if self.step > STEPS_MAX:
                raise Violation(f"not settled after {STEPS_MAX} steps")
            choices = self._choices()
            if choices:
                await self._open(self._choose(choices))
                self.loop.now_s += self.random.choice(STEP_MS) / 1000
                continue
            rest = await unsettled()
            if rest is None:
                return
            if self._leaps > LEAPS_MAX or self.now_s > START_S + LIFE_S_MAX:
                raise Violation(f"it never settles: {rest.what}")
            self._let_time_pass(rest)

    def progress(self) -> None:
        """Reset the growing leaps of the clock: the history has made progress."""
        self._leaps = 0

    async def quiet(self) -> None:
        """Run the loop until every task waits."""
        await asyncio.sleep(0)
        while not self.loop.is_quiet:  # noqa: ASYNC110  # no event tells that the loop is idle
            await asyncio.sleep(0)

    def _choices(self) -> list[Any]:
        now_s = self.now_s
        return [gate for gate in self.gates if gate.is_open(now_s)] + [
            each for each in self.deliverers if each.has_work
        ]

    def _choose(self, choices: list[Any]) -> Any:
        """Favour one process for a while, so that the others fall far behind; else choose any."""
        if self.random.random() < FAVOUR_CHANGE_SHARE:
            self._favourite = self.random.choice(choices).process.name
        if self.random.random() < FAVOUR_SHARE:
            choices = [each for each in choices if each.process.name == self._favourite] or choices
        return self.random.choice(choices)

    async def _open(self, gate: Any) -> None:
        if not isinstance(gate, Gate):
            await gate.deliver()
            await self._look_at_waiting()
            return
        process = gate.process
        fate = self.faults.at(gate)
        if fate == "freeze":
            self.say(process.name, "frozen", f"at {gate.what}")
            return
        self.gates.remove(gate)
        if fate == "crash before":
            self.say(process.name, "CRASH", f"before {gate.what}")
        elif fate == "fail before":
            await self._fail(gate)
        else:
            await self._do(gate, fate)
        if fate in ("crash before", "crash after"):
            await self.kill(process)
        await self._look_at_waiting()

    async def _do(self, gate: Gate, fate: str | None) -> None:
        """Do the work of a gate, and hand the result to its owner unless a fault loses the answer."""
        name = gate.process.name
        try:
            result = await gate.work()
        except Exception as error:
            self.say(name, gate.what, f"{type(error).__name__}: {error}".splitlines()[0][:100])
            _settle(gate.future, error)
            return
        if isinstance(result, StillWaiting):
            self.say(name, gate.what, "waits for a lock")
            self.waiting.append((gate, result))
        elif fate == "crash after":
            self.say(name, gate.what, "done, then CRASH")
        elif fate == "fail after":
            self.say(name, gate.what, "done")
            await self._fail(gate)
        else:
            self.say(name, gate.what)
            if not gate.future.done():
                gate.future.set_result(result)

    async def _fail(self, gate: Gate) -> None:
        assert gate.fail is not None
        error = await gate.fail()
        self.say(gate.process.name, gate.what, f"FAILS with {type(error).__name__}")
        _settle(gate.future, error)

    async def _look_at_waiting(self) -> None:
        """Resume each statement that has got its lock. It runs to its end before the next gate opens."""
        for gate, waiting in list(self.waiting):
            await self.quiet()
            if (gate, waiting) not in self.waiting or not await waiting.look():
                continue
            self.waiting.remove((gate, waiting))
            error = waiting.task.exception()
            self.say(gate.process.name, gate.what, f"after the lock{': ' + type(error).__name__ if error else ''}")
            if error is not None:
                _settle(gate.future, error)
            elif not gate.future.done():
                gate.future.set_result(waiting.task.result())

    # Time ----------------------------------------------------------------------------------------------------------------

    def _let_time_pass(self, rest: Rest) -> None:
        """Move the clock to the next due time or timer; without progress each leap is longer. Frozen processes thaw first.

        The clock never leaps over an act of the world. Otherwise a service that is to be down for seconds is down for longer.
        While a fault lasts, the leaps are not counted any further: what waits for its end has not been given up.
        """
        until_s = rest.until_s
        frozen = [gate.process for gate in self.gates if gate.process.frozen]
        if frozen:
            frozen[0].frozen_until_step = 0
            return
        times = [gate.not_before_s for gate in self.gates if gate.not_before_s > self.now_s]
        timer_s = self.loop.next_timer_s
        times += [] if timer_s is None else [timer_s]
        if not times:
            stuck = ", ".join(f"{gate.process.name} at {gate.what}" for gate in self.gates)
            raise Violation(f"nobody can go on: {stuck or 'and nobody wants to'}")
        if until_s is None or until_s <= self.now_s:
            until_s = self.now_s + min(LEAP_S_MAX, LEAP_S_MIN * 2**self._leaps)
            if not rest.is_troubled or until_s < self.now_s + LEAP_S_MAX:
                self._leaps += 1
        if rest.act_s is not None:
            until_s = min(until_s, rest.act_s)
        self.loop.now_s = max(min(times), min(until_s, self.now_s + DUE_LEAP_S_MAX))


def _settle(future: "asyncio.Future[Any]", error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)


def _registering(loop: asyncio.AbstractEventLoop, work: Any, **arguments: Any) -> asyncio.Task[Any]:
    """A task belongs to the process in whose context it was made."""
    task: asyncio.Task[Any] = asyncio.Task(work, loop=loop, **arguments)
    context = arguments.get("context")
    process = CURRENT.get() if context is None else context.get(CURRENT)
    if process is not None:
        process.tasks[task] = None
        task.add_done_callback(lambda done: process.tasks.pop(done, None))
        if not process.alive:
            task.cancel()
    return task
