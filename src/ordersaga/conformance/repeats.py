"""Cases of every exchange: the same record again, the same decision again, and a transaction that is aborted."""

import asyncio
from typing import Final
from uuid import uuid4

from ordersaga.conformance.cases import Case
from ordersaga.conformance.exchange import Exchange
from ordersaga.conformance.scene import Scene, must
from ordersaga.conformance.shapes import upper
from ordersaga.conformance.verdicts import NotMeasurable
from ordersaga.conformance.wire import Json, compact
from ordersaga.contracts.headers import MESSAGE_ID

REPEAT: Final = "wire facts: Kafka delivers at least once, so a repeat has no further effect; its answer, if there is one, says the same"


def _message_id() -> tuple[str, bytes]:
    """The header that names one record. A service that knows a repeat by it takes what is asked again for something new."""
    return MESSAGE_ID, str(uuid4()).encode()


def repeat_cases(exchange: Exchange) -> list[Case]:
    """The same record, the same decision in other bytes, and a record that a transaction has aborted."""
    return [_once(exchange), *_repeated(exchange), *_aborted(exchange)]


def _once(exchange: Exchange) -> Case:
    async def once(scene: Scene) -> None:
        message = await exchange.prepare(scene)
        await scene.send(exchange.request, message)
        expected = len(await exchange.answered(scene, message))
        await scene.quiet()
        there = len(scene.here(exchange.answer, str(message["orderId"])))
        must(there == expected, f"one record was sent, and {there} answers came instead of {expected}")

    promise = "one request has one answer while nothing fails, and no second one later: at the end of the run no order has more answers than requests"
    last_look = None if exchange.asks_again else exchange.surplus
    return exchange.case(f"{exchange.noun} has one answer", promise, "repeats", play=once, last_look=last_look)


def _repeated(exchange: Exchange) -> list[Case]:
    async def same_record(scene: Scene) -> None:
        message = await exchange.prepare(scene)
        await scene.send(exchange.request, message, times=2)
        await exchange.settled(scene, message)
        await exchange.had_one_effect(scene, message)

    async def later(scene: Scene) -> None:
        message = await exchange.prepare(scene)
        usual = scene.usual_headers(exchange.request)
        await scene.send(exchange.request, message, headers=[*usual, _message_id()])
        await exchange.answered(scene, message)
        await scene.send(
            exchange.request,
            message,
            headers=[*usual, _message_id()],
            note=f"again, after the answer, with another {MESSAGE_ID}: asking again is a new record",
        )
        await exchange.settled(scene, message)
        await exchange.had_one_effect(scene, message)

    async def other_bytes(scene: Scene) -> None:
        message = await exchange.prepare(scene)
        await scene.send(exchange.request, message)
        again = dict(reversed(upper(message).items()))
        await scene.send(
            exchange.request,
            compact(again),
            key=None,
            note="the same in other bytes: other order, UUIDs in upper case",
        )
        await exchange.settled(scene, message)
        await exchange.had_one_effect(scene, message)

    async def other_partition(scene: Scene) -> None:
        message = await exchange.prepare(scene)
        width = scene.stage.partitions.get(exchange.request, 1)
        for partition in range(min(3, width)):
            await scene.send(exchange.request, message, partition=partition)
        await exchange.settled(scene, message)
        await exchange.had_one_effect(scene, message)

    noun = exchange.noun
    return [
        exchange.case(f"{noun} twice in a row", REPEAT, "repeats", play=same_record),
        exchange.case(
            f"{noun} again after its answer",
            f"{REPEAT}; asked again it has another {MESSAGE_ID}, so a repeat is known by what it asks for",
            "repeats",
            play=later,
        ),
        exchange.case(f"{noun} again in other bytes", REPEAT, "repeats", play=other_bytes),
        exchange.case(
            f"{noun} in several partitions",
            f"{REPEAT}; the records of one order may be in several partitions, since some producers write no key",
            "repeats",
            play=other_partition,
        ),
    ]


def _aborted(exchange: Exchange) -> list[Case]:
    async def unanswered(scene: Scene) -> Json:
        message = await exchange.prepare(scene)
        if scene.sent:  # else the service has not heard of the order
            await scene.quiet()
        if scene.here(exchange.answer, str(message["orderId"])):
            raise NotMeasurable(f"the answer on {exchange.answer} comes before the request; another case judges that")
        return message

    async def overlapping(scene: Scene) -> None:
        messages = await asyncio.gather(unanswered(scene), unanswered(scene))
        await scene.abort_overlapping(exchange.request, messages)
        why = "two transactions overlapped and both were aborted, so neither record exists"
        await asyncio.gather(*(scene.silence(exchange.answer, str(each["orderId"]), why) for each in messages))

    async def aborted(scene: Scene) -> None:
        message = await unanswered(scene)
        await scene.send(exchange.request, message, commit=False, note="in a transaction that was aborted")
        await scene.silence(
            exchange.answer,
            str(message["orderId"]),
            "the transaction was aborted, so the record does not exist (isolation.level=read_committed)",
        )
        await scene.send(exchange.request, message)
        await exchange.answered(scene, message)

    noun = exchange.noun
    return [
        exchange.case(
            f"{noun} in an aborted transaction",
            "guide, caution 4: what a producer has aborted was never said; consumers read committed records only",
            "transactions",
            play=aborted,
        ),
        exchange.case(
            f"{noun} in aborted transactions that overlap",
            "guide, caution 4: what a producer has aborted was never said, whichever of two transactions ends first",
            "transactions",
            play=overlapping,
        ),
    ]
