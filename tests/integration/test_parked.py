"""Parked records, by the commands that an operator types: a Delivery service that waits a minute before the next try."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from uuid import UUID

import pytest_asyncio
from uuid_utils.compat import uuid7

from ordersaga.contracts import codec
from ordersaga.devstack import DevStack
from ordersaga.messaging.handler import Incoming, Record
from ordersaga.messaging.parking import Parking
from tests.integration.failing_depot import REQUESTS, ask, break_down, delivered, failing_depot, mend, zipcode
from tests.integration.operator_rig import WHY, OperatorRig, accounted_for, until


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def slow(stack: DevStack) -> AsyncIterator[OperatorRig]:
    """A service that waits a minute before the next try."""
    async with failing_depot(stack, park_backoff_ms=60_000) as rig:
        yield rig


async def test_parked_records_are_listed_tried_at_once_and_discarded_one_after_the_other(slow: OperatorRig) -> None:
    bad, order_id, other = zipcode(), uuid7(), uuid7()
    await break_down(slow, bad)
    await slow.send(ask(order_id, bad), ask(other, bad))
    await slow.parked(order_id, 1)
    await slow.send(ask(order_id, bad), ask(order_id))
    await slow.parked(order_id, 3)
    (queue,) = [row for row in (await slow("parked", "list")).rows if row["order_key"] == str(order_id)]
    assert (queue["records"], queue["attempts"], queue["cause"], queue["reason"]) == (
        3,
        1,
        "RaiseError",
        "the carrier is away",
    )
    assert datetime.fromisoformat(queue["due_at"]) > datetime.now(UTC)
    assert "1 of 3" in (await slow("parked", "list", json=False)).out

    assert (await slow("parked", "retry", queue["record"])).row["result"] == "due now"
    tries = "SELECT attempts FROM parked WHERE order_key = $1 ORDER BY record_offset LIMIT 1"
    await until(lambda: _equals(slow, tries, order_id, 2))

    topic, partition, _ = queue["record"].rsplit("/", 2)
    offsets = await slow.pool.fetch("SELECT record_offset FROM parked WHERE order_key = $1 ORDER BY 1", order_id)
    behind = f"{topic}/{partition}/{offsets[1][0]}"
    assert f"{behind} waits behind {queue['record']}" in (await slow("parked", "discard", behind, *WHY, code=2)).err
    said = (await slow("parked", "discard", queue["record"], "--why", "a test order", "--who", "kim")).row
    assert said["result"] == "discarded; 2 waited behind it"
    await until(lambda: _equals(slow, tries, order_id, 1))
    (discarded,) = await slow.letters(order_id)
    assert (discarded["status"], discarded["attempts"], discarded["reason"]) == ("DISCARDED", 2, "the carrier is away")
    assert codec.decode(topic, discarded["value"]).order_id == order_id  # type: ignore[attr-defined]
    (_, act) = await slow.acts(queue["record"])
    assert (act["what"], act["who"], act["why"]) == ("parked discard", "kim", "a test order")
    await accounted_for(slow)

    await mend(slow, bad)
    assert len((await slow("parked", "retry", "--all")).rows) == 2
    await slow.parked(order_id, 0)
    await slow.parked(other, 0)
    assert (await delivered(slow, order_id), await delivered(slow, other)) == ("STARTED", "STARTED")
    assert "nothing is parked" in (await slow("parked", "list", json=False)).out
    assert "nothing is parked that fits" in (await slow("parked", "retry", "--all")).err


async def test_a_letter_put_back_stands_before_what_waits_of_its_order(slow: OperatorRig) -> None:
    """Its record is older: it is tried first, and the others come when it is done."""
    bad, order_id = zipcode(), uuid7()
    await break_down(slow, bad)
    await slow.send_raw(REQUESTS, order_id, b'{"orderId":"%s"}' % str(order_id).encode())
    (letter,) = await slow.letters(order_id)
    await slow.send(ask(order_id, bad))
    await slow.parked(order_id, 1)
    message = ask(order_id)
    copy = (await slow("dead-letters", "edit", letter["id"], "--value", codec.encode(message).decode(), *WHY)).row
    assert (await slow("dead-letters", "replay", copy["id"], *WHY)).row["result"] == "resolved"
    await slow.parked(order_id, 0)
    assert await slow.pool.fetchval("SELECT zipcode FROM delivery WHERE order_id = $1", order_id) == message.zipcode


async def test_later_records_of_the_order_wait_behind_a_letter_put_back(slow: OperatorRig) -> None:
    bad, order_id = zipcode(), uuid7()
    await break_down(slow, bad)
    await slow.send_raw(REQUESTS, order_id, b'{"orderId":"%s"}' % str(order_id).encode())
    (letter,) = await slow.letters(order_id)
    value = codec.encode(ask(order_id, bad)).decode()
    copy = (await slow("dead-letters", "edit", letter["id"], "--value", value, *WHY)).row
    again = (await slow("dead-letters", "replay", copy["id"], *WHY, code=1)).row
    assert (again["result"], "try 1 of 3" in again["detail"]) == ("failed again", True)
    await slow.send(ask(order_id))
    await slow.parked(order_id, 2)
    await mend(slow, bad)
    await slow("parked", "retry", "--order", order_id)
    await slow.parked(order_id, 0)
    assert await slow.pool.fetchval("SELECT zipcode FROM delivery WHERE order_id = $1", order_id) == bad
    assert [each["status"] for each in await slow.letters(order_id, 2)] == ["SUPERSEDED", "RESOLVED"]


async def test_a_record_that_comes_to_wait_behind_a_discarded_one_is_due_at_once(slow: OperatorRig) -> None:
    """The partition's owner knows what is parked by what it last looked up, and an operator may have discarded it since."""
    order_id, now = uuid7(), datetime.now(UTC)
    message = ask(order_id)
    record = Record("not-read", 0, 5, None, codec.encode(message), None, 0)
    async with slow.pool.acquire() as db:
        await Parking(slow.settings).park(db, [], [Incoming(message, record)], now)
    due_at = "DELETE FROM parked WHERE order_key = $1 RETURNING due_at"
    assert await slow.pool.fetchval(due_at, order_id) == now


async def _equals(rig: OperatorRig, query: str, order_id: UUID, value: object) -> bool:
    return bool(await rig.pool.fetchval(query, order_id) == value)


async def test_a_partition_that_kafka_does_not_have_any_more_is_forgotten_when_told_and_not_with_parked_records(
    slow: OperatorRig,
) -> None:
    topic, gone = REQUESTS, 99
    row = "INSERT INTO ledger SELECT topic, $1, topic_id, epoch, next_offset FROM ledger WHERE topic = $2 LIMIT 1"
    await slow.pool.execute(row, gone, topic)
    left = (
        "INSERT INTO outbox (id, source_topic, source_partition, adopt_at, topic, value, message_id, traceparent)"
        "VALUES (7, $1, $2, now(), 'order-created', '{}', gen_random_uuid(), '-')"
    )
    await slow.pool.execute(left, topic, gone)
    record = Record(topic, gone, 5, None, codec.encode(ask(uuid7())), None, 0)
    async with slow.pool.acquire() as db:
        held = [Incoming(codec.decode(topic, record.value), record)]
        await Parking(slow.settings).park(db, [], held, datetime.now(UTC))
    accept = ("topics", "accept", topic)
    assert "--forget removes them" in (await slow(*accept, json=False, whole=True, code=1)).err
    assert "records of theirs are parked" in (await slow(*accept, "--forget", json=False, whole=True, code=1)).err
    there = "SELECT count(*) FROM ledger WHERE topic = $1 AND partition = $2"
    assert await slow.pool.fetchval(there, topic, gone) == 1
    await slow.pool.execute("DELETE FROM parked WHERE partition = $1", gone)
    said = await slow(*accept, "--partition", gone, "--forget", json=False, whole=True)
    assert "has forgotten its position in 1 partition of" in said.out
    assert await slow.pool.fetchval(there, topic, gone) == 0
    assert not await slow.pool.fetchval("SELECT count(*) FROM outbox WHERE source_partition = $1", gone)
    assert await slow.pool.fetchval("SELECT count(*) FROM ledger WHERE topic = $1", topic) > 0
    assert (await slow(*accept, "--partition", gone, "--forget", json=False, whole=True, code=1)).err
