"""`ordersaga conform payment` against small Payments: each wrong one fails the cases of its fault and no other."""

from pathlib import Path

import pytest

from ordersaga.devstack import DevStack
from tests.conformance.running_partner import RunningPartner, Verdict

A = "a refund"
RESTARTED = f"{A} while the service restarts"
BAD = {
    f"{A}: {what}"
    for what in (
        *("bad JSON", "no text at all", "an empty value", "a list instead of an object", "a wrong type"),
        *("an id that is none", "no order id"),
    )
}
NOT_OFFERED = ("payable", "one-payment", "gateway-faults")
DECLINED = {
    "a declined payment is published as FAILED on the same topic",
    "a declined payment confirmed twice stays declined",
    "after a decline another payment can succeed",
}
STATUS_WORDS = {f"the answer to {noun} has the guide's status word" for noun in ("a payment", A)}
WRONG = {
    "never-declines": {
        "a declined payment is published as FAILED on the same topic",
        "a declined payment confirmed twice stays declined",
    },
    "silent-about-declines": DECLINED,
    "failures-elsewhere": DECLINED,
    "pays-any-order-with-a-known-key": {"a payment key of one order does not pay another"},
    "tells-before-the-gateway": {
        "a declined payment is published as FAILED on the same topic",
        "a declined payment confirmed twice stays declined",
        "one payment has one outcome record",
    },
    "lower-case-status": STATUS_WORDS,
    "takes-null-for-nothing": {"a refund without an amount gives nothing back"},
    "refunds-the-declined": {"a declined payment is not refunded"},
    "compares-with-the-whole": {
        "more than is left after another refund is answered FAILED",
        "a declined payment is not refunded",
    },
    "fails-repeats": {
        "a payment again after many others",
        "a payment confirmed twice is published with one outcome",
        "a payment confirmed five times at once is published with one outcome",
    },
    "answers-each-repeat-twice": {"one payment has one outcome record"},
    "amount-with-decimals": {"the answer to a payment has the guide's fields"},
    "amount-as-text": {"the answer to a payment has the guide's fields"},
    "forgets-the-key": {"a success names the payment key and the amount"},
    "takes-any-amount": {"less than the smallest payment is no success"},
    "wraps-around": {"more than an int32 is no success"},
    "wrong-status-word": STATUS_WORDS,
    "refunds-repeats-again": {
        "a repeated part is refunded once",
        f"{A} twice in a row",
        f"{A} again after its answer",
        f"{A} again in other bytes",
        f"{A} in several partitions",
    },
    "another-request-id": {"a refund is answered with its own id, or with none"},
    "refund-as-balance": {"a refund's balance is what is left of the payment"},
    "refunds-too-much": {
        "more than was paid is answered FAILED",
        "more than is left after another refund is answered FAILED",
        "a declined payment is not refunded",
    },
    "silent-about-unknown-payments": {
        "a refund of an unknown payment is answered FAILED",
        "a refund of another order's payment is answered FAILED",
    },
    "refuses-unknown-fields": {f"{A} with unknown fields"},
    "knows-refunds-by-amount": {"two refunds of one amount with two ids are two refunds"},
    "refunds-less-than-nothing": {"a refund of less than nothing gives nothing back"},
    "refunds-for-any-order": {"a refund of another order's payment is answered FAILED"},
    "refunds-all-at-once": {
        "a part is refunded, and then the rest",
        "two refunds of one amount with two ids are two refunds",
        "a repeated part is refunded once",
        "a refund's balance is what is left of the payment",
    },
    "refunds-a-payment-once": {"two refunds of one amount with two ids are two refunds"},
    "trips-over-headers": {f"{A} with headers of a stranger"},
    "believes-the-type-header": {f"{A} with a Java type header"},
    "reads-uncommitted": {f"{A} in an aborted transaction", f"{A} in aborted transactions that overlap"},
    "needs-a-reason": {f"{A} without optional fields", f"{A} with null in optional fields"},
    "has-room-for-short-reasons": {f"{A} with long texts"},
    "rounds-to-tens": {"a success names the payment key and the amount", "the largest int32 is published as it is"},
    "refund-says-the-whole": {"a part is refunded, and then the rest"},
    "takes-a-fee": {"a success names the payment key and the amount", "the largest int32 is published as it is"},
    "has-room-for-short-keys": {"a success names the payment key and the amount"},
    "forgets-all-on-restart": {RESTARTED},
    "letters-without-the-record": BAD - {f"{A}: an empty value"},
    "loses-what-has-unknown-fields": {f"{A} with unknown fields"},
}


def judged(stack: DevStack, folder: Path, manner: str, restart: bool = False) -> Verdict:
    without = [option for tag in NOT_OFFERED for option in ("--without", tag)]
    with RunningPartner(folder, stack, "payment", manner) as partner:
        body = '{"paymentKey": "$paymentKey", "orderId": "$orderId", "amount": $amount, "card": "$card"}'
        pay = f"POST http://127.0.0.1:{partner.port}/confirm {body}"
        return partner.conform("--pay", pay, "--checkout", "", *without, restart=restart)


@pytest.mark.parametrize("manner", WRONG)
def test_a_wrong_payment_fails_the_cases_of_its_fault_alone(stack: DevStack, tmp_path: Path, manner: str) -> None:
    verdict = judged(stack, tmp_path, manner, restart=RESTARTED in WRONG[manner])
    assert verdict.failed == WRONG[manner], verdict.answer
    assert verdict.answer.code == 1 and not verdict.not_judged


@pytest.mark.parametrize("manner", ["right", "no-key-and-sorted", "talkative", "writes-a-journal", "in-batches"])
def test_a_right_but_unusual_payment_passes(stack: DevStack, tmp_path: Path, manner: str) -> None:
    verdict = judged(stack, tmp_path, manner)
    assert verdict.answer.code == 0 and len(verdict.passed) > 15, verdict.answer
