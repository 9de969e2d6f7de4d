"""The payment service over real HTTP, Kafka and PostgreSQL, against the sandbox gateway. Its crashes are in test_payment_recovery.py."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
import pytest_asyncio

from ordersaga.contracts.messages import PaymentCancelledMessage, PaymentCancelRequestedMessage, PaymentSuccessMessage
from ordersaga.devstack import DevStack
from tests.integration.payment_rig import Checkout, PaymentRig, payment_rig, until


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def rig(stack: DevStack) -> AsyncIterator[PaymentRig]:
    async with payment_rig(stack, webhooks=True) as rig:
        await rig.start()
        yield rig


def refund(checkout: Checkout, amount: int | None = None) -> PaymentCancelRequestedMessage:
    return PaymentCancelRequestedMessage(
        order_id=UUID(checkout.order_id),
        payment_key=checkout.payment_key,
        amount=checkout.amount if amount is None else amount,
        reason="OUT_OF_STOCK",
    )


async def test_an_approved_payment_is_answered_and_told_to_order_once(rig: PaymentRig) -> None:
    checkout = await rig.checkout()
    status, payment = await rig.confirm(checkout)
    assert (status, payment["status"], payment["statusCode"]) == (200, "APPROVED", "PAY0001")
    assert payment["capturedAmount"] == checkout.amount
    [told] = await rig.told(checkout.payment_key, PaymentSuccessMessage)
    assert (str(told.order_id), told.amount, told.status) == (checkout.order_id, checkout.amount, "SUCCESS")


async def test_a_declined_payment_is_a_known_outcome_and_told_as_failed(rig: PaymentRig) -> None:
    checkout = await rig.checkout("REJECT_CARD_COMPANY")
    status, payment = await rig.confirm(checkout)
    assert (status, payment["status"], payment["statusCode"]) == (200, "FAILED", "PAY0002")
    assert payment["failure"]["code"] == "REJECT_CARD_COMPANY"
    [told] = await rig.told(checkout.payment_key, PaymentSuccessMessage)
    assert told.status == "FAILED"


async def test_after_a_decline_another_key_pays_the_order(rig: PaymentRig) -> None:
    declined = await rig.checkout("REJECT_CARD_COMPANY")
    await rig.confirm(declined)
    again = await rig.checkout(order_id=declined.order_id, customer_id=declined.customer_id)
    status, payment = await rig.confirm(again)
    assert (status, payment["status"]) == (200, "APPROVED")


@pytest.mark.parametrize(
    "card",
    ["answer-lost", "PROVIDER_ERROR", "answer-truncated", "answer-lost-bad-gateway", "done-but-UNKNOWN_PAYMENT_ERROR"],
)
async def test_whatever_the_gateways_answer_becomes_the_capture_is_found_and_counted_once(
    rig: PaymentRig, card: str
) -> None:
    checkout = await rig.checkout(card)
    status, payment = await rig.confirm(checkout)
    assert (status, payment["status"]) == (200, "APPROVED")
    assert len(await rig.told(checkout.payment_key, PaymentSuccessMessage)) == 1
    assert await rig.captured(checkout)


async def test_who_does_not_want_to_wait_is_answered_202_and_finds_the_payment_later(rig: PaymentRig) -> None:
    checkout = await rig.checkout()
    status, payment = await rig.confirm(checkout, prefer="respond-async")
    assert (status, payment["status"], payment["statusCode"]) == (202, "PENDING", "PAY0000")

    async def approved() -> bool:
        _, payment = await rig.get(f"/api/v1/payments/{checkout.payment_key}", checkout.headers)
        return bool(payment["status"] == "APPROVED")

    await until(approved)


async def test_a_repeat_is_the_same_payment_and_calls_the_gateway_once(rig: PaymentRig) -> None:
    checkout = await rig.checkout()
    answers = await asyncio.gather(*(rig.confirm(checkout, **{"Idempotency-Key": "one"}) for _ in range(20)))
    assert {(status, payment["status"]) for status, payment in answers} == {(200, "APPROVED")}
    assert len(await rig.told(checkout.payment_key, PaymentSuccessMessage)) == 1
    assert await rig.db.fetchval("SELECT count(*) FROM intent WHERE payment_key = $1", checkout.payment_key) == 1


async def test_a_payment_key_or_an_idempotency_key_is_not_used_for_something_else(rig: PaymentRig) -> None:
    checkout = await rig.checkout()
    assert (await rig.confirm(checkout, **{"Idempotency-Key": "mine"}))[0] == 200
    other = Checkout(checkout.order_id, checkout.payment_key, 13_000, checkout.customer_id)
    assert (await rig.confirm(other))[0] == 409
    assert (await rig.confirm(other, **{"Idempotency-Key": "mine"}))[0] == 422


async def test_of_many_payments_of_one_order_one_is_captured(rig: PaymentRig) -> None:
    first = await rig.checkout()
    rest = [await rig.checkout(order_id=first.order_id, customer_id=first.customer_id) for _ in range(9)]
    answers = await asyncio.gather(*map(rig.confirm, [first, *rest]))
    assert sorted(status for status, _ in answers) == [200] + [409] * 9
    entries = await rig.at_gateway(first.order_id)
    assert [each["status"] for each in entries].count("DONE") == 1


async def test_orders_word_is_kept_and_a_confirm_against_it_never_reaches_the_gateway(rig: PaymentRig) -> None:
    async def refused(status: int, changed: Checkout) -> None:
        assert (await rig.confirm(changed))[0] == status
        assert await rig.row(changed.payment_key) is None

    checkout = await rig.checkout()
    await rig.payable(checkout)
    await refused(422, Checkout(checkout.order_id, checkout.payment_key, 12_001, checkout.customer_id))
    await refused(404, Checkout(checkout.order_id, checkout.payment_key, 12_000, str(uuid4())))
    await rig.payable(checkout, pay_before=datetime.now(UTC) - timedelta(seconds=1))
    await refused(409, checkout)
    await rig.payable(checkout)
    assert (await rig.confirm(checkout))[0] == 200
    late = await rig.checkout()
    await rig.payable(late, status="ORD0004")
    await rig.publish(refund(late))
    await rig.told(late.payment_key, PaymentCancelledMessage)
    await refused(409, late)


async def test_a_dead_order_never_becomes_payable_again(rig: PaymentRig) -> None:
    checkout = await rig.checkout()
    await rig.payable(checkout, status="ORD0003")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1.5):
            await rig.payable(checkout)
    assert (await rig.confirm(checkout))[0] == 409


async def test_a_payment_is_seen_by_its_owner_and_operators_only(rig: PaymentRig) -> None:
    checkout = await rig.checkout()
    await rig.confirm(checkout)
    one, all_of_order = f"/api/v1/payments/{checkout.payment_key}", f"/api/v1/payments?orderId={checkout.order_id}"
    stranger = {"User-Id": str(uuid4()), "User-Roles": "CUSTOMER"}
    operator = {"User-Id": str(uuid4()), "User-Roles": "MASTER"}
    assert (await rig.get(one, checkout.headers))[0] == 200
    assert (await rig.get(one, operator))[0] == 200
    assert (await rig.get(one, stranger))[0] == 404
    assert (await rig.get(one, {}))[0] == 401
    assert len((await rig.get(all_of_order, checkout.headers))[1]["items"]) == 1
    assert len((await rig.get(all_of_order, operator))[1]["items"]) == 1
    assert (await rig.get(all_of_order, stranger))[1]["items"] == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("amount", 999),
        ("amount", 2**31),
        ("amount", 12_000.5),
        ("paymentKey", ""),
        ("paymentKey", "../x"),
        ("paymentKey", "k" * 201),
        ("orderId", "1"),
    ],
)
async def test_a_field_that_cannot_be_is_named(rig: PaymentRig, field: str, value: Any) -> None:
    body = {"paymentKey": "k", "orderId": str(uuid4()), "amount": 12_000, field: value}
    headers = {"User-Id": str(uuid4())}
    async with rig.http.post(f"{rig.url}/api/v1/payments/confirm", json=body, headers=headers) as response:
        assert response.status == 400
        assert (await response.json(content_type=None))["errors"][0]["field"] == field


async def test_a_refund_goes_back_once_and_its_repeat_is_answered_again(rig: PaymentRig) -> None:
    checkout = await rig.checkout()
    await rig.confirm(checkout)
    await rig.publish(refund(checkout), refund(checkout))
    first = await rig.told(checkout.payment_key, PaymentCancelledMessage)
    assert (first[0].status, first[0].amount) == ("SUCCESS", checkout.amount)
    await rig.publish(refund(checkout))
    again = await rig.told(checkout.payment_key, PaymentCancelledMessage, len(first) + 1)
    assert again[-1].status == "SUCCESS"
    _, payment = await rig.get(f"/api/v1/payments/{checkout.payment_key}", checkout.headers)
    assert (payment["status"], payment["statusCode"], payment["refundedAmount"]) == (
        "CANCELLED",
        "PAY0004",
        checkout.amount,
    )


async def test_two_parts_and_too_much(rig: PaymentRig) -> None:
    checkout = await rig.checkout()
    await rig.confirm(checkout)
    await rig.publish(refund(checkout, 5_000), refund(checkout, 4_000))
    told = await rig.told(checkout.payment_key, PaymentCancelledMessage, 2)
    assert {(each.amount, each.status) for each in told} == {(5_000, "SUCCESS"), (4_000, "SUCCESS")}
    await rig.publish(refund(checkout, 3_001))
    told = await rig.told(checkout.payment_key, PaymentCancelledMessage, 3)
    assert (told[-1].amount, told[-1].status) == (3_001, "FAILED")
    row = await rig.row(checkout.payment_key)
    assert row is not None
    assert (row["status"], row["refunded"]) == ("PARTLY_CANCELLED", 9_000)


async def test_a_refund_of_a_payment_nobody_knows_is_answered_failed(rig: PaymentRig) -> None:
    unknown = Checkout(str(uuid4()), f"unknown-{uuid4()}", 5_000, str(uuid4()))
    await rig.publish(refund(unknown))
    [told] = await rig.told(unknown.payment_key, PaymentCancelledMessage)
    assert told.status == "FAILED"
    assert "no payment" in told.message


async def test_a_refund_that_overtakes_the_confirms_answer_waits_for_it(rig: PaymentRig) -> None:
    checkout = await rig.checkout()
    await rig.faults(orders={checkout.order_id: {"confirm": {"outcome": "approve", "latencyMs": 1_500}}})
    confirming = asyncio.create_task(rig.confirm(checkout))
    await until(lambda: rig.row(checkout.payment_key))
    await rig.publish(refund(checkout))
    assert (await confirming)[0] == 200
    [told] = await rig.told(checkout.payment_key, PaymentCancelledMessage)
    assert told.status == "SUCCESS"
    await rig.faults()


@pytest.mark.parametrize(
    "outcome", ["answer-lost", "PROVIDER_ERROR", "done-but-COMMON_ERROR", "answer-truncated", "dropped"]
)
async def test_whatever_becomes_of_the_answer_to_a_refund_the_money_goes_back_once(
    rig: PaymentRig, outcome: str
) -> None:
    checkout = await rig.checkout()
    await rig.confirm(checkout)
    await rig.faults(orders={checkout.order_id: {"cancel": {"outcome": outcome, "times": 1}}})
    await rig.publish(refund(checkout, 5_000))
    [told] = await rig.told(checkout.payment_key, PaymentCancelledMessage)
    assert told.status == "SUCCESS"
    [entry] = await rig.at_gateway(checkout.order_id)
    assert entry["balanceAmount"] == 7_000
    await rig.faults()


async def test_a_refund_the_gateway_refuses_is_told_and_may_be_asked_for_again(rig: PaymentRig) -> None:
    checkout = await rig.checkout()
    await rig.confirm(checkout)
    await rig.faults(orders={checkout.order_id: {"cancel": {"outcome": "REFUND_REJECTED", "times": 1}}})
    await rig.publish(refund(checkout))
    [told] = await rig.told(checkout.payment_key, PaymentCancelledMessage)
    assert (told.status, "REFUND_REJECTED" in told.message) == ("FAILED", True)
    await rig.publish(refund(checkout))
    told = await rig.told(checkout.payment_key, PaymentCancelledMessage, 2)
    assert told[-1].status == "SUCCESS"
    await rig.faults()


async def test_a_refund_at_the_gateways_console_is_followed_by_webhook(rig: PaymentRig) -> None:
    checkout = await rig.checkout()
    await rig.confirm(checkout)
    await rig.console_refund(checkout.payment_key)

    async def followed() -> bool:
        row = await rig.row(checkout.payment_key)
        return row is not None and row["status"] == "CANCELLED"

    await until(followed)


async def post_webhook(rig: PaymentRig, checkout: Checkout, status: str, transmission_id: str) -> bool:
    data = {"paymentKey": checkout.payment_key, "orderId": checkout.order_id, "status": status, "totalAmount": 1}
    body = {"eventType": "PAYMENT_STATUS_CHANGED", "createdAt": "2026-11-24T12:00:00", "data": data}
    headers = {"tosspayments-webhook-transmission-id": transmission_id}
    async with rig.http.post(f"{rig.url}/api/v1/payments/webhook", json=body, headers=headers) as response:
        assert response.status == 200
        return bool((await response.json(content_type=None))["noted"])


async def test_a_forged_webhook_changes_nothing_and_a_repeat_makes_no_second_look_up(rig: PaymentRig) -> None:
    checkout = await rig.checkout()
    await rig.confirm(checkout)
    before = await rig.row(checkout.payment_key)
    assert await post_webhook(rig, checkout, "CANCELED", "forged-1")
    assert await post_webhook(rig, checkout, "CANCELED", "forged-1")
    looks = "SELECT count(*) FROM intent WHERE kind = 'LOOK' AND payment_key = $1"
    assert await rig.db.fetchval(looks, checkout.payment_key) == 1
    await until(rig.nothing_open)
    assert await rig.row(checkout.payment_key) == before
    stranger = await rig.checkout()
    assert not await post_webhook(rig, stranger, "DONE", "forged-2"), "an order that Order never told of is not ours"


async def test_money_taken_without_any_record_here_is_found_by_webhook(rig: PaymentRig) -> None:
    """As after a database that was set back: the gateway has a capture for an order of ours, and we know nothing of it."""
    checkout = await rig.checkout()
    await rig.payable(checkout)
    await rig.confirm(checkout)
    [_] = await rig.told(checkout.payment_key, PaymentSuccessMessage)
    await rig.db.execute("DELETE FROM intent WHERE payment_key = $1", checkout.payment_key)
    await rig.db.execute("DELETE FROM payment WHERE payment_key = $1", checkout.payment_key)
    assert await post_webhook(rig, checkout, "DONE", f"lost-{checkout.payment_key}")
    told = await rig.told(checkout.payment_key, PaymentSuccessMessage, 2)
    assert [each.status for each in told] == ["SUCCESS", "SUCCESS"]
    row = await rig.row(checkout.payment_key)
    assert row is not None
    assert (row["status"], str(row["customer_id"])) == ("APPROVED", checkout.customer_id)


async def test_a_capture_of_another_amount_never_pays_the_order_and_goes_back(rig: PaymentRig) -> None:
    """Somebody else confirmed the payment of this order for less than the order's total."""
    checkout = await rig.checkout(amount=5_000)
    await rig.confirm_elsewhere(checkout)
    wanted = Checkout(checkout.order_id, checkout.payment_key, 12_000, checkout.customer_id)
    await rig.payable(wanted)
    status, payment = await rig.confirm(wanted)
    assert (status, payment["status"]) == (200, "FAILED")
    [told] = await rig.told(checkout.payment_key, PaymentSuccessMessage)
    assert told.status == "FAILED"
    await until(
        lambda: rig.db.fetchval("SELECT refunded = 5000 FROM payment WHERE payment_key = $1", checkout.payment_key)
    )
    [entry] = await rig.at_gateway(checkout.order_id)
    assert (entry["status"], entry["balanceAmount"]) == ("CANCELED", 0)


async def test_somebody_elses_payment_key_is_refused_and_left_alone(rig: PaymentRig) -> None:
    victim = await rig.checkout()
    await rig.confirm_elsewhere(victim)
    thief = await rig.checkout()
    stolen = Checkout(thief.order_id, victim.payment_key, victim.amount, thief.customer_id)
    status, payment = await rig.confirm(stolen)
    assert (status, payment["status"], payment["capturedAmount"]) == (200, "FAILED", 0)
    [entry] = await rig.at_gateway(victim.order_id)
    assert entry["status"] == "DONE"
    await rig.console_refund(victim.payment_key)


async def test_hundreds_at_once_under_every_fault_come_out_right_to_the_won(rig: PaymentRig) -> None:
    shares = {
        "answer-lost": 8,
        "dropped": 8,
        "PROVIDER_ERROR": 8,
        "bad-gateway": 4,
        "REJECT_CARD_COMPANY": 10,
        "done-but-UNKNOWN_PAYMENT_ERROR": 5,
    }
    cancels = {"answer-lost": 10, "dropped": 10, "PROVIDER_ERROR": 10, "done-but-COMMON_ERROR": 5}
    checkouts = await asyncio.gather(*(rig.checkout(amount=1_000 + n) for n in range(400)))
    await rig.faults(
        seed=7, latencyMs=5, jitterMs=30, percent={"confirm": shares, "cancel": cancels, "get": {"dropped": 5}}
    )
    await asyncio.gather(*map(rig.confirm, checkouts))
    await rig.publish(*(refund(each) for each in checkouts[::2]), *(refund(each, 600) for each in checkouts[1::4]))
    try:
        for each in checkouts[::2]:
            assert len(await rig.told(each.payment_key, PaymentCancelledMessage)) == 1
        for each in checkouts:
            assert len(await rig.told(each.payment_key, PaymentSuccessMessage)) == 1
    finally:
        await rig.faults()


async def test_where_orders_word_is_required_a_client_may_be_faster_than_kafka_but_not_ahead_of_it(
    stack: DevStack,
) -> None:
    async with payment_rig(stack) as rig:
        await rig.start(ORDERSAGA_FOREIGN_PARTNERS="[]")
        checkout = await rig.checkout()
        assert (await rig.confirm(checkout))[0] == 404
        confirming = asyncio.create_task(rig.confirm(checkout))
        await rig.payable(checkout)
        status, payment = await confirming
        assert (status, payment["status"]) == (200, "APPROVED")


async def test_in_the_end_the_gateways_books_and_the_payment_table_agree_to_the_won(rig: PaymentRig) -> None:
    await rig.faults()
    assert await rig.books_agree() > 0
    for row in await rig.db.fetch("SELECT payment_key FROM payment"):
        await rig.told(row["payment_key"], PaymentSuccessMessage)
    told = Counter(each.payment_key for each in rig.seen if isinstance(each, PaymentSuccessMessage))
    twice = [key for key, times in told.items() if times > 1]
    assert len(twice) <= 1, "only the one whose record was taken away is told a second time"
