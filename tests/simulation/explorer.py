"""Runs histories in worker processes, each with databases of its own on one PostgreSQL, and shrinks a history that breaks a promise."""

import asyncio
import contextlib
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from tests.simulation.history import History, loop_factory, run
from tests.simulation.mutations import BY_NAME
from tests.simulation.plan import Plan, plan
from tests.simulation.server import open_databases, server

SEEDS_AT_ONCE: Final = 4
WORKERS_PER_CORE: Final = 2  # a worker waits for PostgreSQL half of the time
SCHEDULES_TRIED: Final = 8
SCHEDULES_COMPARED: Final = 24


class Choice(Struct, frozen=True):
    """Which history to run: a seed, the orders and faults to keep (None: all), a schedule, and the mutation whose guard is taken out.

    `aimed`: the mutation's aim changes the plan of the seed.
    """

    seed: int
    orders: tuple[int, ...] | None = None
    faults: tuple[int, ...] | None = None
    schedule: int = 0
    mutation: str | None = None
    aimed: bool = False

    def plan(self) -> Plan:
        whole = plan(self.seed)
        aim = BY_NAME[self.mutation].aim if self.mutation is not None else None
        if self.aimed and aim is not None:
            whole = aim(whole)
        return replace(
            whole,
            orders=tuple(each for n, each in enumerate(whole.orders) if self.orders is None or n in self.orders),
            faults=tuple(each for n, each in enumerate(whole.faults) if self.faults is None or n in self.faults),
            schedule=self.schedule,
        )

    @property
    def options(self) -> str:
        """The command line options that run this history."""
        words = [f"--seed {self.seed}"]
        if self.orders is not None:
            words.append("--orders " + ",".join(map(str, self.orders)))
        if self.faults is not None:
            words.append("--faults " + (",".join(map(str, self.faults)) or "none"))
        if self.schedule:
            words.append(f"--schedule {self.schedule}")
        if self.mutation is not None:
            words.append(f'--mutation "{self.mutation}"')
        if self.aimed:
            words.append("--aimed")
        return " ".join(words)


class Found(Struct):
    """The result of one history, without its lines."""

    choice: Choice
    broken: list[str]
    length: int
    digest: str
    seconds: float


# In the worker processes ------------------------------------------------------------------------------------------------------

_worker: "Worker | None" = None


class Worker:
    """Runs histories in one process, on databases of its own."""

    def __init__(self, urls: dict[str, str]) -> None:
        self._runner: Final = asyncio.Runner(loop_factory=loop_factory)
        self._databases: Final = self._runner.run(open_databases(urls))

    def run(self, choice: Choice) -> History:
        """Run one history."""
        with contextlib.nullcontext() if choice.mutation is None else BY_NAME[choice.mutation].made():
            return self._runner.run(run(choice.plan(), self._databases))


def _start_worker(all_urls: Any) -> None:
    global _worker
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # a killed process leaves pending tasks behind
    _worker = Worker(all_urls.get())


def _run(choices: Sequence[Choice]) -> list[Found]:
    assert _worker is not None
    found = []
    for choice in choices:
        history = _worker.run(choice)
        found.append(Found(choice, history.broken, history.length, history.digest, history.seconds))
    return found


def _run_traced(choice: Choice) -> tuple[Found, list[str]]:
    assert _worker is not None
    history = _worker.run(choice)
    lines = [
        f"{step:5d} {at_s:8.3f}  {who:<10} {what}{'  | ' if how else ''}{how}"
        for step, at_s, who, what, how in history.lines
    ]
    return Found(choice, history.broken, history.length, history.digest, history.seconds), lines


# In the process that explores -----------------------------------------------------------------------------------------------


class Explorer:
    """Use with `exploring`."""

    def __init__(self, pool: ProcessPoolExecutor, workers: int) -> None:
        self._pool: Final = pool
        self._workers: Final = workers

    def explore(
        self, seeds: Iterable[int], stop_at_first: bool = False, mutation: str | None = None, aimed: bool = False
    ) -> Iterator[Found]:
        """Run the histories of these seeds in all workers, and yield each as it ends."""
        left = iter(seeds)
        running: set[Future[list[Found]]] = set()
        while True:
            while len(running) < self._workers * 2 and (some := _some(left, SEEDS_AT_ONCE)):
                running.add(self.submit([Choice(seed, mutation=mutation, aimed=aimed) for seed in some]))
            if not running:
                return
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for each in done:
                for found in each.result():
                    yield found
                    if stop_at_first and found.broken:
                        left = iter(())

    def shrink(self, found: Found) -> Found:
        """Leave out orders and faults one by one while a promise is still broken, then take the shortest of some schedules."""
        best = found
        whole = found.choice.plan()
        orders, faults = tuple(range(len(whole.orders))), tuple(range(len(whole.faults)))
        while True:
            smaller = [(orders, tuple(f for f in faults if f != fault)) for fault in faults]
            smaller += [(tuple(o for o in orders if o != order), faults) for order in orders if len(orders) > 1]
            better = self._first_broken(found.choice, smaller)
            if better is None:
                break
            best = better
            orders, faults = best.choice.orders or (), best.choice.faults or ()
        return self._shortest(best)

    def _first_broken(
        self, choice: Choice, candidates: Sequence[tuple[tuple[int, ...], tuple[int, ...]]]
    ) -> Found | None:
        choices = [
            replace(choice, orders=orders, faults=faults, schedule=schedule)
            for schedule in range(SCHEDULES_TRIED)
            for orders, faults in candidates
        ]
        for batch in (choices[n : n + self._workers * 2] for n in range(0, len(choices), self._workers * 2)):
            for broken in self._pool.map(_run, [[each] for each in batch]):
                if broken[0].broken:
                    return broken[0]
        return None

    def _shortest(self, best: Found) -> Found:
        choice = best.choice
        others = [replace(choice, schedule=n) for n in range(SCHEDULES_COMPARED)]
        found = [each[0] for each in self._pool.map(_run, [[other] for other in others])]
        return min([best, *(each for each in found if each.broken)], key=lambda each: each.length)

    def run_traced(self, choice: Choice) -> tuple[Found, list[str]]:
        """Run one history; returns its lines too."""
        return self._pool.submit(_run_traced, choice).result()

    def submit(self, choices: Sequence[Choice]) -> Future[list[Found]]:
        """Queue these histories for one worker, which runs them one after the other."""
        return self._pool.submit(_run, choices)

    def run(self, choices: Sequence[Choice]) -> list[Found]:
        """Run these histories one after the other in one worker, and wait for their results."""
        return self.submit(choices).result()


def _some(seeds: Iterator[int], count: int) -> list[int]:
    return [seed for _, seed in zip(range(count), seeds, strict=False)]


@contextmanager
def exploring(workers: int | None = None) -> Iterator[Explorer]:
    """Start PostgreSQL and the workers, and stop them at the end. A fixed PYTHONHASHSEED makes a seed give the same history everywhere."""
    count = workers or WORKERS_PER_CORE * (os.cpu_count() or 1)
    os.environ["PYTHONHASHSEED"] = "0"
    context = get_context("spawn")
    with server(count) as urls:
        queue = context.Queue()
        for each in urls:
            queue.put(each)
        with ProcessPoolExecutor(count, context, _start_worker, (queue,)) as pool:
            yield Explorer(pool, count)
