"""Many requests at once: throughput and latency, which are told and not judged, and what becomes of requests while the service restarts."""

import asyncio
import math
import statistics
from collections.abc import Sequence
from typing import Final

from ordersaga.conformance.cases import Case
from ordersaga.conformance.exchange import Exchange
from ordersaga.conformance.repeats import REPEAT
from ordersaga.conformance.scene import Scene
from ordersaga.conformance.verdicts import Broken
from ordersaga.conformance.wire import Heard, Json
from ordersaga.said import counted

PREPARED_AT_ONCE: Final = 16
SINGLES_MAX: Final = 30
SINGLES_SHARE: Final = 0.1
SINGLES_S_MAX: Final = 5.0
"""After how long no further single request is made: a service that takes a second for each shows its latency by fewer."""
RESTART_ORDERS: Final = 60
BEFORE_RESTART_S: Final = 1.5
"""For how long requests come one by one before the restart, so that the service is killed with some at each step of its work."""
RESTART_SPREAD_S: Final = 3.0
AFTER_RESTART: Final = 3
"""How many requests are made when the restart is over. One may be answered twice by chance."""
COMMITTED_WITHIN_S: Final = 6.0
"""After how long a consumer has committed what it has answered. Many clients commit every 5 s."""
KNOWN_MIN: Final = 20
"""Of how many orders it can be said whether a restarted service answers them all again."""
RESTART_PATIENCE: Final = 6
"""How many times as long as for another answer the kit waits for the answers after a restart."""


def load_case(exchange: Exchange, share: float = 1.0) -> Case:
    """One request after the other, then many at once. A request without an answer fails it, or with that of another one. `share`: of the usual number of requests."""

    async def play(scene: Scene) -> None:
        count = max(1, int(scene.offers.load * share))
        alone = min(SINGLES_MAX, math.ceil(count * SINGLES_SHARE))
        messages = await _prepared(exchange, scene, count + alone)
        singles, crowd = messages[:alone], messages[alone:]
        loop = asyncio.get_running_loop()
        took: list[float] = []
        end = loop.time() + SINGLES_S_MAX
        for message in singles:
            began = loop.time()
            if took and began > end:
                break
            await exchange.ask(scene, message)
            answer = await _answer_alone(exchange, scene, message, crowd[0])
            took.append(max(0.0, answer.at_s - began) * 1000)
        took.sort()
        scene.notes.append(
            f"latency of {counted(len(took), 'single request')}, from sending to hearing: median {statistics.median(took):.0f} ms, "
            f"longest {took[-1]:.0f} ms"
        )
        began = loop.time()
        await exchange.ask_all(scene, crowd)
        first = [(await exchange.answered(scene, message))[0] for message in crowd]
        last = max([began, *(answer.at_s for answer in first)])
        scene.notes.append(
            f"throughput: {len(crowd):,} requests at once answered in {last - began:.2f} s, {len(crowd) / max(0.001, last - began):,.0f} a second"
        )
        exchange.different(first)

    return Case(
        f"many times {exchange.noun}",
        "every request has an answer, however many come at once; throughput and latency are told and not judged",
        frozenset({"load", *exchange.tags}),
        play,
    )


async def _answer_alone(exchange: Exchange, scene: Scene, message: Json, later: Json) -> Heard:
    """The answer to a request while no other is made. Where there is none, `later` is asked for, to see whether the answer comes only then."""
    try:
        return (await exchange.answered(scene, message))[0]
    except Broken as error:
        order = str(message["orderId"])
        if not scene.here(exchange.answer, order):
            await exchange.ask(scene, later)
            came = lambda: bool(scene.here(exchange.answer, order))  # noqa: E731
            if await scene.stage.until(came, scene.limits.answer_s, may_not_come=True):
                raise Broken(
                    f"order {order} had no answer until order {later['orderId']} was asked for: an answer names the order before its own, "
                    "or waits for the next record"
                ) from error
        raise


def memory_case(exchange: Exchange, share: float = 1.0) -> Case:
    """A request, many others, and the request again. `share`: of the usual number of requests."""

    async def play(scene: Scene) -> None:
        first, *others = await _prepared(exchange, scene, 1 + max(1, int(scene.offers.load * share)))
        await exchange.ask(scene, first)
        await exchange.answered(scene, first)
        await exchange.ask_all(scene, others)
        for message in others:
            await exchange.answered(scene, message)
        await exchange.ask(scene, first)
        try:
            await exchange.settled(scene, first)
            await exchange.had_one_effect(scene, first)
        except Broken as error:
            raise Broken(f"a request came again after {len(others):,} others: {error}") from error

    return Case(
        f"{exchange.noun} again after many others",
        f"{REPEAT}; a repeat may come hours later, after any number of others",
        frozenset({"load", "repeats", *exchange.tags}),
        play,
    )


async def _prepared(exchange: Exchange, scene: Scene, count: int) -> list[dict[str, object]]:
    gate = asyncio.Semaphore(PREPARED_AT_ONCE)

    async def one() -> dict[str, object]:
        async with gate:
            return await exchange.prepare(scene)

    return list(await asyncio.gather(*(one() for _ in range(count))))


def restart_case(exchange: Exchange) -> Case:
    """One request that is answered before a restart, more of them before, during and after it; then, when the service has answered a new one,
    the first again, and a few new ones. What the service has not handled before it was killed says nothing of what it forgets."""

    async def play(scene: Scene) -> None:
        scene.need(scene.hooks.restart, "--restart-command names a command that kills the service and starts it again")
        first, last, *rest = await _prepared(exchange, scene, 2 + RESTART_ORDERS + AFTER_RESTART)
        others, new = rest[:RESTART_ORDERS], rest[RESTART_ORDERS:]
        await exchange.ask(scene, first)
        await scene.stage.until(lambda: bool(scene.here(exchange.answer, str(first["orderId"]))), scene.limits.answer_s)
        await scene.quiet()
        messages = [first, *others]
        await _enough_is_committed(exchange, scene)
        third = len(others) // 3
        await _ask_spread(exchange, scene, others[:third], BEFORE_RESTART_S)
        killed_s = asyncio.get_running_loop().time()
        await exchange.ask_all(scene, others[third : 2 * third])
        restarting = asyncio.create_task(scene.hooks.run_restart())
        try:
            await _ask_spread(exchange, scene, others[2 * third :], RESTART_SPREAD_S)
            await restarting
        finally:
            restarting.cancel()
        await exchange.ask(scene, last)
        await scene.answers(exchange.answer, str(last["orderId"]), wait_s=RESTART_PATIENCE * scene.limits.answer_s)
        if lost := await _unanswered(exchange, scene, messages):
            raise Broken(
                f"of {len(messages)} requests {len(lost)} had no answer after the restart, the first of them for order {lost[0]}"
            )
        _did_not_begin_anew(exchange, scene, killed_s)
        await scene.send(exchange.request, first, note="again, after the restart")
        for message in new:
            await exchange.ask(scene, message)
        await asyncio.gather(exchange.settled(scene, first), _answers_once(exchange, scene, new))
        await asyncio.gather(*(exchange.had_one_effect(scene, message) for message in messages))

    return Case(
        f"{exchange.noun} while the service restarts",
        "guide, caution 4: Kafka and the database agree; a request is neither lost nor carried out twice when the process is killed",
        frozenset({"restart", *exchange.tags}),
        play,
        "restart",
    )


async def _ask_spread(exchange: Exchange, scene: Scene, messages: Sequence[Json], spread_s: float) -> None:
    """Make the requests one after the other, over so many seconds."""
    for message in messages:
        await exchange.ask(scene, message)
        await asyncio.sleep(spread_s / len(messages))


async def _answers_once(exchange: Exchange, scene: Scene, messages: Sequence[Json]) -> None:
    """Raise `Broken` if each request that was made when the restart was over has more than one answer."""
    for message in messages:
        await exchange.answered(scene, message)
    await scene.quiet()
    counts = [len(scene.here(exchange.answer, str(message["orderId"]))) for message in messages]
    if min(counts) > 1 and not exchange.asks_again:
        raise Broken(
            f"{len(messages)} requests were made once when the restart was over, and answered {', '.join(map(str, counts))} times"
        )


async def _enough_is_committed(exchange: Exchange, scene: Scene) -> None:
    """Where enough orders were answered for `_did_not_begin_anew`, wait until the service has had the time to commit them by the restart."""
    times = scene.stage.tally.first_answered_s(scene.place_of(exchange.answer))
    if len(times) >= KNOWN_MIN:
        committed_s = times[KNOWN_MIN - 1] + COMMITTED_WITHIN_S
        await asyncio.sleep(max(0.0, committed_s - BEFORE_RESTART_S - asyncio.get_running_loop().time()))


def _did_not_begin_anew(exchange: Exchange, scene: Scene, killed_s: float) -> None:
    again, known = scene.stage.tally.answered_again(
        scene.place_of(exchange.answer), killed_s - COMMITTED_WITHIN_S, killed_s
    )
    if again > known / 2 and known >= KNOWN_MIN:
        raise Broken(
            f"{again:,} of {known:,} orders that were answered more than {COMMITTED_WITHIN_S:g} s before the restart were answered again after "
            "it: the service begins at an old offset, or at the log's start"
        )


async def _unanswered(exchange: Exchange, scene: Scene, messages: Sequence[Json]) -> list[str]:
    """The orders that have no answer when none has come for as long as an answer may take. The service has come back before."""
    left = [str(message["orderId"]) for message in messages]

    def answered() -> list[str]:
        return [order for order in left if scene.here(exchange.answer, order)]

    while left and await scene.stage.until(lambda: bool(answered()), scene.limits.answer_s):
        for order in answered():
            left.remove(order)
    return left
