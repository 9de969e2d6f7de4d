"""What the gateway has not settled, as operators see it, and the try of it at once."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest

from ordersaga.contracts.messages import PaymentSuccessMessage
from ordersaga.devstack import DevStack
from tests.commands import type_command
from tests.integration.operations_face import FACE, OPERATING, READER, WHO
from tests.integration.payment_rig import PaymentRig, payment_rig, until


@pytest.fixture
async def rig(stack: DevStack) -> AsyncIterator[PaymentRig]:
    async with payment_rig(stack) as one:
        yield one


async def post(
    rig: PaymentRig, path: str, body: dict[str, Any], headers: dict[str, str] = OPERATING
) -> tuple[int, Any]:
    async with rig.http.post(f"{rig.url}{FACE}/{path}", json=body, headers=headers) as response:
        return response.status, await response.json()


async def put_off(rig: PaymentRig) -> tuple[Any, dict[str, Any]]:
    """A confirm that the gateway does not settle, put off for an hour."""
    checkout = await rig.checkout()
    await rig.faults(
        orders={checkout.order_id: {"confirm": {"outcome": "bad-gateway"}, "get": {"outcome": "bad-gateway"}}}
    )
    await rig.confirm(checkout, prefer="wait=0")
    tried = "SELECT tries > 0 FROM intent WHERE payment_key = $1"
    await until(lambda: rig.db.fetchval(tried, checkout.payment_key))
    later = "UPDATE intent SET due_at = now() + interval '1 hour' WHERE payment_key = $1"
    await rig.db.execute(later, checkout.payment_key)
    _, page = await rig.get(f"{FACE}/intents?orderId={checkout.order_id}", READER)
    [intent] = page["items"]
    return checkout, intent


async def test_a_call_that_is_put_off_for_an_hour_is_made_now(rig: PaymentRig) -> None:
    await rig.start()
    checkout, intent = await put_off(rig)
    assert (intent["kind"], intent["paymentKey"], intent["amount"]) == (
        "CONFIRM",
        checkout.payment_key,
        checkout.amount,
    )
    await rig.faults()
    body = {"reason": "the gateway is well again", "version": intent["version"]}
    assert (await post(rig, f"intents/{intent['id']}/retry", body, READER))[0] == 403
    assert (await post(rig, f"intents/{uuid4()}/retry", body))[0] == 404
    stale = {**body, "version": "0-20000101T000000.000000"}
    status, problem = await post(rig, f"intents/{intent['id']}/retry", stale)
    assert (status, problem["title"]) == (409, "Somebody else has acted")
    status, shown = await post(rig, f"intents/{intent['id']}/retry", body)
    assert (status, shown["dueAt"] < intent["dueAt"]) == (200, True)
    [told] = await rig.told(checkout.payment_key, PaymentSuccessMessage)
    assert told.status == "SUCCESS"
    _, trail = await rig.get(f"{FACE}/acts?orderId={checkout.order_id}", READER)
    [act] = trail["items"]
    assert (act["what"], act["who"], act["why"]) == ("retry confirm", WHO, "the gateway is well again")
    await rig.books_agree()


async def test_orders_retry_makes_it_over_http_and_at_the_database(rig: PaymentRig) -> None:
    await rig.start()
    for reach in (["--via-http", rig.url, "--header", f"User-Id: {WHO}", "--header", "User-Roles: OPERATOR"], []):
        checkout, _ = await put_off(rig)
        await rig.faults()
        command = ["orders", *reach, "retry", checkout.order_id, "--service", "payment", "--why", "it is well again"]
        answer = await asyncio.to_thread(type_command, command, {} if reach else rig.env)
        assert answer.code == 0 and f"confirm of {checkout.payment_key}" in answer.out, answer
        [told] = await rig.told(checkout.payment_key, PaymentSuccessMessage)
        assert told.status == "SUCCESS"
