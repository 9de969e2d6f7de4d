"""The sender of tools: more records at once than the client's queue takes."""

from uuid import uuid4

from ordersaga.devstack import DevStack
from ordersaga.messaging.kafka import Publication, Sender, Topics
from ordersaga.settings import Settings

CLIENTS_QUEUE = 100_000


async def test_more_records_than_the_clients_queue_takes_are_sent_in_their_order(stack: DevStack) -> None:
    settings = Settings.of({"ORDERSAGA_KAFKA_BOOTSTRAP_SERVERS": stack.bootstrap_servers})
    topic = f"many-{uuid4().hex[:8]}"
    await Topics(settings).create([(topic, {})], 1, 1)
    sender = Sender(settings)
    try:
        places = await sender.send([Publication(n, topic, 0, None, b"x", []) for n in range(CLIENTS_QUEUE + 20_000)])
    finally:
        sender.close()
    assert [each.offset for each in places] == list(range(CLIENTS_QUEUE + 20_000))
