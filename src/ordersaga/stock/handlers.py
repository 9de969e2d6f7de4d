"""Stock's handler: load the reservations and products of a batch, allocate in offset order, save."""

from typing import cast
from uuid import UUID

from ordersaga.contracts.messages import StockDecreaseRequestMessage, StockRollbackRequestedMessage
from ordersaga.messaging.database import Connection
from ordersaga.messaging.handler import Batch, Handler, Outgoing, consumes
from ordersaga.messaging.short_transaction import Known, after_commit
from ordersaga.settings import Settings
from ordersaga.stock import store
from ordersaga.stock.allocation import Request, allocate


def handler(_: Settings) -> Handler:
    """Stock's handler, with the messages that it consumes."""
    known: Known[int] = Known()

    @consumes(StockDecreaseRequestMessage, StockRollbackRequestedMessage, short=True)
    async def handle(batch: Batch, db: Connection) -> list[Outgoing]:
        """Load -> decide -> save. Rejects a repeated request with other products or quantities than the order's first."""
        requests = cast(list[Request], [each.message for each in batch.incoming])
        first = {each.order_id for each in requests if isinstance(each, StockDecreaseRequestMessage)}
        again = {each.order_id for each in requests if isinstance(each, StockRollbackRequestedMessage)}
        reservations = await store.lock_reservations(db, first | again, first - again)
        available = await store.lock_available(
            db, (product_id for request in requests for product_id in _named(request)), known
        )
        allocation = allocate(available, reservations, requests)
        outgoing = []
        for each, reply in zip(batch.incoming, allocation.replies, strict=True):
            outgoing += [Outgoing(answer, each) for answer in reply.answers]
            if reply.rejection is not None:
                batch.reject(each, reply.rejection)
        await store.save(db, allocation, reservations.keys(), batch.now)
        after_commit(db, lambda short: known.keep(allocation.left, short))
        return outgoing

    return handle


def _named(request: Request) -> list[UUID]:
    lines = request.products if isinstance(request, StockDecreaseRequestMessage) else request.items
    return [line.product_id for line in lines]
