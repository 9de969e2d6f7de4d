"""Carries intents out: call the gateway, take the step that its answer asks for, go on until the intent is settled or postponed.

Promise: an intent is open in the database until it is settled. A process that dies, or a call that fails, leaves it open, and recovery
claims it when it is due. This process keeps no state that a restart would miss.
"""

import asyncio
import random
import time
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import structlog
from msgspec.structs import replace

from ordersaga import tracing
from ordersaga.messaging.gather import Gather, OutcomeUnknown
from ordersaga.messaging.runtime import Runtime
from ordersaga.messaging.sqlstate import is_transient
from ordersaga.payment import approval, store
from ordersaga.payment.approval import Call, CallAnswer, Find, Later, Settled, Step
from ordersaga.payment.commands import Advance, Settlement
from ordersaga.payment.gateway import Approved, Declined, PaymentGateway
from ordersaga.payment.model import Intent, Payment
from ordersaga.payment.waiting import Waiting

log: Final = structlog.get_logger()

NEW_ATTEMPTS_MAX: Final = 1
"""New idempotency keys in one run of an intent. After that the intent is postponed: the gateway keeps failing."""
JITTER: Final = 0.25
GATEWAY_CALL: Final = "gateway-confirm"
ANSWERS: Final[dict[type, str]] = {Approved: "gateway-approved", Declined: "gateway-declined"}
UNCLEAR: Final = "gateway-unclear"
SLOW: Final = "gateway-slow"
"""The guide's steps 6 and 7, as operators see them counted. A slow call is counted by its answer, too."""
SLOW_S: Final = 3.0
"""A confirm that is answered later is slow: its customer has waited at the checkout for so long."""


class Intents:
    """The intents in flight in this process, each of them once. The lease (`due_at`) keeps other processes from taking one up.

    `settle` and `advance` are set once the runtime runs (`app.py` `Parts`).
    """

    def __init__(self, runtime: Runtime, gateway: PaymentGateway, waiting: Waiting) -> None:
        self._runtime: Final = runtime
        self._gateway: Final = gateway
        self._waiting: Final = waiting
        self._lease: Final = timedelta(milliseconds=runtime.settings.recovery_after_ms)
        self._in_flight: Final[dict[UUID, tuple[asyncio.Task[None], datetime]]] = {}
        self.claimed = 0
        self.look_ups = 0
        """How many intents are in flight: `claimed` counts the confirms and refunds that recovery has started, `look_ups` all look-ups."""
        self.settle: Gather[Settlement, Payment | None]
        self.advance: Gather[Advance, bool]

    def start(self, intent: Intent, claimed: bool) -> None:
        """Carry the intent out in the background. `claimed`: recovery found it, so another process may have begun it."""
        if intent.id in self._in_flight:
            return
        task = asyncio.create_task(self._run(intent, claimed))
        self._in_flight[intent.id] = (task, self._runtime.clock())
        is_look_up = intent.kind == "LOOK"
        self.look_ups += is_look_up
        self.claimed += claimed and not is_look_up

        def forget(_: object) -> None:
            del self._in_flight[intent.id]
            self.look_ups -= is_look_up
            self.claimed -= claimed and not is_look_up

        task.add_done_callback(forget)

    def started_before(self, moment: datetime) -> list[UUID]:
        """The ids of the intents in flight that were started before `moment`."""
        return [id for id, (_, started) in self._in_flight.items() if started < moment]

    async def close(self, drain_s: float) -> None:
        """Wait up to `drain_s` for the intents in flight, then cancel the rest: they stay open, and another process claims them."""
        tasks = [task for task, _ in self._in_flight.values()]
        if tasks:
            await asyncio.wait(tasks, timeout=drain_s)
            await _cancel(tasks)

    async def _run(self, intent: Intent, claimed: bool) -> None:
        tracing.current.set(intent.traceparent)
        structlog.contextvars.bind_contextvars(order_id=str(intent.order_id))  # in the lines of this task alone
        try:
            payment = await self._carry_out(intent, claimed)
            if payment is not None:
                self._waiting.tell(payment)
        except Exception as error:
            # Logged only: the intent is still open, and due again when its lease ends.
            transient = isinstance(error, OutcomeUnknown) or is_transient(error)
            log.log(
                30 if transient else 40,
                "an intent stays open",
                intent=str(intent.id),
                error=str(error),
                exc_info=None if transient else error,
            )

    async def _carry_out(self, intent: Intent, claimed: bool) -> Payment | None:
        step = await self._first_step(intent, claimed)
        last: tuple[Call, CallAnswer] | None = None
        new_attempts = 0
        while True:
            match step:
                case Find():
                    step = approval.after_find(intent, await self._gateway.find(intent.payment_key), last)
                case Call(attempt):
                    if attempt != intent.attempt:
                        new_attempts += 1
                        if new_attempts > NEW_ATTEMPTS_MAX:
                            step = Later(attempt, approval.BACKOFF_S_MIN, approval.KEEPS_FAILING())
                            continue
                        begun = replace(intent, attempt=attempt, due_at=self._runtime.clock() + self._lease)
                        if not await self.advance(Advance(intent, begun)):
                            return None
                        intent = begun
                    answer = await self._call(intent, step)
                    last = (step, answer)
                    step = approval.after_call(intent, step, answer)
                case Later():
                    await self._postpone(intent, step)
                    return None
                case Settled():
                    return await self.settle(Settlement(intent, step))

    async def _first_step(self, intent: Intent, claimed: bool) -> Step:
        if intent.kind == "LOOK":
            async with self._runtime.pool.acquire() as db:
                payment = (await store.payments(db, [intent.payment_key])).get(intent.payment_key)
            if not approval.may_change(payment):
                return Settled(True)
        return approval.first_step(intent, claimed)

    async def _call(self, intent: Intent, call: Call) -> CallAnswer:
        key = approval.idempotency_key(intent, call)
        if intent.kind == "CONFIRM":
            began_s = time.monotonic()
            with self._runtime.calls.call(GATEWAY_CALL):
                answer = await self._gateway.confirm(intent.payment_key, str(intent.order_id), call.amount, key)
            for name in counted_as(answer, time.monotonic() - began_s):
                self._runtime.calls.count(name)
            return answer
        reason = approval.refund_reason(intent)
        return await self._gateway.cancel(intent.payment_key, reason, call.amount, key, call.refundable_amount)

    async def _postpone(self, intent: Intent, later: Later) -> None:
        # Jitter spreads the calls that a dead gateway postponed; without it they all come back at the same moment.
        wait_s = later.wait_s * random.uniform(1, 1 + JITTER)
        due_at = self._runtime.clock() + timedelta(seconds=wait_s)
        log.log(
            40 if later.our_fault else 20,
            "an intent is postponed",
            intent=str(intent.id),
            kind=intent.kind,
            why=later.why,
            wait_s=wait_s,
        )
        await self.advance(
            Advance(
                intent, replace(intent, attempt=later.attempt, tries=intent.tries + 1, due_at=due_at, message=later.why)
            )
        )


def counted_as(answer: CallAnswer, took_s: float) -> list[str]:
    """The names under which a confirm's answer is counted: its outcome, and whether a clear answer came late."""
    outcome = ANSWERS.get(type(answer), UNCLEAR)
    return [outcome, SLOW] if outcome != UNCLEAR and took_s >= SLOW_S else [outcome]


async def _cancel(tasks: Iterable["asyncio.Task[None]"]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
