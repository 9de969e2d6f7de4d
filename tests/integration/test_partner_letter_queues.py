"""Letters on queues of any name, of any stack: whose they are, one for each failure, and what is sent when they are replayed."""

import base64
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest_asyncio
from uuid_utils.compat import uuid7

from ordersaga import payment
from ordersaga.devstack import DevStack
from ordersaga.messaging.kafka import Topics, create_missing_topics
from ordersaga.payment import handlers
from tests.integration.operator_rig import WHY, OperatorRig, accounted_for
from tests.integration.service import bench
from tests.integration.test_partner_letters import records, spring
from tests.unit.test_letter_headers import golden

PAID = "payment-success-topic"
CANCELLED = "payment-cancelled-topic"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def keeper(stack: DevStack) -> AsyncIterator[OperatorRig]:
    """A service's database; the service itself does not run."""
    async with bench(stack, "payment", payment, handlers.handler) as one:
        await create_missing_topics(one.settings)
        yield OperatorRig("payment", one)


async def queue(rig: OperatorRig, name: str) -> str:
    await Topics(rig.settings).create([(name, {})], 1, 1)
    return name


def paid(order_id: UUID, **fields: Any) -> bytes:
    said = {"orderId": str(order_id), "paymentKey": "k", "amount": 1_000, "status": "SUCCESS"} | fields
    return json.dumps(said).encode()


def streams(topic: str, partition: int, offset: int) -> list[Any]:
    """What Kafka Streams writes, in short."""
    return [
        ("__streams.errors.exception", b"java.lang.IllegalStateException"),
        ("__streams.errors.message", b"no such payment"),
        ("__streams.errors.topic", topic.encode()),
        ("__streams.errors.partition", b"%d" % partition),
        ("__streams.errors.offset", b"%d" % offset),
    ]


def share_group(topic: str, partition: int, offset: int) -> list[Any]:
    """What a share group of Kafka 4.4 leaves by default: headers alone."""
    return [
        ("__dlq.errors.topic", topic.encode()),
        ("__dlq.errors.partition", b"%d" % partition),
        ("__dlq.errors.offset", b"%d" % offset),
        ("__dlq.errors.group", b"share-shop"),
        ("__dlq.errors.delivery.count", b"5"),
        ("__dlq.errors.message", b"rejected by the client"),
    ]


async def test_the_headers_say_whose_letter_it_is_and_not_the_queue(keeper: OperatorRig) -> None:
    name = await queue(keeper, "order-created-errors")
    first, second, plain = uuid7(), uuid7(), uuid7()
    await keeper.send_raw(name, first, paid(first), streams(PAID, 1, 4))
    await keeper.send_raw(name, second, paid(second), [*spring(CANCELLED, 5), ("own", b"1")])
    await keeper.send_raw(name, uuid7(), b"{}", streams("visits", 1, 4))
    await keeper.send_raw(name, plain, paid(plain), [("own", b"1")])
    told = (await keeper("dead-letters", "import", name, whole=True, code=1)).row
    assert (told["new"], told["services"], told["strange"], told["unclear"]) == (2, {"payment": 2}, {"visits": 1}, 1)
    (letter,) = await keeper.letters(first)
    assert (letter["topic"], letter["record_offset"], letter["cause"]) == (PAID, 4, "java.lang.IllegalStateException")
    assert (await keeper.letters(second))[0]["topic"] == CANCELLED
    words = (await keeper("dead-letters", "import", name, whole=True, json=False, code=1)).err
    assert "`--original-topic`" in words and "`--service`" in words

    told = (await keeper("dead-letters", "import", name, "--original-topic", PAID, whole=True, code=1)).row
    assert (told["new"], told["known"], told["unclear"]) == (1, 2, 0)
    (letter,) = await keeper.letters(plain)
    assert (letter["topic"], letter["record_offset"], letter["header_names"]) == (PAID, None, ["own"])
    assert (await keeper("dead-letters", "import", name, "--original-topic", PAID)).row["new"] == 1, "the visit, too"
    said = (await keeper("dead-letters", "import", "no-such-queue", code=2)).err
    assert "there is no topic no-such-queue" in said.replace("\n", " ")


async def test_several_letters_of_one_failure_are_one(keeper: OperatorRig) -> None:
    name, order_id = await queue(keeper, "copies"), uuid7()
    for cause in ("java.lang.First", "java.lang.Second"):
        await keeper.send_raw(name, order_id, paid(order_id), spring(PAID, 77, cause=cause))
    await keeper.send_raw(name, order_id, paid(order_id), spring(PAID, 77, group="another-group"))
    told = (await keeper("dead-letters", "import", name)).row
    assert (told["new"], told["copies"]) == (3, 0)
    letters = {each["cause"]: each for each in await keeper.letters(order_id, 3)}
    assert letters["java.lang.First"]["status"] == "SUPERSEDED"
    assert letters["java.lang.Second"]["follows"] == letters["java.lang.First"]["id"]
    assert sum(each["status"] == "OPEN" for each in letters.values()) == 2, (
        "a failure of another group is another failure"
    )
    assert (await keeper("dead-letters", "import", name)).row["known"] == 3

    open_one = letters["java.lang.Second"]["id"]
    await keeper("dead-letters", "discard", open_one, *WHY)
    await keeper.send_raw(name, order_id, paid(order_id), spring(PAID, 77, cause="java.lang.Third"))
    told = (await keeper("dead-letters", "import", name)).row
    assert (told["new"], told["known"], told["copies"]) == (0, 3, 1), "an operator has decided on this failure"
    other = uuid7()
    await keeper.send_raw(name, other, paid(other), spring(PAID, 77))
    assert (await keeper("dead-letters", "import", name)).row["new"] == 1, "another record: the topic was made again"
    await accounted_for(keeper)


async def test_a_letter_without_a_value_is_fetched_or_refused_and_never_sent_as_a_tombstone(
    keeper: OperatorRig,
) -> None:
    name, order_id = await queue(keeper, "dlq.share-shop"), uuid7()
    await keeper.send_raw(PAID, order_id, paid(order_id), [("own", b"1")])
    (original,) = await records(keeper, PAID, order_id)
    await keeper.send_raw(name, None, None, share_group(PAID, original.partition, original.offset))
    await keeper.send_raw(name, None, None, share_group(PAID, original.partition, 10_000_000))
    assert (await keeper("dead-letters", "import", name)).row["new"] == 2
    (letter,) = await keeper.letters(order_id)
    assert (letter["value"], letter["header_names"], letter["attempts"]) == (original.value, ["own"], 5)
    assert (letter["consumer_group"], letter["reason"]) == ("share-shop", "rejected by the client")
    assert (await keeper("dead-letters", "replay", letter["id"], *WHY)).row["result"] == "published"
    assert (await records(keeper, PAID, order_id, 2))[1].value == original.value

    gone = await keeper.pool.fetchval("SELECT id FROM dead_letter WHERE record_offset = 10000000")
    assert (
        "is refused: the letter has no value"
        in (await keeper("dead-letters", "replay", "--dry-run", gone)).row["would"]
    )
    told = (await keeper("dead-letters", "replay", gone, *WHY, code=1)).row
    assert told["result"] == "refused" and "dead-letters edit" in told["detail"]
    mended = uuid7()
    copy = (await keeper("dead-letters", "edit", gone, "--value", paid(mended).decode(), *WHY)).row
    assert (await keeper("dead-letters", "replay", copy["id"], *WHY)).row["result"] == "published"


async def test_a_replay_sends_the_record_as_it_was_before_the_stack_wrote_it_again(keeper: OperatorRig) -> None:
    name, order_id = await queue(keeper, "rewritten"), uuid7()
    await keeper.send_raw(PAID, order_id, paid(order_id, extra="kept"), [("__TypeId__", b"com.example.Paid")])
    (original,) = await records(keeper, PAID, order_id)
    headers = dict(spring(PAID, original.offset))
    headers["kafka_dlt-original-partition"] = original.partition.to_bytes(4, "big")
    headers["kafka_dlt-original-timestamp"] = original.timestamp_ms.to_bytes(8, "big")
    stale = headers | {
        "kafka_dlt-original-timestamp": (1).to_bytes(8, "big"),
        "kafka_dlt-original-consumer-group": b"b",
    }
    for each in (headers, stale):
        await keeper.send_raw(name, order_id, paid(order_id), [*each.items(), ("__TypeId__", b"com.partner.Paid")])
    await keeper("dead-letters", "import", name)
    whole, rewritten = sorted(await keeper.letters(order_id, 2), key=lambda each: len(each["value"]), reverse=True)
    assert (whole["value"], whole["header_values"]) == (original.value, [b"com.example.Paid"])
    assert rewritten["value"] == paid(order_id), "the record at its place has another time: the topic was made again"
    await keeper("dead-letters", "replay", whole["id"], *WHY)
    sent = await records(keeper, PAID, order_id, 2)
    (again,) = [each for each in sent if each.coordinates != original.coordinates]
    assert again.value == original.value
    assert sorted(name for name, _ in again.headers or ()) == [
        "__TypeId__",
        "causation-id",
        "message-id",
        "traceparent",
    ]


async def test_a_record_that_was_caused_by_a_replayed_one_does_not_count_as_its_renewed_failure(
    keeper: OperatorRig,
) -> None:
    """Kafka Streams copies all headers to what it sends, our `message-id` too."""
    name, order_id = await queue(keeper, "streams-errors"), uuid7()
    await keeper.send_raw(name, order_id, paid(order_id), streams(PAID, 0, 500))
    await keeper("dead-letters", "import", name)
    (letter,) = await keeper.letters(order_id)
    await keeper("dead-letters", "replay", letter["id"], *WHY)
    sent = (await records(keeper, PAID, order_id))[0]
    caused = [*(sent.headers or ()), *streams(CANCELLED, 0, 1)]
    await keeper.send_raw(name, order_id, paid(order_id), caused)
    await keeper("dead-letters", "import", name)
    by_topic = {each["topic"]: each for each in await keeper.letters(order_id, 2)}
    assert (by_topic[PAID]["status"], by_topic[CANCELLED]["follows"]) == ("PUBLISHED", None)


async def test_a_letters_attempts_are_those_of_the_listener_and_not_of_a_failing_handler_of_letters(
    keeper: OperatorRig,
) -> None:
    """Spring's retry topics give a record that their handler of letters cannot handle to it again, and count that as an attempt."""
    name, order_id = await queue(keeper, "handled-badly"), uuid7()
    for attempts in (4, 5, 6):
        headers: list[Any] = [
            ("kafka_original-topic", PAID.encode()),
            ("kafka_original-partition", (1).to_bytes(4, "big")),
            ("kafka_original-offset", (9_000).to_bytes(8, "big")),
            ("kafka_dlt-original-consumer-group", b"depot"),
            ("kafka_exception-message", b"the handler of letters fails" if attempts > 4 else b"no carrier"),
            ("retry_topic-attempts", attempts.to_bytes(4, "big")),
        ]
        await keeper.send_raw(name, order_id, paid(order_id), headers)
    await keeper("dead-letters", "import", name)
    letters = await keeper.letters(order_id, 3)
    assert [each["attempts"] for each in letters] == [3, 3, 3]
    assert sorted(each["status"] for each in letters) == ["OPEN", "SUPERSEDED", "SUPERSEDED"], "also of one millisecond"


async def test_a_share_groups_copy_gets_the_headers_that_it_lacks(keeper: OperatorRig) -> None:
    name, order_id = await queue(keeper, "dlq.share-copy"), uuid7()
    await keeper.send_raw(PAID, order_id, paid(order_id), [("__TypeId__", b"com.example.Paid")])
    (original,) = await records(keeper, PAID, order_id)
    copy = share_group(PAID, original.partition, original.offset)
    await keeper.send_raw(name, order_id, paid(order_id), copy)
    await keeper("dead-letters", "import", name)
    (letter,) = await keeper.letters(order_id)
    assert (letter["header_names"], letter["header_values"]) == (["__TypeId__"], [b"com.example.Paid"])


async def test_a_lost_key_is_the_orders_again_so_that_the_record_gets_into_its_orders_partition(
    keeper: OperatorRig,
) -> None:
    name, order_id = await queue(keeper, "poisoned"), uuid7()
    poisoned: list[Any] = [("topic_poisoned", PAID.encode()), ("reason_poisoned", b"no such customer"), ("own", b"1")]
    await keeper.send_raw(name, None, paid(order_id), poisoned)
    await keeper("dead-letters", "import", name)
    (letter,) = await keeper.letters(order_id)
    assert (letter["key"], letter["partition"], letter["record_offset"]) == (str(order_id).encode(), None, None)
    assert (await keeper("dead-letters", "replay", letter["id"], *WHY)).row["result"] == "published"
    (again,) = await records(keeper, PAID, order_id)
    sent = dict(again.headers or ())
    assert (again.value, sent["own"], "causation-id" in sent) == (paid(order_id), b"1", False), (
        "no place is known to name"
    )


async def test_a_letter_of_faststream_goes_out_with_its_orders_key_and_as_no_text(keeper: OperatorRig) -> None:
    name, order_id = await queue(keeper, "faststream-errors"), uuid7()
    (letter, _) = golden("faststream 0.7.8, aiokafka", "fs-aiokafka-text")
    await keeper.send_raw(name, None, paid(order_id), [*(letter.headers or ()), ("own", b"1")])
    await keeper("dead-letters", "import", name, "--original-topic", PAID)
    (row,) = await keeper.letters(order_id)
    assert (row["key"], row["header_names"]) == (str(order_id).encode(), ["own"])
    assert (await keeper("dead-letters", "replay", row["id"], *WHY)).row["result"] == "published"
    (again,) = await records(keeper, PAID, order_id)
    assert again.value == paid(order_id) and "content-type" not in dict(again.headers or ())


async def test_a_record_that_a_teams_own_code_has_wrapped_goes_out_as_it_was(keeper: OperatorRig) -> None:
    name, order_id = await queue(keeper, "own-errors"), uuid7()
    wrapped = json.dumps(base64.b64encode(paid(order_id)).decode()).encode()
    await keeper.send_raw(name, None, wrapped)
    await keeper("dead-letters", "import", name, "--original-topic", PAID)
    (letter,) = await keeper.letters(order_id)
    assert (letter["value"], letter["key"]) == (paid(order_id), None), "a sender may have sent it without a key"


async def test_failures_of_two_consumers_are_two_also_where_no_group_is_known_and_after_a_replay(
    keeper: OperatorRig,
) -> None:
    one, other, order_id = await queue(keeper, "one-errors"), await queue(keeper, "other-errors"), uuid7()
    for name in (one, other):
        await keeper.send_raw(name, order_id, paid(order_id), streams(PAID, 0, 700))
        assert (await keeper("dead-letters", "import", name)).row["new"] == 1
    letters = {each["imported_from"].split("/")[0]: each for each in await keeper.letters(order_id, 2)}
    assert {each["status"] for each in letters.values()} == {"OPEN"}
    await keeper("dead-letters", "replay", letters[one]["id"], *WHY)
    sent = (await records(keeper, PAID, order_id))[0]
    for name in (other, one):  # what was published for one fails at both
        again = [*(sent.headers or ()), *streams(PAID, sent.partition, sent.offset)]
        await keeper.send_raw(name, order_id, paid(order_id), again)
        await keeper("dead-letters", "import", name)
    follows = {each["follows"]: each["imported_from"].split("/")[0] for each in (await keeper.letters(order_id, 4))[2:]}
    assert follows == {None: other, letters[one]["id"]: one}
    await accounted_for(keeper)
