"""kafkajs, which has the fewest codecs of the common clients, reads what our services write by default."""

import asyncio
import json
from uuid import UUID, uuid4

import msgspec
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from ordersaga.contracts import codec
from ordersaga.contracts.examples import EXAMPLES
from ordersaga.devstack import DevStack
from ordersaga.messaging.handler import Outgoing
from ordersaga.messaging.ids import MessageIds
from ordersaga.messaging.kafka import Publisher
from ordersaga.messaging.outbox_rows import compose
from ordersaga.settings import Settings
from tests.node.conftest import Node

TIMES = 200


async def test_kafkajs_reads_every_message_as_our_services_publish_it_by_default(stack: DevStack, node: Node) -> None:
    settings = Settings.model_validate({"kafka_bootstrap_servers": stack.bootstrap_servers})
    topic = f"kafkajs-{uuid4().hex[:8]}"
    admin = AdminClient({"bootstrap.servers": stack.bootstrap_servers})
    admin.create_topics([NewTopic(topic, 3, 1)])[topic].result(20)
    rows = compose([Outgoing(each) for each in EXAMPLES.values()] * TIMES, 1, MessageIds("kafkajs", {}, uuid4), {})
    publisher = Publisher(settings)
    await publisher.publish([msgspec.structs.replace(row.publication(), topic=topic) for row in rows])
    await publisher.close()

    done = await asyncio.to_thread(node, "read.mjs", stack.bootstrap_servers, topic, len(rows))
    assert done.returncode == 0, done.stderr
    read = json.loads(done.stdout)
    assert sorted(UUID(each["headers"]["message-id"]) for each in read) == sorted(row.message_id for row in rows)
    wanted = sorted(codec.encode(each).decode() for each in EXAMPLES.values() for _ in range(TIMES))
    assert sorted(json.dumps(each["value"], ensure_ascii=False, separators=(",", ":")) for each in read) == wanted
    assert {each["key"] for each in read} == {str(row.key, "ascii") for row in rows if row.key}
