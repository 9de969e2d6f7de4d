"""A run of the kit: looks whether it can judge at all, plays the cases, and gathers what each of them found."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final, Literal

from msgspec import Struct

from ordersaga.conformance.cases import Case, Phase, select
from ordersaga.conformance.hooks import HookFailed, Hooks
from ordersaga.conformance.plan import Plan
from ordersaga.conformance.probe import CannotJudge, look_for_topics, probe
from ordersaga.conformance.scene import Limits, Manners, Offers, Scene
from ordersaga.conformance.stage import Stage
from ordersaga.conformance.verdicts import Broken, NotMeasurable, NotOffered
from ordersaga.conformance.wire import Heard, Sent
from ordersaga.messaging.kafka import KafkaForbids, KafkaUnavailable, why_unreachable

Outcome = Literal["passed", "failed", "skipped", "not judged"]

AT_ONCE: Final = 32
CASE_S_MAX: Final = 120.0
RECORDS_KEPT_MAX: Final = 12
PHASES: Final[tuple[Phase, ...]] = ("together", "restart", "poison")


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
        raise CannotJudge(f"Kafka at {plan.settings.kafka_bootstrap_servers} cannot be used: {why}")
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


class Director:
    """Plays cases and adds their results to a report: many at once those that may run beside others, then the load cases, then the others, each alone."""

    def __init__(
        self, make: Callable[[], Scene], cases: Sequence[Case], report: Report, progress: Progress, plan: Plan
    ) -> None:
        self._make: Final = make
        self._cases: Final = cases
        self._report: Final = report
        self._progress: Final = progress
        self._plan: Final = plan
        self._gate: Final = asyncio.Semaphore(AT_ONCE)

    async def run(self) -> None:
        together: list[Case] = []
        loads: list[Case] = []
        for case in self._cases:
            if case.phase == "together":
                (loads if "load" in case.tags else together).append(case)
        await asyncio.gather(*(self._one(case) for case in together))
        for case in loads:
            await self._one(case)
        for phase in PHASES[1:]:
            stopped = None
            for case in [each for each in self._cases if each.phase == phase]:
                if stopped is not None:
                    self._note(Result(case, "not judged", f"the service has stopped: see {stopped!r}", 0.0))
                    continue
                result = await self._one(case)
                if result.outcome == "failed" and not await self._lives():
                    stopped = case.name

    async def _lives(self) -> bool:
        """Whether the service still answers its first request."""
        scene, first = self._make(), self._plan.part.first
        try:
            message = await first.prepare(scene)
            await first.ask(scene, message)
            await first.answered(scene, message)
        except (Broken, HookFailed):
            return False
        finally:
            await scene.end()
        return True

    async def _one(self, case: Case) -> Result:
        without = sorted(case.tags & self._plan.offers.without)
        if without:
            return self._note(Result(case, "skipped", f"--without {without[0]}", 0.0))
        async with self._gate:
            scene, began = self._make(), time.monotonic()
            longest_s = longest_of(case, self._plan)
            outcome: Outcome = "passed"
            said = ""
            try:
                async with asyncio.timeout(longest_s):
                    await case.play(scene)
            except Broken as error:
                outcome, said = "failed", str(error)
            except NotOffered as error:
                outcome, said = "skipped", str(error)
            except (HookFailed, NotMeasurable) as error:
                outcome, said = "not judged", str(error)
            except TimeoutError:
                outcome, said = "not judged", f"the case did not end within {longest_s:g} s"
            except KafkaForbids as error:
                outcome, said = "not judged", str(error)
            except KafkaUnavailable:
                raise
            except Exception as error:  # a fault of the kit, as an answer that it did not foresee: the other cases are judged all the same
                outcome, said = "not judged", f"the kit could not go on: {type(error).__name__}: {error}"
            sent, heard = scene.sent, scene.heard()
            await scene.end()
            more = sum(max(0, len(records) - RECORDS_KEPT_MAX) for records in (sent, heard))
            kept = sent[:RECORDS_KEPT_MAX], heard[:RECORDS_KEPT_MAX]
            return self._note(Result(case, outcome, said, time.monotonic() - began, *kept, scene.notes, more))

    def _note(self, result: Result) -> Result:
        self._report.results.append(result)
        self._progress(result, len(self._cases))
        return result
