"""What the kit waits for, and for how long: a record that the next one has overtaken, single requests of a slow service; and what it says of garbage."""

import asyncio
import sys
from collections.abc import Callable, Sequence
from typing import Any, cast
from uuid import uuid4

import pytest

from ordersaga.conformance import PARTS, Plan, Report, load
from ordersaga.conformance.cases import Case, Phase
from ordersaga.conformance.exchange import Exchange
from ordersaga.conformance.load import load_case
from ordersaga.conformance.order_compensation import ROLLED_BACK, released
from ordersaga.conformance.order_flow import Draft, Placed
from ordersaga.conformance.poison import _answered_before
from ordersaga.conformance.probe import _nature
from ordersaga.conformance.run import Director
from ordersaga.conformance.scene import Limits, Offers
from ordersaga.conformance.verdicts import Broken, Silent
from ordersaga.conformance.wire import Heard, Sent, compact
from ordersaga.messaging.handler import Record
from ordersaga.settings import Settings


class _Answers(Exchange):
    """The other side: answers the messages in `known`, each at once."""

    request, answer, noun, required = "delivery-request-topic", "delivery-start-topic", "a delivery request", "address"

    def __init__(self, known: set[str]) -> None:
        self.known = known

    async def prepare(self, scene: Any) -> dict[str, Any]:
        return {"orderId": str(uuid4())}

    async def ask(self, scene: Any, message: dict[str, Any]) -> None:
        self.known.add(message["orderId"])

    async def ask_all(self, scene: Any, messages: Sequence[dict[str, Any]]) -> None:
        self.known.update(each["orderId"] for each in messages)

    async def answered(self, scene: Any, message: dict[str, Any]) -> list[Heard]:
        if message["orderId"] not in self.known:
            await asyncio.Event().wait()
        return [Heard(Record("delivery-start-topic", 0, 7, None, compact(message), (), 0), 0.0)]


class _Waits:
    """A scene in which nobody waits long."""

    quiet_s = 0.01
    offers = Offers(load=20)

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.tasks: list[asyncio.Task[Any]] = []

    sent: Sequence[Sent] = ()
    later: Sequence[Any] = ()

    def heard(self) -> list[Heard]:
        return []

    async def end(self) -> None:
        pass

    def in_background(self, work: Any) -> "asyncio.Task[Any]":
        self.tasks.append(asyncio.create_task(work))
        return self.tasks[-1]


async def test_a_record_that_the_next_one_has_overtaken_is_lost_and_not_waited_for() -> None:
    scene: Any = _Waits()
    lost, behind = {"orderId": "lost"}, {"orderId": "behind"}
    with pytest.raises(
        Silent, match=r"order lost had no answer .* and order behind behind it had one: the record is lost"
    ):
        await _answered_before(_Answers({"behind"}), scene, lost, behind)
    await _answered_before(_Answers({"lost"}), scene, lost, behind)
    for task in scene.tasks:
        task.cancel()


async def test_a_service_that_takes_long_for_each_request_is_asked_for_fewer_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene: Any = _Waits()
    await load_case(_Answers(set())).play(scene)
    monkeypatch.setattr(load, "SINGLES_S_MAX", -1.0)
    await load_case(_Answers(set())).play(scene)
    assert [note.partition(",")[0] for note in scene.notes if "latency" in note] == [
        "latency of 2 single requests",
        "latency of 1 single request",
    ]


@pytest.mark.parametrize(
    "value, said",
    [
        (b'\0\0\0\0\7{"orderId": 1}', "the five bytes of a Schema Registry"),
        ('{"message": "재고"}'.encode("euc-kr"), "from number 14 on are in another charset"),
        (b"\0\0\0\0\7Hstarted", "what is no JSON object"),
    ],
)
def test_an_answer_that_is_no_json_is_told_by_its_kind(value: bytes, said: str) -> None:
    assert said in _nature(value)


@pytest.mark.parametrize("phase", ["shape", "together"])
@pytest.mark.parametrize("lives, outcomes", [(False, ["failed", "not judged", "not judged"]), (True, ["failed"] * 3)])
async def test_after_a_case_that_the_service_dies_of_no_other_shape_is_played(
    lives: bool, outcomes: list[str], phase: Phase
) -> None:
    async def silent(_: object) -> None:
        raise Silent("no record came")

    async def is_there(behind: Sent | None = None) -> bool:
        return lives

    phases: tuple[Phase, ...] = (phase, "shape", "shape")
    shapes = [Case(f"case {n}", "", frozenset(), silent, phase, noun="a request") for n, phase in enumerate(phases)]
    told, make = Report("delivery", 0.0, [], []), cast(Any, _Waits)
    director = Director(make, shapes, told, lambda *_: None, Plan(PARTS["delivery"], Settings(), {}))
    director._lives = is_there  # type: ignore[method-assign]
    await director.run()
    assert [each.outcome for each in told.results] == outcomes
    assert all("see 'case 0'" in each.said for each in told.results if each.outcome == "not judged")


async def test_the_shapes_of_a_slow_service_are_played_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    third_began = asyncio.Event()

    async def soon(_: object) -> None:
        pass

    async def second(_: object) -> None:
        await asyncio.wait_for(third_began.wait(), 60)

    async def third(_: object) -> None:
        third_began.set()

    monkeypatch.setattr(sys.modules[Director.__module__], "SHAPE_S_MAX", -1.0)
    shapes = [Case(play.__name__, "", frozenset(), play, "shape", noun="a request") for play in (soon, second, third)]
    told, make = Report("delivery", 0.0, [], []), cast(Any, _Waits)
    await Director(make, shapes, told, lambda *_: None, Plan(PARTS["delivery"], Settings(), {})).run()
    assert [each.outcome for each in told.results] == ["passed"] * 3


class _OneByOne:
    """The scene of an Order that asks for the next rollback when the one before is answered."""

    limits = Limits()

    def __init__(self, products: Sequence[str]) -> None:
        self.stage = self
        self.products = products
        self.asked = 1

    async def until(self, is_there: Callable[[], bool], _: float) -> bool:
        return is_there()

    def here(self, topic: str, order: str) -> list[Heard]:
        items = [{"orderId": order, "items": [{"productId": each, "quantity": 2}]} for each in self.products]
        return [Heard(Record(topic, 0, 7, None, compact(each), (), 0), 0.0) for each in items[: self.asked]]

    async def send(self, topic: str, _: object) -> None:
        self.asked += topic == ROLLED_BACK


async def test_each_rollback_is_answered_as_it_comes() -> None:
    products = [str(uuid4()), str(uuid4())]
    scene, draft = cast(Any, _OneByOne(products)), Draft("", [(each, 2) for each in products], 0, {})
    order = Placed(str(uuid4()), draft, cast(Any, None), "")
    await released(scene, order, [0, 1])
    with pytest.raises(Broken, match="were to be rolled back"):
        await released(scene, order, [0])
