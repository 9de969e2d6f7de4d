"""The adapter reads every answer for what it is: real HTTP on 127.0.0.1, no mocks."""

import json
import time
from collections.abc import AsyncIterator
from email.utils import formatdate

import aiohttp
import pytest

from ordersaga.payment.gateway import (
    AlreadyProcessed,
    Approved,
    Cancelled,
    Declined,
    Found,
    GatewayFailure,
    GatewayPayment,
    NotFound,
    OurFault,
    Retry,
    Standing,
    Unknown,
)
from ordersaga.payment.toss import TossGateway, TossSettings
from ordersaga.sandbox.app import SandboxSettings, serving
from tests.unit.gateway_servers import KEY, Shop, http_answer, payment_json, raw_server, settings

# Copied from Toss's error reference, not from the sandbox: a code that the sandbox lacks or gives another status shows here.
CODES = """
confirm 400: ALREADY_PROCESSED_PAYMENT PROVIDER_ERROR EXCEED_MAX_CARD_INSTALLMENT_PLAN INVALID_REQUEST NOT_ALLOWED_POINT_USE INVALID_API_KEY INVALID_REJECT_CARD BELOW_MINIMUM_AMOUNT INVALID_CARD_EXPIRATION INVALID_STOPPED_CARD EXCEED_MAX_DAILY_PAYMENT_COUNT NOT_SUPPORTED_INSTALLMENT_PLAN_CARD_OR_MERCHANT INVALID_CARD_INSTALLMENT_PLAN NOT_SUPPORTED_MONTHLY_INSTALLMENT_PLAN EXCEED_MAX_PAYMENT_AMOUNT NOT_FOUND_TERMINAL_ID INVALID_AUTHORIZE_AUTH INVALID_CARD_LOST_OR_STOLEN RESTRICTED_TRANSFER_ACCOUNT INVALID_CARD_NUMBER INVALID_UNREGISTERED_SUBMALL NOT_REGISTERED_BUSINESS EXCEED_MAX_ONE_DAY_WITHDRAW_AMOUNT EXCEED_MAX_ONE_TIME_WITHDRAW_AMOUNT CARD_PROCESSING_ERROR EXCEED_MAX_AMOUNT INVALID_ACCOUNT_INFO_RE_REGISTER NOT_AVAILABLE_PAYMENT UNAPPROVED_ORDER_ID EXCEED_MAX_MONTHLY_PAYMENT_AMOUNT INVALID_IDEMPOTENCY_KEY
confirm 401: UNAUTHORIZED_KEY
confirm 403: REJECT_ACCOUNT_PAYMENT REJECT_CARD_PAYMENT REJECT_CARD_COMPANY FORBIDDEN_REQUEST REJECT_TOSSPAY_INVALID_ACCOUNT EXCEED_MAX_AUTH_COUNT EXCEED_MAX_ONE_DAY_AMOUNT NOT_AVAILABLE_BANK INVALID_PASSWORD INCORRECT_BASIC_AUTH_FORMAT FDS_ERROR
confirm 404: NOT_FOUND_PAYMENT NOT_FOUND_PAYMENT_SESSION
confirm 409: IDEMPOTENT_REQUEST_PROCESSING
confirm 500: FAILED_PAYMENT_INTERNAL_SYSTEM_PROCESSING FAILED_INTERNAL_SYSTEM_PROCESSING UNKNOWN_PAYMENT_ERROR
cancel 400: ALREADY_CANCELED_PAYMENT INVALID_REFUND_ACCOUNT_INFO EXCEED_CANCEL_AMOUNT_DISCOUNT_AMOUNT INVALID_REQUEST INVALID_REFUND_ACCOUNT_NUMBER INVALID_BANK NOT_MATCHES_REFUNDABLE_AMOUNT PROVIDER_ERROR REFUND_REJECTED ALREADY_REFUND_PAYMENT FORBIDDEN_BANK_REFUND_REQUEST
cancel 401: UNAUTHORIZED_KEY
cancel 403: NOT_CANCELABLE_AMOUNT FORBIDDEN_CONSECUTIVE_REQUEST FORBIDDEN_REQUEST NOT_CANCELABLE_PAYMENT EXCEED_MAX_REFUND_DUE NOT_ALLOWED_PARTIAL_REFUND_WAITING_DEPOSIT NOT_ALLOWED_PARTIAL_REFUND NOT_AVAILABLE_BANK INCORRECT_BASIC_AUTH_FORMAT NOT_CANCELABLE_PAYMENT_FOR_DORMANT_USER EXCEED_CANCEL_LIMIT
cancel 404: NOT_FOUND_PAYMENT
cancel 409: IDEMPOTENT_REQUEST_PROCESSING
cancel 500: FAILED_INTERNAL_SYSTEM_PROCESSING FAILED_REFUND_PROCESS FAILED_METHOD_HANDLING_CANCEL FAILED_PARTIAL_REFUND COMMON_ERROR FAILED_PAYMENT_INTERNAL_SYSTEM_PROCESSING
"""

ACTIONS = {
    **dict.fromkeys(["ALREADY_PROCESSED_PAYMENT", "ALREADY_CANCELED_PAYMENT"], AlreadyProcessed),
    **dict.fromkeys(["PROVIDER_ERROR", "FORBIDDEN_CONSECUTIVE_REQUEST"], Unknown),
    **dict.fromkeys(
        ["UNAUTHORIZED_KEY", "INVALID_API_KEY", "INCORRECT_BASIC_AUTH_FORMAT", "INVALID_IDEMPOTENCY_KEY"], OurFault
    ),
}


def table(call: str) -> list[tuple[int, str]]:
    rows = [line.partition(": ") for line in CODES.split("\n") if line.startswith(call + " ")]
    return [(int(head.split()[1]), code) for head, _, codes in rows for code in codes.split()]


def action(status: int, code: str) -> type:
    return ACTIONS.get(code) or {500: Unknown, 409: Retry}.get(status, Declined)


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    async with (
        serving(SandboxSettings(secret_key=KEY)) as url,
        aiohttp.ClientSession(url) as http,
        TossGateway(settings(url)) as gateway,
    ):
        yield Shop(url, http, gateway)


# The error table, through the sandbox


@pytest.mark.parametrize("call", ["confirm", "cancel"])
async def test_every_code_of_the_table_has_its_action(shop: Shop, call: str) -> None:
    rows = table(call)
    assert len(rows) == {"confirm": 49, "cancel": 31}[call]
    await shop.faults(orders={f"order-{code}": {call: {"outcome": code}} for _, code in rows})
    for status, code in rows:
        order_id = f"order-{code}"
        async with TossGateway(settings(shop.url)) as gateway:
            key = await shop.checkout(order_id)
            answer = await gateway.confirm(key, order_id, 5_000, f"k-{code}")
            if call == "cancel":
                assert isinstance(answer, Approved)
                answer = await gateway.cancel(key, "test", None, f"c-{code}")  # type: ignore[assignment]
            assert type(answer) is action(status, code), (status, code, answer)
            assert not isinstance(answer, Approved | Cancelled) and answer.code == code
            assert gateway.health.ready is not isinstance(answer, OurFault)


async def test_429_is_retried_with_the_same_key_after_the_wait_it_names(shop: Shop) -> None:
    await shop.faults(orders={"order-1": {"confirm": {"outcome": "TOO_MANY_REQUESTS", "times": 1}}})
    answer = await shop.gateway.confirm(await shop.checkout(), "order-1", 5_000, "k")
    assert answer == Retry("TOO_MANY_REQUESTS", 1.0)


@pytest.mark.parametrize(
    "header,least_s,most_s", [("7", 7, 7), ("999999", 60, 60), ("soon", 1, 1), ("", 1, 1), ("date", 8, 10)]
)
async def test_retry_after_is_read_in_seconds_and_as_a_date_and_bounded(
    header: str, least_s: float, most_s: float
) -> None:
    value = formatdate(time.time() + 10, usegmt=True) if header == "date" else header
    body: dict[str, object] = {"code": "X", "message": ""}
    async with (
        raw_server(http_answer(429, body, f"Retry-After: {value}")) as url,
        TossGateway(settings(url)) as gateway,
    ):
        answer = await gateway.confirm("pk-1", "order-1", 5_000, "k")
        assert isinstance(answer, Retry) and least_s <= answer.retry_after_s <= most_s


# What a capture is


async def test_a_confirmed_payment_is_approved_and_a_second_key_takes_it_over(shop: Shop) -> None:
    key = await shop.checkout()
    answer = await shop.gateway.confirm(key, "order-1", 5_000, "k1")
    assert isinstance(answer, Approved)
    assert answer.payment.standing("order-1", 5_000) is Standing.CAPTURED
    assert await shop.gateway.confirm(key, "order-1", 5_000, "k2") == AlreadyProcessed("ALREADY_PROCESSED_PAYMENT")
    assert await shop.gateway.find(key) == Found(answer.payment)
    assert await shop.gateway.find_by_order("order-1") == Found(answer.payment)
    assert await shop.held() == 5_000


@pytest.mark.parametrize(
    "changes",
    [
        {"paymentKey": "pk-2"},
        {"orderId": "order-2"},
        {"totalAmount": 4_000},
        {"currency": "USD"},
        {"status": "IN_PROGRESS"},
        {"status": "WAITING_FOR_DEPOSIT"},
        {"status": "CANCELED"},
        {"status": "PARTIAL_CANCELED"},
        {"status": "SOMETHING_NEW"},
    ],
)
async def test_a_2xx_about_anything_but_the_payment_asked_for_is_unknown(changes: dict[str, object]) -> None:
    async with raw_server(http_answer(200, payment_json(**changes))) as url, TossGateway(settings(url)) as gateway:
        answer = await gateway.confirm("pk-1", "order-1", 5_000, "k")
        assert isinstance(answer, Unknown) and answer.code == "MISMATCHED_ANSWER"


async def test_a_2xx_with_an_aborted_payment_is_declined_with_its_own_reason() -> None:
    aborted = payment_json(status="ABORTED", failure={"code": "REJECT_CARD_COMPANY", "message": "no"})
    async with raw_server(http_answer(200, aborted)) as url, TossGateway(settings(url)) as gateway:
        assert await gateway.confirm("pk-1", "order-1", 5_000, "k") == Declined("REJECT_CARD_COMPANY", "no")


async def test_an_amount_written_with_a_decimal_point_is_the_same_won() -> None:
    async with (
        raw_server(http_answer(200, payment_json(totalAmount=5_000.0, balanceAmount=5_000.0))) as url,
        TossGateway(settings(url)) as gateway,
    ):
        assert isinstance(await gateway.confirm("pk-1", "order-1", 5_000, "k"), Approved)


@pytest.mark.parametrize(
    "status,order_id,amount,currency,standing",
    [
        ("DONE", "order-1", 5_000, "KRW", Standing.CAPTURED),
        ("DONE", "order-1", 4_999, "KRW", Standing.MISMATCHED),
        ("DONE", "order-1", 5_000, "USD", Standing.MISMATCHED),
        ("DONE", "order-2", 5_000, "KRW", Standing.FOREIGN),
        ("CANCELED", "order-2", 5_000, "KRW", Standing.FOREIGN),
        ("CANCELED", "order-1", 5_000, "KRW", Standing.REFUNDED),
        ("PARTIAL_CANCELED", "order-1", 5_000, "KRW", Standing.PARTLY_REFUNDED),
        ("READY", "order-1", 5_000, "KRW", Standing.OPEN),
        ("IN_PROGRESS", "order-1", 5_000, "KRW", Standing.OPEN),
        ("WAITING_FOR_DEPOSIT", "order-1", 5_000, "KRW", Standing.OPEN),
        ("ABORTED", "order-1", 5_000, "KRW", Standing.DEAD),
        ("EXPIRED", "order-1", 5_000, "KRW", Standing.DEAD),
        ("NEW", "order-1", 5_000, "KRW", Standing.UNRECOGNISED),
    ],
)
def test_each_status_has_one_standing(
    status: str, order_id: str, amount: int, currency: str, standing: Standing
) -> None:
    payment = GatewayPayment("pk-1", order_id, status, amount, amount, currency, failure=GatewayFailure("X"))
    assert payment.standing("order-1", 5_000) is standing


# Cancel


async def test_cancel_returns_a_part_then_the_rest(shop: Shop) -> None:
    key = await shop.checkout()
    await shop.gateway.confirm(key, "order-1", 5_000, "k")
    part = await shop.gateway.cancel(key, "one mug", 2_000, "c1", refundable_amount=5_000)
    assert isinstance(part, Cancelled) and part.payment.balance_amount == 3_000
    stale = await shop.gateway.cancel(key, "one mug", 2_000, "c2", refundable_amount=5_000)
    assert isinstance(stale, Declined) and stale.code == "NOT_MATCHES_REFUNDABLE_AMOUNT"
    rest = await shop.gateway.cancel(key, "the rest", None, "c3")
    assert isinstance(rest, Cancelled) and rest.payment.status == "CANCELED"
    assert await shop.gateway.cancel(key, "again", None, "c4") == AlreadyProcessed("ALREADY_CANCELED_PAYMENT")
    assert await shop.held() == 0


async def test_the_same_cancel_key_refunds_once(shop: Shop) -> None:
    key = await shop.checkout()
    await shop.gateway.confirm(key, "order-1", 5_000, "k")
    await shop.faults(orders={"order-1": {"cancel": {"outcome": "answer-lost", "times": 1}}})
    assert isinstance(await shop.gateway.cancel(key, "r", 2_000, "c"), Retry)
    assert isinstance(await shop.gateway.cancel(key, "r", 2_000, "c"), Cancelled)
    assert await shop.held() == 3_000


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "DONE"},
        {"status": "CANCELED", "balanceAmount": 1},
        {"status": "CANCELED", "balanceAmount": 0, "paymentKey": "pk-2"},
    ],
)
async def test_a_2xx_that_shows_no_full_refund_is_unknown(changes: dict[str, object]) -> None:
    async with raw_server(http_answer(200, payment_json(**changes))) as url, TossGateway(settings(url)) as gateway:
        assert isinstance(await gateway.cancel("pk-1", "r", None, "k"), Unknown)


async def test_a_2xx_that_shows_another_partial_refund_is_unknown() -> None:
    body = payment_json(status="PARTIAL_CANCELED", balanceAmount=4_000, cancels=[{"cancelAmount": 1_000}])
    async with raw_server(http_answer(200, body)) as url, TossGateway(settings(url)) as gateway:
        assert isinstance(await gateway.cancel("pk-1", "r", 2_000, "k"), Unknown)
        assert isinstance(await gateway.cancel("pk-1", "r", 1_000, "k"), Cancelled)


# Find


async def test_only_toss_itself_can_say_that_a_payment_does_not_exist(shop: Shop) -> None:
    assert await shop.gateway.find("no-such-key") == NotFound("NOT_FOUND_PAYMENT")
    assert await shop.gateway.find_by_order("no-such-order") == NotFound("NOT_FOUND_PAYMENT")
    for answer in (http_answer(404, b"<html>not here</html>"), http_answer(404, {"code": "NOT_FOUND", "message": ""})):
        async with raw_server(answer) as url, TossGateway(settings(url)) as gateway:
            assert isinstance(await gateway.find("pk-1"), Retry)


async def test_find_never_returns_another_payment() -> None:
    body = payment_json(paymentKey="pk-2", orderId="order-2")
    async with raw_server(http_answer(200, body)) as url, TossGateway(settings(url)) as gateway:
        assert isinstance(await gateway.find("pk-1"), Retry)
        assert isinstance(await gateway.find_by_order("order-1"), Retry)


@pytest.mark.parametrize("key", ["../orders/order-1", "orders/order-1", "a b?c#d", "키"])
async def test_a_payment_key_cannot_leave_its_place_in_the_path(shop: Shop, key: str) -> None:
    await shop.checkout()
    assert await shop.gateway.find(key) == NotFound("NOT_FOUND_PAYMENT")


@pytest.mark.parametrize(
    "outcome", ["PROVIDER", "dropped", "bad-gateway", "FAILED_INTERNAL_SYSTEM_PROCESSING", "FORBIDDEN_REQUEST"]
)
async def test_whatever_goes_wrong_with_a_get_is_asked_again(shop: Shop, outcome: str) -> None:
    key = await shop.checkout()
    if outcome == "PROVIDER":
        body: dict[str, object] = {"code": "PROVIDER_ERROR", "message": ""}
        async with raw_server(http_answer(400, body)) as url, TossGateway(settings(url)) as gateway:
            assert isinstance(await gateway.find("pk-1"), Retry)
        return
    await shop.faults(percent={"get": {outcome: 100}})
    assert isinstance(await shop.gateway.find(key), Retry)


async def test_a_get_with_a_wrong_key_is_our_fault(shop: Shop) -> None:
    async with TossGateway(TossSettings(shop.url, "test_sk_wrong")) as gateway:
        answer = await gateway.find("pk-1")
        assert isinstance(answer, OurFault) and answer.code == "UNAUTHORIZED_KEY"


# What stands between us and Toss


@pytest.mark.parametrize(
    "answer,expected",
    [
        (http_answer(200, b"<html>welcome</html>"), Unknown),
        (http_answer(200, b""), Unknown),
        (http_answer(200, b'{"paymentKey": "pk-1", "orderId'), Unknown),
        (http_answer(200, b"[]"), Unknown),
        (http_answer(200, b"\xff\xfe"), Unknown),
        (http_answer(200, b'{"x":' + b"[" * 5_000), Unknown),
        (http_answer(400, b'{"x":' + b"[" * 5_000), Unknown),
        (http_answer(200, {"code": "REJECT_CARD_COMPANY", "message": "in a 200"}), Unknown),
        (http_answer(204, b""), Unknown),
        (http_answer(301, b"", "Location: http://127.0.0.1:1/"), Unknown),
        (http_answer(400, b"<html>bad request</html>"), Unknown),
        (http_answer(403, b"<html>blocked by the firewall</html>"), Unknown),
        (http_answer(404, b"<html>no such page</html>"), Unknown),
        (http_answer(400, {"message": "no code"}), Unknown),
        (http_answer(400, {"code": "", "message": "empty code"}), Unknown),
        (http_answer(502, b"<html>bad gateway</html>"), Unknown),
        (http_answer(503, {"code": "REJECT_CARD_COMPANY", "message": "a decline in a 503"}), Unknown),
        (http_answer(500, {"code": "UNAUTHORIZED_KEY", "message": "in a 500"}), Unknown),
        (http_answer(400, {"code": "A_NEW_CODE", "message": "new"}), Declined),
        (http_answer(403, {"code": "A_NEW_CODE", "message": "new"}), Declined),
        (http_answer(401, {"code": "A_NEW_CODE", "message": "new"}), OurFault),
        (http_answer(401, b"<html>who are you?</html>"), OurFault),
        (http_answer(409, {"code": "A_NEW_CODE", "message": "new"}), Retry),
        (http_answer(429, b"<html>slow down</html>"), Retry),
        (http_answer(408, b""), Retry),
        (http_answer(200, payment_json())[:-5], Retry),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"pay", Retry),
        (b"HTTP/1.1 200 OK\r\nContent-Le", Retry),
        (b"this is not HTTP\r\n\r\n", Retry),
        (b"", Retry),
        (http_answer(200, b" " * 1_100_000), Retry),
    ],
)  # fmt: skip
async def test_an_answer_that_is_not_whole_or_not_toss_never_decides(answer: bytes, expected: type) -> None:
    async with raw_server(answer) as url, TossGateway(settings(url)) as gateway:
        assert type(await gateway.confirm("pk-1", "order-1", 5_000, "k")) is expected
        if expected is not OurFault:
            assert type(await gateway.cancel("pk-1", "r", None, "k")) is expected
            assert type(await gateway.find("pk-1")) is Retry


async def test_each_request_carries_what_toss_asks_for() -> None:
    seen: list[bytes] = []

    async def remember(request: bytes) -> bytes:
        seen.append(request)
        return http_answer(200, payment_json())

    async with raw_server(remember) as url, TossGateway(settings(url)) as gateway:
        await gateway.confirm("pk-1", "order-1", 5_000, "intent-1:1")
        await gateway.find("pk-1")
    confirm, find = seen
    assert confirm.startswith(b"POST /v1/payments/confirm HTTP/1.1\r\n")
    for header in (
        b"Authorization: Basic dGVzdF9za19zYW5kYm94Og==",
        b"Accept-Language: en-US",
        b"Idempotency-Key: intent-1:1",
    ):
        assert header in confirm
    assert json.loads(confirm.partition(b"\r\n\r\n")[2]) == {
        "paymentKey": "pk-1",
        "orderId": "order-1",
        "amount": 5_000,
    }
    assert find.startswith(b"GET /v1/payments/pk-1 HTTP/1.1\r\n") and b"Idempotency-Key" not in find
