"""Replaying many dead letters under control: a frozen list, so many a second, an end when too many fail again.

Promise: no more than `failures_max` letters fail again, since no more than that many are under way at once. Each letter is an act of its
own, so what was done before an end, of whatever kind, stays done and is told.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Literal
from uuid import UUID

from msgspec import Struct

from ordersaga.messaging.acts import NotPossible, Operator
from ordersaga.messaging.redrive import Letter, Redrive

LOOK_EVERY_S: Final = 0.1

Result = Literal["resolved", "failed again", "waits", "refused", "not replayed"]


class Pace(Struct, frozen=True):
    """How fast, after how many renewed failures to stop, and how long to wait for an outcome (0: no waiting at all)."""

    letters_per_s: float
    failures_max: int
    wait_s: float


class Outcome(Struct, frozen=True):
    """What came of one letter. `waits`: it was put back, and nobody has tried it yet, because of `detail`."""

    redrive: Redrive
    letter: Letter
    result: Result
    detail: str


class BulkReplay:
    """One run over letters of one or more services, in the given order. `tell` is called with each outcome as it becomes known."""

    def __init__(self, operator: Operator, pace: Pace, type_id: str | None, tell: Callable[[Outcome], None]) -> None:
        self._operator: Final = operator
        self._pace: Final = pace
        self._type_id: Final = type_id
        self._tell: Final = tell
        self._under_way: Final[dict[UUID, tuple[Redrive, Letter, float]]] = {}
        self._failures = 0
        self._stuck = False
        self.outcomes: Final[list[Outcome]] = []

    async def run(self, letters: Sequence[tuple[Redrive, Letter]]) -> list[Outcome]:
        """Replay them; returns one outcome for each."""
        todo = deque(letters)
        next_at = time.monotonic()
        while todo or self._under_way:
            while todo and self._has_room and time.monotonic() >= next_at:
                await self._replay(*todo.popleft())
                next_at = max(next_at, time.monotonic() - LOOK_EVERY_S) + 1 / self._pace.letters_per_s
            await self._look()
            if todo and self._has_ended:
                break
            await asyncio.sleep(LOOK_EVERY_S if self._under_way else max(0.0, next_at - time.monotonic()))
        while self._under_way:
            await self._look()
            await asyncio.sleep(LOOK_EVERY_S)
        for redrive, letter in todo:
            self._end(redrive, letter, "not replayed", "it stays open")
        return self.outcomes

    @property
    def _has_ended(self) -> bool:
        return self._stuck or self._failures >= self._pace.failures_max

    @property
    def _has_room(self) -> bool:
        return not self._has_ended and self._failures + len(self._under_way) < self._pace.failures_max

    async def _replay(self, redrive: Redrive, letter: Letter) -> None:
        try:
            await redrive.replay(letter.id, self._operator, self._type_id)
        except NotPossible as error:
            self._end(redrive, letter, "refused", str(error))
            return
        if self._pace.wait_s:
            self._under_way[letter.id] = (redrive, letter, time.monotonic() + self._pace.wait_s)
        else:
            self._end(redrive, letter, "waits", "put back; its outcome was not waited for")

    async def _look(self) -> None:
        """Tell what has become known of the letters under way; one that nobody tries in time ends the run."""
        for redrive in {id(redrive): redrive for redrive, _, _ in self._under_way.values()}.values():
            mine = {key: (letter, end) for key, (whose, letter, end) in self._under_way.items() if whose is redrive}
            for key, standing in (await redrive.standings(list(mine))).items():
                letter, end = mine[key]
                if standing.result is not None:
                    self._failures += standing.result == "failed again"
                    self._end(redrive, letter, standing.result, standing.detail)
                elif time.monotonic() > end:
                    self._stuck = self._stuck or not standing.behind
                    self._end(redrive, letter, "waits", standing.detail)

    def _end(self, redrive: Redrive, letter: Letter, result: Result, detail: str) -> None:
        self._under_way.pop(letter.id, None)
        outcome = Outcome(redrive, letter, result, detail)
        self.outcomes.append(outcome)
        self._tell(outcome)
