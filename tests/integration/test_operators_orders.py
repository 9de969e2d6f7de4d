"""An operator before one order: the requests that it waits for go out again, over HTTP and by command; and its trail over all its records."""

from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import httpx
import pytest

from ordersaga.devstack import DevStack
from ordersaga.order import app
from tests.integration.operations_face import FACE, OPERATING, READER, WHO
from tests.integration.operator_rig import OperatorRig, until
from tests.integration.order_rig import WHO as CUSTOMER
from tests.integration.order_rig import order_shop, paid, place, reserved
from tests.integration.service import Bench, Wire
from tests.integration.test_via_http import on_a_port

REQUESTS = "order-created"


@pytest.fixture(scope="module")
async def shop(stack: DevStack) -> AsyncIterator[Bench]:
    """Order asks nobody again by itself meanwhile."""
    async with order_shop(stack) as one:
        patient = {"stock_deadline_s": 600.0, "delivery_deadline_s": 600.0, "compensation_deadline_s": 600.0}
        one.settings = one.settings.model_copy(update=patient)
        yield one


async def version(client: httpx.AsyncClient, order_id: str) -> str:
    found: str = (await client.get(f"{FACE}/orders/{order_id}", headers=READER)).json()["version"]
    return found


async def test_a_request_goes_out_again_with_an_id_of_its_own_and_the_act_is_in_the_trail(
    client: httpx.AsyncClient, wire: Wire
) -> None:
    order_id = (await place(client))["orderId"]
    [first] = await wire.receive(REQUESTS, UUID(order_id), 1)
    seen = await version(client, order_id)
    body = {"reason": "Stock is back", "version": seen}
    answer = await client.post(f"{FACE}/orders/{order_id}/resend", json=body, headers=OPERATING)
    assert answer.status_code == 200, answer.text
    waits = {each["message"]: each for each in answer.json()["waitsFor"]}
    assert (waits["StockResponseMessage"]["attempts"], waits["StockResponseMessage"]["canResend"]) == (2, True)
    assert not waits["PaymentSuccessMessage"]["canResend"]
    assert await wire.receive(REQUESTS, UUID(order_id), 2) == [first, first]

    again = await client.post(f"{FACE}/orders/{order_id}/resend", json=body, headers=OPERATING)
    assert (again.status_code, again.json()["title"]) == (409, "Somebody else has acted")
    [act] = (await client.get(f"{FACE}/acts", params={"orderId": order_id}, headers=READER)).json()["items"]
    assert (act["what"], act["who"], act["why"]) == ("resend", WHO, "Stock is back")
    assert (act["before"], act["after"]) == ({}, {"stock": 2})
    timeline = (await client.get(f"/api/v1/orders/{order_id}/timeline", headers=READER)).json()["items"]
    assert (timeline[-1]["cameIn"], timeline[-1]["wentOut"]) == ("Resend", ["StockDecreaseRequestMessage"])
    shown = (await client.get(f"/api/v1/orders/{order_id}", headers=READER)).json()
    assert shown["version"] == await version(client, order_id) != seen
    assert "version" not in (await client.get(f"/api/v1/orders/{order_id}", headers=CUSTOMER)).json()


async def seen_of(client: httpx.AsyncClient, order_id: str) -> str:
    shown = (await client.get(f"/api/v1/orders/{order_id}", headers=READER)).json()
    found: str = shown["seen"]
    return found


async def test_a_command_on_an_order_that_has_changed_since_it_was_looked_at_is_refused_in_the_same_call(
    client: httpx.AsyncClient, wire: Wire
) -> None:
    order_id = (await place(client))["orderId"]
    url, cancel = f"/api/v1/orders/{order_id}", f"/api/v1/orders/{order_id}/cancel/delivery-before"
    seen = await seen_of(client, order_id)
    assert "seen" not in (await client.get(url, headers=CUSTOMER)).json()
    body = {"reason": "Stock is back", "version": await version(client, order_id)}
    (await client.post(f"{FACE}/orders/{order_id}/resend", json=body, headers=OPERATING)).raise_for_status()
    assert await seen_of(client, order_id) == seen, "a repeated request changes nothing for who cancels"
    await wire.send(paid(order_id))
    await until(lambda: _paid(client, order_id))
    late = await client.post(cancel, json={"why": "the customer called", "seen": seen}, headers=OPERATING)
    assert (late.status_code, late.json()["title"]) == (409, "Somebody else has acted")
    assert (await client.get(url, headers=READER)).json()["status"] == "PENDING"
    assert len((await client.get(f"{FACE}/acts", params={"orderId": order_id}, headers=READER)).json()["items"]) == 1

    right = {"why": "the customer called", "seen": await seen_of(client, order_id)}
    done = await client.post(cancel, json=right, headers=OPERATING)
    assert (done.status_code, done.json()["status"]) == (200, "CANCELLED")
    for route in ("cancel/return", "refund/accept", "return/receive", "return/refuse"):
        late = await client.post(f"{url}/{route}", json=right, headers=OPERATING)
        assert (route, late.status_code, late.json()["title"]) == (route, 409, "Somebody else has acted")
    assert (await client.post(cancel, json={"why": "x", "seen": ""}, headers=OPERATING)).status_code == 400


async def _paid(client: httpx.AsyncClient, order_id: str) -> bool:
    return bool((await client.get(f"/api/v1/orders/{order_id}", headers=READER)).json()["payments"])


async def test_who_may_and_what_cannot_be_sent_again(client: httpx.AsyncClient, wire: Wire) -> None:
    order_id = (await place(client))["orderId"]
    url = f"{FACE}/orders/{order_id}/resend"
    body = {"reason": "Stock is back", "version": await version(client, order_id)}
    refused = await client.post(url, json=body, headers=READER)
    assert refused.status_code == 403 and "OPERATOR" in refused.text
    assert (await client.post(url, json=body, headers=CUSTOMER)).status_code == 403
    assert (await client.post(url, json=body)).status_code == 401
    assert (await client.post(url, json={**body, "reason": " "}, headers=OPERATING)).status_code == 400
    unknown = f"{FACE}/orders/{uuid4()}"
    assert (await client.get(unknown, headers=READER)).status_code == 404
    assert (await client.post(f"{unknown}/resend", json=body, headers=OPERATING)).status_code == 404
    await wire.send(reserved(order_id))
    await until(lambda: _answered(client, order_id))
    nothing = {**body, "version": await version(client, order_id)}
    waits = await client.post(url, json=nothing, headers=OPERATING)
    assert (waits.status_code, "waits for no answer" in waits.json()["detail"]) == (409, True)


async def test_a_person_types_it_at_the_database_and_over_http(
    shop: Bench, client: httpx.AsyncClient, wire: Wire
) -> None:
    order_id = (await place(client))["orderId"]
    rig = OperatorRig("order", shop)
    said = (await rig("orders", "resend", order_id, "--why", "Stock is back", json=False, whole=True)).out
    assert "sent again" in said and "asked 2 times" in said
    async with on_a_port(rig, app.create_app) as remote:
        said = (await remote("orders", "resend", order_id, "--why", "and again", json=False)).out
        assert "asked 3 times" in said
        refused = await remote("orders", "resend", order_id, "--why", "x", json=False, headers=READER, code=1)
        assert "403" in refused.err
        assert "leave --via-http out" in (await remote("orders", "show", order_id, json=False, code=2)).err
        unknown = await remote("orders", "resend", uuid4(), "--why", "x", json=False, code=2)
        assert "order" in unknown.err
        assert "nothing of this order" in (await remote("orders", "retry", order_id, json=False)).err
    assert len(await wire.receive(REQUESTS, UUID(order_id), 3)) == 3
    acts = await rig.acts(order_id)
    assert [(each["what"], each["why"]) for each in acts] == [("resend", "Stock is back"), ("resend", "and again")]


async def test_the_trail_of_an_order_has_the_acts_on_its_letters_and_parked_records(
    shop: Bench, client: httpx.AsyncClient, wire: Wire
) -> None:
    """Also once the record is parked no more, and none of another order."""
    await shop.pool.execute("""
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no payments today'; END $$;
        CREATE TRIGGER refuse BEFORE INSERT ON order_event FOR EACH ROW WHEN (NEW.payment_hash IS NOT NULL) EXECUTE FUNCTION refuse();
    """)
    order_id, other = (await place(client))["orderId"], (await place(client))["orderId"]
    await wire.send(paid(order_id), paid(other))
    for each in (order_id, other):
        queue = await _queue(client, each)
        body = {"reason": f"now, {each}", "version": queue["version"]}
        record = f"{queue['topic']}/{queue['partition']}/{queue['offset']}"
        answer = await client.post(f"{FACE}/parked/{record}/discard", json=body, headers=OPERATING)
        assert answer.status_code == 200, answer.text
    await shop.pool.execute("DROP TRIGGER refuse ON order_event")
    found = (await client.get(f"{FACE}/acts", params={"orderId": order_id}, headers=READER)).json()["items"]
    assert [(each["what"], each["why"]) for each in found] == [("parked discard", f"now, {order_id}")]


async def _answered(client: httpx.AsyncClient, order_id: str) -> bool:
    return "StockResponseMessage" not in (await client.get(f"{FACE}/orders/{order_id}", headers=READER)).text


async def _queue(client: httpx.AsyncClient, order_id: str) -> dict[str, str]:
    async def first() -> dict[str, str] | None:
        found = (await client.get(f"{FACE}/parked", params={"orderId": order_id}, headers=READER)).json()["items"]
        return found[0] if found else None

    queue: dict[str, str] = await until(first)
    return queue
