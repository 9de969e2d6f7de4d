"""`ordersaga conform order` against small Orders: each wrong one fails the cases of its fault and no other."""

from pathlib import Path

import pytest

from ordersaga.devstack import DevStack
from tests.conformance.running_partner import RunningPartner, Verdict

PLACE = (
    '{"orderName": "$orderName", "totalAmount": $totalAmount, "items": $items, "address": "$address", "addressDetail": "$addressDetail", '
    '"zipcode": "$zipcode", "phone": "$phone", "name": "$name", "deliveryMemo": "$deliveryMemo"}'
)
OUT_OF_STOCK = {
    "a product out of stock ends the order",
    "one of two products out of stock ends the order",
    "a paid order that is out of stock is not delivered",
}
REVIVED = "a product that was refused and then reserved does not revive the order"
NOUNS = ("a stock answer", "a payment outcome", "a started delivery")
RESTARTED = "a payment outcome while the service restarts"
WRONG = {
    "asks-for-one-piece-each": {"a placed order asks Stock for its products"},
    "counts-stock-answers": {
        "a repeated stock answer does not stand for another product",
        "an answer for a product of another order reserves nothing",
    },
    "counts-answered-products": {"an answer for a product of another order reserves nothing"},
    "rounds-to-hundreds": {
        "a payment of another amount is not delivered",
        "a payment of more than the total is not delivered",
    },
    "takes-null-for-the-total": {"a payment without an amount is not delivered"},
    "takes-any-amount": {
        "a payment of another amount is not delivered",
        "a payment of more than the total is not delivered",
        "a payment of nothing is not delivered",
    },
    "takes-too-much": {"a payment of more than the total is not delivered"},
    "spoils-korean": {
        "the delivery request has the customer's address",
        "Korean, emoji and quotes reach Delivery as they are",
        "long texts reach Delivery and the completion whole",
    },
    "completes-failed-deliveries": {
        "a failed delivery does not complete the order",
        "a started delivery after a failed one does not complete the order",
    },
    "knows-orders-by-product": {"an answer for one order leaves another order of its product alone"},
    "asks-for-the-first-product-alone": {"a placed order asks Stock for its products"},
    "cuts-texts-by-bytes": {"long texts reach Delivery and the completion whole"},
    "loses-the-memo": {
        "the delivery request has the customer's address",
        "long texts reach Delivery and the completion whole",
    },
    "reads-uncommitted": {
        f"{noun} in {what}"
        for noun in NOUNS
        for what in ("an aborted transaction", "aborted transactions that overlap")
    },
    "believes-the-type-header": {f"{noun} with a Java type header" for noun in NOUNS},
    "swaps-the-address": {
        "the delivery request has the customer's address",
        "two orders are delivered to their own customers",
        "Korean, emoji and quotes reach Delivery as they are",
    },
    "zipcode-as-a-number": {"the delivery request has the customer's address"},
    "total-of-one-piece": {"the completion has the order's customer, total, name and code"},
    "total-as-text": {"the answer to a started delivery has the guide's fields"},
    "total-as-float": {"a total of nearly an int32 is completed as it is"},
    "completes-for-another-customer": {"the completion has the order's customer, total, name and code"},
    "forgets-all-on-restart": {RESTARTED},
    "loses-what-has-unknown-fields": {f"{noun} with unknown fields" for noun in NOUNS},
    "rounds-the-total": {
        "the completion has the order's customer, total, name and code",
        "a total of nearly an int32 is completed as it is",
    },
    "asks-stock-twice": {"a placed order asks Stock for its products"},
    "null-status-is-success": {"a payment outcome without a status is not delivered"},
    "last-stock-answer-counts": {REVIVED},
    "keys-completions-by-customer": {"the answer to a started delivery is keyed by its order"},
    "wrong-code": {"the completion has the order's customer, total, name and code"},
    "ignores-stock-failures": OUT_OF_STOCK | {REVIVED},
    "asks-again": {"every record three times completes the order once"},
    "completes-again": {"every record three times completes the order once"},
    "snake-case": {
        "the answer to a placed order has the guide's fields",
        "the answer to a payment outcome has the guide's fields",
        "the answer to a started delivery has the guide's fields",
    },
}


DECLINED = "a declined payment releases the stock"
OTHERS = "a product out of stock releases the others alone"
LATE_STOCK = "a product that is reserved after the order's end is released"
PAID_OUT_OF_STOCK = "a paid order that is out of stock is refunded"
LATE_PAYMENT = "a payment after the order's end is refunded"
OTHER_AMOUNT = "a payment of another amount is refunded, and the stock released"
SECOND_PAYMENT = "a second payment is refunded alone"
UNDELIVERED = "a failed delivery gives back the stock and the money"
ONCE = "a repeated failure is compensated once"
CANCELLED = "a cancelled order gives back the stock and the money"
RETURNED = "a returned order gives back the stock and the money"
GIVES_BACK_WRONG = {
    "forgets-to-release": {DECLINED, OTHERS, LATE_STOCK, OTHER_AMOUNT, UNDELIVERED, ONCE, CANCELLED, RETURNED},
    "forgets-to-refund": {
        *(PAID_OUT_OF_STOCK, LATE_PAYMENT, OTHER_AMOUNT, SECOND_PAYMENT),
        *(UNDELIVERED, ONCE, CANCELLED, RETURNED),
    },
    "releases-one-piece-each": {DECLINED, OTHERS, LATE_STOCK, OTHER_AMOUNT, UNDELIVERED, ONCE, CANCELLED, RETURNED},
    "gives-back-the-completed": {"a completed order gives nothing back"},
    "releases-twice": {ONCE},
    "forgets-late-answers": {LATE_STOCK, LATE_PAYMENT},
    "forgets-second-payments": {SECOND_PAYMENT},
    "refunds-repeats-again": {ONCE},
    "releases-the-whole-order": {OTHERS, LATE_STOCK, CANCELLED},
    "refunds-the-total": {OTHER_AMOUNT},
    "delivers-the-cancelled": {CANCELLED},
    "forgets-returns": {RETURNED},
}


def judged(stack: DevStack, folder: Path, manner: str, *arguments: str, restart: bool = False) -> Verdict:
    with RunningPartner(folder, stack, "order", manner) as partner:
        place = f"POST http://127.0.0.1:{partner.port}/orders {PLACE}"
        end = f'POST http://127.0.0.1:{partner.port}/end {{"end": "$orderId"}}'
        hooks = ("--place", place, "--hook", f"cancel={end}", "--hook", f"return={end}")
        return partner.conform(*hooks, *arguments, restart=restart)


@pytest.mark.parametrize("manner", WRONG)
def test_a_wrong_order_fails_the_cases_of_its_fault_alone(stack: DevStack, tmp_path: Path, manner: str) -> None:
    verdict = judged(stack, tmp_path, manner, "--without", "compensation", restart=RESTARTED in WRONG[manner])
    assert verdict.failed == WRONG[manner], verdict.answer
    assert verdict.answer.code == 1 and not verdict.not_judged


@pytest.mark.parametrize("manner", GIVES_BACK_WRONG)
def test_an_order_that_gives_back_wrong_fails_the_cases_of_its_fault_alone(
    stack: DevStack, tmp_path: Path, manner: str
) -> None:
    verdict = judged(stack, tmp_path, manner, "--without", "load", "--without", "poison")
    assert verdict.failed == GIVES_BACK_WRONG[manner], verdict.answer
    assert verdict.answer.code == 1 and not verdict.not_judged


@pytest.mark.parametrize(
    "manner, one",
    [
        ("delivers-unpaid", "a reserved order that is not paid is not delivered"),
        ("drops-early-payments", "arrival: the payment, then the first product, then the second product"),
        # Which other cases find it depends on what orders they place side by side.
        ("delivers-to-the-newest-customer", "two orders are delivered to their own customers"),
        ("delivers-unreserved", "a paid order that is not reserved is not delivered"),
    ],
)
def test_an_order_that_is_wrong_in_many_ways_is_named(stack: DevStack, tmp_path: Path, manner: str, one: str) -> None:
    verdict = judged(stack, tmp_path, manner, "--without", "compensation")
    assert one in verdict.failed and "the answer to a placed order has the guide's fields" in verdict.passed, (
        verdict.answer
    )


def test_an_order_that_completes_before_the_delivery_is_named_once(stack: DevStack, tmp_path: Path) -> None:
    verdict = judged(stack, tmp_path, "completes-at-once", "--without", "compensation")
    assert verdict.failed == {"a delivery that has not started completes nothing"}, verdict.answer
    assert verdict.not_judged == {
        "a failed delivery does not complete the order",
        "a started delivery after a failed one does not complete the order",
        "a started delivery in an aborted transaction",
        "a started delivery in aborted transactions that overlap",
    }


@pytest.mark.parametrize("manner", ["right", "no-key-and-sorted", "talkative", "writes-a-journal", "in-batches"])
def test_a_right_but_unusual_order_passes(stack: DevStack, tmp_path: Path, manner: str) -> None:
    verdict = judged(stack, tmp_path, manner)
    assert verdict.answer.code == 0, verdict.answer
