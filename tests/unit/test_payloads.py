"""Which record of Kafka belongs to which message of an order's story."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

from ordersaga.messaging.handler import Record
from ordersaga.web.console.model import DeliveryView, PaymentView, TimelineEvent
from ordersaga.web.console.payloads import Mention, matched, mention, sent_by, times_of
from ordersaga.web.console.story import story

BEGAN = datetime(2026, 5, 5, 12, tzinfo=UTC)
REQUESTS, ANSWERS = "order-created", "stock-response-topic"


def at(seconds: float) -> datetime:
    return BEGAN + timedelta(seconds=seconds)


def record(topic: str, seconds: float, offset: int, id: str | None = None, cause: str | None = None) -> Record:
    headers = [(name, each.encode()) for name, each in (("message-id", id), ("causation-id", cause)) if each]
    return Record(topic, 3, offset, b"key", b"{}", tuple(headers) or None, int(at(seconds).timestamp() * 1000))


def came_in(number: str, message: str, seconds: float) -> Mention:
    found = mention(number, message, at(seconds))
    assert found is not None
    return found


def offsets(mentions: list[Mention], records: list[Record]) -> dict[str, int]:
    return {name: match.record.offset for name, match in matched(mentions, records).items()}


def test_the_story_names_the_messages_of_each_service_and_no_commands() -> None:
    events = [
        TimelineEvent(at(0), "Placed", ["StockDecreaseRequestMessage", "OrderPayableMessage"], "PENDING"),
        TimelineEvent(at(1), "StockResponseMessage", [], "PENDING"),
        TimelineEvent(at(2), "CancelBeforeDelivery", ["SomethingOfALaterVersion"], "CANCELLED"),
    ]
    payment = PaymentView("key-1", 500, "APPROVED", 500, 0, at(3), at(4))
    lines = story(events, [payment], DeliveryView(uuid4(), "STARTED", "OS1", at(5)), {}, [])
    assert [[each.name for each in line.mentions] for line in lines] == [
        ["order-0-out-0", "order-0-out-1"],
        ["order-1-in"],
        [],
        [],
        ["payment-0-out-0"],
        ["delivery-0-in", "delivery-0-out-0"],
    ]
    assert times_of([each for line in lines for each in line.mentions])[REQUESTS] == [int(BEGAN.timestamp() * 1000)]


def test_an_answer_that_came_twice_is_each_times_record() -> None:
    mentions = [came_in("order-1", "StockResponseMessage", 1), came_in("order-2", "StockResponseMessage", 60)]
    both = [record(ANSWERS, 0.9, 7), record(ANSWERS, 59, 8)]
    assert offsets(mentions, both) == {"order-1-in": 7, "order-2-in": 8}
    assert offsets(mentions, both[1:]) == {"order-2-in": 8}, "the first is removed: it is not the second"
    late = [record(ANSWERS, 0.9, 7), record(ANSWERS, 3_000, 9)]
    assert offsets(mentions[:1], late) == {"order-1-in": 7}, "a later record was not there yet"


def test_a_message_that_went_out_is_the_record_that_names_its_cause() -> None:
    first = [came_in("order-1", "StockResponseMessage", 1), *sent_by("order-1", ["DeliveryRequestMessage"], at(1))]
    topic = first[1].topic
    answer = record(ANSWERS, 0.9, 7, "id-7")
    other = record(topic, 1.05, 20, "id-20", cause="somebody else")
    right = record(topic, 1.1, 21, "id-21", cause="id-7")
    assert offsets(first, [answer, other, right])["order-1-out-0"] == 21
    by_place = record(topic, 1.1, 22, "id-22", cause=f"{ANSWERS}/3/7")
    assert offsets(first, [record(ANSWERS, 0.9, 7), other, by_place])["order-1-out-0"] == 22
    assert "order-1-out-0" not in offsets(first, [answer, other])


def test_a_repeated_request_is_the_first_record_after_it_was_sent() -> None:
    sent = [*sent_by("order-0", ["StockDecreaseRequestMessage"], at(0))]
    sent += sent_by("order-1", ["StockDecreaseRequestMessage"], at(60))
    records = [record(REQUESTS, 0.1, 1, "a"), record(REQUESTS, 60.1, 2, "b")]
    assert offsets(sent, records) == {"order-0-out-0": 1, "order-1-out-0": 2}
    assert offsets(sent, records[1:]) == {"order-1-out-0": 2}, "the first is removed: it is not the second"


def test_a_record_that_was_published_twice_is_one() -> None:
    sent = sent_by("order-0", ["StockDecreaseRequestMessage"], at(0))
    (match,) = matched(sent, [record(REQUESTS, 0.1, 1, "a"), record(REQUESTS, 9, 2, "a")]).values()
    assert (match.record.offset, [each.offset for each in match.again]) == (1, [2])
