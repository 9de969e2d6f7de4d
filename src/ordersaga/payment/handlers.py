"""Payment's Kafka handler: store Order's payables, and begin the refunds that Order asks for."""

from typing import Final

from ordersaga.contracts.messages import OrderPayableMessage, PaymentCancelRequestedMessage
from ordersaga.messaging.database import Connection
from ordersaga.messaging.handler import Batch, Handler, Outgoing, consumes
from ordersaga.messaging.ids import trace_of
from ordersaga.payment import store
from ordersaga.payment.settlement import ask_refund
from ordersaga.settings import Settings

APART_S: Final = 0.25
"""Nobody waits for these records: a customer takes longer to pay, and a confirm that came first would wait for its record."""


async def handle(batch: Batch, db: Connection) -> list[Outgoing]:
    """Load -> decide -> save. A refund becomes an intent; recovery calls the gateway after the commit."""
    await store.merge_payables(
        db, (each.message for each in batch.incoming if isinstance(each.message, OrderPayableMessage))
    )
    asked = [(each, each.message) for each in batch.incoming if isinstance(each.message, PaymentCancelRequestedMessage)]
    if not asked:
        return []
    accounts = await store.load_accounts(db, (message.payment_key for _, message in asked))
    outgoing = [
        Outgoing(answer, incoming)
        for incoming, message in asked
        for answer in ask_refund(
            accounts[message.payment_key], message, batch.now, batch.new_id, trace_of(incoming.record)
        )
    ]
    await store.save_accounts(db, accounts.values())
    return outgoing


def handler(_: Settings) -> Handler:
    """The handler with the messages that it consumes."""
    return consumes(OrderPayableMessage, PaymentCancelRequestedMessage, apart_s=APART_S, short=True)(handle)
