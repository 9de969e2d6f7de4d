"""Cases of every exchange: records that are no messages."""

from collections.abc import Callable
from typing import Final

from ordersaga.conformance.cases import Case, Play
from ordersaga.conformance.exchange import Exchange
from ordersaga.conformance.scene import Scene, must
from ordersaga.conformance.verdicts import Broken
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
        good = await exchange.prepare(scene)
        bad_id = scene.new_id()
        bad = await scene.send(
            exchange.request,
            spoil(good | {"orderId": bad_id}),
            key=bad_id.encode() if keyed else None,
            partition=0,
            note="this record is spoilt",
        )
        await scene.send(exchange.request, good, partition=0, note="behind the spoilt record, in the same partition")
        try:
            await exchange.answered(scene, good)
        except Broken as error:
            raise type(error)(f"the record behind the spoilt one was not answered: {error}") from error
        must(not scene.here(exchange.answer, bad_id), "the spoilt record was answered as if it were a message")
        if dead_letter:
            await scene.letter(bad, bad_id)

    return play
