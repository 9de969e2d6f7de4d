"""Delivery: one per order; a repeat gets the same answer."""

from datetime import UTC, datetime
from uuid import UUID, uuid4

from sqlalchemy import select
from sqlalchemy.orm import Mapped, mapped_column

from benchmarks.peers.faststream_shop.messages import DeliveryRequestMessage, DeliveryStartMessage
from benchmarks.peers.faststream_shop.shop import Entity, consumes, publish, sessions


class Delivery(Entity):
    __tablename__ = "delivery"
    delivery_id: Mapped[UUID] = mapped_column(primary_key=True)
    order_id: Mapped[UUID]
    customer_id: Mapped[UUID]
    status: Mapped[str]
    tracking_number: Mapped[str]
    address: Mapped[str | None]
    address_detail: Mapped[str | None]
    zipcode: Mapped[str | None]
    phone: Mapped[str | None]
    name: Mapped[str | None]
    delivery_memo: Mapped[str | None]
    created_at: Mapped[datetime]


@consumes("delivery-request-topic")
async def handle_delivery_request(request: DeliveryRequestMessage) -> None:
    async with sessions.begin() as session:
        delivery = await session.scalar(select(Delivery).where(Delivery.order_id == request.order_id))
        if delivery is None:
            delivery_id = uuid4()
            delivery = Delivery(
                delivery_id=delivery_id,
                status="STARTED",
                tracking_number=f"TRK{str(delivery_id)[:13]}",
                created_at=datetime.now(UTC),
                **request.model_dump(),
            )
            session.add(delivery)
        answer = DeliveryStartMessage(
            order_id=delivery.order_id, delivery_id=delivery.delivery_id, status=delivery.status
        )
        publish(session, "delivery-start-topic", request.order_id, answer)
