"""Cases of every exchange: records that are no messages."""

import asyncio
from collections.abc import Callable
from typing import Final

from ordersaga.conformance.cases import Case, Play
from ordersaga.conformance.exchange import Exchange
from ordersaga.conformance.scene import Scene, must
from ordersaga.conformance.verdicts import Broken, Silent
from ordersaga.conformance.wire import Json, compact

KEYLESS: Final = ("an id that is none", "no order id")
"""Without a key, since a service that takes the id from there has a case of its own."""


def poison_cases(exchange: Exchange) -> list[Case]:
    """Records that no reader can understand. Each must become a dead letter, and the record behind it in its partition must be handled."""

    def spoilt(change: Json) -> Callable[[Json], bytes]:
        return lambda message: compact(message | change)

    kinds: dict[str, tuple[str, Callable[[Json], bytes | None]]] = {
        "bad JSON": ("a record that is no JSON", lambda message: compact(message)[:-9]),
        "no text at all": (
            "bytes that are no UTF-8",
            lambda message: b"\xac\xed\x00\x05\xff" + str(message["orderId"]).encode(),
        ),
        "an empty value": ("a value of no bytes", lambda _: b""),
        "a list instead of an object": ("JSON that is no object", lambda message: b"[" + compact(message) + b"]"),
        "a wrong type": (
            f"an object where {exchange.required} should be",
            spoilt({exchange.required: {"not": "this"}}),
        ),
        "an id that is none": ("an orderId that is no UUID", spoilt({"orderId": "order-1"})),
        "no order id": (
            "a message without orderId",
            lambda message: compact({name: value for name, value in message.items() if name != "orderId"}),
        ),
    }
    cases = [
        exchange.case(
            f"{exchange.noun}: {name}",
            f"guide, caution 3: {what} is retried or becomes a dead letter, and does not stop its partition",
            "poison",
            phase="poison",
            play=_poison(exchange, spoil, dead_letter=True, keyed=name not in KEYLESS),
        )
        for name, (what, spoil) in kinds.items()
    ]
    cases.append(
        exchange.case(
            f"{exchange.noun}: a tombstone",
            "guide, caution 3: a record without a value is skipped or becomes a dead letter, and does not stop its partition",
            "poison",
            phase="poison",
            play=_poison(exchange, lambda _: None, dead_letter=False, keyed=True),
        )
    )
    return cases


def _poison(exchange: Exchange, spoil: Callable[[Json], bytes | None], dead_letter: bool, keyed: bool) -> Play:
    async def play(scene: Scene) -> None:
        good, next_one = await asyncio.gather(exchange.prepare(scene), exchange.prepare(scene))
        bad_id = scene.new_id()
        bad = await scene.send(
            exchange.request,
            spoil(good | {"orderId": bad_id}),
            key=bad_id.encode() if keyed else None,
            partition=0,
            note="this record is spoilt",
        )
        for message, where in ((good, "behind the spoilt record"), (next_one, "behind both")):
            await scene.send(exchange.request, message, partition=0, note=f"{where}, in the same partition")
        try:
            await _answered_before(exchange, scene, good, next_one)
        except Broken as error:
            raise type(error)(f"the record behind the spoilt one was not answered: {error}") from error
        must(not scene.here(exchange.answer, bad_id), "the spoilt record was answered as if it were a message")
        if dead_letter:
            await scene.letter(bad, bad_id)

    return play


async def _answered_before(exchange: Exchange, scene: Scene, message: Json, next_one: Json) -> None:
    """Wait for the answer to a message. Raises `Broken` where there is none: in time, or soon after the answer to the next one, since a
    partition is read in its order."""
    answer = scene.in_background(exchange.answered(scene, message))
    overtaking = scene.in_background(exchange.answered(scene, next_one))
    await asyncio.wait({answer, overtaking}, return_when=asyncio.FIRST_COMPLETED)
    if not answer.done() and overtaking.exception() is None:
        await asyncio.wait({answer}, timeout=scene.quiet_s)
        if not answer.done():
            raise Silent(
                f"order {message['orderId']} had no answer on {exchange.answer}, and order {next_one['orderId']} behind it had one: "
                "the record is lost"
            )
    await answer
