"""Letters that no turn of ours can retry: a partner's, imported and published again, and what the broker had refused."""

import asyncio
import json
import random
import struct
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest_asyncio
from uuid_utils.compat import uuid7

from ordersaga import payment
from ordersaga.contracts import codec
from ordersaga.devstack import DevStack
from ordersaga.messaging.dead_letters import add_refused
from ordersaga.messaging.handler import Record
from ordersaga.messaging.kafka import Publication, Tap, Topics, create_missing_topics
from ordersaga.payment import handlers
from tests.integration.failing_depot import ask
from tests.integration.operator_rig import WHY, OperatorRig, accounted_for, until
from tests.integration.service import bench
from tests.unit.test_spring_headers import SAMPLE

FOREIGN = "order-completed-topic"
"""No service of ours reads it, so whoever gives up a record of it is a partner."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def keeper(stack: DevStack) -> AsyncIterator[OperatorRig]:
    """A service's database; the service itself does not run, and nothing here needs it."""
    async with bench(stack, "payment", payment, handlers.handler) as one:
        await create_missing_topics(one.settings)
        yield OperatorRig("payment", one)


def spring(
    topic: str, offset: int, group: str = "order-group", cause: str = "java.lang.IllegalStateException"
) -> list[Any]:
    """What `DeadLetterPublishingRecoverer` writes."""
    return [
        ("kafka_dlt-original-topic", topic.encode()),
        ("kafka_dlt-original-partition", struct.pack(">i", 1)),
        ("kafka_dlt-original-offset", struct.pack(">q", offset)),
        ("kafka_dlt-original-timestamp", struct.pack(">q", 1_700_000_000_000)),
        ("kafka_dlt-original-consumer-group", group.encode()),
        ("kafka_dlt-exception-fqcn", b"org.springframework.kafka.listener.ListenerExecutionFailedException"),
        ("kafka_dlt-exception-cause-fqcn", cause.encode()),
        ("kafka_dlt-exception-message", b"listener failed"),
        ("kafka_dlt-exception-stacktrace", b"at shop.Order.handle"),
    ]


async def test_a_partners_letters_are_imported_once_from_either_topic_and_family(keeper: OperatorRig) -> None:
    topic, first, second = FOREIGN, uuid7(), uuid7()
    await Topics(keeper.settings).create([(f"{topic}.DLT", {})], 3, 1)
    await keeper.send_raw(f"{topic}-dlt", first, b"{}", [*spring(topic, 7), ("__TypeId__", b"shop.Started")])
    retryable: list[tuple[str, bytes | None]] = [
        ("kafka_original-topic", topic.encode()),
        ("kafka_original-partition", struct.pack(">i", 2)),
        ("kafka_original-offset", struct.pack(">q", 9)),
        ("kafka_exception-cause-fqcn", b"java.lang.Error"),
        ("kafka_exception-message", b"no"),
        ("retry_topic-attempts", b"\x03"),
    ]
    await keeper.send_raw(f"{topic}.DLT", second, b"{}", retryable)
    await keeper.send_raw(f"{topic}-dlt", uuid7(), b"{}", spring(topic, 8, group=keeper.settings.payment_group))
    rows = {row["topic"]: row for row in (await keeper("dead-letters", "import", topic)).rows}
    assert (rows[f"{topic}-dlt"]["new"], rows[f"{topic}-dlt"]["ours"], rows[f"{topic}.DLT"]["new"]) == (1, 1, 1)
    again = {row["topic"]: row for row in (await keeper("dead-letters", "import", topic)).rows}
    assert (again[f"{topic}-dlt"]["new"], again[f"{topic}-dlt"]["known"], again[f"{topic}.DLT"]["known"]) == (0, 1, 1)
    (one,) = await keeper.letters(first)
    assert (one["topic"], one["partition"], one["record_offset"], one["cause"]) == (
        topic,
        1,
        7,
        "java.lang.IllegalStateException",
    )
    assert one["imported_from"].startswith(f"{topic}-dlt/")
    assert (one["consumer_group"], one["stacktrace"]) == ("order-group", "at shop.Order.handle")
    assert one["header_names"] == ["__TypeId__"], "the headers of the record before it was given up"
    (other,) = await keeper.letters(second)
    assert (other["partition"], other["record_offset"], other["cause"], other["attempts"]) == (
        2,
        9,
        "java.lang.Error",
        2,
    ), "the header names the next attempt"
    by_class = (await keeper("dead-letters", "list", "--cause", "IllegalStateException", "--order", first)).row
    assert by_class["id"] == str(one["id"])


async def test_a_partners_letter_goes_out_on_its_topic_as_the_record_it_was(keeper: OperatorRig) -> None:
    topic, order_id = FOREIGN, uuid7()
    value = codec.encode(ask(order_id))  # no message of that topic at all: a partner's bytes are not ours to judge
    headers = [("trace", b"1"), ("message-id", str(uuid7()).encode()), *spring(topic, 20), ("empty", None)]
    await keeper.send_raw(f"{topic}-dlt", order_id, value, headers)
    await keeper("dead-letters", "import", f"{topic}-dlt")
    (letter,) = await keeper.letters(order_id)
    told = (await keeper("dead-letters", "replay", "--dry-run", letter["id"])).row
    assert told["would"] == f"goes out on {topic}, without __TypeId__"
    type_ids = json.dumps({topic: "completed"})
    told = (await keeper("dead-letters", "replay", "--dry-run", letter["id"], type_ids=type_ids)).row
    assert told["would"] == f"goes out on {topic}, with __TypeId__"
    assert (await keeper("dead-letters", "replay", letter["id"], *WHY, type_ids=type_ids)).row["result"] == "published"
    (record,) = await records(keeper, topic, order_id)
    (letter,) = await keeper.letters(order_id)
    assert letter["status"] == "PUBLISHED"
    assert record.value == value
    sent = dict(record.headers or ())
    assert (sent["trace"], sent["empty"], sent["__TypeId__"]) == (b"1", None, b"completed")
    assert sent["message-id"] == str(letter["replayed_as"]).encode()
    assert sent["causation-id"] == headers[1][1]
    assert not [name for name in sent if name.startswith("kafka_")]

    # The partner gives it up again, with the headers it came with: the new letter names the first.
    await keeper.send_raw(f"{topic}-dlt", order_id, value, [*(record.headers or ()), *spring(topic, 21)])
    await keeper("dead-letters", "import", topic)
    first, second = await keeper.letters(order_id, 2)
    assert (first["status"], second["follows"], second["status"]) == ("SUPERSEDED", first["id"], "OPEN")
    told = (await keeper("dead-letters", "replay", second["id"], "--type-id", "other", *WHY)).row
    assert told["result"] == "published"
    assert dict((await records(keeper, topic, order_id, 2))[1].headers or ())["__TypeId__"] == b"other"
    await accounted_for(keeper)


async def test_the_wire_samples_dead_letter_is_kept_by_the_service_that_sent_its_record(keeper: OperatorRig) -> None:
    """A malformed record that a Spring partner gave up, and that has lost its type."""
    order_id = uuid7()
    value = b'{"orderId": "%s", "paymentKey": "k", "amount": ' % str(order_id).encode()
    await keeper.send_raw("payment-success-topic-dlt", order_id, value, list(SAMPLE.items()), partition=2)
    rows = (await keeper("dead-letters", "import", "payment-success-topic", whole=True)).rows
    assert [list(row["services"]) for row in rows if row["new"]] == [["payment"]]
    (letter,) = await keeper.letters(order_id)
    assert (letter["topic"], letter["partition"], letter["record_offset"]) == ("payment-success-topic", 2, 2)
    found = (await keeper("dead-letters", "list", "--cause", "DeserializationException", "--order", order_id)).row
    assert found["reason"] == "failed to deserialize"
    mended = json.dumps({"orderId": str(order_id), "paymentKey": "k", "amount": 1000, "status": "SUCCESS"})
    copy = (await keeper("dead-letters", "edit", letter["id"], "--value", mended, *WHY)).row
    type_id = "com.shop.payment.message.PaymentSuccessMessage"
    await keeper("dead-letters", "replay", copy["id"], "--type-id", type_id, *WHY)
    (record,) = await records(keeper, "payment-success-topic", order_id)
    assert record.value == mended.encode()
    assert dict(record.headers or ())["__TypeId__"] == type_id.encode()


async def test_a_record_that_the_broker_refused_goes_out_when_it_is_replayed_and_may_be_refused_again(
    keeper: OperatorRig,
) -> None:
    order_id, message_id = uuid7(), uuid7()
    key, large = (
        str(order_id).encode(),
        json.dumps({"orderId": str(order_id), "text": random.randbytes(1_000_000).hex()}),
    )
    refused = Publication(1, FOREIGN, None, key, large.encode()[:1_500_000], [("message-id", str(message_id).encode())])
    async with keeper.pool.acquire() as db:
        await add_refused(db, [(refused, "Broker: Message size too large")], datetime.now(UTC))
    told = (await keeper("dead-letters", "replay", message_id, *WHY, code=1, kafka_compression="none")).row
    assert (told["result"], "size too large" in told["detail"]) == ("failed again", True)
    first, second = await keeper.letters(order_id, 2)
    assert (first["status"], second["follows"], second["status"]) == ("SUPERSEDED", message_id, "OPEN")
    copy = (await keeper("dead-letters", "edit", second["id"], "--value", COMPLETED % order_id, *WHY)).row
    assert (await keeper("dead-letters", "replay", copy["id"], *WHY)).row["result"] == "resolved"
    (record,) = await records(keeper, FOREIGN, order_id)
    assert record.value == (COMPLETED % order_id).encode()
    assert await keeper.pool.fetchval("SELECT count(*) FROM outbox") == 0
    await accounted_for(keeper)


COMPLETED = (
    """{"orderId":"%s","customerId":"edf3ccfe-773d-4da4-9e2d-998c042029b3","status":"ORD0002","totalAmount":1}"""
)


async def records(rig: OperatorRig, topic: str, key: UUID, count: int = 1) -> list[Record]:
    """The first records of a key."""
    tap = await asyncio.to_thread(Tap, rig.settings, [topic], True)
    found: list[Record] = []

    async def enough() -> bool:
        found.extend(each for each in await tap.fetch(1_000, 0.1) if each.key == str(key).encode())
        return len(found) >= count

    try:
        await until(enough)
    finally:
        await asyncio.to_thread(tap.close)
    return found
