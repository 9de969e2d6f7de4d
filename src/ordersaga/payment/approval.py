"""The pure rule of Payment: which confirm is allowed, and which step follows an answer of the gateway. No I/O.

An intent is carried out step by step: `first_step`, then `after_call` or `after_find` with each answer, until a step settles the intent
or postpones it. `settlement.py` says how a settled intent changes the payment and which messages go out.

Two rules keep the money right whichever process crashes. The idempotency key changes (`attempt` rises) only after a call with an unknown
outcome and a GET that shows that nothing was done. Money counts for an order only if the gateway captured it for the same order, amount
and currency, and still holds at least a part of it.
"""

from datetime import datetime
from typing import Final

from msgspec import Struct

from ordersaga.contracts.answers import FOREIGN_KEY, NOTHING_CAPTURED, OTHER_ORDER, STILL_HELD, UNKNOWN_KEY
from ordersaga.contracts.status import ORDER_CODES
from ordersaga.messaging.refusal import Refusal, no_such
from ordersaga.payment.gateway import (
    CAPTURED_STATUSES,
    AlreadyProcessed,
    Approved,
    CancelAnswer,
    Cancelled,
    ConfirmAnswer,
    Declined,
    FindAnswer,
    Found,
    GatewayPayment,
    GatewayRefund,
    NotFound,
    OurFault,
    Retry,
    Standing,
    Unknown,
)
from ordersaga.payment.model import Confirm, Intent, Payable, Payment
from ordersaga.said import Sentence

BACKOFF_S_MIN: Final = 0.5
BACKOFF_S_MAX: Final = 30.0
REASON_CHARS_MAX: Final = 150

DEAD_STATUSES: Final = frozenset({"ABORTED", "EXPIRED"})
REFUNDED_STATUSES: Final = frozenset({"PARTIAL_CANCELED", "CANCELED"})
STATUSES: Final = frozenset({"READY", "IN_PROGRESS", "WAITING_FOR_DEPOSIT"}) | CAPTURED_STATUSES | DEAD_STATUSES
DEPOSIT_AWAITED: Final = "WAITING_FOR_DEPOSIT"
CANCEL_UNDER_WAY: Final = "IN_PROGRESS"

KEEPS_FAILING: Final = Sentence("intent.keeps_failing", "the gateway keeps failing")
UNDER_WAY: Final = Sentence("intent.under_way", "the gateway is processing the refund")
NOT_SHOWN: Final = Sentence("intent.not_shown", "{answer}, but a GET does not show it yet")
UNKNOWN_STATUS: Final = Sentence("intent.unknown_status", "the gateway's status {status} is not known here")
REASONS: Final = (KEEPS_FAILING, UNDER_WAY, NOT_SHOWN, UNKNOWN_STATUS)
"""Why an intent is put off, beside the gateway's codes."""


# Which confirm is allowed ---------------------------------------------------------------------------------------------


NO_SUCH_ORDER: Final = no_such("order")
ORDER_NOT_PUBLISHED: Final = Refusal("UNKNOWN", "There is no such order", "Order has not published this order yet")
ANOTHER_PAYMENT: Final = Refusal(
    "CONFLICT", "The order has another payment", "one that is open or captured; an order is paid once"
)


def refusal(confirm: Confirm, payable: Payable | None, now: datetime, payable_required: bool) -> Refusal | None:
    """Why the confirm of a new payment key is not allowed; None: it is allowed.

    `payable` None: Order has not published the order. If that is not required (`payable_required`), every confirm is allowed.
    """
    if payable is None:
        return ORDER_NOT_PUBLISHED if payable_required else None
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
    """Why a confirm of a known payment key is refused; None: it repeats the earlier confirm, and the payment's state answers it."""
    if payment.customer_id != confirm.caller_id and not confirm.caller_is_operator:
        return NO_SUCH_ORDER
    if (payment.order_id, payment.amount) != (confirm.order_id, confirm.amount):
        return Refusal(
            "CONFLICT", "The payment key stands for another payment", "it was sent before with another order or amount"
        )
    return None


def is_news(claimed_status: str, payment: Payment | None, order_is_known: bool) -> bool:
    """Whether the status that a webhook claims would change this payment's row.

    A webhook about an order that Order has not published is ignored: the order may belong to another system with the same merchant.
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
            return claimed_status in REFUNDED_STATUSES


def may_change(payment: Payment | None) -> bool:
    """Whether a look-up can still show a change of this payment. False once its money went back."""
    if payment is None:
        return True
    return payment.status != "CANCELLED" and not (payment.status == "FAILED" and payment.refunded)


# What to do next ------------------------------------------------------------------------------------------------------


class Find(Struct, frozen=True):
    """GET the payment."""


class Call(Struct, frozen=True):
    """Send the confirm or the refund under this attempt's idempotency key. A refund asks for `amount` of the held `refundable_amount`."""

    attempt: int
    amount: int
    refundable_amount: int | None = None


class Later(Struct, frozen=True):
    """Postpone the intent by at least `wait_s`; it goes on with `attempt`. `why` is the gateway's code or a sentence for the log."""

    attempt: int
    wait_s: float
    why: str
    our_fault: bool = False


class Settled(Struct, frozen=True):
    """The intent is settled. `done`: the gateway did what the intent asks for. `seen`: the gateway's payment as last seen, if it was."""

    done: bool
    code: str = ""
    message: str = ""
    seen: GatewayPayment | None = None


Step = Find | Call | Later | Settled
CallAnswer = ConfirmAnswer | CancelAnswer


def first_step(intent: Intent, claimed: bool) -> Step:
    """A customer's new confirm is sent at once. Every other intent begins with a GET: an earlier run may have sent its call."""
    if intent.kind == "CONFIRM" and not claimed:
        return Call(intent.attempt, intent.amount)
    return Find()


def after_call(intent: Intent, call: Call, answer: CallAnswer) -> Step:
    """The next step after the gateway's answer to a confirm or a refund."""
    match answer:
        case Approved(payment) | Cancelled(payment):
            return Settled(True, seen=payment)
        case Declined(code, message):
            # An earlier attempt with an unknown outcome may have captured: GET the payment before anybody is told of a decline.
            return Settled(False, code, message) if intent.kind == "CONFIRM" and call.attempt == 1 else Find()
        case Unknown() | AlreadyProcessed():
            return Find()
        case Retry(code, retry_after_s):
            return _later(intent, call.attempt, code, retry_after_s)
        case OurFault(code):
            return Later(call.attempt, BACKOFF_S_MAX, code, our_fault=True)


def after_find(intent: Intent, seen: FindAnswer, last: tuple[Call, CallAnswer] | None) -> Step:
    """The next step after a GET. `last`: the call before the GET, if this run of the intent has made one."""
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
        return Settled(True, seen=found)
    if intent.kind == "REFUND":
        return _refund_step(intent, found, last)
    return _confirm_step(intent, found, last)


def _confirm_step(intent: Intent, found: GatewayPayment | None, last: tuple[Call, CallAnswer] | None) -> Step:
    standing = Standing.OPEN if found is None else found.standing(str(intent.order_id), intent.amount)
    match standing:
        case Standing.OPEN:
            return _nothing_captured_yet(intent, found, last)
        case Standing.CAPTURED:
            return Settled(True, seen=found)
        case Standing.PARTLY_REFUNDED if found is not None and found.was_captured_for(intent.amount):
            # The customer paid, and a part went back at the gateway before this confirm was settled. Order learns of both.
            return Settled(True, seen=found)
        case Standing.MISMATCHED | Standing.PARTLY_REFUNDED | Standing.REFUNDED:
            return Settled(False, standing, "the gateway holds something else than what was asked for", found)
        case Standing.DEAD:
            failure = found and found.failure
            return Settled(False, failure.code if failure else standing, failure.message if failure else "", found)
        case Standing.FOREIGN:
            # Without `seen`: another order's money is neither recorded nor refunded here.
            return Settled(False, standing, OTHER_ORDER())
        case Standing.UNRECOGNISED:
            return Later(intent.attempt, BACKOFF_S_MAX, UNKNOWN_STATUS(status=str(found and found.status)))


def _nothing_captured_yet(intent: Intent, found: GatewayPayment | None, last: tuple[Call, CallAnswer] | None) -> Step:
    """The GET shows that nothing was captured. Only after a call with an unknown outcome does that allow a new idempotency key."""
    if found is not None and found.status == DEPOSIT_AWAITED:
        return Later(intent.attempt, BACKOFF_S_MAX, DEPOSIT_AWAITED)
    if last is None:
        # The same key: a call of a process that died may still be in flight. The gateway takes two calls with one key for one.
        return Call(intent.attempt, intent.amount)
    call, answer = last
    if isinstance(answer, Unknown):
        return Call(call.attempt + 1, intent.amount)
    if isinstance(answer, Declined):
        return Settled(False, answer.code, answer.message, found)
    return _not_shown(intent, call, answer)


def _not_shown(intent: Intent, call: Call, answer: CallAnswer) -> Step:
    """The call's answer says done, the GET does not show it. A GET may lag behind, so the intent is postponed.

    After an `AlreadyProcessed` it goes on with a new idempotency key: the gateway would repeat that answer under the old key for ever.
    """
    attempt = call.attempt + 1 if isinstance(answer, AlreadyProcessed) else call.attempt
    return _later(intent, attempt, NOT_SHOWN(answer=_code(answer)), 0.0)


def _refund_step(intent: Intent, found: GatewayPayment | None, last: tuple[Call, CallAnswer] | None) -> Step:
    if found is None:
        return Settled(False, "NOT_FOUND", UNKNOWN_KEY())
    if found.order_id != str(intent.order_id):
        return Settled(False, "FOREIGN", FOREIGN_KEY())
    mine = refunds_of(found, intent)
    # A refund of all is done once nothing is held, whoever gave it back. A refund of a part is done then only if the gateway lists no
    # refunds to tell them apart by.
    all_of_it = intent.amount == found.total_amount or found.cancels is None
    gone = found.status in CAPTURED_STATUSES and not found.balance_amount and intent.amount <= found.total_amount
    if any(each.is_done for each in mine) or (gone and all_of_it):
        return Settled(True, seen=found)
    if mine and mine[-1].cancel_status == CANCEL_UNDER_WAY:
        return Later(intent.attempt, BACKOFF_S_MAX, UNDER_WAY())
    if found.status not in CAPTURED_STATUSES:
        return Settled(False, found.status, NOTHING_CAPTURED(), found)
    amount = found.balance_amount if intent.amount == found.total_amount else intent.amount
    if not 0 < amount <= found.balance_amount:
        return Settled(False, "EXCEEDS_BALANCE", STILL_HELD(amount=found.balance_amount), found)
    if last is None:
        return Call(intent.attempt, amount, found.balance_amount)
    call, answer = last
    if isinstance(answer, Declined) and call.refundable_amount == found.balance_amount:
        # Final: the gateway declined although the balance is what the call said. With another balance, somebody gave a part back meanwhile.
        return Settled(False, answer.code, answer.message, found)
    if isinstance(answer, Declined | Unknown):
        return Call(call.attempt + 1, amount, found.balance_amount)
    return _not_shown(intent, call, answer)


def idempotency_key(intent: Intent, call: Call) -> str:
    """The idempotency key of a call: the gateway answers a repeat as it answered the first call.

    A refund's key also names the held balance. Without it, the stored refusal of a call with an older balance would answer this call too.
    Two keys of one refund cannot both be done: each names a balance, and a balance only falls.
    """
    key = f"{intent.id}-{call.attempt}"
    return key if call.refundable_amount is None else f"{key}-{call.refundable_amount}"


def refund_reason(intent: Intent) -> str:
    """The reason sent with a refund. The intent's id in it tells this refund from others of the same amount in a GET."""
    return f"{intent.reason[:REASON_CHARS_MAX] or 'refund'} [{intent.id}]"


def refunds_of(payment: GatewayPayment, intent: Intent) -> list[GatewayRefund]:
    """The gateway's entries of this intent's refund."""
    return [each for each in payment.cancels or () if str(intent.id) in (each.cancel_reason or "")]


def _later(intent: Intent, attempt: int, why: str, at_least_s: float) -> Later:
    return Later(attempt, max(at_least_s, min(BACKOFF_S_MAX, BACKOFF_S_MIN * 2 ** min(intent.tries, 10))), why)


def _code(answer: CallAnswer) -> str:
    return "approved" if isinstance(answer, Approved | Cancelled) else answer.code
