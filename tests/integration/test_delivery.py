"""Delivery on real PostgreSQL and real Kafka: one delivery per order, and nobody sees another's."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest
from uuid_utils.compat import uuid7

from ordersaga import delivery
from ordersaga.contracts.codec import encode
from ordersaga.contracts.messages import DeliveryRequestMessage, DeliveryStartMessage, Message
from ordersaga.delivery import handlers
from ordersaga.delivery.app import handler
from ordersaga.delivery.carrier import Accepted, Parcel, Refused, Verdict
from ordersaga.devstack import DevStack
from ordersaga.messaging.handler import Handler, Record
from ordersaga.messaging.ids import first_id_at
from ordersaga.messaging.rehearsal import Effect, Rehearsal
from ordersaga.messaging.sqlstate import is_transient
from ordersaga.operations.rehearsing import in_words
from tests.integration.service import OPERATOR, Bench, Wire, bench, cleared, customer

DELIVERIES = "/api/v1/deliveries"
REQUESTS = "delivery-request-topic"
OLD = UUID(int=first_id_at(datetime.now(UTC) - timedelta(days=31)).int + 1)


@pytest.fixture(scope="module")
async def shop(stack: DevStack) -> AsyncIterator[Bench]:
    async with bench(stack, "delivery", delivery, handler) as one:
        one.settings = one.settings.model_copy(update={"personal_data_kept_days": 30})
        await one.pool.execute(
            "INSERT INTO delivery (order_id, delivery_id, customer_id, status, tracking_number, name, at) "
            "VALUES ($1, $1, $1, 'STARTED', 'T', 'Kim', now() - interval '31 days')",
            OLD,
        )
        yield one


def ask(order: UUID, zipcode: str | None = "04524", customer_id: UUID | None = None) -> DeliveryRequestMessage:
    return DeliveryRequestMessage(
        order_id=order,
        customer_id=customer_id or uuid4(),
        address="세종대로 110",
        address_detail="1층",
        zipcode=zipcode,
        phone="010-1234-5678",
        name="김주문",
        delivery_memo=None,
    )


async def started(shop: Bench, *requests: DeliveryRequestMessage) -> list[DeliveryStartMessage]:
    answers: list[Any] = await shop.turn(*requests)
    return answers


# From Kafka, turn by turn ---------------------------------------------------------------------------------------------


async def test_a_request_becomes_a_delivery_with_everything_the_carrier_needs(shop: Bench) -> None:
    order = uuid7()
    (answer,) = await started(shop, ask(order))
    row = await shop.pool.fetchrow("SELECT * FROM delivery WHERE order_id = $1", order)
    assert row is not None
    assert (answer.order_id, answer.delivery_id, answer.status) == (order, row["delivery_id"], "STARTED")
    assert (row["address"], row["address_detail"], row["zipcode"]) == ("세종대로 110", "1층", "04524")
    assert (row["name"], row["phone"], row["delivery_memo"]) == ("김주문", "010-1234-5678", None)
    assert row["tracking_number"]


@pytest.mark.parametrize("zipcode", ["63000", "", None, "1" * 100_000])
async def test_what_cannot_be_delivered_is_failed_and_kept_with_the_reason(shop: Bench, zipcode: str | None) -> None:
    order = uuid7()
    (answer,) = await started(shop, ask(order, zipcode))
    assert answer.status == "FAILED"
    row = await shop.pool.fetchrow("SELECT status, refusal FROM delivery WHERE order_id = $1", order)
    assert row is not None
    assert row["status"] == "FAILED"
    assert row["refusal"]


class NorthernCarrier:
    """Another carrier: it takes parcels to zipcodes that begin with 0, in one call for all."""

    is_local = False

    def __init__(self) -> None:
        self.calls: list[int] = []

    async def hand_over(self, parcels: Sequence[Parcel]) -> Mapping[UUID, Verdict]:
        self.calls.append(len(parcels))
        return {
            each.order_id: Accepted("N1") if (each.address.zipcode or "").startswith("0") else Refused("too far south")
            for each in parcels
        }


async def test_the_carrier_that_the_handler_is_given_decides(shop: Bench) -> None:
    carrier, orders = NorthernCarrier(), [uuid7(), uuid7()]
    other = Bench(shop.service, shop.settings, shop.pool, handlers.handler(carrier))
    north, south = await started(other, ask(orders[0], "04524"), ask(orders[1], "63000"))
    assert (north.status, south.status, carrier.calls) == ("STARTED", "FAILED", [2])
    rows = await shop.pool.fetch("SELECT tracking_number, refusal FROM delivery WHERE order_id = ANY ($1)", orders)
    assert {(row["tracking_number"], row["refusal"]) for row in rows} == {("N1", None), (None, "too far south")}


async def test_a_dry_run_asks_the_built_in_carrier_and_no_other(shop: Bench) -> None:
    known, new = uuid7(), uuid7()
    await started(shop, ask(known))
    carrier = NorthernCarrier()
    records = [Record(REQUESTS, 0, n, None, encode(ask(order)), None, 0) for n, order in enumerate([known, new])]

    async def rehearsed(handler: Handler) -> list[Effect]:
        async with shop.pool.acquire() as db:
            return await Rehearsal(handler.handle, frozenset(), None).run(db, records, datetime.now(UTC), uuid7)

    repeat, unknown = await rehearsed(handlers.handler(carrier))
    assert (repeat.unknown, repeat.sends, carrier.calls) == (None, ("DeliveryStartMessage",), [])
    assert (unknown.unknown, unknown.sends) == ("the carrier decides, and a dry run does not ask it", ())
    assert in_words(unknown) == "not known before: the carrier decides, and a dry run does not ask it"
    repeat, first = await rehearsed(handler(shop.settings))
    assert (repeat.changes, first.changes, first.unknown) == ({}, {"delivery": 1}, None)
    assert not await shop.pool.fetchval("SELECT count(*) FROM delivery WHERE order_id = $1", new)


@pytest.mark.parametrize("zipcode", ["04524", "63000"])
async def test_a_repeat_gets_the_same_delivery_again(shop: Bench, zipcode: str) -> None:
    order = uuid7()
    in_one_batch = await started(shop, ask(order, zipcode), ask(order, zipcode))
    in_the_next = await started(shop, ask(order, zipcode))
    assert len({(answer.delivery_id, answer.status) for answer in [*in_one_batch, *in_the_next]}) == 1
    assert await shop.pool.fetchval("SELECT count(*) FROM delivery WHERE order_id = $1", order) == 1


async def test_an_order_that_two_processes_deliver_at_once_is_delivered_once(shop: Bench) -> None:
    order = uuid7()
    async with shop.pool.acquire() as one, shop.pool.acquire() as two:
        first = one.transaction()
        await first.start()
        await shop.handle(one, [ask(order)])

        async def other() -> list[Message]:
            async with two.transaction():
                return (await shop.handle(two, [ask(order)]))[0]

        waiting = asyncio.create_task(other())
        await shop.somebody_waits_for_a_lock()
        assert not waiting.done()
        await first.commit()
        with pytest.raises(asyncpg.SerializationError) as failure:
            await waiting
        assert is_transient(failure.value)
        (answer,) = await other()
    kept = await shop.pool.fetchval("SELECT delivery_id FROM delivery WHERE order_id = $1", order)
    assert isinstance(answer, DeliveryStartMessage)
    assert answer.delivery_id == kept


# Over HTTP ------------------------------------------------------------------------------------------------------------


async def test_a_customer_finds_their_delivery_by_its_id_and_by_their_order(
    shop: Bench, client: httpx.AsyncClient
) -> None:
    order, owner = uuid7(), uuid4()
    (answer,) = await started(shop, ask(order, customer_id=owner))
    by_order = await client.get(f"{DELIVERIES}/{order}", headers=customer(owner))
    by_id = await client.get(f"{DELIVERIES}/{answer.delivery_id}", headers=customer(owner))
    assert by_order.json() == by_id.json()
    body = by_order.json()
    assert body["orderId"] == str(order)
    assert body["status"] == "STARTED"
    assert body["trackingNumber"]
    assert body["address"]["addressDetail"] == "1층"


async def test_nobody_learns_of_another_customers_delivery(shop: Bench, client: httpx.AsyncClient) -> None:
    order = uuid7()
    await started(shop, ask(order))
    theirs = await client.get(f"{DELIVERIES}/{order}", headers=customer(uuid4()))
    nobodys = await client.get(f"{DELIVERIES}/{uuid4()}", headers=customer(uuid4()))
    assert theirs.status_code == nobodys.status_code == 404
    assert theirs.json() == nobodys.json()
    assert (await client.get(f"{DELIVERIES}/{order}")).status_code == 401
    assert (await client.get(f"{DELIVERIES}/{order}", headers=OPERATOR)).status_code == 200


async def test_an_operator_lists_deliveries_newest_order_first(shop: Bench, client: httpx.AsyncClient) -> None:
    orders = [uuid7() for _ in range(5)]
    await started(shop, *map(ask, orders))
    seen: list[str] = []
    cursor: str | None = None
    while True:
        query: dict[str, Any] = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = (await client.get(DELIVERIES, params=query, headers=OPERATOR)).json()
        seen += [each["orderId"] for each in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert seen == sorted(seen, reverse=True)
    assert {str(order) for order in orders} <= set(seen)
    of_one = await client.get(DELIVERIES, params={"orderId": str(orders[0])}, headers=OPERATOR)
    assert [each["orderId"] for each in of_one.json()["items"]] == [str(orders[0])]


async def test_a_customer_lists_nothing(client: httpx.AsyncClient) -> None:
    assert (await client.get(DELIVERIES, headers=customer(uuid4()))).status_code == 403
    assert (await client.get(DELIVERIES)).status_code == 401


# Through Kafka --------------------------------------------------------------------------------------------------------


async def test_a_delivery_is_answered_over_kafka_and_its_repeat_the_same(
    shop: Bench, client: httpx.AsyncClient, wire: Wire
) -> None:
    order = uuid7()
    await wire.send(ask(order), ask(order))
    first, second = await wire.receive("delivery-start-topic", order, 2)
    assert first == second
    assert list(first) == ["orderId", "deliveryId", "status"]
    assert first["status"] == "STARTED"
    seen = await client.get(f"{DELIVERIES}/{order}", headers=OPERATOR)
    assert seen.json()["deliveryId"] == first["deliveryId"]


async def test_a_refusal_is_answered_failed_over_kafka(client: httpx.AsyncClient, wire: Wire) -> None:
    order = uuid7()
    await wire.send_raw("delivery-request-topic", None, f'{{"orderId":"{order}","customerId":"{uuid4()}"}}'.encode())
    (answer,) = await wire.receive("delivery-start-topic", order, 1)
    assert answer["status"] == "FAILED"
    assert answer["deliveryId"]


async def test_an_old_delivery_loses_its_address_by_itself(client: httpx.AsyncClient, shop: Bench) -> None:
    await cleared(shop, "SELECT erased_at FROM delivery WHERE order_id = $1", OLD)
    answer = await client.get(f"{DELIVERIES}/{OLD}", headers=customer(OLD))
    assert answer.status_code == 200 and answer.json()["trackingNumber"] == "T"
