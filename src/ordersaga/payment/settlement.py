"""The second half of the pure rule: how a refund request or a settled intent changes a payment, and which messages go out. No I/O.

Each function changes an `Account` and returns the messages. Each is idempotent: a repeat changes nothing, and a repeated refund request
is answered again.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from msgspec.structs import replace

from ordersaga.contracts.answers import AMOUNT_MIN, NO_PAYMENT, OTHER_ORDER, REQUEST_ID_USED
from ordersaga.contracts.limits import TEXT_CHARS_MAX
from ordersaga.contracts.messages import (
    Message,
    PaymentCancelledMessage,
    PaymentCancelRequestedMessage,
    PaymentSuccessMessage,
)
from ordersaga.contracts.status import FAILED, SUCCESS
from ordersaga.contracts.status import PaymentStatus as Answered
from ordersaga.payment.approval import Settled, refunds_of
from ordersaga.payment.gateway import CAPTURED_STATUSES, GatewayPayment, Standing
from ordersaga.payment.model import Account, Intent, Payment, PaymentStatus

LOOK_UP_AFTER_DECLINE_S: Final = 60.0
LOOK_UP_PAUSE_S_MIN: Final = 5.0
LOOK_UP_PAUSE_S_MAX: Final = 60.0
"""The pause after a look-up without a change doubles from the minimum to the maximum. Webhooks are unsigned: a stranger who floods a payment
with webhooks delays the look-up of a genuine webhook by the maximum at most."""
UNWANTED: Final = "captured, but not what the order is to be paid with"
GIVEN_BACK: Final = "given back at the gateway, not by the order"
MADE_BEFORE: Final = "made before; a further refund of the same amount needs a requestId of its own"


def ask_refund(
    account: Account,
    message: PaymentCancelRequestedMessage,
    now: datetime,
    new_id: Callable[[], UUID],
    traceparent: str | None = None,
) -> list[Message]:
    """Order asks for a refund, in this trace. Returns the answer if it is known; otherwise an open intent answers when it is settled.

    A failed refund that is asked for again is sent under a new idempotency key: a GET showed that the failed one did nothing.
    """
    payment, request_id = account.payment, message.request_id or None
    known = account.refund(request_id, message.amount)
    problem = _problem(payment, message, known)
    if payment is None or problem:
        return [_answer(message.order_id, message.payment_key, message.amount, False, problem, request_id)]
    if known is None:
        due_at = None if payment.status == "PENDING" else now
        reason = (message.reason or "").replace("\0", "")[:TEXT_CHARS_MAX]
        key, order_id = payment.payment_key, payment.order_id
        known = Intent(
            new_id(),
            "REFUND",
            key,
            order_id,
            message.amount,
            reason,
            now,
            due_at,
            request_id=request_id,
            traceparent=traceparent,
        )
    elif known.status == "DONE":
        return [_refund_answer(account, known, "" if request_id else MADE_BEFORE)]
    elif known.status == "FAILED":
        known = replace(known, status="OPEN", attempt=known.attempt + 1, tries=0, due_at=now, asked=True)
    else:
        known = replace(known, asked=True)
    account.put_intent(known)
    _restate(account)
    return []


def _problem(payment: Payment | None, message: PaymentCancelRequestedMessage, known: Intent | None) -> str:
    if payment is None:
        return NO_PAYMENT()
    if payment.order_id != message.order_id:
        return OTHER_ORDER()
    if message.amount < 1:
        return AMOUNT_MIN()
    if known is not None and known.amount != message.amount:
        return REQUEST_ID_USED(amount=known.amount)
    return ""


def settle(
    account: Account, carried: Intent, outcome: Settled, now: datetime, new_id: Callable[[], UUID]
) -> list[Message]:
    """Settle an intent. Nothing happens if it is settled already, or if another process has gone on with a later attempt."""
    intent = account.intents.get(carried.id)
    if intent is None or intent.status != "OPEN" or intent.attempt != carried.attempt:
        return []
    message = _text(f"{outcome.code}: {outcome.message}" if outcome.message else outcome.code)
    account.put_intent(replace(intent, status="DONE" if outcome.done else "FAILED", message=message, due_at=None))
    if intent.kind == "CONFIRM":
        return _settle_confirm(account, intent, outcome, now, new_id)
    if intent.kind == "REFUND":
        return _settle_refund(account, intent, outcome)
    return _settle_look_up(account, intent, outcome, now, new_id)


def _settle_confirm(
    account: Account, intent: Intent, outcome: Settled, now: datetime, new_id: Callable[[], UUID]
) -> list[Message]:
    payment = account.payment
    if payment is None or payment.status != "PENDING":
        return []
    captured, refunded = _money(outcome.seen)
    if outcome.done:
        payment = replace(payment, status="APPROVED", captured=captured, approved_at=now)
    else:
        code, text = _text(outcome.code), _text(outcome.message)
        payment = replace(payment, status="FAILED", captured=captured, refunded=refunded, code=code, message=text)
    account.put_payment(payment)
    for refund in account.open_refunds:
        account.put_intent(replace(refund, due_at=now))
    _look_up_after_decline(account, intent, outcome, now, new_id)
    _give_back_unwanted(account, now, new_id)
    unasked = _follow(account, outcome.seen)
    amount = captured if outcome.done else intent.amount
    status: Answered = SUCCESS if outcome.done else FAILED
    told = PaymentSuccessMessage(
        order_id=payment.order_id, payment_key=payment.payment_key, amount=amount, status=status
    )
    return [told, *unasked]


def _look_up_after_decline(
    account: Account, intent: Intent, outcome: Settled, now: datetime, new_id: Callable[[], UUID]
) -> None:
    """Plan a look-up after a decline of a payment that is still open at the gateway: an earlier, unanswered attempt may capture late."""
    seen = outcome.seen
    if outcome.done or seen is None or seen.standing(str(intent.order_id), intent.amount) != Standing.OPEN:
        return
    if not any(each.kind == "LOOK" and each.status == "OPEN" for each in account.intents.values()):
        due_at = now + timedelta(seconds=LOOK_UP_AFTER_DECLINE_S)
        account.put_intent(_look_up(new_id(), intent, "DONE", now, due_at))


def _settle_refund(account: Account, intent: Intent, outcome: Settled) -> list[Message]:
    """Answer the refund with the balance that is still held.

    What went back meanwhile without Order has a message of its own, before the answer: a partner may read amounts and no balance. A
    refund of the whole payment needs no such message.
    """
    unasked = _follow(account, outcome.seen, intent)
    if not intent.asked:
        return []
    whole = account.payment is not None and intent.amount == account.payment.captured
    return [*([] if whole else unasked), _refund_answer(account, account.intents[intent.id])]


def _settle_look_up(
    account: Account, intent: Intent, outcome: Settled, now: datetime, new_id: Callable[[], UUID]
) -> list[Message]:
    """Record what the look-up showed. The next look-up may come at once after a change, otherwise after a pause.

    Another look-up follows if the answer may be older than the payment's state: a webhook came while the gateway was asked, or a confirm
    is in flight.
    """
    before = account.payment, account.intents_changed.copy()
    told = _record_seen(account, intent, outcome.seen, now, new_id)
    changed = (account.payment, account.intents_changed) != before
    pause_s = min(LOOK_UP_PAUSE_S_MAX, LOOK_UP_PAUSE_S_MIN * 2 ** min(intent.attempt - 1, 10))
    next_at = now if changed else now + timedelta(seconds=pause_s)
    account.put_intent(replace(account.intents[intent.id], due_at=None if changed else next_at))
    if intent.asked or account.confirm_is_in_flight:
        attempt = 1 if changed else intent.attempt + 1
        account.put_intent(_look_up(new_id(), intent, intent.reason, now, next_at, attempt))
    return told


def _look_up(intent_id: UUID, cause: Intent, status: str, now: datetime, due_at: datetime, attempt: int = 1) -> Intent:
    """A look-up of this intent's payment, which may have this status at the gateway."""
    return Intent(
        intent_id, "LOOK", cause.payment_key, cause.order_id, 0, status, now, due_at, asked=False, attempt=attempt
    )


def _record_seen(
    account: Account, intent: Intent, seen: GatewayPayment | None, now: datetime, new_id: Callable[[], UUID]
) -> list[Message]:
    if seen is None or seen.order_id != str(intent.order_id):
        return []
    payment = account.payment
    if payment is None:
        return _adopt(account, seen, intent.order_id, now, new_id)
    if payment.status == "PENDING":
        _wake_confirm(account, seen, now)
        return []
    told = _follow(account, seen)
    _give_back_unwanted(account, now, new_id)
    return told


def _wake_confirm(account: Account, seen: GatewayPayment, now: datetime) -> None:
    """Make a postponed confirm due now: the gateway has decided about its payment."""
    for each in list(account.intents.values()):
        waits = each.kind == "CONFIRM" and each.status == "OPEN" and each.tries > 0
        if waits and seen.standing(str(each.order_id), each.amount) != Standing.OPEN:
            account.put_intent(replace(each, due_at=now))


def _adopt(
    account: Account, seen: GatewayPayment, order_id: UUID, now: datetime, new_id: Callable[[], UUID]
) -> list[Message]:
    """Record a captured payment that has no row here (after a database was set back, say), and give it back if the order does not want it.

    A payment of an order that Order has not published is left alone: the order may belong to another system with the same merchant. If all
    of the payment went back, Order is told of the refund and not of the payment: an Order that knows the payment needs the refund alone, and
    an Order that does not know it needs neither.
    """
    captured, refunded = _money(seen)
    payable = account.payable
    if payable is None or not captured:
        return []
    standing = seen.standing(str(order_id), payable.total_amount)
    captures = (Standing.CAPTURED, Standing.PARTLY_REFUNDED, Standing.REFUNDED)
    right = standing in captures and seen.was_captured_for(payable.total_amount)
    fits = right and (captured == refunded or not account.order_is_taken)
    if captured == refunded and not fits:
        return []
    payment = Payment(
        seen.payment_key,
        order_id,
        payable.customer_id,
        payable.total_amount,
        "APPROVED" if fits else "FAILED",
        now,
        captured,
        0 if fits else refunded,
        None if fits else "UNWANTED",
        None if fits else UNWANTED,
        now if fits else None,
    )
    account.put_payment(payment)
    if not fits:
        _give_back_unwanted(account, now, new_id)
        return []
    unasked = _follow(account, seen)
    if captured == refunded:
        return unasked
    paid = PaymentSuccessMessage(order_id=order_id, payment_key=seen.payment_key, amount=captured, status=SUCCESS)
    return [paid, *unasked]


def _give_back_unwanted(account: Account, now: datetime, new_id: Callable[[], UUID]) -> None:
    """Refund the money that a failed payment holds, if the order's payable proves that the order does not want it.

    Without a payable only the client named the amount: a client who confirms a paid order again with a wrong amount would get the
    money back and keep the goods.
    """
    payment, payable = account.payment, account.payable
    if payment is None or payable is None or payment.status != "FAILED" or payment.captured == payment.refunded:
        return
    if account.refund(None, payment.captured) is None:
        account.put_intent(
            Intent(
                new_id(),
                "REFUND",
                payment.payment_key,
                payment.order_id,
                payment.captured,
                UNWANTED,
                now,
                now,
                asked=False,
            )
        )


def _follow(account: Account, seen: GatewayPayment | None, settled: Intent | None = None) -> list[Message]:
    """Record the money as the gateway shows it. Returns the message for what went back beside the refunds that Order asked for.

    Refunds that are open here, and the one just settled, are not part of that message: each has an answer of its own.
    """
    payment = account.payment
    if payment is None or seen is None or payment.status == "PENDING":
        _restate(account)
        return []
    captured, refunded = _money(seen)
    # Two refunds may be settled in another order than the gateway made them: an older view must not undo a newer one.
    captured, refunded = max(captured, payment.captured), max(refunded, payment.refunded)
    account.put_payment(replace(payment, captured=captured, refunded=refunded))
    _restate(account)
    answered = [*account.open_refunds, *([settled] if settled else [])]
    if seen.cancels is None and answered:
        return []
    explained = sum(each.cancel_amount for intent in answered for each in refunds_of(seen, intent) if each.is_done)
    unasked = refunded - payment.refunded - explained
    if payment.status == "FAILED" or unasked <= 0:
        return []
    return [_answer(payment.order_id, payment.payment_key, unasked, True, GIVEN_BACK, None, captured - refunded)]


def _restate(account: Account) -> None:
    """Set a captured payment's status from its money and its open refunds."""
    payment = account.payment
    if payment is None or payment.status in ("PENDING", "FAILED"):
        return
    status: PaymentStatus = "APPROVED"
    if payment.refunded >= payment.captured:
        status = "CANCELLED"
    elif account.open_refunds:
        status = "CANCEL_PENDING"
    elif payment.refunded:
        status = "PARTLY_CANCELLED"
    account.put_payment(replace(payment, status=status))


def _money(seen: GatewayPayment | None) -> tuple[int, int]:
    """How many won the gateway has captured and refunded."""
    if seen is None or seen.status not in CAPTURED_STATUSES:
        return 0, 0
    return seen.total_amount, min(max(seen.total_amount - seen.balance_amount, 0), seen.total_amount)


def _refund_answer(account: Account, intent: Intent, remark: str = "") -> PaymentCancelledMessage:
    payment, done = account.payment, intent.status == "DONE"
    held = None if payment is None or payment.status == "PENDING" else payment.captured - payment.refunded
    text = remark or intent.message or ""
    return _answer(intent.order_id, intent.payment_key, intent.amount, done, text, intent.request_id, held)


def _answer(
    order_id: UUID,
    payment_key: str,
    amount: int,
    done: bool,
    message: str,
    request_id: str | None,
    held: int | None = None,
) -> PaymentCancelledMessage:
    status: Answered = SUCCESS if done else FAILED
    return PaymentCancelledMessage(
        order_id=order_id,
        payment_key=payment_key,
        amount=amount,
        status=status,
        message=message or None,
        balance_amount=held,
        request_id=request_id,
    )


def _text(text: str) -> str | None:
    """The gateway's text without NUL, which PostgreSQL refuses, cut to `TEXT_CHARS_MAX`."""
    return text.replace("\0", "")[:TEXT_CHARS_MAX] or None
