"""Stock: each request is one transaction, all or nothing. A repeat gets the same answers."""

from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from benchmarks.peers.faststream_shop.messages import StockDecreaseRequestMessage, StockResponseMessage
from benchmarks.peers.faststream_shop.shop import Entity, consumes, publish, sessions


class Product(Entity):
    __tablename__ = "product"
    product_id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str]
    price: Mapped[int]
    available: Mapped[int]


class Reservation(Entity):
    __tablename__ = "reservation"
    order_id: Mapped[UUID] = mapped_column(primary_key=True)
    product_id: Mapped[UUID] = mapped_column(primary_key=True)
    quantity: Mapped[int]
    status: Mapped[str]
    created_at: Mapped[datetime]


@consumes("order-created")
async def handle_order_created(request: StockDecreaseRequestMessage) -> None:
    async with sessions.begin() as session:
        known = await session.scalars(select(Reservation).where(Reservation.order_id == request.order_id))
        decided = list(known) or await _decide(session, request)
        for each in decided:
            answer = StockResponseMessage(
                order_id=each.order_id, product_id=each.product_id, status=each.status, message=None
            )
            publish(session, "stock-response-topic", request.order_id, answer)


async def _decide(session: AsyncSession, request: StockDecreaseRequestMessage) -> list[Reservation]:
    ids = [line.product_id for line in request.products]
    locked = await session.scalars(
        select(Product).where(Product.product_id.in_(ids)).order_by(Product.product_id).with_for_update(key_share=True)
    )
    products = {product.product_id: product for product in locked}
    enough = all(
        line.product_id in products and products[line.product_id].available >= line.quantity
        for line in request.products
    )
    now = datetime.now(UTC)
    decided = []
    for line in request.products:
        if enough:
            products[line.product_id].available -= line.quantity
        decided.append(
            Reservation(
                order_id=request.order_id,
                product_id=line.product_id,
                quantity=line.quantity,
                status="SUCCESS" if enough else "FAILED",
                created_at=now,
            )
        )
    session.add_all(decided)
    return decided
