"""Stock's own route in the operators' HTTP face: what Stock has decided for an order."""

from datetime import datetime
from uuid import UUID

from litestar import get
from litestar.params import FromPath
from litestar.types import ControllerRouterHandler
from msgspec import Struct

from ordersaga.contracts.answers import understood
from ordersaga.http.problems import not_found
from ordersaga.operations.face import AnyRequest, Face
from ordersaga.said import Saying, sayings_of
from ordersaga.stock import store
from ordersaga.stock.model import State


class ItemResource(Struct, rename="camel", omit_defaults=True, frozen=True):
    """What Stock has decided for one product of an order. `message`: why it was short; `said`: the same as codes with values."""

    product_id: UUID
    quantity: int
    state: State
    message: str | None = None
    said: list[Saying] = []


class ReservationResource(Struct, rename="camel", kw_only=True):
    """What Stock has decided for an order: `at` when it did first, `state` and `items` as they are now."""

    order_id: UUID
    state: State
    at: datetime
    items: tuple[ItemResource, ...]


def routes(face: Face) -> list[ControllerRouterHandler]:
    """The routes."""

    @get("/reservations/{order_id:uuid}", operation_id="showReservation", summary="What Stock has decided for an order")
    async def show(request: AnyRequest, order_id: FromPath[UUID]) -> ReservationResource:
        await face.reader(request)
        async with face.runtime.reading() as db:
            found = await store.decided(db, order_id)
        if found is None:
            raise not_found("reservation")
        reservation, at = found
        items = [
            ItemResource(
                each.product_id,
                each.quantity,
                each.state,
                each.message,
                list(sayings_of(understood(each.message or ""))),
            )
            for each in reservation.items
        ]
        return ReservationResource(order_id=order_id, state=reservation.state, at=at, items=tuple(items))

    return [show]
