"""Returns where the goods must have come first: nothing is given back before an operator says so, over HTTP or by a command."""

from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import httpx
import pytest

from ordersaga import order
from ordersaga.devstack import DevStack
from ordersaga.messaging import acts
from ordersaga.order.handlers import handler
from tests.integration.operator_rig import OperatorRig
from tests.integration.order_rig import ORDERS, PRICE
from tests.integration.service import OPERATOR, Bench, Wire, bench
from tests.integration.test_repeated_requests import WHO, completed, events


@pytest.fixture(scope="module")
async def shop(stack: DevStack) -> AsyncIterator[Bench]:
    async with bench(stack, "order", order, handler) as one:
        one.settings = one.settings.model_copy(update={"return_needs_receipt": True})
        yield one


async def test_a_return_is_paid_back_once_an_operator_has_the_goods(
    client: httpx.AsyncClient, wire: Wire, shop: Bench
) -> None:
    order_id = await completed(client, shop)
    url, keyed = f"{ORDERS}/{order_id}", WHO | {"Idempotency-Key": uuid4().hex}
    said = {"why": "the parcel came"}
    assert (await client.post(f"{url}/return/receive", json=said, headers=OPERATOR)).status_code == 409
    for headers in (keyed, keyed, WHO):
        asked = await client.post(f"{url}/cancel/return", headers=headers)
        assert (asked.status_code, asked.json()["status"], asked.json()["returning"]) == (200, "COMPLETED", "REQUESTED")
    assert (await events(shop, order_id)).count("RequestReturn") == 1
    assert (await client.post(f"{url}/return/receive", json=said, headers=WHO)).status_code == 404
    for _ in range(2):
        came = await client.post(f"{url}/return/receive", json=said, headers=OPERATOR)
        assert (came.status_code, came.json()["status"], came.json()["reason"]) == (200, "CANCELLED", "RETURNED")
    assert (await events(shop, order_id)).count("ReceiveReturn") == 1
    [refund] = await wire.receive("payment-cancel-requested-topic", UUID(order_id), 1)
    assert (refund["amount"], refund["reason"]) == (PRICE, "RETURNED")
    assert await wire.receive("stock-rollback-requested-topic", UUID(order_id), 1)
    async with shop.pool.acquire() as db:
        [act] = await acts.about(db, [order_id])
    assert (act.what, act.who, act.why) == ("receive return", OPERATOR["User-Id"], "the parcel came")


async def test_an_operator_refuses_and_receives_by_command(client: httpx.AsyncClient, shop: Bench) -> None:
    order_id, rig = await completed(client, shop), OperatorRig("order", shop)
    url = f"{ORDERS}/{order_id}/cancel/return"
    await client.post(url, headers=WHO)
    assert "return    REQUESTED" in (await rig("orders", "show", order_id, json=False, whole=True)).out
    refused = await rig("orders", "refuse-return", order_id, "--why", "worn", json=False, whole=True)
    assert "COMPLETED, return REFUSED" in refused.out
    assert (await client.post(url, headers=WHO)).json()["returning"] == "REQUESTED"
    received = await rig("orders", "receive-return", order_id, "--why", "came", json=False, whole=True)
    assert "CANCELLED, return REQUESTED" in received.out
    assert (await events(shop, order_id))[-4:] == ["RequestReturn", "RefuseReturn", "RequestReturn", "ReceiveReturn"]
