"""The order in which `ordersaga conform` plays cases, and what it lays to which of them."""

import asyncio
from typing import Any, ClassVar

import pytest
from msgspec.structs import replace

from ordersaga.conformance import PARTS, Plan, Report
from ordersaga.conformance.cases import Case
from ordersaga.conformance.run import CASE_S_MAX, RECORDS_KEPT_MAX, Director, longest_of
from ordersaga.conformance.scene import Limits, Offers
from ordersaga.conformance.verdicts import Broken, Silent
from ordersaga.conformance.wire import Heard, Sent, compact
from ordersaga.settings import Settings
from tests.unit.test_conform import CASES, _nothing, heard


def test_a_case_may_take_longer_where_its_waits_or_its_load_are_longer() -> None:
    plan = Plan(PARTS["delivery"], Settings(), {})
    load = Case("load", "", frozenset({"load"}), _nothing)
    assert longest_of(CASES[0], plan) == longest_of(load, plan) == CASE_S_MAX
    patient = replace(plan, limits=Limits(answer_s=600), offers=Offers(load=100_000))
    assert longest_of(CASES[0], patient) >= 10 * 600
    assert longest_of(load, patient) >= 100 * CASE_S_MAX


class _Scene:
    """What the director asks of a scene."""

    sent, notes = (), ()
    later: Any = ()
    came: ClassVar[list[Heard]] = []

    def heard(self) -> list[Heard]:
        return self.came

    async def end(self) -> None:
        pass


async def test_a_case_that_trips_over_an_odd_answer_is_not_judged_and_the_others_are() -> None:
    async def trip(_: object) -> None:
        raise AttributeError("'int' object has no attribute 'get'")

    cases = [Case("odd", "", frozenset(), trip), CASES[0]]
    told = Report("delivery", 0.0, [], [])
    make: Any = _Scene
    director = Director(make, cases, told, lambda *_: None, Plan(PARTS["delivery"], Settings(), {}))
    director._lives = _yes  # type: ignore[method-assign]
    await director.run()
    assert [(each.case.name, each.outcome) for each in told.results] == [
        ("odd", "not judged"),
        ("a happy case", "passed"),
    ]
    assert "'int' object has no attribute 'get'" in told.results[0].said


class _Played(_Scene):
    """A scene that notes whether it is to hurry."""

    def __init__(self, hurried: list["_Played"]) -> None:
        self.later: list[Any] = []
        self.hurried = hurried

    def hurry(self) -> None:
        self.hurried.append(self)


async def test_what_a_slow_record_holds_up_is_laid_to_the_first_case_and_the_others_are_not_played() -> None:
    async def silent(_: object) -> None:
        raise Silent("no record came")

    cases = [Case(f"case {n}", "", frozenset(), silent, "poison") for n in range(5)]
    told, hurried = Report("delivery", 0.0, [], []), list[_Played]()
    make: Any = lambda: _Played(hurried)  # noqa: E731
    director = Director(make, cases, told, lambda *_: None, Plan(PARTS["delivery"], Settings(), {}))
    director._lives = _yes  # type: ignore[method-assign]
    await director.run()
    assert [each.outcome for each in told.results] == ["failed", *["not judged"] * 4]
    assert ["fate of 'case 0'" in each.said for each in told.results] == [False, True, True, True, True]
    assert len(hurried) == 2 and told.results[-1].said.startswith("not played")


async def _yes(behind: Sent | None = None) -> bool:
    return True


async def test_what_a_case_waits_for_at_its_end_does_not_hold_up_the_next_one() -> None:
    second_began = asyncio.Event()

    async def later() -> None:
        await asyncio.wait_for(second_began.wait(), 60)
        raise Broken("no dead letter")

    async def first(scene: Any) -> None:
        scene.later.append(later())

    async def second(_: object) -> None:
        second_began.set()

    plays = {"first": first, "second": second}
    cases = [Case(name, "", frozenset(), play, "poison") for name, play in plays.items()]
    told = Report("delivery", 0.0, [], [])
    make: Any = lambda: _Played([])  # noqa: E731
    await Director(make, cases, told, lambda *_: None, Plan(PARTS["delivery"], Settings(), {})).run()
    assert {each.case.name: each.outcome for each in told.results} == {"first": "failed", "second": "passed"}


async def test_a_result_keeps_the_first_records_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_Scene, "came", [heard(compact({"n": n})) for n in range(RECORDS_KEPT_MAX + 3)])
    told = Report("delivery", 0.0, [], [])
    make: Any = _Scene
    await Director(make, CASES[:1], told, lambda *_: None, Plan(PARTS["delivery"], Settings(), {})).run()
    assert (len(told.results[0].heard), told.results[0].more) == (RECORDS_KEPT_MAX, 3)
