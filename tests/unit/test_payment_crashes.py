"""A payment and its refund against a gateway that fails in every way, in a process that dies at any await, from many seeds.

The intents, the rule and the settlement are the real ones; the database is one `Account`, the gateway a model of Toss's promises
(one capture per payment key, an idempotency key replays its first answer). Whatever happens, the books agree in the end.
"""

import asyncio
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from msgspec.structs import replace

from ordersaga.contracts.messages import (
    Message,
    PaymentCancelledMessage,
    PaymentCancelRequestedMessage,
    PaymentSuccessMessage,
)
from ordersaga.messaging.calls import Calls
from ordersaga.payment.commands import Advance, Settlement
from ordersaga.payment.gateway import (
    AlreadyProcessed,
    Approved,
    CancelAnswer,
    Cancelled,
    ConfirmAnswer,
    Declined,
    FindAnswer,
    Found,
    GatewayHealth,
    GatewayPayment,
    GatewayRefund,
    OurFault,
    Retry,
    Unknown,
)
from ordersaga.payment.intents import Intents
from ordersaga.payment.model import Account, Intent, Payable, Payment
from ordersaga.payment.settlement import ask_refund, settle
from ordersaga.settings import Settings

ORDER, ME, KEY, AMOUNT = UUID(int=1), UUID(int=2), "tgen_1", 12_000
START = datetime(2026, 11, 24, tzinfo=UTC)
RUNS_MAX = 400


class ModelGateway:
    """Toss's promises, and a fate per call: done or not, answered or not."""

    def __init__(self, dice: random.Random, calm_after: int) -> None:
        self.dice = dice
        self.calls = 0
        self.calm_after = calm_after
        self.payment = GatewayPayment(KEY, str(ORDER), "IN_PROGRESS", AMOUNT, AMOUNT, "KRW")
        self.captures = 0
        self.refunds: list[int] = []
        self.replays: dict[str, Any] = {}
        self.keys_in_flight: set[str] = set()
        self.later: list[asyncio.Future[None]] = []

    @property
    def health(self) -> GatewayHealth:
        return GatewayHealth("closed", None, 0.0)

    def _fate(self) -> str:
        self.calls += 1
        if self.calls > self.calm_after:
            return "fine"
        return self.dice.choice(
            [
                "fine",
                "lost",
                "done, lost",
                "502",
                "done, 502",
                "stored",
                "done, stored",
                "our fault",
                "slow",
                "502, done later",
            ]
        )

    async def _do(self, key: str, act: Callable[[], Any]) -> Any:
        await asyncio.sleep(0)
        if key in self.keys_in_flight:
            return Retry("IDEMPOTENT_REQUEST_PROCESSING", 0.1)
        if key in self.replays:
            return self.replays[key]
        fate = self._fate()
        if fate == "lost":
            return Retry("CONNECTION_LOST", 0.1)
        if fate == "502":
            return Unknown("HTTP_502", "")
        if fate == "our fault":
            return OurFault("UNAUTHORIZED_KEY", "")
        if fate == "stored":
            self.replays[key] = Unknown("PROVIDER_ERROR", "")
            return self.replays[key]
        self.keys_in_flight.add(key)
        if fate == "502, done later":
            self.later.append(asyncio.ensure_future(self._finish_later(key, act)))
            return Unknown("HTTP_502", "")
        try:
            # Shielded: the gateway goes on with what it has begun, whether or not the caller lives.
            return await asyncio.shield(asyncio.ensure_future(self._finish(key, act, fate)))
        finally:
            self.keys_in_flight.discard(key)

    async def _finish_later(self, key: str, act: Callable[[], Any]) -> None:
        for _ in range(self.dice.randrange(60)):
            await asyncio.sleep(0)
        self.replays[key] = act()
        self.keys_in_flight.discard(key)

    async def _finish(self, key: str, act: Callable[[], Any], fate: str) -> Any:
        for _ in range(self.dice.randrange(6) if fate == "slow" else 0):
            await asyncio.sleep(0)
        answer = act()
        self.replays[key] = Unknown("COMMON_ERROR", "") if fate == "done, stored" else answer
        if fate == "done, lost":
            return Retry("CONNECTION_LOST", 0.1)
        return Unknown("HTTP_502", "") if fate == "done, 502" else self.replays[key]

    async def confirm(self, payment_key: str, order_id: str, amount: int, idempotency_key: str) -> ConfirmAnswer:
        answer: ConfirmAnswer = await self._do(idempotency_key, self._capture)
        return answer

    def _capture(self) -> ConfirmAnswer:
        if self.payment.status == "ABORTED":
            return Declined("REJECT_CARD_COMPANY", "")
        if self.payment.status != "IN_PROGRESS":
            return AlreadyProcessed("ALREADY_PROCESSED_PAYMENT")
        if self.calls <= self.calm_after and self.dice.random() < 0.2:
            self.payment = replace(self.payment, status="ABORTED")
            return Declined("REJECT_CARD_COMPANY", "")
        self.captures += 1
        self.payment = replace(self.payment, status="DONE")
        return Approved(self.payment)

    async def cancel(
        self,
        payment_key: str,
        reason: str,
        amount: int | None,
        idempotency_key: str,
        refundable_amount: int | None = None,
    ) -> CancelAnswer:
        answer: CancelAnswer = await self._do(
            idempotency_key, lambda: self._refund(reason, amount or 0, refundable_amount)
        )
        return answer

    def _refund(self, reason: str, amount: int, refundable_amount: int | None) -> CancelAnswer:
        held = self.payment.balance_amount
        if self.payment.status == "CANCELED":
            return AlreadyProcessed("ALREADY_CANCELED_PAYMENT")
        if refundable_amount is not None and refundable_amount != held:
            return Declined("NOT_MATCHES_REFUNDABLE_AMOUNT", "")
        if amount > held:
            return Declined("NOT_CANCELABLE_AMOUNT", "")
        self.refunds.append(amount)
        cancels = (*(self.payment.cancels or ()), GatewayRefund(amount, reason))
        status = "CANCELED" if amount == held else "PARTIAL_CANCELED"
        self.payment = replace(self.payment, status=status, balance_amount=held - amount, cancels=cancels)
        return Cancelled(self.payment)

    async def find(self, payment_key: str) -> FindAnswer:
        await asyncio.sleep(0)
        if self._fate() in ("lost", "502", "stored"):
            return Retry("CONNECTION_LOST", 0.1)
        return Found(self.payment)

    async def find_by_order(self, order_id: str) -> FindAnswer:
        return await self.find(KEY)


class Database:
    """One account, and what was published with its changes. Plays the runtime for `Intents`."""

    settings = Settings()

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.now = START
        self.calls = Calls(self.clock)
        first = Intent(uuid4(), "CONFIRM", KEY, ORDER, AMOUNT, "", START, START)
        self.account = Account(Payment(KEY, ORDER, ME, AMOUNT, "PENDING", START), {first.id: first})
        self.account.payable = Payable(ORDER, ME, AMOUNT, START + timedelta(hours=1), "ORD0001")
        self.published: list[Message] = []

    def clock(self) -> datetime:
        return self.now

    new_id = staticmethod(uuid4)

    async def settle(self, settled: Settlement) -> Payment | None:
        await asyncio.sleep(0)
        self.published += settle(self.account, settled.intent, settled.outcome, self.now, uuid4)
        await asyncio.sleep(0)
        return self.account.payment

    async def advance(self, step: Advance) -> bool:
        await asyncio.sleep(0)
        here = self.account.intents[step.before.id]
        if here.status != "OPEN" or here.attempt != step.before.attempt:
            return False
        after = step.after
        self.account.put_intent(
            replace(here, attempt=after.attempt, tries=after.tries, due_at=after.due_at, message=after.message)
        )
        return True


async def run_until_settled(database: Database, gateway: ModelGateway, dice: random.Random) -> None:
    """Processes take the open intents up, two at once now and then (a lease that ended too early), and die at any await."""
    waiting: Any = type("Nobody", (), {"tell": staticmethod(lambda _: None)})()
    for run in range(RUNS_MAX):
        due = [each for each in database.account.intents.values() if each.status == "OPEN" and each.due_at is not None]
        if not due:
            return
        processes = []
        for _ in range(dice.choice([1, 1, 2])):
            intents = Intents(database, gateway, waiting)  # type: ignore[arg-type]
            intents.settle, intents.advance = database.settle, database.advance  # type: ignore[assignment]
            processes += [asyncio.create_task(intents._run(each, claimed=run > 0)) for each in due]
        for _ in range(dice.randrange(1, 30)):
            await asyncio.sleep(0)
        for process in processes:
            process.cancel()
        await asyncio.gather(*processes, return_exceptions=True)
        for _ in range(10):
            await asyncio.sleep(0)
        database.now += timedelta(seconds=60)
    raise AssertionError("it never came to an end")


@pytest.mark.parametrize("block", range(8))
async def test_whatever_dies_or_fails_money_is_never_taken_without_a_record_nor_recorded_without_being_taken(
    block: int,
) -> None:
    for seed in range(block * 100, block * 100 + 100):
        dice = random.Random(seed)
        database, gateway = Database(dice), ModelGateway(dice, calm_after=dice.randrange(40))
        early = dice.random() < 0.3
        parts = dice.choice([(AMOUNT,), (5_000,), (5_000, 7_000), (5_000, AMOUNT), (4_000, 5_000)])
        if early:
            ask(database, parts)
        await run_until_settled(database, gateway, dice)
        if not early:
            ask(database, parts)
            await run_until_settled(database, gateway, dice)
        await asyncio.gather(*gateway.later)
        check(database, gateway, parts, seed)


def ask(database: Database, parts: tuple[int, ...]) -> None:
    for amount in parts:
        request = PaymentCancelRequestedMessage(order_id=ORDER, payment_key=KEY, amount=amount, reason="test")
        database.published += ask_refund(database.account, request, database.now, uuid4)


def check(database: Database, gateway: ModelGateway, parts: tuple[int, ...], seed: int) -> None:
    payment = database.account.payment
    assert payment is not None
    outcomes = [each for each in database.published if isinstance(each, PaymentSuccessMessage)]
    answers = [each for each in database.published if isinstance(each, PaymentCancelledMessage)]
    refunded = {each.amount for each in answers if each.status == "SUCCESS"}
    assert len(outcomes) == 1, seed
    assert gateway.captures == (outcomes[0].status == "SUCCESS"), seed
    assert payment.captured == AMOUNT * gateway.captures, seed
    assert payment.refunded == sum(gateway.refunds), seed
    assert sum(gateway.refunds) <= AMOUNT * gateway.captures, seed
    assert sorted(each.amount for each in answers) == sorted(parts), "each refund is answered once"
    if gateway.captures:
        assert refunded == set(parts) or (parts == (5_000, AMOUNT) and refunded == {AMOUNT}), seed
        assert sum(gateway.refunds) == min(AMOUNT, sum(parts)), seed
    else:
        assert not refunded, seed
