"""A run of the kit: looks whether it can judge at all, plays the cases, and gathers what each of them found."""

import asyncio
import math
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Literal, NamedTuple

from msgspec import Struct

from ordersaga.conformance.cases import Case, Phase, select
from ordersaga.conformance.hooks import HookFailed, Hooks
from ordersaga.conformance.plan import Plan
from ordersaga.conformance.probe import CannotJudge, look_for_topics, probe
from ordersaga.conformance.scene import Limits, Manners, Offers, Scene
from ordersaga.conformance.stage import Stage
from ordersaga.conformance.verdicts import Broken, NotMeasurable, NotOffered, Silent
from ordersaga.conformance.wire import Heard, Sent
from ordersaga.messaging.kafka import KafkaForbids, KafkaUnavailable, why_unreachable
from ordersaga.settings import PREFIX

Outcome = Literal["passed", "failed", "skipped", "not judged"]

AT_ONCE: Final = 32
SHAPE_S_MAX: Final = 1.0
"""Odd shapes of one request are played one at a time, so that the one that stops the service is known. Where one takes longer, all others are played
at once."""
CASE_S_MAX: Final = 120.0
RECORDS_KEPT_MAX: Final = 12
ALONE: Final[tuple[Phase, ...]] = ("restart", "poison")
SHARED_MAX: Final = 2
"""How many cases are played in vain after one after which the service did not answer in time. They wait for less."""


class Result(Struct, frozen=True):
    """What came of a case. `said`: what happened, or why it was skipped or not judged. `more`: how many records are left out of `sent` and
    `heard`, which have the first `RECORDS_KEPT_MAX` each."""

    case: Case
    outcome: Outcome
    said: str
    took_s: float
    sent: Sequence[Sent] = ()
    heard: Sequence[Heard] = ()
    notes: Sequence[str] = ()
    more: int = 0


class Report(Struct):
    """What a run found."""

    role: str
    began_at: float
    results: list[Result]
    notes: list[str]
    took_s: float = 0.0

    def count(self, outcome: Outcome) -> int:
        """How many cases had this outcome."""
        return sum(each.outcome == outcome for each in self.results)


Progress = Callable[[Result, int], None]
"""Called with each result as it comes, and how many cases there are in all."""


async def run(plan: Plan, say: Callable[[str], None], progress: Progress) -> Report:
    """Judge a service. Raises `CannotJudge` within seconds where that is not possible, and `NoSuchCase` for a wrong selection."""
    began, began_at = time.monotonic(), time.time()
    chosen = select(plan.part.cases, plan.only)
    say(f"looking for Kafka at {plan.settings.kafka_bootstrap_servers}")
    if why := await asyncio.to_thread(why_unreachable, plan.settings):
        raise CannotJudge(
            f"Kafka at {plan.settings.kafka_bootstrap_servers} cannot be used: {why}. {PREFIX}KAFKA_BOOTSTRAP_SERVERS says where it is, and "
            f"{PREFIX}KAFKA_SECURITY_PROTOCOL, _SASL_... and _SSL_... how it is spoken to"
        )
    report = Report(plan.part.role, began_at, [], [])
    try:
        plan = await look_for_topics(plan, report.notes.append)
        letters = [plan.offers.dead_letter_topic_of(topic) for topic in plan.part.played]
        async with (
            Stage(plan.settings, plan.part.played, letters) as stage,
            Hooks(plan.hooks, plan.headers, plan.restart) as hooks,
        ):
            manners = Manners(type_ids=dict(plan.settings.type_ids))
            make = lambda: Scene(stage, hooks, plan.limits, plan.offers, manners)  # noqa: E731
            say(f"asking {plan.part.role} for a first answer")
            await probe(plan.part, make, manners, report.notes.append)
            await Director(make, chosen, report, progress, plan).run()
            if stage.closed:
                report.notes.append(f"not heard, since Kafka's ACLs do not allow Read: {', '.join(stage.closed)}")
    except (KafkaUnavailable, HookFailed) as error:
        raise CannotJudge(str(error)) from error
    report.took_s = time.monotonic() - began
    order = {each.name: n for n, each in enumerate(chosen)}
    report.results.sort(key=lambda each: order[each.case.name])
    return report


def longest_of(case: Case, plan: Plan) -> float:
    """After how many seconds a case is given up: longer where an answer may take longer, or the load is larger, than by default."""
    waits = plan.limits.answer_s / Limits().answer_s
    load = plan.offers.load / Offers().load if "load" in case.tags else 1.0
    return CASE_S_MAX * max(1.0, waits, load)


class Played(NamedTuple):
    """What is known of a case at its end: its outcome, which a later look may change, whether it failed since nothing came in time, and what it sent last."""

    outcome: Outcome
    is_silent: bool = False
    last: Sent | None = None

    @property
    def is_unanswered(self) -> bool:
        """Whether the service may have stopped: nothing came in time, or a hook did not reach it."""
        return self.is_silent or self.outcome == "not judged"


class Director:
    """Plays cases and adds their results to a report: many at once those that may run beside others, then those of odd shapes, then the
    load cases, then the others, each alone."""

    def __init__(
        self, make: Callable[[], Scene], cases: Sequence[Case], report: Report, progress: Progress, plan: Plan
    ) -> None:
        self._make: Final = make
        self._cases: Final = cases
        self._report: Final = report
        self._progress: Final = progress
        self._plan: Final = plan
        self._gate: Final = asyncio.Semaphore(AT_ONCE)
        self._late: Final[list[asyncio.Task[None]]] = []
        """Cases that wait for something while others run."""
        self._held: Final[list[tuple[Result, Scene]]] = []
        """Passed cases that are looked at once more at the end."""
        self._counted_until_s = math.inf
        self._shape_gates: Final[dict[str, asyncio.Semaphore]] = defaultdict(lambda: asyncio.Semaphore(1))
        self._slow_nouns: Final[set[str]] = set()
        self._stopped: str | None = None
        """The case after which the service has answered nothing any more."""

    async def run(self) -> None:
        together: list[Case] = []
        loads: list[Case] = []
        for case in self._cases:
            if case.phase == "together":
                (loads if "load" in case.tags else together).append(case)
        shapes = [case for case in self._cases if case.phase == "shape"]
        all_played = await asyncio.gather(*(self._one(case) for case in together))
        unanswered = [case for case, played in zip(together, all_played, strict=True) if played.is_unanswered]
        if unanswered and not await self._lives():
            self._stopped = unanswered[0].name
        await asyncio.gather(*(self._shape(case) for case in shapes))
        for case in loads:
            if not self._is_over(case):
                await self._one(case)
        for phase in ALONE:
            await self._in_turn([each for each in self._cases if each.phase == phase])
        await asyncio.gather(*self._late)
        await self._last_look()

    async def _shape(self, case: Case) -> None:
        """Play a case of an odd shape. Where the service does not answer it, look whether it still lives."""
        async with self._shape_gates[case.noun]:
            if self._is_over(case):
                return
            began_s = asyncio.get_running_loop().time()
            played = await self._one(case)
            is_slow = played.outcome == "passed" and asyncio.get_running_loop().time() - began_s > SHAPE_S_MAX
            if is_slow and case.noun not in self._slow_nouns:
                self._slow_nouns.add(case.noun)
                for _ in range(AT_ONCE):
                    self._shape_gates[case.noun].release()
            if played.is_unanswered and not await self._lives(played.last):
                self._stopped = self._stopped or case.name

    def _is_over(self, case: Case) -> bool:
        """Whether a case is not played, since the service has stopped answering."""
        if self._stopped is not None:
            said = f"the service has stopped answering: see {self._stopped!r}"
            self._note(Result(case, "not judged", said, 0.0))
        return self._stopped is not None

    async def _in_turn(self, cases: Sequence[Case]) -> None:
        """Play cases one after the other. When the service has stopped, the others are not judged. After one of which it still lives, but has not
        answered what came behind it in time, the others wait for less, and what then does not come is laid to that one."""
        slow = None
        shared = 0
        for case in cases:
            if self._is_over(case):
                continue
            if slow is not None and shared == SHARED_MAX:
                self._note(
                    Result(case, "not judged", f"not played, since others before it had the fate of {slow!r}", 0.0)
                )
                continue
            began_s = asyncio.get_running_loop().time()
            if case.phase == "restart" and not self._left_out(case):
                self._count_until(began_s)
            outcome, is_silent, _ = await self._one(case, slow)
            if outcome == "failed":
                self._count_until(began_s)
                if not await self._lives():
                    self._stopped = case.name
                elif is_silent:
                    slow = case.name
            elif slow is not None and is_silent:
                shared += 1

    def _count_until(self, moment_s: float) -> None:
        """Count no answers that came later: the service is killed then, or ends, and may answer again what it has answered."""
        self._counted_until_s = min(self._counted_until_s, moment_s)

    async def _lives(self, behind: Sent | None = None) -> bool:
        """Whether the service still answers its first request; if that is one of the same topic, in the partition of the record `behind` which it comes."""
        scene, first = self._make(), self._plan.part.first
        try:
            message = await first.prepare(scene)
            if behind is not None and behind.place.topic == first.request:
                await scene.send(first.request, message, partition=behind.place.partition)
            else:
                await first.ask(scene, message)
            await first.answered(scene, message)
        except (Broken, HookFailed):
            return False
        finally:
            await scene.end()
        return True

    def _left_out(self, case: Case) -> str | None:
        """Why a case is not played at all; None: it is played."""
        without = sorted(case.tags & self._plan.offers.without)
        return f"--without {without[0]}" if without else None

    async def _one(self, case: Case, slow: str | None = None) -> Played:
        """Play a case. `slow`: the name of a case after which the service did not answer in time."""
        if why := self._left_out(case):
            self._note(Result(case, "skipped", why, 0.0))
            return Played("skipped")
        async with self._gate:
            scene, began = self._make(), time.monotonic()
            if slow is not None:
                scene.hurry()
            outcome, said, is_silent = await self._judged(case, case.play(scene))
            played = Played(outcome, is_silent, scene.sent[-1] if scene.sent else None)
            if slow is not None and is_silent:
                outcome, said = (
                    "not judged",
                    f"{said}; that may be the fate of {slow!r}, after which the kit waits for less",
                )
            if outcome == "passed" and scene.later:
                self._late.append(asyncio.create_task(self._later(case, scene, began)))
            else:
                await self._end(case, scene, began, outcome, said)
            return played._replace(outcome=outcome)

    async def _later(self, case: Case, scene: Scene, began: float) -> None:
        """Judge what a case waits for while others run."""
        outcome: Outcome = "passed"
        said = ""
        for each in scene.later:
            if outcome == "passed":
                outcome, said, _ = await self._judged(case, each)
        await self._end(case, scene, began, outcome, said)

    async def _judged(self, case: Case, play: Awaitable[None]) -> tuple[Outcome, str, bool]:
        """The outcome of a case or of a part of it, what is said of it, and whether nothing came in time."""
        longest_s = longest_of(case, self._plan)
        try:
            async with asyncio.timeout(longest_s):
                await play
        except Broken as error:
            return "failed", str(error), isinstance(error, Silent)
        except NotOffered as error:
            return "skipped", str(error), False
        except (HookFailed, NotMeasurable, KafkaForbids) as error:
            return "not judged", str(error), False
        except TimeoutError:
            return "not judged", f"the case did not end within {longest_s:g} s", False
        except KafkaUnavailable:
            raise
        except (
            Exception
        ) as error:  # a fault of the kit, as an answer that it did not foresee: the other cases are judged all the same
            return "not judged", f"the kit could not go on: {type(error).__name__}: {error}", False
        return "passed", "", False

    async def _end(self, case: Case, scene: Scene, began: float, outcome: Outcome, said: str) -> None:
        sent, heard = scene.sent, scene.heard()
        await scene.end()
        result = _result(case, outcome, said, time.monotonic() - began, sent, heard, scene.notes)
        if outcome == "passed" and case.last_look is not None:
            self._held.append((result, scene))
        else:
            self._note(result)

    async def _last_look(self) -> None:
        """Fail each passed case whose last look finds something."""
        if self._held and self._counted_until_s == math.inf:
            await self._held[0][1].quiet()
        for result, scene in self._held:
            scene.stage.tally.until_s = self._counted_until_s
            found = result.case.last_look(scene) if result.case.last_look else None
            if found is None:
                self._note(result)
            else:
                said = f"over the whole run: {found}"
                self._note(_result(result.case, "failed", said, result.took_s, found.sent, found.answers, result.notes))

    def _note(self, result: Result) -> None:
        self._report.results.append(result)
        self._progress(result, len(self._cases))


def _result(
    case: Case,
    outcome: Outcome,
    said: str,
    took_s: float,
    sent: Sequence[Sent],
    heard: Sequence[Heard],
    notes: Sequence[str],
) -> Result:
    """A result with the first records of each kind."""
    more = sum(max(0, len(records) - RECORDS_KEPT_MAX) for records in (sent, heard))
    return Result(case, outcome, said, took_s, sent[:RECORDS_KEPT_MAX], heard[:RECORDS_KEPT_MAX], notes, more)
