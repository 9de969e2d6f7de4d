"""The sandbox speaks Toss's protocol: confirm, get, cancel, auth, idempotency."""

import asyncio
import re
import threading
from collections.abc import AsyncIterator
from dataclasses import replace

import aiohttp
import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from ordersaga.sandbox.app import create_app
from ordersaga.sandbox.books import ANSWER_KEPT_S, Books
from ordersaga.sandbox.errors import NOT_TAKEN_UP, STATUS_BY_CODE
from ordersaga.settings import Settings
from tests.unit.sandbox_client import DEFAULTS, KEY, Client, basic, client, listening


@pytest.fixture
async def toss() -> AsyncIterator[Client]:
    async with client() as toss:
        yield toss


async def test_serve_sandbox_takes_the_key_that_payment_is_set_to_use() -> None:
    app = create_app(Settings(gateway_secret_key=SecretStr("test_sk_mine")))
    async with listening(app) as url, aiohttp.ClientSession(url) as http:
        toss = Client(url, http)
        payment_key = await toss.checkout()
        assert (await toss.confirm(payment_key))[0] == 401
        assert (await toss.confirm(payment_key, Authorization=basic("test_sk_mine:")))[0] == 200


# Confirm, get, cancel


async def test_a_confirmed_payment_has_tosss_fields(toss: Client) -> None:
    payment_key = await toss.checkout(amount=11_000)
    status, payment = await toss.confirm(payment_key, amount=11_000)
    assert status == 200
    moment = payment.pop("approvedAt")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+09:00", moment)
    assert payment.pop("requestedAt") <= moment
    assert re.fullmatch(r"[0-9A-F]{32}", payment.pop("lastTransactionKey"))
    assert payment == {
        "mId": "ordersaga",
        "version": "2022-11-16",
        "paymentKey": payment_key,
        "type": "NORMAL",
        "orderId": "order-1",
        "orderName": "",
        "currency": "KRW",
        "country": "KR",
        "method": "카드",
        "totalAmount": 11_000,
        "balanceAmount": 11_000,
        "suppliedAmount": 10_000,
        "vat": 1_000,
        "taxFreeAmount": 0,
        "status": "DONE",
        "useEscrow": False,
        "isPartialCancelable": True,
        "failure": None,
        "cancels": None,
    }


@pytest.mark.parametrize(
    "change,status,code",
    [
        ({"paymentKey": "unknown"}, 404, "NOT_FOUND_PAYMENT"),
        ({"paymentKey": "x" * 201}, 400, "INVALID_REQUEST"),
        ({"orderId": "order-2"}, 403, "FORBIDDEN_REQUEST"),
        ({"orderId": "short"}, 400, "INVALID_REQUEST"),
        ({"orderId": "order 1!"}, 400, "INVALID_REQUEST"),
        ({"amount": 4_999}, 400, "INVALID_REQUEST"),
        ({"amount": "5000"}, 400, "INVALID_REQUEST"),
        ({"amount": None}, 400, "INVALID_REQUEST"),
    ],
)
async def test_a_confirm_that_does_not_fit_the_checkout_takes_nothing(
    toss: Client, change: dict[str, object], status: int, code: str
) -> None:
    body = {"paymentKey": await toss.checkout(), "orderId": "order-1", "amount": 5_000}
    answered, error = await toss.call("POST", "/v1/payments/confirm", {**body, **change})
    assert (answered, error["code"]) == (status, code)
    assert (await toss.call("POST", "/v1/payments/confirm", body))[0] == 200  # The session still stands.


async def test_a_body_that_is_no_json_is_an_invalid_request(toss: Client) -> None:
    for body in (b"{", b"", b"\xff", b"[1]", b" " * 70_000):
        async with toss.http.post(
            "/v1/payments/confirm", data=body, headers={"Authorization": basic(f"{KEY}:")}
        ) as response:
            assert response.status == 400 and (await response.json())["code"] == "INVALID_REQUEST"


async def test_less_than_1000_won_cannot_be_paid(toss: Client) -> None:
    status, error = await toss.confirm(await toss.checkout(amount=999), amount=999)
    assert (status, error["code"]) == (400, "BELOW_MINIMUM_AMOUNT")
    assert (await toss.confirm(await toss.checkout(amount=1_000), amount=1_000))[0] == 200


async def test_a_session_ends() -> None:
    async with client(replace(DEFAULTS, session_s=0.05)) as toss:
        payment_key = await toss.checkout()
        async with asyncio.timeout(5):
            while True:
                _, payment = await toss.call("GET", f"/v1/payments/{payment_key}")
                if payment["status"] == "EXPIRED":
                    break
                await asyncio.sleep(0.01)
        status, error = await toss.confirm(payment_key)
        assert (status, error["code"]) == (404, "NOT_FOUND_PAYMENT_SESSION")


async def test_a_decline_aborts_the_payment_and_is_remembered(toss: Client) -> None:
    payment_key = await toss.checkout(card="REJECT_CARD_COMPANY")
    for key in ("k1", "k1", "k2"):
        status, error = await toss.confirm(payment_key, key=key)
        assert (status, error["code"]) == (403, "REJECT_CARD_COMPANY")
    _, payment = await toss.call("GET", f"/v1/payments/{payment_key}")
    assert payment["status"] == "ABORTED" and payment["failure"]["code"] == "REJECT_CARD_COMPANY"


async def test_a_card_declines_even_if_the_first_try_never_arrived(toss: Client) -> None:
    await toss.faults(orders={"order-1": {"confirm": {"outcome": "PROVIDER_ERROR", "times": 1}}})
    payment_key = await toss.checkout(card="REJECT_CARD_COMPANY")
    assert [(await toss.confirm(payment_key))[1]["code"] for _ in range(2)] == ["PROVIDER_ERROR", "REJECT_CARD_COMPANY"]


async def test_a_captured_payment_can_no_longer_be_declined(toss: Client) -> None:
    payment_key = await toss.paid()
    await toss.faults(percent={"confirm": {"REJECT_CARD_COMPANY": 100}})
    status, error = await toss.confirm(payment_key)
    assert (status, error["code"]) == (400, "ALREADY_PROCESSED_PAYMENT")


async def test_cancels_add_up(toss: Client) -> None:
    payment_key = await toss.paid()
    _, part = await toss.cancel(payment_key, cancelAmount=2_000, refundableAmount=5_000)
    assert (part["status"], part["balanceAmount"], part["suppliedAmount"] + part["vat"]) == (
        "PARTIAL_CANCELED",
        3_000,
        3_000,
    )
    for body, status, code in (
        ({"refundableAmount": 5_000}, 400, "NOT_MATCHES_REFUNDABLE_AMOUNT"),
        ({"cancelAmount": 3_001}, 403, "NOT_CANCELABLE_AMOUNT"),
        ({"cancelAmount": 0}, 400, "INVALID_REQUEST"),
        ({"cancelReason": " "}, 400, "INVALID_REQUEST"),
        ({"cancelReason": "x" * 201}, 400, "INVALID_REQUEST"),
        ({"refundReceiveAccount": {"bank": "20"}}, 400, "INVALID_REQUEST"),
    ):
        answered, error = await toss.cancel(payment_key, **body)
        assert (answered, error["code"]) == (status, code)
    _, rest = await toss.cancel(payment_key)
    assert (rest["status"], rest["balanceAmount"]) == ("CANCELED", 0)
    assert [(c["cancelAmount"], c["refundableAmount"], c["cancelStatus"]) for c in rest["cancels"]] == [
        (2_000, 3_000, "DONE"),
        (3_000, 0, "DONE"),
    ]
    answered, error = await toss.cancel(payment_key)
    assert (answered, error["code"]) == (400, "ALREADY_CANCELED_PAYMENT")


async def test_only_captured_money_can_be_cancelled(toss: Client) -> None:
    assert (await toss.cancel(await toss.checkout()))[1]["code"] == "NOT_CANCELABLE_PAYMENT"
    assert (await toss.cancel("unknown"))[1]["code"] == "NOT_FOUND_PAYMENT"


async def test_two_cancels_at_once_are_refused(toss: Client) -> None:
    payment_key = await toss.paid()
    await toss.faults(latencyMs=100)
    answers = await asyncio.gather(*(toss.cancel(payment_key, cancelAmount=1_000) for _ in range(3)))
    assert sorted(status for status, _ in answers) == [200, 403, 403]
    assert {error["code"] for status, error in answers if status == 403} == {"FORBIDDEN_CONSECUTIVE_REQUEST"}


async def test_an_orders_captured_payment_is_not_hidden_by_a_later_checkout(toss: Client) -> None:
    paid = await toss.paid()
    await toss.checkout()
    assert (await toss.call("GET", "/v1/payments/orders/order-1"))[1]["paymentKey"] == paid


async def test_unknown_paths_and_methods_are_errors_in_tosss_shape(toss: Client) -> None:
    for method, path in (("GET", "/v1/payments"), ("DELETE", "/v1/payments/x"), ("POST", "/v1/payments/x/refund")):
        status, error = await toss.call(method, path)
        assert (status, error["code"]) == (404, "NOT_FOUND")


# Auth and languages


@pytest.mark.parametrize(
    "authorization,status,code",
    [
        ("", 401, "UNAUTHORIZED_KEY"),
        ("Bearer x", 401, "UNAUTHORIZED_KEY"),
        (basic("test_sk_other:"), 401, "UNAUTHORIZED_KEY"),
        (basic("test_ck_client:"), 400, "INVALID_API_KEY"),
        (basic(KEY), 403, "INCORRECT_BASIC_AUTH_FORMAT"),
        (basic(f"{KEY}:password"), 403, "INCORRECT_BASIC_AUTH_FORMAT"),
        ("Basic !!!", 403, "INCORRECT_BASIC_AUTH_FORMAT"),
    ],
)
async def test_auth_fails_as_at_toss(toss: Client, authorization: str, status: int, code: str) -> None:
    answered, error = await toss.call("GET", "/v1/payments/x", Authorization=authorization)
    assert (answered, error["code"]) == (status, code)


async def test_errors_are_korean_unless_english_is_asked_for(toss: Client) -> None:
    assert (await toss.call("GET", "/v1/payments/x", Accept_Language="ko"))[1]["message"] == "존재하지 않는 결제입니다."
    assert (await toss.call("GET", "/v1/payments/x"))[1]["message"] == "There is no such payment."


@pytest.mark.parametrize("call", ["confirm", "cancel", "get"])
async def test_a_test_code_is_answered_with_its_status_and_changes_nothing(toss: Client, call: str) -> None:
    payment_key = await toss.paid() if call == "cancel" else await toss.checkout()
    for code, status in STATUS_BY_CODE[call].items():  # type: ignore[index]
        method, path = {
            "confirm": ("POST", "/v1/payments/confirm"),
            "cancel": ("POST", f"/v1/payments/{payment_key}/cancel"),
            "get": ("GET", f"/v1/payments/{payment_key}"),
        }[call]
        answered, error = await toss.call(method, path, {}, TossPayments_Test_Code=code)
        assert (answered, error["code"]) == (status, code) and error["message"]
    _, payment = await toss.call("GET", f"/v1/payments/{payment_key}")
    assert payment["status"] == ("DONE" if call == "cancel" else "IN_PROGRESS")


async def test_a_live_key_gets_no_test_code() -> None:
    async with client(replace(DEFAULTS, secret_key="live_sk_x")) as toss:
        payment_key = await toss.checkout()
        code = "REJECT_CARD_COMPANY"
        answer = await toss.confirm(payment_key, Authorization=basic("live_sk_x:"), TossPayments_Test_Code=code)
        assert answer[0] == 200


# Idempotency


async def test_the_same_key_gets_the_first_answer_even_after_the_payment_changed(toss: Client) -> None:
    payment_key = await toss.checkout()
    first = await toss.confirm(payment_key, key="k")
    await toss.cancel(payment_key)
    assert await toss.confirm(payment_key, key="k") == first
    assert first[1]["status"] == "DONE"


async def test_errors_are_replayed_too(toss: Client) -> None:
    payment_key = await toss.checkout(card="PROVIDER_ERROR")
    for _ in range(2):
        status, error = await toss.confirm(payment_key, key="k1")
        assert (status, error["code"]) == (400, "PROVIDER_ERROR")
    assert (await toss.confirm(payment_key, key="k2"))[0] == 200


@pytest.mark.parametrize("code", sorted(NOT_TAKEN_UP))
async def test_an_error_about_a_request_that_was_not_taken_up_is_not_its_keys_answer(toss: Client, code: str) -> None:
    payment_key = await toss.checkout(card=code)
    assert (await toss.confirm(payment_key, key="k"))[1]["code"] == code
    assert (await toss.confirm(payment_key, key="k"))[0] == 200


async def test_the_scope_of_a_key_is_the_url_too(toss: Client) -> None:
    one, two = await toss.paid("order-1"), await toss.paid("order-2")
    for payment_key in (one, two):
        status, payment = await toss.cancel(payment_key, key="k")
        assert (status, payment["paymentKey"]) == (200, payment_key)


async def test_a_repeat_of_a_request_in_flight_is_told_so(toss: Client) -> None:
    await toss.faults(latencyMs=500)
    payment_key = await toss.checkout()
    first = asyncio.create_task(toss.confirm(payment_key, key="k"))
    await toss.is_asked("confirm")
    status, error = await toss.confirm(payment_key, key="k")
    assert (status, error["code"]) == (409, "IDEMPOTENT_REQUEST_PROCESSING")
    assert (await first)[0] == 200
    assert await toss.confirm(payment_key, key="k") == await first


async def test_a_key_of_more_than_300_characters_is_refused(toss: Client) -> None:
    payment_key = await toss.checkout()
    for key in ("x" * 301, ""):
        status, error = await toss.confirm(payment_key, key=key)
        assert (status, error["code"]) == (400, "INVALID_IDEMPOTENCY_KEY")
    assert (await toss.confirm(payment_key, key="x" * 300))[0] == 200


def test_answers_are_kept_for_15_days() -> None:
    now_s = 0.0
    books = Books(clock_s=lambda: now_s)
    books.record(None, "scope", 404, "NOT_FOUND_PAYMENT")
    now_s = ANSWER_KEPT_S - 1
    assert books.answered("scope") is not None
    now_s = ANSWER_KEPT_S
    assert books.answered("scope") is None


@pytest.fixture
def threads_of_others() -> set[threading.Thread]:
    return set(threading.enumerate())


async def test_an_error_of_our_own_is_in_the_log_and_leaves_the_process_its_logging(
    threads_of_others: set[threading.Thread], toss: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def page(self: Books, after: int, limit: int) -> None:
        raise RuntimeError("a page is missing")

    monkeypatch.setattr(Books, "page", page)
    with capture_logs() as logged:
        status, _ = await toss.call("GET", "/sandbox/books")
    [line] = [each for each in logged if each["log_level"] == "error"]
    assert (status, line["path"], str(line["exc_info"])) == (500, "/sandbox/books", "a page is missing")
    begun = set(threading.enumerate()) - threads_of_others
    assert not [thread.name for thread in begun if "_monitor" in thread.name]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/payments/confirm"),
        ("POST", "/v1/payments/some-key/cancel"),
        ("POST", "/sandbox/payments"),
        ("POST", "/sandbox/payments/some-key/cancel"),
        ("POST", "/sandbox/webhooks"),
        ("PUT", "/sandbox/faults"),
        ("POST", "/sandbox/load"),
        ("POST", "/sandbox/load/looks"),
    ],
)
@pytest.mark.parametrize("body", [b'{"x":' + b"[" * 5_000, b"{", b'"\xff"'], ids=["nested", "cut off", "no UTF-8"])
async def test_a_body_that_is_no_json_is_refused(toss: Client, method: str, path: str, body: bytes) -> None:
    headers = {"Authorization": basic(f"{KEY}:"), "Content-Type": "application/json"}
    async with toss.http.request(method, path, data=body, headers=headers) as answer:
        assert answer.status == 400, await answer.text()
