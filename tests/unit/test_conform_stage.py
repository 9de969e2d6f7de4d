"""What the kit keeps of what it hears: the records of cases that go on, and for a while those of ids that nobody has asked for yet."""

import asyncio
from uuid import uuid4

import pytest

from ordersaga.conformance import stage as stage_module
from ordersaga.conformance.hooks import Hooks
from ordersaga.conformance.scene import Limits, Manners, Offers, Scene
from ordersaga.conformance.stage import Stage
from ordersaga.conformance.verdicts import Silent
from ordersaga.conformance.wire import Heard, Sent, compact
from ordersaga.messaging.handler import Coordinates, Record
from ordersaga.settings import Settings


def listening() -> Stage:
    return Stage(Settings.of({"ORDERSAGA_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}), [], [])


def record(id: str, topic: str = "delivery-start-topic", at_s: float = 0.0) -> Heard:
    return Heard(Record(topic, 0, 7, id.encode(), compact({"orderId": id}), (), 0), at_s)


async def test_what_a_case_has_heard_is_dropped_at_its_end_with_what_comes_later() -> None:
    stage, mine, other = listening(), str(uuid4()), str(uuid4())
    for id in (mine, other):
        stage.follow(id)
        stage._note(record(id))
        stage._note(record(id, "delivery-request-topic-dlt"))
    stage.forget([mine])
    stage._note(record(mine))
    assert (len(stage.heard(mine)), len(stage.heard(other))) == (0, 2)
    assert [each.ids for each in stage._letters] == [{other}]


async def test_what_nobody_asks_for_is_dropped_after_a_while() -> None:
    stage, mine, stranger, late = listening(), str(uuid4()), str(uuid4()), str(uuid4())
    stage.follow(mine)
    now = asyncio.get_running_loop().time()
    for id, at_s in ((mine, 0.0), (stranger, now - 2 * stage_module.STRANGERS_KEPT_S), (late, now)):
        stage._note(record(id, at_s=at_s))
    stage._drop_strangers()
    assert [len(stage.heard(id)) for id in (mine, stranger, late)] == [1, 0, 1]


async def test_of_garbage_the_last_is_kept() -> None:
    stage = listening()
    for n in range(stage_module.STRAYS_MAX + 5):
        stage._note(Heard(Record("delivery-start-topic", 0, n, None, b"garbage", (), 0), 0.0))
    assert len(stage.strays) == stage_module.STRAYS_MAX


async def test_where_answers_are_slow_the_next_one_is_waited_for_longer_and_at_most_twice_as_long() -> None:
    stage, now = listening(), asyncio.get_running_loop().time()
    assert stage.patience_s(4.0) == 4.0
    for ended_s, took_s, patience_s in ((now - 2 * stage_module.RECENT_S, 3.0, 4.0), (now, 2.5, 6.5), (now, 9.0, 8.0)):
        stage._waits.append((ended_s, took_s))
        assert stage.patience_s(4.0) == patience_s


async def test_what_came_under_another_id_is_told_where_an_answer_is_missing() -> None:
    stage, (asked, answered) = listening(), ("delivery-request-topic", "delivery-start-topic")
    scene = Scene(stage, Hooks({}, {}, None), Limits(), Offers(), Manners())
    other, order = scene.new_id(), scene.new_id()
    for id in (other, order):
        scene._has_sent([Sent(Coordinates(asked, 0, 1), None, compact({"orderId": id}), (), 2.0)])
    for at_s in (0.0, 1.0):
        stage._note(record(other, at_s=at_s))
    with pytest.raises(
        Silent, match=r"within 0 s$"
    ):  # what came before this request was asked for says nothing of its answer
        await scene.answers(answered, order, wait_s=0.0)
    stage._note(record(other, at_s=3.0))
    with pytest.raises(
        Silent, match=f"under another order's id, since order {other} was asked for once and answered 3 times"
    ):
        await scene.answers(answered, order, wait_s=0.0)
    stranger = str(uuid4())
    stage._note(record(stranger, at_s=3.0))
    with pytest.raises(Silent, match=f'for an order that nobody has asked for: {{"orderId":"{stranger}"}}'):
        await scene.answers(answered, order, wait_s=0.0)


async def test_a_letter_that_nobody_waits_for_any_more_makes_no_later_case_wait_less() -> None:
    """A case that fails with a letter outstanding ends without looking for it."""
    stage, topic = listening(), "delivery-request-topic"
    scene = Scene(stage, Hooks({}, {}, None), Limits(answer_s=0.0), Offers(), Manners())
    order = scene.new_id()
    await scene.letter(Sent(Coordinates(topic, 0, 1), None, b"broken", (), 0.0), order)
    assert (len(scene.later), stage.letters_awaited) == (1, 1)
    await scene.end()
    assert stage.letters_awaited == 0
