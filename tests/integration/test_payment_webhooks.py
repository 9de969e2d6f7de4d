"""Webhooks nobody signs, money given back at the gateway's dashboard, refunds with ids, and confirms that are repeated."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from msgspec.structs import replace

from ordersaga.contracts.messages import PaymentCancelledMessage, PaymentSuccessMessage
from ordersaga.devstack import DevStack
from ordersaga.payment.settlement import LOOK_UP_PAUSE_S_MAX
from ordersaga.payment.webhooks import LOOK_UP_AFTER_S, UNKNOWN_LOOK_UPS_A_MINUTE, UNKNOWN_LOOK_UPS_OF_AN_ORDER
from tests.integration.payment_rig import PaymentRig, payment_rig, until
from tests.integration.test_payment import refund

LOOKS = "SELECT count(*) FROM intent WHERE kind = 'LOOK'"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def rig(stack: DevStack) -> AsyncIterator[PaymentRig]:
    async with payment_rig(stack, webhooks=True) as rig:
        await rig.start()
        yield rig


async def hook(rig: PaymentRig, body: Any) -> bool:
    """Post a webhook, answered 200; whether it is to be looked into."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    async with rig.http.post(f"{rig.url}/api/v1/payments/webhook", data=raw, headers=headers) as response:
        assert response.status == 200, await response.text()
        return bool((await response.json(content_type=None))["noted"])


def changed(payment_key: str, order_id: str, status: str) -> dict[str, Any]:
    data = {"paymentKey": payment_key, "orderId": order_id, "status": status}
    return {"eventType": "PAYMENT_STATUS_CHANGED", "createdAt": "2026-11-24T12:00:00", "data": data}


@pytest.mark.parametrize(
    "body",
    [
        {"eventType": "METHOD_UPDATED", "createdAt": "x", "data": {"customerKey": "c"}},
        {"eventType": "CUSTOMER_STATUS_CHANGED", "data": {"status": "X"}},
        {"eventType": "CANCEL_STATUS_CHANGED", "data": {"cancelStatus": "DONE", "transactionKey": "t"}},
        {"eventType": "payout.changed", "entityBody": {}},
        {"eventType": "seller.changed"},
        {"eventType": "of next year", "data": [1]},
        {"eventType": 7, "data": None},
        {"eventType": {"of": "another shape"}, "data": {}},
        {"eventType": ["PAYMENT_STATUS_CHANGED"], "data": {}},
        {"createdAt": "x", "secret": "s", "status": "DONE", "transactionKey": "t", "orderId": "6937dc1c"},
        {"data": {"paymentKey": "../x", "orderId": 5, "status": ["DONE"]}},
        [],
        b"",
        b"{",
        b"\xff",
        b"[" * 10_000,
    ],
)
async def test_every_kind_of_event_and_what_is_none_is_answered_200_and_asks_for_no_look_up(
    rig: PaymentRig, body: Any
) -> None:
    before = await rig.db.fetchval(LOOKS)
    assert not await hook(rig, body)
    assert await rig.db.fetchval(LOOKS) == before


async def counted(rig: PaymentRig, kind: str) -> float:
    """How many webhooks of a kind Payment has noted."""
    async with rig.http.get(f"{rig.url}/metrics") as response:
        lines = (await response.text()).splitlines()
    of_kind = f'ordersaga_payment_webhooks_total{{kind="{kind}"}} '
    return sum(float(line.removeprefix(of_kind)) for line in lines if line.startswith(of_kind))


@pytest.mark.parametrize(
    "kind", ["DEPOSIT_CALLBACK", "CANCEL_STATUS_CHANGED", "METHOD_UPDATED", "CUSTOMER_STATUS_CHANGED"]
)
async def test_each_other_kind_of_event_that_the_gateway_sends_is_answered_200_noted_and_changes_nothing(
    rig: PaymentRig, kind: str
) -> None:
    checkout = await rig.checkout()
    assert (await rig.confirm(checkout))[0] == 200
    await rig.console_refund(checkout.payment_key, 5_000)
    [_] = await rig.told(checkout.payment_key, PaymentCancelledMessage)
    await until(rig.nothing_open, 40)
    noted, payment = await counted(rig, kind), await rig.row(checkout.payment_key)
    asked = {"eventType": kind, "paymentKey": checkout.payment_key}
    async with rig.http.post(f"{rig.sandbox}/sandbox/webhooks", json=asked) as response:
        said = await response.json()
    assert said["status"] == 200
    assert ("eventType" not in said["event"]) == (kind == "DEPOSIT_CALLBACK")
    assert await counted(rig, kind) == noted + 1
    await until(rig.nothing_open, 40)  # a look-up, which one with a payment's status may ask for
    assert await rig.row(checkout.payment_key) == payment


async def test_payments_that_nobody_knows_are_looked_up_a_few_times_for_an_order_and_a_few_a_minute(
    rig: PaymentRig,
) -> None:
    orders = [uuid4() for _ in range(UNKNOWN_LOOK_UPS_A_MINUTE + 10)]
    await rig.db.executemany(
        "INSERT INTO payable VALUES ($1, $1, 12000, now() + interval '1 hour', 'ORD0001')", [(each,) for each in orders]
    )
    one = [await hook(rig, changed(f"invented-{n}", str(orders[0]), "DONE")) for n in range(10)]
    assert sum(one) == UNKNOWN_LOOK_UPS_OF_AN_ORDER
    rest = [await hook(rig, changed(f"invented-of-{each}", str(each), "DONE")) for each in orders[1:]]
    assert sum(one) + sum(rest) == UNKNOWN_LOOK_UPS_A_MINUTE
    assert not await hook(rig, changed("of-nobody", str(uuid4()), "DONE"))
    await until(rig.nothing_open, 40)
    await rig.db.execute("UPDATE intent SET created_at = created_at - interval '2 minutes' WHERE kind = 'LOOK'")


OPEN_LOOK = "SELECT * FROM intent WHERE payment_key = $1 AND kind = 'LOOK' AND status = 'OPEN'"
DUE_NOW = "UPDATE intent SET due_at = now() WHERE payment_key = $1 AND kind = 'LOOK' AND status = 'OPEN'"


async def open_look(rig: PaymentRig, payment_key: str) -> Any:
    """The payment's one open look-up, with `in_s`: when it is due."""
    [row] = await rig.db.fetch(OPEN_LOOK, payment_key)
    return dict(row) | {"in_s": (row["due_at"] - datetime.now(UTC)).total_seconds()}


async def test_a_strangers_webhooks_however_many_put_no_look_up_off_and_the_dashboards_cancel_is_told(
    rig: PaymentRig,
) -> None:
    checkout = await rig.checkout()
    await rig.confirm(checkout)
    said = changed(checkout.payment_key, checkout.order_id, "CANCELED")
    looks_before = await calls(rig)
    for number in range(1, 9):
        assert await hook(rig, said)
        look = await open_look(rig, checkout.payment_key)
        assert look["attempt"] == number
        assert look["in_s"] <= LOOK_UP_PAUSE_S_MAX
        await rig.db.execute(DUE_NOW, checkout.payment_key)
        await until(rig.nothing_open)
    assert await calls(rig) - looks_before == 8
    assert await hook(rig, said)
    look = await open_look(rig, checkout.payment_key)
    assert LOOK_UP_PAUSE_S_MAX - 10 < look["in_s"] <= LOOK_UP_PAUSE_S_MAX, "a flood is looked into once a minute"
    for _ in range(50):
        assert await hook(rig, said)
    await rig.console_refund(checkout.payment_key)  # the sandbox sends a webhook
    for _ in range(50):
        assert await hook(rig, said)
    after = await open_look(rig, checkout.payment_key)
    assert (after["id"], after["due_at"]) == (look["id"], look["due_at"])
    await rig.db.execute(DUE_NOW, checkout.payment_key)
    [told] = await rig.told(checkout.payment_key, PaymentCancelledMessage)
    assert (told.amount, told.balance_amount) == (checkout.amount, 0)
    assert await calls(rig) - looks_before == 9


async def test_a_look_up_that_shows_a_change_lets_the_next_one_come_at_once(rig: PaymentRig) -> None:
    checkout = await rig.checkout()
    await rig.confirm(checkout)
    said = changed(checkout.payment_key, checkout.order_id, "PARTIAL_CANCELED")
    for _ in range(4):
        assert await hook(rig, said)
        await rig.db.execute(DUE_NOW, checkout.payment_key)
        await until(rig.nothing_open)
    await rig.console_refund(checkout.payment_key, 5_000)
    await until(lambda: rig.db.fetchrow(OPEN_LOOK, checkout.payment_key))
    await rig.db.execute(DUE_NOW, checkout.payment_key)
    await rig.told(checkout.payment_key, PaymentCancelledMessage)
    assert await hook(rig, said)
    look = await open_look(rig, checkout.payment_key)
    assert (look["attempt"], look["in_s"] <= LOOK_UP_AFTER_S) == (1, True)
    await until(rig.nothing_open)


async def test_a_webhook_that_comes_while_a_strangers_look_up_is_under_way_is_looked_into_too(rig: PaymentRig) -> None:
    """The gateway answers the look-up with what was true before the cancel."""
    checkout = await rig.checkout()
    await rig.confirm(checkout)
    await rig.faults(orders={checkout.order_id: {"get": {"latencyMs": 1_000.0}}})
    assert await hook(rig, changed(checkout.payment_key, checkout.order_id, "CANCELED"))
    await until(lambda: asked(rig))
    await rig.console_refund(checkout.payment_key)
    [told] = await rig.told(checkout.payment_key, PaymentCancelledMessage)
    assert (told.amount, told.balance_amount) == (checkout.amount, 0)
    await rig.faults()


async def calls(rig: PaymentRig) -> int:
    """How many look-ups have come to the sandbox since its faults were last set."""
    async with rig.http.get(f"{rig.sandbox}/sandbox/calls") as response:
        by_outcome: dict[str, int] = (await response.json()).get("get", {})
    return sum(by_outcome.values())


async def asked(rig: PaymentRig) -> bool:
    return await calls(rig) > 0


async def test_what_goes_back_at_the_dashboard_is_told_to_order_with_what_is_still_held(rig: PaymentRig) -> None:
    checkout = await rig.checkout()
    await rig.confirm(checkout)
    await rig.console_refund(checkout.payment_key, 5_000)
    [told] = await rig.told(checkout.payment_key, PaymentCancelledMessage)
    assert (told.status, told.amount, told.balance_amount, told.request_id) == ("SUCCESS", 5_000, 7_000, None)
    await rig.publish(refund(checkout, 7_000))
    told = await rig.told(checkout.payment_key, PaymentCancelledMessage, 2)
    assert (told[1].status, told[1].amount, told[1].balance_amount) == ("SUCCESS", 7_000, 0)
    await rig.books_agree()


async def test_a_part_that_goes_back_before_the_confirm_is_settled_leaves_the_order_paid_with_the_rest(
    rig: PaymentRig,
) -> None:
    """The gateway captures, its answer is lost, and a person gives a part back before Payment has asked again."""
    checkout = await rig.checkout("answer-lost")
    await rig.payable(checkout)
    await rig.faults(orders={checkout.order_id: {"get": {"outcome": "bad-gateway"}}})
    assert (await rig.confirm(checkout, "wait=0"))[0] == 202
    await until(lambda: rig.captured(checkout))
    await rig.console_refund(checkout.payment_key, 5_000)
    await rig.faults()
    [paid] = await rig.told(checkout.payment_key, PaymentSuccessMessage)
    assert (paid.status, paid.amount) == ("SUCCESS", checkout.amount)
    [gone] = await rig.told(checkout.payment_key, PaymentCancelledMessage)
    assert (gone.status, gone.amount, gone.balance_amount) == ("SUCCESS", 5_000, 7_000)
    await until(rig.nothing_open, 40)
    [entry] = await rig.at_gateway(checkout.order_id)
    assert entry["balanceAmount"] == 7_000, "the rest is not given back"
    await rig.books_agree()


async def test_two_equal_parts_are_both_given_back_and_each_only_once_though_it_is_asked_for_twice(
    rig: PaymentRig,
) -> None:
    checkout = await rig.checkout()
    await rig.confirm(checkout)
    parts = [replace(refund(checkout, 4_000), request_id=each) for each in ("a", "b", "a", "b")]
    await rig.publish(*parts)
    told = await rig.told(checkout.payment_key, PaymentCancelledMessage, 2)
    while {each.request_id for each in told} != {"a", "b"}:  # a repeat may be answered before the other part is
        told = await rig.told(checkout.payment_key, PaymentCancelledMessage, len(told) + 1)
    await rig.publish(parts[0])
    told = await rig.told(checkout.payment_key, PaymentCancelledMessage, len(told) + 1)
    assert {(each.status, each.amount, each.request_id) for each in told} == {
        ("SUCCESS", 4_000, "a"),
        ("SUCCESS", 4_000, "b"),
    }
    [entry] = await rig.at_gateway(checkout.order_id)
    assert entry["balanceAmount"] == 4_000
    await rig.books_agree()


async def test_a_confirm_repeated_too_late_answers_what_became_of_it_and_a_refused_one_leaves_its_key_free(
    rig: PaymentRig,
) -> None:
    checkout = await rig.checkout()
    await rig.payable(checkout, pay_before=datetime.now(UTC) - timedelta(seconds=1))
    key = {"Idempotency-Key": f"once-{checkout.order_id}"}
    assert (await rig.confirm(checkout, **key))[0] == 409
    query = "SELECT count(*) FROM idempotency_key WHERE key = $1"
    assert await rig.db.fetchval(query, key["Idempotency-Key"]) == 0
    await rig.payable(checkout)
    status, payment = await rig.confirm(checkout, **key)
    assert (status, payment["status"]) == (200, "APPROVED")
    await rig.payable(checkout, pay_before=datetime.now(UTC) - timedelta(seconds=1))
    for headers in (key, {}):
        status, payment = await rig.confirm(checkout, **headers)
        assert (status, payment["status"]) == (200, "APPROVED")
    assert len(await rig.told(checkout.payment_key, PaymentSuccessMessage)) == 1
    assert UUID(payment["orderId"]) == UUID(checkout.order_id)
