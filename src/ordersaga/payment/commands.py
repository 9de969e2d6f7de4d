"""Payment's gathered writes, many requests in one transaction: begin a payment, advance an intent, settle an intent.

Each write is load -> decide -> save. After a failure `Gather` runs a write again with fewer requests.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from msgspec import Struct

from ordersaga.messaging import idempotency
from ordersaga.messaging.database import Connection
from ordersaga.messaging.gather import Write
from ordersaga.messaging.handler import Outgoing
from ordersaga.messaging.refusal import Refusal
from ordersaga.payment import approval, store
from ordersaga.payment.approval import Settled
from ordersaga.payment.model import Confirm, Intent, Payable, Payment
from ordersaga.payment.settlement import settle
from ordersaga.settings import Settings


class Begun(Struct, frozen=True):
    """The payment of a confirm. With `intent`, the payment is new and the caller must start the intent."""

    payment: Payment
    intent: Intent | None = None


class Settlement(Struct, frozen=True):
    """An intent in the state in which this process carried it out, and its outcome."""

    intent: Intent
    outcome: Settled


class Advance(Struct, frozen=True):
    """An open intent in the state in which this process carried it out, and its next state."""

    before: Intent
    after: Intent


class Beginning:
    """The gathered write that begins payments."""

    def __init__(self, settings: Settings) -> None:
        self._payable_required: Final = settings.payable_required
        self._lease: Final = timedelta(milliseconds=settings.recovery_after_ms)

    async def __call__(self, db: Connection, confirms: Sequence[Confirm], now: datetime) -> Write[Begun | Refusal]:
        """Write payments with their intents. The gateway is called after the commit, never before."""
        answers: dict[UUID, Begun | Refusal] = {}
        keys = [(each, each.idempotency_key) for each in confirms if each.idempotency_key is not None]
        for (each, _), used in zip(keys, await idempotency.claim(db, [key for _, key in keys], now), strict=True):
            if used is not None and not used.same_body:
                answers[each.id] = idempotency.KEY_REUSED
        open_ones = [each for each in confirms if each.id not in answers]
        known = await store.payments(db, (each.payment_key for each in open_ones))
        payables = await store.payables(db, (each.order_id for each in open_ones))
        allowed: dict[str, Confirm] = {}
        for each in open_ones:
            payable = payables.get(each.order_id)
            if each.payment_key not in known and each.payment_key not in allowed:
                refused = approval.refusal(each, payable, now, self._payable_required)
                if refused:
                    answers[each.id] = refused
                else:
                    allowed[each.payment_key] = each
        known |= await self._write(db, allowed, payables, answers, now)
        for each in open_ones:
            answers.setdefault(each.id, _repeated(each, known.get(each.payment_key)))
        # A refused confirm releases its key, so that the same request may succeed later.
        await idempotency.release(db, [key for each, key in keys if isinstance(answers[each.id], Refusal)])
        return Write([answers[each.id] for each in confirms])

    async def _write(
        self,
        db: Connection,
        allowed: dict[str, Confirm],
        payables: dict[UUID, Payable],
        answers: dict[UUID, Begun | Refusal],
        now: datetime,
    ) -> dict[str, Payment]:
        """Insert the allowed payments and answer the inserted ones. Returns the rows of all their keys, also of those that existed."""
        if not allowed:
            return {}
        owners = {order_id: payable.customer_id for order_id, payable in payables.items()}
        begun = await store.begin_payments(db, list(allowed.values()), owners, now)
        intents = [
            Intent(
                each.id,
                "CONFIRM",
                key,
                each.order_id,
                each.amount,
                "",
                now,
                now + self._lease,
                traceparent=each.traceparent,
            )
            for key, each in allowed.items()
            if key in begun
        ]
        await store.put_intents(db, intents)
        payments = await store.payments(db, allowed)
        for intent in intents:
            answers[intent.id] = Begun(payments[intent.payment_key], intent)
        return payments


def _repeated(confirm: Confirm, payment: Payment | None) -> Begun | Refusal:
    if payment is None:
        return approval.ANOTHER_PAYMENT
    return approval.repeat_refusal(confirm, payment) or Begun(payment)


class Settling:
    """The gathered write that settles intents: payments, intents and outgoing messages in one transaction."""

    def __init__(self, new_id: Callable[[], UUID], settled_by: str) -> None:
        self._new_id: Final = new_id
        self._settled_by: Final = settled_by
        """The name of this process for those in which a request waits."""

    async def __call__(self, db: Connection, settled: Sequence[Settlement], now: datetime) -> Write[Payment | None]:
        """Answers each with the payment after its intent is settled, also if another process settled the intent before."""
        accounts = await store.load_accounts(db, (each.intent.payment_key for each in settled))
        await store.load_order_words(
            db, accounts, {each.intent.payment_key: each.intent.order_id for each in settled if _needs_order_word(each)}
        )
        outgoing = []
        for each in settled:
            messages = settle(accounts[each.intent.payment_key], each.intent, each.outcome, now, self._new_id)
            outgoing += [Outgoing(message) for message in messages]
        await store.save_accounts(db, accounts.values(), self._settled_by)
        return Write([accounts[each.intent.payment_key].payment for each in settled], outgoing)


def _needs_order_word(settled: Settlement) -> bool:
    """Whether the gateway may hold money that no confirm asked for. The order's payable then decides whether it is refunded."""
    return settled.intent.kind == "LOOK" or (not settled.outcome.done and settled.outcome.seen is not None)


async def advance(db: Connection, advances: Sequence[Advance], _: datetime) -> Write[bool]:
    """Advance open intents. False: another process has advanced or settled the intent meanwhile."""
    advanced = await store.advance_intents(db, [(each.before, each.after) for each in advances])
    return Write([each.after.id in advanced for each in advances])
