"""Histories written straight to the topics, as a Java team's services would: doubled, without keys, in any order. They end as the table says."""

import random
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import httpx
import pytest
from confluent_kafka import Producer

from ordersaga.contracts import codec
from ordersaga.contracts.messages import Message, PaymentSuccessMessage, StockResponseMessage
from ordersaga.contracts.topics import BY_MESSAGE
from tests.integration.operator_rig import until
from tests.integration.order_rig import ORDERS, PRICE, place
from tests.integration.service import OPERATOR, Bench
from tests.integration.test_obstacles import shop

__all__ = ["shop"]  # a fixture
A, B = UUID(int=101), UUID(int=102)
TOTAL = 2 * PRICE
ORDERS_OF_EACH = 8
SEED = 5


class History(NamedTuple):
    """What comes, each twice: (product or none for the whole order, fine?) of stock, (key, amount, fine?) of payment; and the end."""

    stock: tuple[tuple[UUID | None, bool], ...]
    payments: tuple[tuple[str, int, bool], ...]
    end: tuple[str, str | None]
    products: tuple[set[str], ...]
    money: list[str]
    delivery: str = "NOT_REQUESTED"


# What waits for the answer to another rollback is still RESERVED.
GIVEN_BACK = {"RELEASE_REQUESTED", "RESERVED"}
HISTORIES = {
    "each product fine, and paid": History(
        ((A, True), (B, True)), (("k1", TOTAL, True),), ("PENDING", None), ({"RESERVED"},) * 2, ["PAID"], "REQUESTED"
    ),
    "the whole order fine, and paid": History(
        ((None, True),), (("k1", TOTAL, True),), ("PENDING", None), ({"RESERVED"},) * 2, ["PAID"], "REQUESTED"
    ),
    "one product fine, the other not, and paid": History(
        ((A, True), (B, False)),
        (("k1", TOTAL, True),),
        ("FAILED", "OUT_OF_STOCK"),
        ({"RELEASE_REQUESTED"}, {"REJECTED"}),
        ["REFUND_REQUESTED"],
    ),
    "the whole order short, and paid": History(
        ((None, False),), (("k1", TOTAL, True),), ("FAILED", "OUT_OF_STOCK"), ({"REJECTED"},) * 2, ["REFUND_REQUESTED"]
    ),
    "each product fine, and declined": History(
        ((A, True), (B, True)),
        (("k1", TOTAL, False),),
        ("FAILED", "PAYMENT_DECLINED"),
        (GIVEN_BACK,) * 2,
        ["DECLINED"],
    ),
    "each product fine, and another amount paid": History(
        ((A, True), (B, True)),
        (("k1", TOTAL - 1, True),),
        ("FAILED", "AMOUNT_MISMATCH"),
        (GIVEN_BACK,) * 2,
        ["REFUND_REQUESTED"],
    ),
    "each product fine, and paid twice": History(
        ((A, True), (B, True)),
        (("k1", TOTAL, True), ("k2", TOTAL, True)),
        ("PENDING", None),
        ({"RESERVED"},) * 2,
        ["PAID", "REFUND_REQUESTED"],
        "REQUESTED",
    ),
}


def messages(history: History, order_id: UUID) -> list[Message]:
    found: list[Message] = []
    for product, fine in history.stock:
        status = "SUCCESS" if fine else "FAILED"
        found.append(StockResponseMessage(order_id=order_id, product_id=product, status=status))  # type: ignore[arg-type]
    for key, amount, fine in history.payments:
        status = "SUCCESS" if fine else "FAILED"
        paid = PaymentSuccessMessage(order_id=order_id, payment_key=f"{key}-{order_id}", amount=amount, status=status)  # type: ignore[arg-type]
        found.append(paid)
    return found * 2


def write(shop: Bench, history: list[Message]) -> None:
    """All of it at once, on whatever partitions."""
    producer = Producer({"bootstrap.servers": shop.settings.kafka_bootstrap_servers})
    for each in history:
        producer.produce(BY_MESSAGE[type(each)].name, codec.encode(each))
    assert producer.flush(30) == 0


@pytest.mark.parametrize("name", HISTORIES)
async def test_a_history_ends_as_the_table_says_in_whatever_order_it_comes(
    name: str, client: httpx.AsyncClient, shop: Bench
) -> None:
    history = HISTORIES[name]
    for product in (A, B):
        await shop.pool.execute(
            "INSERT INTO price (product_id, name, price, changed_at) VALUES ($1, 'x', $2, now()) ON CONFLICT DO NOTHING",
            product,
            PRICE,
        )
    items = [{"productId": str(product), "quantity": 1} for product in (A, B)]
    ids = [
        UUID((await place(client, items=items, totalAmount=TOTAL, name=str(uuid4())))["orderId"])
        for _ in range(ORDERS_OF_EACH)
    ]
    coming = [message for order_id in ids for message in messages(history, order_id)]
    random.Random(SEED).shuffle(coming)
    write(shop, coming)

    for order_id in ids:

        async def ended(order_id: UUID = order_id) -> dict[str, Any] | None:
            found: dict[str, Any] = (await client.get(f"{ORDERS}/{order_id}", headers=OPERATOR)).json()
            return found if _fits(found, history) else None

        found = await until(ended)
        assert found["heldRecords"] == []
    asked_first = "SELECT went_out FROM order_event WHERE order_id = ANY ($1) AND came_in <> 'TimePassed'"
    events = await shop.pool.fetch(asked_first, ids)
    assert sum("PaymentCancelRequestedMessage" in row["went_out"] for row in events) == (
        history.money.count("REFUND_REQUESTED") * ORDERS_OF_EACH
    )
    assert sum("DeliveryRequestMessage" in row["went_out"] for row in events) == (
        (history.delivery == "REQUESTED") * ORDERS_OF_EACH
    )


def _fits(found: dict[str, Any], history: History) -> bool:
    products = {UUID(item["productId"]): item["stock"] for item in found["items"]}
    return (
        (found["status"], found["reason"], found["delivery"]) == (*history.end, history.delivery)
        and all(products[product] in states for product, states in zip((A, B), history.products, strict=True))
        and sorted(each["state"] for each in found["payments"]) == history.money
    )
