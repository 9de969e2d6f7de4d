"""What happens to the order of outputs when one of them cannot be delivered, with a broker and a producer that do as they are told."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from confluent_kafka import KafkaError, KafkaException

from ordersaga.contracts.messages import StockRollbackCompletedMessage, StockRollbackRequestedMessage
from ordersaga.messaging import outbox as outbox_module
from ordersaga.messaging.handler import Incoming, Outgoing, Record
from ordersaga.messaging.ids import MessageIds
from ordersaga.messaging.kafka import KafkaUnavailable, Partition, Publication, Publisher, RefusedRecord
from ordersaga.messaging.kafka.remedies import BY_CODE, Remedy, remedy_of
from ordersaga.messaging.outbox import DELETE_AFTER_S, DELETE_ROWS, SOON_ROWS_MAX, Outbox
from ordersaga.messaging.outbox_rows import OutboxRow, compose
from ordersaga.settings import Settings

NOW = datetime(2026, 11, 24, tzinfo=UTC)


class Broker:
    """As `Publisher`: remembers what it gets, and answers nothing by itself."""

    def __init__(self, _: Settings) -> None:
        self.failed = asyncio.Event()
        self.got: list[int] = []
        self.given: list[asyncio.Future[list[RefusedRecord]]] = []
        self.is_there = True

    def publish(self, publications: Sequence[Publication]) -> "asyncio.Future[list[RefusedRecord]]":
        self.got += [each.id for each in publications]
        self.given.append(asyncio.get_running_loop().create_future())
        return self.given[-1]

    async def answers(self) -> bool:
        return self.is_there

    async def close(self, flush_s: float = 0.0) -> None:
        pass


class Idle:
    """As librdkafka's producer with nothing under way."""

    def poll(self, _: float) -> int:
        return 0

    def purge(self) -> None:
        pass

    def close(self) -> None:
        pass


class FullQueue(Idle):
    """As librdkafka's producer: has no room for the first record, and then has again."""

    def __init__(self) -> None:
        self.got: list[str] = []
        self._full = True

    def produce(self, topic: str, *_: Any, **__: Any) -> None:
        if self._full:
            self._full = False
            raise BufferError
        self.got.append(topic)


class Dead(Idle):
    """As librdkafka's producer that the broker has fenced: it takes records, says nothing of them, and raises when it is asked."""

    def produce(self, *_: Any, **__: Any) -> None:
        pass

    def poll(self, _: float) -> int:
        raise KafkaException(KafkaError(KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, "in a test", fatal=True))


class Table:
    """As the pool: its one connection remembers which ids each statement deletes; the first `failing` of them raise."""

    def __init__(self, failing: int = 0) -> None:
        self.deleted: list[list[int]] = []
        self._failing = failing

    @contextlib.asynccontextmanager
    async def acquire(self) -> AsyncIterator["Table"]:
        yield self

    async def execute(self, _: str, ids: list[int]) -> str:
        self.deleted.append(ids)
        if len(self.deleted) <= self._failing:
            raise RuntimeError("nobody has thought of this")
        return f"DELETE {len(ids)}"


def row(id: int) -> OutboxRow:
    return OutboxRow(id, Partition("in", 0), "out", None, b"key", b"", UUID(int=id), None, "")


def outbox(broker: Broker, pool: Any = None) -> Outbox:
    return Outbox(Settings.model_validate({}), pool, lambda _: broker)  # type: ignore[arg-type, return-value]


def test_an_answer_names_what_it_answers_and_its_own_id_may_be_given() -> None:
    order, asked, given = UUID(int=1), UUID(int=2), UUID(int=3)
    topic = "stock-rollback-requested-topic"
    record = Record(topic, 0, 7, None, b"", (("message-id", str(asked).encode()),), 0)
    request = Incoming(StockRollbackRequestedMessage(order_id=order, items=()), record)
    answer = StockRollbackCompletedMessage(order_id=order)
    ids = MessageIds("ordersaga-stock", {topic: "id"}, None)
    made, as_given = compose([Outgoing(answer, request), Outgoing(answer, request, given)], 1, ids, {})
    assert made.causation_id == as_given.causation_id == str(asked)
    assert made.message_id != as_given.message_id == given
    assert Incoming(answer, Record("", 0, 0, None, b"", tuple(as_given.publication().headers), 0)).causation_id == str(
        asked
    )


async def test_a_row_does_not_overtake_an_older_one_that_was_not_delivered() -> None:
    broker = Broker(Settings.model_validate({}))
    out = outbox(broker)
    await out.publish([row(1)], NOW)
    broker.given[0].set_exception(KafkaUnavailable("not delivered"))
    await asyncio.sleep(0.01)
    await out.publish([row(2)], NOW)
    assert (broker.got, out.broken) == ([1], True), "the second stays, and both are read again"
    await out.restart()
    await out.publish([row(1), row(2)], NOW)
    assert broker.got == [1, 1, 2]
    await out.restart()


async def test_a_turn_does_not_wait_behind_requests_and_these_do_not_fill_memory_while_kafka_is_away() -> None:
    broker = Broker(Settings.model_validate({}))
    out = outbox(broker)
    sets = [[row(first + n) for n in range(1_000)] for first in range(0, 2 * SOON_ROWS_MAX, 1_000)]
    for rows in sets:
        out.publish_soon(rows, NOW)
    await asyncio.wait_for(out.publish([row(1_000_000)], NOW), 1)
    assert broker.got == [*range(SOON_ROWS_MAX), 1_000_000], "the rest is for `adopt`"
    await out.restart()


async def test_records_that_kafka_does_not_take_give_their_room_back_while_it_answers_and_hold_it_while_it_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outbox_module, "SLOT_S_MAX", 0.05)
    broker = Broker(Settings.model_validate({}))
    out = outbox(broker)
    room = Settings.model_validate({}).turns_publishing_max
    for id in range(3 * room):
        await asyncio.wait_for(out.publish([row(id)], NOW), 1)
    assert len(broker.got) == 3 * room, "each was put aside in its turn"
    await out.restart()
    broker.is_there = False
    for id in range(room):
        await asyncio.wait_for(out.publish([row(id)], NOW), 1)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(out.publish([row(room)], NOW), 0.5)
    await out.restart()


async def test_what_waits_aside_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_module, "SLOT_S_MAX", 0.05)
    monkeypatch.setattr(outbox_module, "ASIDE_ROWS_MAX", 3)
    broker = Broker(Settings.model_validate({}))
    out = outbox(broker)
    for id in range(3 + Settings.model_validate({}).turns_publishing_max):
        await asyncio.wait_for(out.publish([row(id)], NOW), 1)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(out.publish([row(1_000)], NOW), 0.5)
    broker.given[0].set_result([])
    await asyncio.wait_for(out.publish([row(1_001)], NOW), 1)
    await out.restart()


def test_every_error_code_of_the_client_library_has_been_decided_about() -> None:
    names = [name for name in dir(KafkaError) if name.lstrip("_").isupper() and name != "NO_ERROR"]
    codes = {name: code for name in names if isinstance(code := getattr(KafkaError, name), int)}
    assert len(codes) > 150
    assert [name for name, code in codes.items() if code not in BY_CODE] == []
    assert remedy_of(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)) is Remedy.ALONE
    assert remedy_of(KafkaError(KafkaError.CLUSTER_AUTHORIZATION_FAILED)) is Remedy.AGAIN
    assert remedy_of(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)) is Remedy.TOPIC
    assert remedy_of(KafkaError(KafkaError._TRANSPORT, "in a test", fatal=True)) is Remedy.FATAL


async def acknowledged(out: Outbox, broker: Broker, table: Table, ids: Sequence[int]) -> None:
    """Publish these, have the broker acknowledge one after the other, and wait for a deletion."""
    deletions = len(table.deleted)
    for id in ids:
        await out.publish([row(id)], NOW)
    for answer in broker.given[-len(ids) :]:
        answer.set_result([])
        for _ in range(10):  # whatever waits for it has had its say before the next
            await asyncio.sleep(0)
    async with asyncio.timeout(20 * DELETE_AFTER_S):
        while len(table.deleted) == deletions:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_what_is_acknowledged_within_a_moment_is_deleted_by_one_statement() -> None:
    broker, table = Broker(Settings.model_validate({})), Table()
    out = outbox(broker, table)
    await acknowledged(out, broker, table, [1, 2, 3])
    assert table.deleted == [[1, 2, 3]]
    await acknowledged(out, broker, table, [4])
    assert table.deleted == [[1, 2, 3], [4]]


async def test_many_acknowledged_rows_are_deleted_at_once() -> None:
    broker, table = Broker(Settings.model_validate({})), Table()
    out = outbox(broker, table)
    ids = list(range(DELETE_ROWS))
    await out.publish([row(id) for id in ids], NOW)
    broker.given[0].set_result([])
    await asyncio.sleep(DELETE_AFTER_S / 5)
    assert table.deleted == [ids]


async def test_what_is_acknowledged_is_deleted_before_a_process_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_module, "DELETE_AFTER_S", 10.0)
    broker, table = Broker(Settings.model_validate({})), Table()
    out = outbox(broker, table)
    await out.publish([row(1)], NOW)
    broker.given[0].set_result([])
    await asyncio.sleep(0.01)
    assert table.deleted == []
    began_s = asyncio.get_running_loop().time()
    await out.close()
    assert table.deleted == [[1]] and asyncio.get_running_loop().time() - began_s < 5


async def test_a_deletion_that_fails_in_an_unforeseen_way_is_not_the_last_one() -> None:
    broker, table = Broker(Settings.model_validate({})), Table(failing=1)
    out = outbox(broker, table)
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)  # which would tell of the error
    await acknowledged(out, broker, table, [1])
    await acknowledged(out, broker, table, [2])
    assert table.deleted == [[1], [2]]


async def test_a_record_does_not_overtake_an_older_one_of_the_same_call_that_was_not_delivered() -> None:
    publisher = Publisher(Settings.model_validate({}))
    queue: Any = FullQueue()
    publisher._producer = queue  # type: ignore[misc]
    answer = publisher.publish([row(1).publication(), row(2).publication()])
    assert (queue.got, publisher.failed.is_set()) == ([], True)
    assert isinstance(answer.exception(), KafkaUnavailable)
    await publisher.close(0)


async def test_whoever_waits_for_a_producer_that_has_died_is_told() -> None:
    """A consumer that takes a partition waits so; were it not told, it would never come to replace the producer."""
    publisher = Publisher(Settings.model_validate({}))
    dead: Any = Dead()
    publisher._producer = dead  # type: ignore[misc]
    with pytest.raises(KafkaUnavailable):
        await asyncio.wait_for(publisher.publish([row(1).publication()]), 5)
    assert publisher.failed.is_set()
    await publisher.close(0)
