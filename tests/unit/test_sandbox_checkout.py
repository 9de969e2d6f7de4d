"""The sandbox's checkout page, and its books, which outlive a kill."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import aiohttp
import pytest

from ordersaga.sandbox.books import Books
from tests.unit.sandbox_client import DEFAULTS, KEY, Client, client, until


@pytest.fixture
async def toss() -> AsyncIterator[Client]:
    async with client() as toss:
        yield toss


# The checkout page

SHOP = {
    "orderId": "order-1",
    "amount": "35000",
    "orderName": '<b>mug</b> "x"',
    "successUrl": "http://127.0.0.1:9/ok?a=1",
    "failUrl": "http://127.0.0.1:9/fail",
}


async def page(toss: Client, accept_language: str = "", **query: str) -> tuple[int, str]:
    url = f"/checkout?{urlencode({**SHOP, **query})}"
    async with toss.http.get(url, headers={"Accept-Language": accept_language}) as response:
        return response.status, await response.text()


async def test_the_page_speaks_korean_and_english(toss: Client) -> None:
    for accept_language, query, language, price in (
        ("", {}, "ko", "35,000원"),
        ("en-GB,ko;q=0.5", {}, "en", "₩35,000"),
        ("en", {"lang": "ko"}, "ko", "35,000원"),
        ("ko", {"lang": "en"}, "en", "₩35,000"),
    ):
        status, text = await page(toss, accept_language, **query)
        assert status == 200 and f'<html lang="{language}">' in text and price in text
        assert 'value="answer-lost"' in text and 'value="REJECT_CARD_COMPANY"' in text and 'value="abort"' in text


async def test_the_page_is_self_contained_and_escapes_what_it_is_given(toss: Client) -> None:
    _, text = await page(toss)
    assert "<b>mug" not in text and "&lt;b&gt;mug" in text
    assert not re.search(r"<(script|link|img|iframe)\b|@import|url\(", text)


@pytest.mark.parametrize(
    "change",
    [
        {"successUrl": "javascript:alert(1)"},
        {"successUrl": "javascript://shop/%0aalert(1)"},
        {"failUrl": "/relative"},
        {"successUrl": "http://"},
        {"orderId": "x"},
        {"amount": "-5"},
        {"amount": "much"},
        {"amount": "3000000000"},
    ],
)
async def test_a_checkout_that_cannot_be_paid_is_refused(toss: Client, change: dict[str, str]) -> None:
    assert (await page(toss, **change))[0] == 400
    async with toss.http.post("/checkout", data={**SHOP, **change}, allow_redirects=False) as response:
        assert response.status == 400


async def test_a_card_leads_to_the_success_url_with_a_key_that_can_be_confirmed(toss: Client) -> None:
    async with toss.http.post("/checkout", data={**SHOP, "card": "approve"}, allow_redirects=False) as response:
        assert response.status == 303
        location = urlsplit(response.headers["Location"])
    query = {name: values[0] for name, values in parse_qs(location.query).items()}
    assert location.path == "/ok" and set(query) == {"a", "paymentType", "orderId", "paymentKey", "amount"}
    assert (query["paymentType"], query["orderId"], query["amount"]) == ("NORMAL", "order-1", "35000")
    assert (await toss.confirm(query["paymentKey"], amount=35_000))[0] == 200


async def test_leaving_the_page_leads_to_the_fail_url(toss: Client) -> None:
    async with toss.http.post(
        "/checkout", data={**SHOP, "card": "abort", "lang": "en"}, allow_redirects=False
    ) as response:
        query = parse_qs(urlsplit(response.headers["Location"]).query)
    assert query["code"] == ["PAY_PROCESS_CANCELED"] and query["orderId"] == ["order-1"] and query["message"]
    assert (await toss.books())["items"] == []


# The payment's page


async def payment_page(toss: Client, payment_key: str, lang: str = "en") -> str:
    async with toss.http.get(f"/sandbox/payments/{payment_key}?lang={lang}") as response:
        assert response.status == 200
        return await response.text()


async def press_cancel(toss: Client, payment_key: str, **form: str) -> tuple[int, str]:
    """Status and text of the page on which the form ends."""
    path = f"/sandbox/payments/{payment_key}/cancel"
    async with toss.http.post(path, data={"lang": "en", **form}) as response:
        return response.status, await response.text()


async def test_the_page_of_a_paid_order_cancels_an_amount_and_then_the_rest(toss: Client) -> None:
    payment_key = await toss.paid()
    _, checkout = await page(toss, "en")
    assert f'href="/sandbox/payments/{payment_key}?lang=en"' in checkout
    assert "Cancel the payment" in await payment_page(toss, payment_key)
    assert "결제 취소하기" in await payment_page(toss, payment_key, "ko")
    status, text = await press_cancel(toss, payment_key, amount="2000")
    assert status == 200 and "PARTIAL_CANCELED" in text and "₩3,000" in text
    for amount in ("3001", "0", "much"):
        status, text = await press_cancel(toss, payment_key, amount=amount)
        assert status == 400 and 'role="alert"' in text
    status, text = await press_cancel(toss, payment_key, amount="")
    assert status == 200 and "Cancel the payment" not in text
    totals = (await toss.books())["totals"]
    assert (totals["heldAmount"], totals["byStatus"]) == (0, {"CANCELED": 1})


async def test_a_payment_that_is_not_paid_has_no_cancel_and_one_that_is_unknown_no_page(toss: Client) -> None:
    payment_key = await toss.checkout()
    assert "Cancel the payment" not in await payment_page(toss, payment_key)
    assert (await press_cancel(toss, payment_key))[0] == 400
    assert (await press_cancel(toss, "unknown"))[0] == 404
    assert 'href="/sandbox/payments' not in (await page(toss))[1]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"orderId": "order-1"},
        {"orderId": "x", "amount": 1},
        {"orderId": "order-1", "amount": 5_000, "card": "gold"},
    ],
)
async def test_a_scripted_checkout_is_checked_like_the_page(toss: Client, body: object) -> None:
    status, error = await toss.call("POST", "/sandbox/payments", body)
    assert (status, error["code"]) == (400, "INVALID_REQUEST")


async def test_get_is_not_post(toss: Client) -> None:
    assert (await toss.call("GET", "/sandbox/payments"))[0] == 405


# The books


async def test_the_books_page_filter_and_add_up(toss: Client) -> None:
    keys = [await toss.paid(f"order-{n}") for n in range(5)]
    await toss.cancel(keys[0])
    await toss.cancel(keys[1], cancelAmount=1_000)
    await toss.checkout("order-9")
    first = await toss.books(limit="4")
    second = await toss.books(limit="4", cursor=first["next"])
    assert [entry["paymentKey"] for entry in first["items"] + second["items"]][:5] == keys
    assert second["next"] is None and second["totals"] is None
    assert first["totals"] == {
        "payments": 6,
        "capturedAmount": 25_000,
        "refundedAmount": 6_000,
        "heldAmount": 19_000,
        "byStatus": {"CANCELED": 1, "PARTIAL_CANCELED": 1, "DONE": 3, "IN_PROGRESS": 1},
    }
    assert [entry["balanceAmount"] for entry in (await toss.books(status="PARTIAL_CANCELED"))["items"]] == [4_000]
    assert [entry["paymentKey"] for entry in (await toss.books(orderId="order-3"))["items"]] == [keys[3]]


async def test_a_sandbox_started_again_knows_all_that_it_answered(tmp_path: Path) -> None:
    settings = replace(DEFAULTS, journal_path=tmp_path / "journal")
    async with client(settings) as toss:
        paid, declined, waiting = (
            await toss.checkout(),
            await toss.checkout(card="FDS_ERROR"),
            await toss.checkout("order-3"),
        )
        confirmed = await toss.confirm(paid, key="k")
        await toss.confirm(declined)
        cancelled = await toss.cancel(paid, key="c", cancelAmount=1_000)
        before = await toss.books()
    async with client(settings) as toss:
        assert await toss.books() == before
        assert await toss.confirm(paid, key="k") == confirmed
        assert await toss.cancel(paid, key="c", cancelAmount=1_000) == cancelled
        assert (await toss.books())["totals"]["heldAmount"] == 4_000
        assert (await toss.call("GET", "/v1/payments/orders/order-1"))[1]["paymentKey"] == paid
        assert (await toss.confirm(waiting, "order-3"))[0] == 200


async def test_a_line_torn_by_a_kill_is_cut_off(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    settings = replace(DEFAULTS, journal_path=journal)
    async with client(settings) as toss:
        paid = await toss.paid()
        await toss.cancel(paid)
    journal.write_bytes(journal.read_bytes()[:-20])
    for _ in range(2):  # Twice: what is written after the torn line must be readable too.
        async with client(settings) as toss:
            assert (await toss.call("GET", f"/v1/payments/{paid}"))[1]["status"] == "DONE"
            other = await toss.paid("order-2")
    assert other.encode() in journal.read_bytes()


async def test_two_sandboxes_cannot_keep_the_same_books(tmp_path: Path) -> None:
    settings = replace(DEFAULTS, journal_path=tmp_path / "journal")
    async with client(settings):
        with pytest.raises(BlockingIOError):
            Books(settings.journal_path)
    Books(settings.journal_path).close()


KILLED_SERVER = """
import asyncio, sys
from pathlib import Path
from ordersaga.sandbox.app import SandboxSettings, create_app, serving
async def main():
    async with serving(SandboxSettings(secret_key=sys.argv[2], journal_path=Path(sys.argv[1]))) as url:
        print(url, flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""


@pytest.mark.processes
async def test_a_killed_sandbox_remembers_each_payment_that_it_approved(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", KILLED_SERVER, str(journal), KEY, stdout=asyncio.subprocess.PIPE
    )
    approved: list[str] = []

    async def buy(toss: Client, buyer: int) -> None:
        for n in range(1_000):
            approved.append(await toss.paid(f"order-{buyer}-{n}"))

    try:
        assert process.stdout is not None
        url = (await process.stdout.readline()).decode().strip()
        async with aiohttp.ClientSession(url) as http:
            buyers = asyncio.gather(*(buy(Client(url, http), n) for n in range(8)), return_exceptions=True)
            await until(lambda: len(approved) > 50)
            os.kill(process.pid, signal.SIGKILL)
            await buyers
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
    async with client(replace(DEFAULTS, journal_path=journal)) as toss:
        done = {entry["paymentKey"] for entry in (await toss.books(status="DONE", limit="10000"))["items"]}
        assert set(approved) <= done and len(done) <= len(approved) + 8
