"""What a replay would do, and replaying something else: dry runs and edits, on a running Order service."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from msgspec.structs import replace
from uuid_utils.compat import uuid7

from ordersaga import order
from ordersaga.contracts import codec
from ordersaga.contracts.address import Address
from ordersaga.contracts.messages import PaymentSuccessMessage, StockResponseMessage
from ordersaga.devstack import DevStack
from ordersaga.order import app, handlers, store
from ordersaga.order.model import Facts, Line, Order
from tests.integration.operator_rig import WHY, OperatorRig, accounted_for, operator_rig


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def orders(stack: DevStack) -> AsyncIterator[OperatorRig]:
    async with operator_rig(stack, "order", order, handlers.handler, app.create_app) as rig:
        yield rig


def place_order(order_id: UUID, product: UUID) -> Order:
    now = datetime.now(UTC)
    facts = Facts((Line(product, 1),), listed_total=5_000)
    return Order(order_id, uuid4(), "cups", 5_000, Address("a", None, "04524", "1", "n", None), now, now, facts)


async def put_order(orders: OperatorRig, *placed: Order) -> None:
    async with orders.pool.acquire() as db, db.transaction():
        await store.insert_orders(db, placed)
        await store.insert_sagas(db, [store.saga_row(each) for each in placed])


async def test_a_dry_run_says_what_the_service_would_make_of_it_and_changes_nothing(orders: OperatorRig) -> None:
    product, live, taken, dead, unknown = uuid7(), uuid7(), uuid7(), uuid7(), uuid7()
    answers = [
        StockResponseMessage(order_id=each, product_id=product, status="SUCCESS")
        for each in (live, taken, dead, unknown)
    ]
    await orders.send(*answers)
    letters = {each: (await orders.letters(each))[0] for each in (live, taken, dead, unknown)}
    assert {letter["cause"] for letter in letters.values()} == {"Rejected"}
    await put_order(orders, place_order(live, product), place_order(dead, product))
    reserved = place_order(taken, product)
    await put_order(orders, replace(reserved, facts=replace(reserved.facts, lines=(Line(product, 1, "RESERVED"),))))
    await orders.pool.execute(
        "UPDATE saga SET status = 'FAILED', reason = 'PAYMENT_DECLINED' WHERE order_id = $1", dead
    )
    before = await orders.pool.fetch("SELECT * FROM saga ORDER BY order_id")
    ids = [str(letter["id"]) for letter in letters.values()]
    told = {row["id"]: row for row in (await orders("dead-letters", "replay", "--dry-run", *ids)).rows}
    would = {name: told[str(letter["id"])] for name, letter in letters.items()}
    assert (would[live]["changes"]["saga"], would[live]["sends"]) == (1, [])
    assert would[taken]["would"] == "dropped: a duplicate: no effect"
    assert (would[taken]["changes"], would[taken]["sends"]) == ({}, [])
    assert would[dead]["sends"] == ["StockRollbackRequestedMessage"]
    assert would[unknown]["problem"] == "Rejected: no order has this id"
    assert await orders.pool.fetch("SELECT * FROM saga ORDER BY order_id") == before
    assert await orders.pool.fetchval("SELECT count(*) FROM order_event WHERE order_id = ANY ($1)", list(letters)) == 0
    assert {(await orders.letters(each))[0]["status"] for each in letters} == {"OPEN"}
    table = (await orders("dead-letters", "replay", "--dry-run", *ids, json=False)).out
    assert "dropped: a duplicate: no effect" in table
    assert "nothing was changed" in table


async def test_a_dry_run_of_two_letters_of_one_order_begins_the_second_where_the_first_ends(
    orders: OperatorRig,
) -> None:
    product, order_id = uuid7(), uuid7()
    answer = StockResponseMessage(order_id=order_id, product_id=product, status="SUCCESS")
    await orders.send(answer, answer)
    await orders.letters(order_id, 2)
    await put_order(orders, place_order(order_id, product))
    first, second = (await orders("dead-letters", "replay", "--dry-run", "--order", order_id)).rows
    assert first["changes"]["saga"] == 1
    assert second["would"] == "dropped: a duplicate: no effect"
    real = await orders("dead-letters", "replay", "--order", order_id, *WHY)
    assert [row["result"] for row in real.rows] == ["resolved", "resolved"]


async def test_an_edit_is_a_copy_that_names_the_letter_and_is_replayed_in_its_place(orders: OperatorRig) -> None:
    product, wrong, right = uuid7(), uuid7(), uuid7()
    await put_order(orders, place_order(right, product))
    await orders.send(PaymentSuccessMessage(order_id=wrong, payment_key="pk", amount=5_000, status="SUCCESS"))
    (letter,) = await orders.letters(wrong)
    shown = await orders("dead-letters", "edit", letter["id"], "--set", f"orderId={right}", "--dry-run", json=False)
    assert f'-  "orderId": "{wrong}"' in shown.out
    assert f'+  "orderId": "{right}"' in shown.out
    assert len(await orders.letters(wrong)) == 1
    why = ("--why", "the gateway mixed the orders up", "--who", "lee")
    copy = (await orders("dead-letters", "edit", letter["id"], "--set", f"orderId={right}", *why)).row
    assert (copy["follows"], copy["order_key"], copy["status"]) == (str(letter["id"]), str(right), "OPEN")
    (letter,) = await orders.letters(wrong)
    assert letter["status"] == "SUPERSEDED"
    assert codec.decode(letter["topic"], letter["value"]).order_id == wrong, "the letter stays as it was"  # type: ignore[attr-defined]
    (act,) = await orders.acts(letter["id"])
    assert (act["what"], act["who"], act["after"]["letter"]) == ("edit", "lee", copy["id"])
    assert str(wrong) in act["before"]["value"]
    assert str(right) in act["after"]["value"]
    assert "is SUPERSEDED already, by lee" in (await orders("dead-letters", "replay", letter["id"], *WHY, code=2)).err
    assert (await orders("dead-letters", "replay", copy["id"], *WHY)).row["result"] == "resolved"
    facts = await orders.pool.fetchval("SELECT facts FROM saga WHERE order_id = $1", right)
    assert json.loads(facts)["payments"][0]["state"] == "PAID"
    await accounted_for(orders)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("--set", "amount=plenty"), 'expected a whole number, got "plenty" - at `$.amount`'),
        (("--set", "status=PAID"), 'got "PAID" - at `$.status`'),
        (("--value", "{"), "truncated"),
        (("--value", "null"), "the value does not fit payment-success-topic"),
        (("--set", "amount"), "name=value"),
        ((), "give the new value"),
    ],
)
async def test_an_edit_must_be_a_message_of_its_topic(orders: OperatorRig, change: tuple[str, ...], said: str) -> None:
    order_id = uuid7()
    await orders.send(PaymentSuccessMessage(order_id=order_id, payment_key="pk", amount=5_000, status="SUCCESS"))
    (letter,) = await orders.letters(order_id)
    refused = await orders("dead-letters", "edit", letter["id"], *change, *WHY, code=2)
    assert said in refused.err.replace("\n", " ")
    assert len(await orders.letters(order_id)) == 1


async def test_an_undecodable_letter_is_mended_by_an_edit(orders: OperatorRig) -> None:
    product, order_id = uuid7(), uuid7()
    await put_order(orders, place_order(order_id, product))
    await orders.send_raw("stock-response-topic", order_id, b'{"orderId":"%s","status":"SUC' % str(order_id).encode())
    (letter,) = await orders.letters(order_id)
    value = json.dumps({"orderId": str(order_id), "status": "SUCCESS"})
    again = (await orders("dead-letters", "replay", letter["id"], *WHY, code=1)).row
    assert (again["result"], "Undecodable" in again["detail"]) == ("failed again", True)
    _, second = await orders.letters(order_id, 2)
    copy = (await orders("dead-letters", "edit", second["id"], "--value", value, *WHY)).row
    assert (await orders("dead-letters", "replay", copy["id"], *WHY)).row["result"] == "resolved"
    chain = (await orders("dead-letters", "show", letter["id"])).row["same_record"]
    assert chain == [str(letter["id"]), str(second["id"]), copy["id"]]
    await accounted_for(orders)
