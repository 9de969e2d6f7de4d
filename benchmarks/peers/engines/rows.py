"""The shop's four transactions over the tables of `schema/`, all in one database. Each may be repeated: what is there already stays."""

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

Body = Mapping[str, Any]

ORDER = text(
    "INSERT INTO orders (order_id, customer_id, order_name, total_amount, address, address_detail, zipcode, phone, name, delivery_memo, "
    "status, delivery_status, created_at, updated_at) VALUES (:order_id, :customer_id, :order_name, :total_amount, :address, "
    ":address_detail, :zipcode, :phone, :name, :delivery_memo, 'PENDING', 'NOT_REQUESTED', now(), now()) ON CONFLICT DO NOTHING"
)
ITEM = text("INSERT INTO order_item VALUES (:order_id, :product_id, :quantity, 'REQUESTED') ON CONFLICT DO NOTHING")
RESERVE = text(
    "INSERT INTO reservation VALUES (:order_id, :product_id, :quantity, 'SUCCESS', now()) ON CONFLICT DO NOTHING RETURNING 1"
)
TAKE = text("UPDATE product SET available = available - :quantity WHERE product_id = :product_id")
RESERVED = text("UPDATE order_item SET stock_status = 'RESERVED' WHERE order_id = :order_id")
PAID = text(
    "UPDATE orders SET payment_key = :payment_key, delivery_status = 'REQUESTED', updated_at = now() "
    "WHERE order_id = :order_id AND total_amount = :amount AND delivery_status = 'NOT_REQUESTED'"
)
DELIVERY = text(
    "INSERT INTO delivery SELECT :delivery_id, order_id, customer_id, 'STARTED', :tracking_number, address, address_detail, zipcode, phone, "
    "name, delivery_memo, now() FROM orders WHERE order_id = :order_id AND delivery_status = 'REQUESTED' ON CONFLICT DO NOTHING"
)
COMPLETE = text(
    "UPDATE orders o SET status = 'COMPLETED', delivery_status = 'STARTED', delivery_id = d.delivery_id, updated_at = now() "
    "FROM delivery d WHERE o.order_id = :order_id AND d.order_id = o.order_id AND o.status = 'PENDING'"
)


async def place(db: AsyncSession, order_id: str, body: Body) -> None:
    """Order's row and its items."""
    await db.execute(
        ORDER,
        {
            "order_id": order_id,
            "customer_id": body["customerId"],
            "order_name": body["orderName"],
            "total_amount": body["totalAmount"],
            "address": body["address"],
            "address_detail": body["addressDetail"],
            "zipcode": body["zipcode"],
            "phone": body["phone"],
            "name": body["name"],
            "delivery_memo": body["deliveryMemo"],
        },
    )
    await db.execute(ITEM, _lines(order_id, body))


async def reserve(db: AsyncSession, order_id: str, body: Body) -> None:
    """Stock's pieces. Raises IntegrityError if there are not enough."""
    for line in _lines(order_id, body):
        if (await db.execute(RESERVE, line)).first():
            await db.execute(TAKE, {"product_id": line["product_id"], "quantity": line["quantity"]})


async def deliver(db: AsyncSession, order_id: str, paid: Body) -> None:
    """What stock and payment said of the order, and its delivery."""
    await db.execute(RESERVED, {"order_id": order_id})
    await db.execute(PAID, {"order_id": order_id, "payment_key": paid["paymentKey"], "amount": paid["amount"]})
    delivery_id = uuid4()
    tracking = f"TRK{str(delivery_id)[:13]}"
    await db.execute(DELIVERY, {"order_id": order_id, "delivery_id": delivery_id, "tracking_number": tracking})


async def complete(db: AsyncSession, order_id: str) -> None:
    """The order's end."""
    await db.execute(COMPLETE, {"order_id": order_id})


def _lines(order_id: str, body: Body) -> list[dict[str, Any]]:
    return [
        {"order_id": order_id, "product_id": line["productId"], "quantity": line["quantity"]} for line in body["items"]
    ]
