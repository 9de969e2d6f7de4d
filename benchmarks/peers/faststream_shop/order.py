"""Order: each message is one transaction, which locks the order, changes it and writes what goes out."""

from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy import ForeignKey, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, contains_eager, mapped_column, relationship

from benchmarks.peers.faststream_shop.messages import (
    DeliveryRequestMessage,
    DeliveryStartMessage,
    OrderCompletedMessage,
    PaymentSuccessMessage,
    StockResponseMessage,
)
from benchmarks.peers.faststream_shop.shop import Entity, consumes, publish, sessions


class OrderItem(Entity):
    __tablename__ = "order_item"
    order_id: Mapped[UUID] = mapped_column(ForeignKey("orders.order_id"), primary_key=True)
    product_id: Mapped[UUID] = mapped_column(primary_key=True)
    quantity: Mapped[int]
    stock_status: Mapped[str]


class Order(Entity):
    __tablename__ = "orders"
    order_id: Mapped[UUID] = mapped_column(primary_key=True)
    customer_id: Mapped[UUID]
    order_name: Mapped[str]
    total_amount: Mapped[int]
    address: Mapped[str]
    address_detail: Mapped[str | None]
    zipcode: Mapped[str]
    phone: Mapped[str]
    name: Mapped[str]
    delivery_memo: Mapped[str | None]
    status: Mapped[str]
    payment_key: Mapped[str | None]
    delivery_status: Mapped[str]
    delivery_id: Mapped[UUID | None]
    updated_at: Mapped[datetime]
    items: Mapped[list[OrderItem]] = relationship()

    @property
    def is_ready(self) -> bool:
        """Whether everything is reserved and paid, and delivery not asked for yet."""
        reserved = all(item.stock_status == "RESERVED" for item in self.items)
        return (
            reserved and bool(self.payment_key) and self.status == "PENDING" and self.delivery_status == "NOT_REQUESTED"
        )


@consumes("stock-response-topic")
async def handle_stock_response(message: StockResponseMessage) -> None:
    async with sessions.begin() as session:
        order = await _locked(session, message.order_id)
        for item in order.items:
            if item.stock_status == "REQUESTED" and message.product_id in (None, item.product_id):
                item.stock_status = "RESERVED" if message.status == "SUCCESS" else "REJECTED"
        if message.status != "SUCCESS":
            _fail(order)
        _go_on(session, order)


@consumes("payment-success-topic")
async def handle_payment(message: PaymentSuccessMessage) -> None:
    async with sessions.begin() as session:
        order = await _locked(session, message.order_id)
        if order.payment_key is not None or order.status != "PENDING":
            return
        if message.status == "SUCCESS":
            order.payment_key = message.payment_key
            order.updated_at = datetime.now(UTC)
        if message.status != "SUCCESS" or message.amount != order.total_amount:
            _fail(order)
        _go_on(session, order)


@consumes("delivery-start-topic")
async def handle_delivery_start(message: DeliveryStartMessage) -> None:
    async with sessions.begin() as session:
        order = await _locked(session, message.order_id)
        if order.delivery_status != "REQUESTED" or order.status != "PENDING":
            return
        order.delivery_id, order.delivery_status = message.delivery_id, message.status
        if message.status != "STARTED":
            _fail(order)
            return
        order.status, order.updated_at = "COMPLETED", datetime.now(UTC)
        completed = OrderCompletedMessage(
            order_id=order.order_id,
            customer_id=order.customer_id,
            status="ORD0002",
            total_amount=order.total_amount,
            order_name=order.order_name,
        )
        publish(session, "order-completed-topic", order.order_id, completed)


async def _locked(session: AsyncSession, order_id: UUID) -> Order:
    found = await session.execute(
        select(Order)
        .join(Order.items)
        .options(contains_eager(Order.items))
        .where(Order.order_id == order_id)
        .with_for_update(key_share=True)
    )
    return found.unique().scalar_one()


def _fail(order: Order) -> None:
    if order.status == "PENDING":
        order.status, order.updated_at = "FAILED", datetime.now(UTC)


def _go_on(session: AsyncSession, order: Order) -> None:
    if order.is_ready:
        order.delivery_status, order.updated_at = "REQUESTED", datetime.now(UTC)
        request = DeliveryRequestMessage(
            order_id=order.order_id,
            customer_id=order.customer_id,
            address=order.address,
            address_detail=order.address_detail,
            zipcode=order.zipcode,
            phone=order.phone,
            name=order.name,
            delivery_memo=order.delivery_memo,
        )
        publish(session, "delivery-request-topic", order.order_id, request)
