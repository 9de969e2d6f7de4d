"""Bulk replay: many dead letters at a limited rate, stopped when too many fail again.

Promise: at most `failures_max` letters fail again, since at most that many are in flight. Each letter is an act of its own: when the run
stops, the letters replayed so far stay replayed and their results are reported.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Literal, Protocol
from uuid import UUID

from msgspec import Struct

from ordersaga.messaging.acts import NotPossible, Operator
from ordersaga.messaging.letters import Letter, ReplayState
from ordersaga.said import say, words_of
from ordersaga.settings import ServiceName

POLL_EVERY_S: Final = 0.1

Result = Literal["resolved", "published", "failed again", "waits", "refused", "not replayed"]


class Pace(Struct, frozen=True):
    """The rate, the number of renewed failures that stops the run, and how long to wait for a result (0: not at all)."""

    letters_per_s: float
    failures_max: int
    wait_s: float


class Replayable(Protocol):
    """The letters of one service, as a run replays them."""

    @property
    def service(self) -> ServiceName: ...

    async def replay(self, letter_id: UUID, operator: Operator, type_id: str | None = None) -> None: ...

    async def replay_states(self, ids: Sequence[UUID]) -> dict[UUID, ReplayState]: ...


class Replay(Struct, frozen=True):
    """One letter and the result of its replay. `waits`: the record was not tried in time, for the reason in `detail`."""

    redrive: Replayable
    letter: Letter
    result: Result
    detail: str


async def _nothing(_: Letter) -> None:
    """For a run that keeps no list of the letters that it has begun with."""


class BulkReplay:
    """One run over letters of one or more services, in the given order.

    `begin` is awaited before each replay, `tell` with each result as it becomes known. `failures`: renewed failures of an earlier part of
    the run, which count.
    """

    def __init__(
        self,
        operator: Operator,
        pace: Pace,
        type_id: str | None,
        tell: Callable[[Replay], Awaitable[None]],
        begin: Callable[[Letter], Awaitable[None]] = _nothing,
        failures: int = 0,
    ) -> None:
        self._operator: Final = operator
        self._pace: Final = pace
        self._type_id: Final = type_id
        self._tell: Final = tell
        self._begin: Final = begin
        self._in_flight: Final[dict[UUID, tuple[Replayable, Letter, float]]] = {}
        self._failures = failures
        self._stuck = self._stopped = False
        self.replays: Final[list[Replay]] = []

    def stop(self) -> None:
        """Replay no further letter. The results of those in flight are still reported."""
        self._stopped = True

    async def run(
        self, letters: Sequence[tuple[Replayable, Letter]], replayed: Sequence[tuple[Replayable, Letter]] = ()
    ) -> list[Replay]:
        """Replay the letters; returns a result for each of them. `replayed`: letters of an earlier part of the run, in flight."""
        todo = deque(letters)
        for redrive, letter in replayed:
            self._in_flight[letter.id] = (redrive, letter, time.monotonic() + self._pace.wait_s)
        next_at = time.monotonic()
        while todo or self._in_flight:
            while todo and self._has_room and time.monotonic() >= next_at:
                await self._replay(*todo.popleft())
                next_at = max(next_at, time.monotonic() - POLL_EVERY_S) + 1 / self._pace.letters_per_s
            await self._report_known()
            if todo and self._has_ended:
                break
            await asyncio.sleep(POLL_EVERY_S if self._in_flight else max(0.0, next_at - time.monotonic()))
        while self._in_flight:
            await self._report_known()
            await asyncio.sleep(POLL_EVERY_S)
        for redrive, letter in todo:
            await self._end(redrive, letter, "not replayed", say("result.stays_open", "the letter stays open"))
        return self.replays

    @property
    def _has_ended(self) -> bool:
        return self._stopped or self._stuck or self._failures >= self._pace.failures_max

    @property
    def _has_room(self) -> bool:
        return not self._has_ended and self._failures + len(self._in_flight) < self._pace.failures_max

    async def _replay(self, redrive: Replayable, letter: Letter) -> None:
        await self._begin(letter)
        try:
            await redrive.replay(letter.id, self._operator, self._type_id)
        except NotPossible as error:
            await self._end(redrive, letter, "refused", words_of(error))
            return
        if self._pace.wait_s:
            self._in_flight[letter.id] = (redrive, letter, time.monotonic() + self._pace.wait_s)
        else:
            await self._end(
                redrive, letter, "waits", say("result.not_awaited", "put back; its result was not waited for")
            )

    async def _report_known(self) -> None:
        """Report the letters in flight whose result is known. A letter that is not tried in time stops the run."""
        for redrive in {id(redrive): redrive for redrive, _, _ in self._in_flight.values()}.values():
            mine = {key: (letter, end) for key, (whose, letter, end) in self._in_flight.items() if whose is redrive}
            for key, state in (await redrive.replay_states(list(mine))).items():
                letter, end = mine[key]
                if state.result is not None:
                    self._failures += state.result == "failed again"
                    await self._end(redrive, letter, state.result, state.detail)
                elif time.monotonic() > end:
                    self._stuck = self._stuck or not state.behind
                    await self._end(redrive, letter, "waits", state.detail)

    async def _end(self, redrive: Replayable, letter: Letter, result: Result, detail: str) -> None:
        self._in_flight.pop(letter.id, None)
        replay = Replay(redrive, letter, result, detail)
        self.replays.append(replay)
        await self._tell(replay)
