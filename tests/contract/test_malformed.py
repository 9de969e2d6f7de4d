"""A record that is no message becomes a dead letter whose reason a person understands, and nobody else notices."""

import random
import string
from collections.abc import AsyncIterator, Sequence
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ordersaga.contracts.codec import REASON_CHARS_MAX, Undecodable, decode, encode
from ordersaga.contracts.topics import TOPICS
from ordersaga.devstack import DevStack
from tests.contract.malformed import TOPIC, Malformed, corpus, generated
from tests.contract.rig import INPUT, Rig, rig, told, until

READABLE = set(string.printable)


def reason_of(case: Malformed) -> str:
    with pytest.raises(Undecodable) as caught:
        decode(case.topic, case.value)
    return str(caught.value)


@pytest.mark.parametrize("case", corpus(), ids=lambda case: case.name)
def test_the_reason_says_what_is_wrong(case: Malformed) -> None:
    reason = reason_of(case)
    assert case.says in reason
    assert len(reason) <= REASON_CHARS_MAX


def test_whatever_spoils_a_message_has_a_readable_reason() -> None:
    for case in generated(seed=1, count=3_000):
        reason = reason_of(case)
        assert 10 < len(reason) <= REASON_CHARS_MAX and "\0" not in reason, case.name


@given(st.sampled_from([topic.name for topic in TOPICS]), st.binary(max_size=200))
def test_no_bytes_at_all_make_decoding_fail_in_another_way(topic: str, value: bytes) -> None:
    with pytest.raises(Undecodable):
        decode(topic, value)


@given(st.integers(0, 2**32), st.integers(0, 5))
def test_a_message_with_some_bytes_changed_is_decoded_or_refused_with_a_reason(seed: int, changes: int) -> None:
    chance = random.Random(seed)
    value = bytearray(encode(told(uuid4())))
    for _ in range(changes):
        value[chance.randrange(len(value))] = chance.randrange(256)
    try:
        decode(TOPIC, bytes(value))
    except Undecodable as error:
        assert str(error)


async def test_each_becomes_a_dead_letter_and_the_messages_between_them_take_effect_in_order(service: Rig) -> None:
    bad = [case for case in corpus() if case.topic == INPUT] + list(generated(seed=2, count=80))
    order_id = uuid4()
    good = [told(order_id) for _ in bad]
    async with service.instance():
        for case, message in zip(bad, good, strict=True):
            service.produce(case.value, key=order_id)
            service.produce(message, key=order_id)
        service.flush()
        await until(lambda: all_there(service, good, bad), limit_s=60)
        assert await service.count("parked") == 0
    assert await service.effects(order_id) == [message.delivery_id for message in good]
    rows = await service.db.fetch("SELECT value, cause, reason, order_key FROM dead_letter ORDER BY record_offset")
    assert [row["value"] for row in rows] == [case.value for case in bad]
    for row, case in zip(rows, bad, strict=True):
        assert row["cause"] == "Undecodable" and case.says in row["reason"], case.name


async def all_there(service: Rig, good: Sequence[object], bad: Sequence[Malformed]) -> bool:
    counts = [await service.count(table) for table in ("effect", "dead_letter", "outbox")]
    return counts == [len(good), len(bad), 0]


@pytest.mark.parametrize(
    "name", ["message-id", "traceparent", "causation-id", "__TypeId__", "kafka_dlt-exception-message"]
)
@pytest.mark.parametrize(
    "value", [None, b"", b"\0", b"\xff\xfe", b"00-" + b"\0" * 50 + b"-1", b"x" * 200_000, "시작".encode("euc-kr")]
)
async def test_no_header_of_a_record_stops_its_partition(header_service: Rig, name: str, value: bytes | None) -> None:
    service = header_service
    good, order_id = told(uuid4()), uuid4()
    service.produce(good, headers=[(name, value)])
    service.produce(b"{", key=order_id, headers=[(name, value)])
    service.flush()
    await until(lambda: handled(service, good.order_id, order_id))


@pytest.fixture(scope="module")
async def header_service(stack: DevStack) -> AsyncIterator[Rig]:
    """One instance for all headers."""
    async with rig(stack) as made, made.instance():
        yield made


async def handled(service: Rig, good: UUID, bad: UUID) -> bool:
    letter = await service.db.fetchval("SELECT count(*) FROM dead_letter WHERE order_key = $1", bad)
    return bool(await service.effects(good)) and letter == 1 and await service.count("outbox") == 0


async def test_a_value_that_is_larger_than_a_dead_letter_may_be_is_kept_in_the_table(service: Rig) -> None:
    """Compressed it fits through the broker, unpacked it is too large for our own producer."""
    value = b'{"status": "' + b"x" * 5_000_000 + b'"}'
    good = told(uuid4())
    async with service.instance():
        service.produce_packed(value)
        service.send(good)
        await until(lambda: handled_large(service))
    assert await service.effects() == [good.delivery_id]
    assert await service.db.fetchval("SELECT value FROM dead_letter") == value


async def handled_large(service: Rig) -> bool:
    return [await service.count(table) for table in ("effect", "dead_letter", "outbox")] == [1, 1, 0]
