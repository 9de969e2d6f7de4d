"""Carries intents out: call the gateway, decide by its answer, go on until the intent is settled or put off.

Promise: whatever dies or fails at any point, the intent stays open in the database and somebody takes it up when it is due. Nothing
here remembers anything that matters.
"""

import asyncio
import random
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import structlog
from msgspec.structs import replace

from ordersaga.messaging.database import is_transient
from ordersaga.messaging.gather import Gather, OutcomeUnknown
from ordersaga.messaging.runtime import Runtime
from ordersaga.payment import approval, store
from ordersaga.payment.approval import Ask, Call, CallAnswer, Later, Outcome, Step
from ordersaga.payment.commands import Move, Settlement, Settling, advance
from ordersaga.payment.gateway import PaymentGateway
from ordersaga.payment.model import Intent, Payment
from ordersaga.payment.waiting import Waiting

log: Final = structlog.get_logger()

NEW_ATTEMPTS_MAX: Final = 1
"""New idempotency keys that one run may use up; a gateway that keeps failing is asked again later."""
JITTER: Final = 0.25


class Intents:
    """The intents under way in this process. One is never carried out twice at once here; across processes its lease sees to that."""

    def __init__(self, runtime: Runtime, gateway: PaymentGateway, waiting: Waiting) -> None:
        self._runtime: Final = runtime
        self._gateway: Final = gateway
        self._waiting: Final = waiting
        self._lease: Final = timedelta(milliseconds=runtime.settings.recovery_after_ms)
        self._under_way: Final[dict[UUID, tuple[asyncio.Task[None], datetime]]] = {}
        self.taken_up = 0
        self.looking = 0
        self._settle: Gather[Settlement, Payment | None]
        self._advance: Gather[Move, bool]

    def open(self) -> None:
        """Begin to take intents; the runtime must be running."""
        self._settle = self._runtime.gather(Settling(self._runtime.new_id))
        self._advance = self._runtime.gather(advance)

    def start(self, intent: Intent, taken_up: bool) -> None:
        """Carry it out in the background. `taken_up`: somebody may have begun it before."""
        if intent.id in self._under_way:
            return
        task = asyncio.create_task(self._run(intent, taken_up))
        self._under_way[intent.id] = (task, self._runtime.clock())
        looks = intent.kind == "LOOK"
        self.looking += looks
        self.taken_up += taken_up and not looks

        def forget(_: object) -> None:
            del self._under_way[intent.id]
            self.looking -= looks
            self.taken_up -= taken_up and not looks

        task.add_done_callback(forget)

    def started_before(self, moment: datetime) -> list[UUID]:
        """What has been under way since before that."""
        return [id for id, (_, started) in self._under_way.items() if started < moment]

    async def close(self, drain_s: float) -> None:
        """Let what is under way come to its end, then drop the rest: it stays open, and is taken up by whoever finds it due."""
        tasks = [task for task, _ in self._under_way.values()]
        if tasks:
            await asyncio.wait(tasks, timeout=drain_s)
            await _dropped(tasks)

    async def _run(self, intent: Intent, taken_up: bool) -> None:
        try:
            payment = await self._carry_out(intent, taken_up)
            if payment is not None:
                self._waiting.tell(payment)
        except Exception as error:
            # The intent is open and due again when its lease ends: to be logged, and nothing else.
            passing = isinstance(error, OutcomeUnknown) or is_transient(error)
            log.log(
                30 if passing else 40,
                "an intent stays open",
                intent=str(intent.id),
                error=str(error),
                exc_info=None if passing else error,
            )

    async def _carry_out(self, intent: Intent, taken_up: bool) -> Payment | None:
        step = await self._first_step(intent, taken_up)
        last: tuple[Call, CallAnswer] | None = None
        new_attempts = 0
        while True:
            match step:
                case Ask():
                    step = approval.after_find(intent, await self._gateway.find(intent.payment_key), last)
                case Call(attempt):
                    if attempt != intent.attempt:
                        new_attempts += 1
                        if new_attempts > NEW_ATTEMPTS_MAX:
                            step = Later(attempt, approval.BACKOFF_S_MIN, "the gateway keeps failing")
                            continue
                        moved = replace(intent, attempt=attempt, due_at=self._runtime.clock() + self._lease)
                        if not await self._advance(Move(intent, moved)):
                            return None
                        intent = moved
                    answer = await self._call(intent, step)
                    last = (step, answer)
                    step = approval.after_call(intent, step, answer)
                case Later():
                    await self._put_off(intent, step)
                    return None
                case Outcome():
                    return await self._settle(Settlement(intent, step))

    async def _first_step(self, intent: Intent, taken_up: bool) -> Step:
        if intent.kind == "LOOK":
            async with self._runtime.pool.acquire() as db:
                payment = (await store.payments(db, [intent.payment_key])).get(intent.payment_key)
            if not approval.may_change(payment):
                return Outcome(True)
        return approval.first_step(intent, taken_up)

    async def _call(self, intent: Intent, call: Call) -> CallAnswer:
        key = approval.idempotency_key(intent, call)
        if intent.kind == "CONFIRM":
            return await self._gateway.confirm(intent.payment_key, str(intent.order_id), call.amount, key)
        reason = approval.refund_reason(intent)
        return await self._gateway.cancel(intent.payment_key, reason, call.amount, key, call.refundable_amount)

    async def _put_off(self, intent: Intent, later: Later) -> None:
        # Jitter, or all that a dead gateway has put off comes back in one moment.
        wait_s = later.wait_s * random.uniform(1, 1 + JITTER)
        due_at = self._runtime.clock() + timedelta(seconds=wait_s)
        log.log(
            40 if later.our_fault else 20,
            "an intent is put off",
            intent=str(intent.id),
            kind=intent.kind,
            why=later.why,
            wait_s=wait_s,
        )
        await self._advance(
            Move(
                intent, replace(intent, attempt=later.attempt, tries=intent.tries + 1, due_at=due_at, message=later.why)
            )
        )


async def _dropped(tasks: Iterable["asyncio.Task[None]"]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
