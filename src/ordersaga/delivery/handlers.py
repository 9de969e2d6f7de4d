"""Delivery's handler: load the deliveries of a batch's orders, ask the carrier, dispatch, save the new deliveries."""

from typing import cast

from ordersaga.contracts.messages import DeliveryRequestMessage
from ordersaga.delivery import store
from ordersaga.delivery.carrier import Carrier
from ordersaga.delivery.dispatch import dispatch, parcels
from ordersaga.messaging.database import Connection
from ordersaga.messaging.handler import Batch, Handler, Outgoing, consumes
from ordersaga.messaging.rehearsal import NotRehearsed
from ordersaga.said import say


def handler(carrier: Carrier) -> Handler:
    """Delivery's handler, with the messages that it consumes. `carrier` takes the parcels."""

    @consumes(DeliveryRequestMessage, short=True)
    async def handle(batch: Batch, db: Connection) -> list[Outgoing]:
        """Load -> ask the carrier -> decide -> save. The carrier is called inside the turn's transaction."""
        requests = cast(list[DeliveryRequestMessage], [each.message for each in batch.incoming])
        known = await store.find(db, (request.order_id for request in requests), carrier.is_local)
        new = parcels(known, requests)
        if new and batch.is_rehearsal and not carrier.is_local:
            raise NotRehearsed(say("dry.carrier", "the carrier decides, and a dry run does not ask it"))
        verdicts = await carrier.hand_over(new) if new else {}
        dispatched = dispatch(known, verdicts, requests, batch.now, batch.new_id)
        await store.add(db, dispatched.deliveries)
        return [Outgoing(answer, each) for each, answer in zip(batch.incoming, dispatched.answers, strict=True)]

    return handle
