"""The pure rule of Payment: which confirm is allowed, and what the gateway's answer makes of an intent. No I/O.

An intent is carried out step by step: `first_step`, then `after_call` or `after_find` with each answer, until a step settles it or
puts it off. What a settled intent makes of the payment, and what goes out, is `settlement.py`.

Two rules keep money right, whoever crashes when. The idempotency key changes (`attempt` rises) only after a call whose outcome was
unknown and a GET that shows that nothing was done. And money counts for an order only if the gateway captured it for the equal order,
amount and currency, and still holds a part of it at least.
"""

from datetime import datetime
from typing import Final

from msgspec import Struct

from ordersaga.contracts.status import ORDER_CODES
from ordersaga.messaging.refusal import Refusal, no_such
from ordersaga.payment.gateway import (
    CAPTURED_STATUSES,
    Approved,
    CancelAnswer,
    Cancelled,
    ConfirmAnswer,
    Declined,
    FindAnswer,
    Found,
    GatewayPayment,
    NotFound,
    OurFault,
    Refund,
    Retry,
    Standing,
    TakeOver,
    Unknown,
)
from ordersaga.payment.model import Confirm, Intent, Payable, Payment

BACKOFF_S_MIN: Final = 0.5
BACKOFF_S_MAX: Final = 30.0
TEXT_CHARS_MAX: Final = 500
REASON_CHARS_MAX: Final = 150

DEAD_STATUSES: Final = frozenset({"ABORTED", "EXPIRED"})
STATUSES: Final = frozenset({"READY", "IN_PROGRESS", "WAITING_FOR_DEPOSIT"}) | CAPTURED_STATUSES | DEAD_STATUSES
DEPOSIT_AWAITED: Final = "WAITING_FOR_DEPOSIT"
CANCEL_UNDER_WAY: Final = "IN_PROGRESS"


# Which confirm is allowed ---------------------------------------------------------------------------------------------


NO_SUCH_ORDER: Final = no_such("order")
ORDER_NOT_HEARD_OF: Final = Refusal("UNKNOWN", "There is no such order", "Order has told nothing of it")
ANOTHER_PAYMENT: Final = Refusal(
    "CONFLICT", "The order has another payment", "one that is open or captured; an order is paid once"
)


def refusal(confirm: Confirm, payable: Payable | None, now: datetime, payable_required: bool) -> Refusal | None:
    """Why the confirm of a new payment key is not allowed; None: it is. With no word from Order there is nothing to check."""
    if payable is None:
        return ORDER_NOT_HEARD_OF if payable_required else None
    if payable.customer_id != confirm.caller_id and not confirm.caller_is_operator:
        return NO_SUCH_ORDER
    if payable.status != ORDER_CODES["PENDING"]:
        return Refusal("CONFLICT", "The order cannot be paid any more", f"its status is {payable.status}")
    if payable.pay_before <= now:
        return Refusal(
            "CONFLICT", "The time to pay for the order is over", f"it ended at {payable.pay_before.isoformat()}"
        )
    if payable.total_amount != confirm.amount:
        return Refusal("MISMATCH", "The amount is not the order's", f"the order's total is {payable.total_amount} won")
    return None


def repeat_refusal(confirm: Confirm, payment: Payment) -> Refusal | None:
    """Why a confirm of a payment key that is known is no repeat of it; None: the payment answers it."""
    if payment.customer_id != confirm.caller_id and not confirm.caller_is_operator:
        return NO_SUCH_ORDER
    if (payment.order_id, payment.amount) != (confirm.order_id, confirm.amount):
        return Refusal(
            "CONFLICT", "The payment key stands for another payment", "it was sent before with another order or amount"
        )
    return None


def is_news(claimed_status: str, payment: Payment | None, order_is_known: bool) -> bool:
    """Whether the status that a webhook claims would change this payment's record.

    A webhook about an order that Order never told of is ignored: the order may be another system's.
    """
    if payment is None:
        return order_is_known and claimed_status in CAPTURED_STATUSES
    if not may_change(payment):
        return False
    match payment.status:
        case "PENDING":
            return claimed_status in CAPTURED_STATUSES | DEAD_STATUSES
        case "FAILED":
            return claimed_status in CAPTURED_STATUSES
        case _:
            return claimed_status in ("PARTIAL_CANCELED", "CANCELED")


def may_change(payment: Payment | None) -> bool:
    """Whether a look-up can still show a change of this payment. False: all its money went back."""
    if payment is None:
        return True
    return payment.status != "CANCELLED" and not (payment.status == "FAILED" and payment.refunded)


# What to do next ------------------------------------------------------------------------------------------------------


class Ask(Struct, frozen=True):
    """GET the payment."""


class Call(Struct, frozen=True):
    """Send the confirm or the refund under this attempt's key; for a refund `amount` of the `refundable_amount` still held."""

    attempt: int
    amount: int
    refundable_amount: int | None = None


class Later(Struct, frozen=True):
    """Nothing can be decided now: go on at the earliest after `wait_s`. `attempt` is the one to go on with."""

    attempt: int
    wait_s: float
    why: str
    our_fault: bool = False


class Outcome(Struct, frozen=True):
    """The intent is settled. `seen`: the payment at the gateway as last seen, where it was; `fine`: what was asked was done."""

    fine: bool
    code: str = ""
    message: str = ""
    seen: GatewayPayment | None = None


Step = Ask | Call | Later | Outcome
CallAnswer = ConfirmAnswer | CancelAnswer


def first_step(intent: Intent, taken_up: bool) -> Step:
    """A customer's confirm goes out at once; whatever else there is begins with what the gateway knows already."""
    if intent.kind == "CONFIRM" and not taken_up:
        return Call(intent.attempt, intent.amount)
    return Ask()


def after_call(intent: Intent, call: Call, answer: CallAnswer) -> Step:
    """The next step after the gateway's answer to a confirm or a refund."""
    match answer:
        case Approved(payment) | Cancelled(payment):
            return Outcome(True, seen=payment)
        case Declined(code, message):
            # After an earlier attempt with an unknown outcome, that one may have captured: look before telling anybody.
            return Outcome(False, code, message) if intent.kind == "CONFIRM" and call.attempt == 1 else Ask()
        case Unknown() | TakeOver():
            return Ask()
        case Retry(code, retry_after_s):
            return _later(intent, call.attempt, code, retry_after_s)
        case OurFault(code):
            return Later(call.attempt, BACKOFF_S_MAX, code, our_fault=True)


def after_find(intent: Intent, seen: FindAnswer, last: tuple[Call, CallAnswer] | None) -> Step:
    """The next step after a GET. `last` is the call before it, if there was one since the intent was taken up."""
    match seen:
        case Retry(code, retry_after_s):
            return _later(intent, intent.attempt, code, retry_after_s)
        case OurFault(code):
            return Later(intent.attempt, BACKOFF_S_MAX, code, our_fault=True)
        case Found(payment):
            found: GatewayPayment | None = payment
        case NotFound():
            found = None
    if intent.kind == "LOOK":
        return Outcome(True, seen=found)
    if intent.kind == "REFUND":
        return _refund_step(intent, found, last)
    return _confirm_step(intent, found, last)


def _confirm_step(intent: Intent, found: GatewayPayment | None, last: tuple[Call, CallAnswer] | None) -> Step:
    standing = Standing.OPEN if found is None else found.standing(str(intent.order_id), intent.amount)
    match standing:
        case Standing.OPEN:
            return _nothing_captured_yet(intent, found, last)
        case Standing.CAPTURED:
            return Outcome(True, seen=found)
        case Standing.PARTLY_REFUNDED if found is not None and found.was_captured_for(intent.amount):
            # The customer paid, and a part went back at the gateway before this confirm was settled. Order learns of both.
            return Outcome(True, seen=found)
        case Standing.MISMATCHED | Standing.PARTLY_REFUNDED | Standing.REFUNDED:
            return Outcome(False, standing, "the gateway holds something else than what was asked for", found)
        case Standing.DEAD:
            failure = found and found.failure
            return Outcome(False, failure.code if failure else standing, failure.message if failure else "", found)
        case Standing.FOREIGN:
            # Not `seen`: another order's money must never be written down here, nor refunded.
            return Outcome(False, standing, "the payment key belongs to another order")
        case Standing.UNRECOGNISED:
            return Later(
                intent.attempt, BACKOFF_S_MAX, f"the gateway's status {found and found.status} is not known here"
            )


def _nothing_captured_yet(intent: Intent, found: GatewayPayment | None, last: tuple[Call, CallAnswer] | None) -> Step:
    """The GET shows that nothing was done: only after an unknown outcome is that a reason for a new key."""
    if found is not None and found.status == DEPOSIT_AWAITED:
        return Later(intent.attempt, BACKOFF_S_MAX, DEPOSIT_AWAITED)
    if last is None:
        # The same key: a call of a process that died may still be under way, and the gateway joins the two by their key.
        return Call(intent.attempt, intent.amount)
    call, answer = last
    if isinstance(answer, Unknown):
        return Call(call.attempt + 1, intent.amount)
    if isinstance(answer, Declined):
        return Outcome(False, answer.code, answer.message, found)
    return _not_shown(intent, call, answer)


def _not_shown(intent: Intent, call: Call, answer: CallAnswer) -> Step:
    """Said to be done already, and the GET shows that it is not: a GET may lag behind, so not now; and then under a new key, since
    the gateway would answer this one for ever as it just did.
    """
    attempt = call.attempt + 1 if isinstance(answer, TakeOver) else call.attempt
    return _later(intent, attempt, f"{_code(answer)}, but a GET does not show it yet", 0.0)


def _refund_step(intent: Intent, found: GatewayPayment | None, last: tuple[Call, CallAnswer] | None) -> Step:
    if found is None:
        return Outcome(False, "NOT_FOUND", "the gateway does not know this payment key")
    if found.order_id != str(intent.order_id):
        return Outcome(False, "FOREIGN", "the payment key belongs to another order at the gateway")
    mine = refunds_of(found, intent)
    # All that is gone is what was asked for, whoever gave it back. A part is that only where the gateway lists no refunds to tell by.
    all_of_it = intent.amount == found.total_amount or found.cancels is None
    gone = found.status in CAPTURED_STATUSES and not found.balance_amount and intent.amount <= found.total_amount
    if any(each.is_done for each in mine) or (gone and all_of_it):
        return Outcome(True, seen=found)
    if mine and mine[-1].cancel_status == CANCEL_UNDER_WAY:
        return Later(intent.attempt, BACKOFF_S_MAX, "the gateway is still at the refund")
    if found.status not in CAPTURED_STATUSES:
        return Outcome(False, found.status, "nothing was captured", found)
    amount = found.balance_amount if intent.amount == found.total_amount else intent.amount
    if not 0 < amount <= found.balance_amount:
        return Outcome(False, "EXCEEDS_BALANCE", f"{found.balance_amount} won are still held", found)
    if last is None:
        return Call(intent.attempt, amount, found.balance_amount)
    call, answer = last
    if isinstance(answer, Declined) and call.refundable_amount == found.balance_amount:
        # Declined for what we believed to be held, and that is held: final. Else somebody gave a part back meanwhile.
        return Outcome(False, answer.code, answer.message, found)
    if isinstance(answer, Declined | Unknown):
        return Call(call.attempt + 1, amount, found.balance_amount)
    return _not_shown(intent, call, answer)


def idempotency_key(intent: Intent, call: Call) -> str:
    """What makes a repeat of a call harmless: the gateway answers it as it answered the first.

    A refund's key also names what is still held. Else a refusal stored when another refund came between would answer this call, too,
    though it asks for something else. Two keys of one refund cannot both be done: what is held only ever falls.
    """
    key = f"{intent.id}-{call.attempt}"
    return key if call.refundable_amount is None else f"{key}-{call.refundable_amount}"


def refund_reason(intent: Intent) -> str:
    """The reason sent with a refund. It carries the intent's id, so that a GET tells this refund from any other of that amount."""
    return f"{intent.reason[:REASON_CHARS_MAX] or 'refund'} [{intent.id}]"


def refunds_of(payment: GatewayPayment, intent: Intent) -> list[Refund]:
    """What the gateway has recorded of this very refund."""
    return [each for each in payment.cancels or () if str(intent.id) in (each.cancel_reason or "")]


def _later(intent: Intent, attempt: int, why: str, at_least_s: float) -> Later:
    return Later(attempt, max(at_least_s, min(BACKOFF_S_MAX, BACKOFF_S_MIN * 2 ** min(intent.tries, 10))), why)


def _code(answer: CallAnswer) -> str:
    return "approved" if isinstance(answer, Approved | Cancelled) else answer.code
