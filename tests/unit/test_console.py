"""The pure parts of the console: what needs attention, the drawing's arrows, and the form of a message."""

import asyncio
import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from urllib.parse import urlencode
from uuid import UUID, uuid4

import pytest
from msgspec.structs import replace

from ordersaga.contracts.topics import GUIDE_TOPICS
from ordersaga.operations.flow_resources import FlowMoment, PartitionMoment, TopicMoment
from ordersaga.operations.parked_resources import QueueResource
from ordersaga.operations.resources import BytesResource, CauseResource, CausesResource
from ordersaga.payment import intents
from ordersaga.payment.gateway import Declined, Unknown
from ordersaga.settings import SERVICES, ServiceName, Settings
from ordersaga.web.accounts import User
from ordersaga.web.console import editing, flow, gateway, letters, order_page, overview
from ordersaga.web.console.kafka_away import KafkaAway
from ordersaga.web.console.model import Alarm, HealthStatus, OrderStates, Outbox, OutboxTopic, Waiting
from ordersaga.web.console.rates import handled_of, rate_of, written_to
from ordersaga.web.console.reading import Reading
from ordersaga.web.console.snapshot import CallRead, ServiceView, Snapshot, TopicRead
from ordersaga.web.desk import FIELDS_MAX
from ordersaga.web.services import SignInEnded, Unavailable
from ordersaga.web.texts import TEXTS

LAST = "order-completed-topic"
NOW = datetime(2026, 5, 5, 12, tzinfo=UTC)


def snapshot(**changed: ServiceView) -> Snapshot:
    """All services well, but for the changed ones."""
    well = {
        name: ServiceView(name, False, HealthStatus("UP"), {}, Outbox(0, 0.0), CausesResource([]), [])
        for name in SERVICES
    }
    return Snapshot(NOW, well | changed, OrderStates(24, 99, {}, None))


def topic(name: str, lag: int | None = 0, **states: int) -> dict[str, TopicRead]:
    return {name: TopicRead(name, lag, 0.0, Counter(states or {"READING": 12}))}


def test_a_system_without_trouble_needs_no_attention() -> None:
    assert overview.concerns(snapshot()) == []


def answered(confirms: int, **counts: int) -> list[FlowMoment]:
    before = {"gateway-confirm": 50, "gateway-approved": 40, "gateway-unclear": 9}
    after = {
        "gateway-approved": 40 + confirms - counts.get("unclear", 0),
        "gateway-unclear": 9 + counts.get("unclear", 0),
    }
    after |= {"gateway-slow": counts["slow"]} if "slow" in counts else {}
    return [
        FlowMoment(at=NOW, topics={}, calls=before),
        FlowMoment(at=NOW + timedelta(minutes=2), topics={}, calls=after),
    ]


def test_a_gateway_whose_answers_are_often_unclear_or_slow_is_a_trouble_with_its_figures() -> None:
    def found(moments: list[FlowMoment]) -> list[overview.Concern]:
        payment = ServiceView("payment", False, HealthStatus("UP"), gateway=gateway.answers(moments))
        return overview.concerns(snapshot(payment=payment))

    (told,) = found(answered(40, unclear=6, slow=2))
    assert told.text == "gateway_poor"
    assert told.values == {"count": 40, "minutes": gateway.MINUTES, "unclear": 15, "slow": 5}
    for language in ("en", "ko"):
        assert "15" in TEXTS[language]["console.concern.gateway_poor"].format(**told.values)
    assert found(answered(100, unclear=4)) == found(answered(5, unclear=2)) == found(answered(0)) == found([]) == []
    poor = ServiceView("payment", False, HealthStatus("UP"), gateway=gateway.answers(answered(9, slow=3)))
    assert flow.gateway_state(snapshot(payment=poor)) == "poor"


def test_a_confirm_counts_by_its_answer_and_as_slow_if_that_came_late() -> None:
    late = intents.SLOW_S
    declined = Declined("REJECT_CARD_COMPANY", "refused")
    assert intents.counted_as(declined, late - 0.1) == ["gateway-declined"]
    assert intents.counted_as(declined, late) == ["gateway-declined", gateway.SLOW]
    assert intents.counted_as(Unknown("LOST", "no answer"), late) == [gateway.UNCLEAR]


def test_alarms_that_say_the_same_of_many_places_are_one() -> None:
    paused = [
        Alarm("partition paused", f"order-created/{n}", "kim has paused it", "resume it", NOW, 3) for n in range(12)
    ]
    other = Alarm("partition paused", "order-created/12", "lee has paused it", "resume it", NOW, 3)
    found = HealthStatus("DEGRADED", [], [*paused, other]).alike
    assert [(each.alarm.where, each.others) for each in found] == [("order-created/0", 11), ("order-created/12", 0)]


def test_another_teams_service_is_no_trouble() -> None:
    foreign = snapshot(stock=ServiceView("stock", foreign=True))
    assert overview.concerns(foreign) == []
    assert {each.number: each.known.state for each in flow.arrows(foreign)}[2] == "foreign"


def test_each_trouble_needs_attention_and_the_worst_comes_first() -> None:
    cause = CauseResource(
        topic="order-created",
        cause="Undecodable",
        status="OPEN",
        letters=3,
        first_at=NOW,
        last_at=NOW,
        last_reason="not JSON",
    )
    queue = QueueResource(
        topic="order-created",
        partition=0,
        offset=1,
        version="v",
        order_id=uuid4(),
        attempts=1,
        attempts_before_replay=0,
        attempts_max=5,
        due_at=None,
        cause="Busy",
        reason=None,
        parked_at=NOW,
        records=2,
    )
    stock = ServiceView(
        "stock",
        False,
        HealthStatus("UP"),
        topic("order-created", 7, PAUSED=1, STOPPED=2, NOT_ASSIGNED=4),
        None,
        CausesResource([cause]),
        [queue],
    )
    payment = ServiceView(
        "payment",
        False,
        HealthStatus("DEGRADED", [], [Alarm("gateway", "", "refused", "check", NOW, 3)]),
        {},
        Outbox(4, 60),
    )
    found = overview.concerns(snapshot(stock=stock, payment=payment, delivery=ServiceView("delivery")))
    assert {(each.text, each.values.get("count")) for each in found} == {
        ("stopped", 2),
        ("unread", 4),
        ("paused", 1),
        ("letters", 3),
        ("parked", 2),
        ("outbox", 4),
        ("down", None),
        ("gateway", None),
    }
    assert [each.level for each in found] == sorted(each.level for each in found)


def test_kafka_that_answers_nobody_is_one_trouble_and_not_one_of_each_service() -> None:
    alarm = Alarm("Kafka away", "", "Kafka does not answer", "check", NOW - timedelta(seconds=11), 11)
    views = {
        name: ServiceView(name, False, HealthStatus("DEGRADED", [], [alarm]), topic("order-created", None))
        for name in SERVICES
    }
    away = replace(snapshot(**views), kafka_away_since=NOW - timedelta(seconds=11))
    (concern,) = overview.concerns(away)
    assert (concern.level, concern.text, concern.since) == ("bad", "kafka", away.kafka_away_since)
    assert len(overview.concerns(snapshot(**views))) == len(SERVICES)


def test_kafka_is_away_when_it_answers_neither_us_nor_a_service_and_since_our_first_look_or_an_alarm() -> None:
    def view(name: ServiceName, written: int | None, *alarms: Alarm) -> ServiceView:
        reads = {"prices": TopicRead("prices", None, None, Counter(), written)}
        return ServiceView(name, False, HealthStatus("DEGRADED", [], list(alarms)), reads)

    first, later, away = NOW + timedelta(seconds=3), NOW + timedelta(seconds=6), KafkaAway()
    silent = [view("order", None), view("stock", None)]
    assert away.since(True, silent, NOW) is None
    assert away.since(False, [view("order", None), view("stock", 4)], NOW) is None
    assert away.since(False, silent, first) == first
    assert away.since(False, silent, later) == first
    assert away.since(False, [view("order", None, Alarm("Kafka away", "", "", "", NOW, 6))], later) == NOW
    assert away.since(False, [view("order", 1)], later) is None
    assert away.since(False, [ServiceView("order", foreign=True)], later) == later


@pytest.mark.parametrize(
    ("lags", "behind"),
    [([0, 80, 120], 120), ([500, 400, 300], None), ([10, 20, 99], None), ([300, 300, 300], None), ([120], None)],
)
def test_a_service_that_falls_behind_needs_attention_and_one_that_catches_up_does_not(
    lags: list[int], behind: int | None
) -> None:
    moments = [
        FlowMoment(
            at=NOW - timedelta(seconds=15 * (len(lags) - n)),
            topics={"order-created": TopicMoment(handled=0, written=lag, lag=lag)},
            calls={},
        )
        for n, lag in enumerate(lags)
    ]
    stock = ServiceView("stock", False, HealthStatus("UP"), topic("order-created", lags[-1]), moments=moments)
    found = [(each.text, each.values["count"]) for each in overview.concerns(snapshot(stock=stock))]
    assert found == ([("behind", behind)] if behind else [])


def paused(states: dict[str, TopicRead] | None, count: int = 1) -> list[overview.Concern]:
    alarms = [
        Alarm("partition paused", f"order-created/{n}", "Mina has paused the partition: a check", "resume it", NOW, 3)
        for n in range(count)
    ]
    view = ServiceView("stock", False, HealthStatus("DEGRADED", [], alarms), states, Outbox(0, 0.0), CausesResource([]))
    return overview.concerns(snapshot(stock=view))


def test_a_paused_partition_needs_attention_once_and_says_who_and_why() -> None:
    (concern,) = paused(topic("order-created", PAUSED=1, READING=11))
    assert concern.text == "paused"
    assert (concern.where, concern.said) == ("order-created/0", "Mina has paused the partition: a check")
    assert [each.said for each in paused(topic("order-created", PAUSED=2, READING=10), 2)] == [""]
    assert [each.text for each in paused(None)] == ["alarm"]


def test_the_drawing_has_the_guides_eleven_steps_and_its_topics() -> None:
    arrows = flow.arrows(snapshot())
    assert [each.number for each in arrows] == list(range(1, 12))
    assert {each.topic for each in arrows if each.topic} == {each.name for each in GUIDE_TOPICS}


@pytest.mark.parametrize(
    ("read", "state"),
    [
        (topic("order-created", 0), "calm"),
        (topic("order-created", 500), "behind"),
        (topic("order-created", 0, PAUSED=1, READING=11), "paused"),
        (topic("order-created", 0, STOPPED=1, READING=11), "stopped"),
        (topic("order-created", None), "unknown"),
        (None, "unknown"),
    ],
)
def test_an_arrow_shows_how_its_reader_stands(read: dict[str, TopicRead] | None, state: str) -> None:
    view = ServiceView("stock", False, HealthStatus("UP"), read)
    assert flow.arrows(snapshot(stock=view))[1].known.state == state


def test_a_step_over_http_shows_its_calls_and_their_other_outcomes() -> None:
    calls = {
        "confirm-payment": CallRead(9, 1.5, 0),
        "gateway-confirm": CallRead(9, 0.0, flow.LAG_BAD),
        "gateway-approved": CallRead(6, 0.0, 0),
        "gateway-declined": CallRead(2, 0.0, 0),
    }
    payment = ServiceView("payment", False, HealthStatus("UP"), {}, calls=calls)
    known = {each.number: each.known for each in flow.arrows(snapshot(payment=payment))}
    assert [known[n].state for n in (5, 6, 7)] == ["busy", "behind", "call"]
    assert known[7].calls == CallRead(6, 0.0, 0) and known[7].others == {"gateway-declined": 2}
    assert known[1].state == "unknown", "Order has told nothing"
    foreign = flow.arrows(snapshot(payment=ServiceView("payment", foreign=True)))
    assert [each.known.calls for each in foreign if each.source == "payment" and each.topic is None] == [None]


def test_the_last_step_shows_what_kafka_has_and_what_order_has_not_published_yet() -> None:
    def step(waiting: int, rate: float) -> flow.Known:
        outbox = Outbox(waiting + 7, 0.0, (OutboxTopic(LAST, waiting), OutboxTopic("order-created", 7)))
        order = ServiceView("order", False, HealthStatus("UP"), {}, outbox)
        unread = {LAST: TopicRead(LAST, None, rate, Counter(), 42)}
        return flow.arrows(replace(snapshot(order=order), unread=unread))[10].known

    assert step(0, 0.0) == flow.Known("client", TopicRead(LAST, 0, 0.0, Counter(), 42))
    assert (step(3, 0.5).state, step(flow.LAG_BAD, 0.5).state) == ("busy", "behind")
    assert flow.arrows(snapshot())[10].known == flow.Known("client")


def test_the_rate_of_a_partition_is_what_its_service_has_kept() -> None:
    def moment(seconds: int, **partitions: PartitionMoment) -> FlowMoment:
        return FlowMoment(at=NOW + timedelta(seconds=seconds), topics={}, calls={}, partitions=partitions)

    def stand(handled: int | None, written: int | None) -> dict[str, PartitionMoment]:
        return {"3": PartitionMoment(handled=handled, written=written)}

    moments = [moment(0, **stand(100, 120)), moment(1, **stand(105, 130)), moment(4, **stand(140, None))]
    assert rate_of(moments, handled_of(3)) == 35 / 3
    assert rate_of(moments, written_to(3)) is None, "between the two that are known is less than two seconds"
    assert rate_of(moments, handled_of(4)) is None


def test_an_order_that_has_waited_for_long_needs_attention() -> None:
    def waiting(age: timedelta) -> Snapshot:
        return replace(snapshot(), orders=OrderStates(24, 99, {}, Waiting(UUID(int=4), "Cup", NOW - age)))

    (found,) = overview.concerns(waiting(overview.WAITS_LONG + timedelta(seconds=1)))
    assert (found.text, found.href) == ("order", f"/console/orders/{UUID(int=4)}")
    assert overview.concerns(waiting(overview.WAITS_LONG - timedelta(seconds=1))) == []


REQUEST = {"orderId": str(UUID(int=1)), "products": [{"productId": str(UUID(int=2)), "quantity": 3}], "extra": [1]}


def test_a_form_has_each_field_of_the_message_and_each_item_of_a_list() -> None:
    fields = editing.fields_of("order-created", json.dumps(REQUEST)) or []
    assert [(each.path, each.kind, each.value) for each in fields] == [
        ("value.orderId", "text", str(UUID(int=1))),
        ("value.products", "list", ""),
        ("value.products[0]", "item", ""),
        ("value.products[0].productId", "text", str(UUID(int=2))),
        ("value.products[0].quantity", "number", "3"),
    ]


def test_the_form_becomes_the_message_and_keeps_what_the_schema_does_not_know() -> None:
    form = {"value": json.dumps(REQUEST), "value.products[0].quantity": "5", "value.orderId": str(UUID(int=9))}
    said = json.loads(editing.value_of("order-created", form))
    assert said["orderId"] == str(UUID(int=9))
    assert said["products"] == [{"productId": str(UUID(int=2)), "quantity": 5}]
    assert said["extra"] == [1]
    without = json.loads(editing.value_of("order-created", form | {"remove:value.products[0]": "on"}))
    assert without["products"] == []


def test_items_are_added_to_a_list_and_removed_from_it_by_their_numbers() -> None:
    ids = [str(UUID(int=n)) for n in range(12)]
    value = json.dumps({"orderId": ids[0], "products": [{"productId": each, "quantity": 1} for each in ids]})
    form = {"value": value, "remove:value.products[9]": "1", "remove:value.products[10]": "1"}
    left = [each["productId"] for each in json.loads(editing.value_of("order-created", form))["products"]]
    assert left == [*ids[:9], ids[11]]

    more = editing.value_of("order-created", {"value": value, "add:value.products": "1"})
    assert json.loads(more)["products"][12:] == [{}]
    paths = [each.path for each in editing.fields_of("order-created", more) or []]
    assert paths[-2:] == ["value.products[12].productId", "value.products[12].quantity"]
    typed = {"value": more, "value.products[12].productId": ids[0], "value.products[12].quantity": "2"}
    said = json.loads(editing.value_of("order-created", typed))
    assert said["products"][12] == {"productId": ids[0], "quantity": 2}


@pytest.mark.parametrize("products", [None, [], {}, "none", 1, [None]])
def test_an_item_is_added_to_whatever_stands_in_the_place_of_a_list(products: object) -> None:
    form = {
        "value": json.dumps({"orderId": "1", "products": products}),
        "add:value.products": "1",
        "add:elsewhere[1]": "1",
    }
    before = products if isinstance(products, list) else []
    assert json.loads(editing.value_of("order-created", form))["products"] == [*before, {}]


def test_the_bytes_of_a_form_are_those_that_a_browser_sends() -> None:
    value = json.dumps({"orderId": "주문", "name": "김하나"}, ensure_ascii=False)
    assert editing.bytes_of(value) - editing.ROOM_BYTES == len(urlencode({"value": value}))
    fields = editing.fields_of("delivery-request-topic", value) or []
    assert editing.bytes_of(value, fields) > editing.bytes_of(value) + len(fields) * 10
    quotes = '"' * 100
    assert editing.bytes_of(quotes) > editing.ROOM_BYTES + 200, "in JSON for the service"


def test_an_empty_field_is_null_where_null_fits_and_a_wrong_number_stays_for_the_service_to_name() -> None:
    value = json.dumps({"orderId": str(UUID(int=1)), "amount": 5, "paymentKey": "k", "status": "SUCCESS"})
    form = {"value": value, "value.paymentKey": "", "value.amount": "many"}
    said = json.loads(editing.value_of("payment-success-topic", form))
    assert said["paymentKey"] is None and said["amount"] == "many"
    without = json.dumps({"orderId": str(UUID(int=1)), "status": "SUCCESS"})
    assert "paymentKey" not in json.loads(editing.value_of("payment-success-topic", form | {"value": without}))


@pytest.mark.parametrize(
    ("topic_name", "value"), [("unheard-of", "{}"), ("order-created", "no json"), ("order-created", "[1]")]
)
def test_a_value_without_a_schema_is_edited_as_text(topic_name: str, value: str) -> None:
    assert editing.fields_of(topic_name, value) is None


@pytest.mark.parametrize("products", [None, [], [None], [1], ["x"], [[]], {}, "none"])
@pytest.mark.parametrize("topic", ["order-created", "stock-rollback-requested-topic"])
def test_a_form_can_be_made_and_sent_of_whatever_stands_in_the_place_of_a_list(topic: str, products: object) -> None:
    value = json.dumps({"orderId": "no id", "products": products, "items": products})
    fields = editing.fields_of(topic, value) or []
    form = {each.path: each.value or "7" for each in fields if each.kind not in editing.HEADS}
    said = json.loads(editing.value_of(topic, form | {"value": value}))
    lines = said["products" if topic == "order-created" else "items"]
    assert lines == ([{"productId": "7", "quantity": 7}] if isinstance(products, list) and products else products)


def test_half_of_a_pair_of_surrogates_does_not_keep_a_letter_from_being_shown_and_edited() -> None:
    value = '{"orderId": "1", "name": "Kim \\ud83d", "more": "\\ud83d"}'
    texts = [each.value for each in editing.fields_of("delivery-request-topic", value) or []]
    texts += [editing.value_of("delivery-request-topic", {"value": value, "value.name": "Kim"})]
    texts += [letters.pretty(BytesResource(value, None)) or ""]
    "".join(texts).encode()
    assert json.loads(texts[-2])["more"] == "\ud83d"


class Services:
    """Services that do not answer, and that know one token no more."""

    async def get(self, service: ServiceName, path: str, kind: Any, user: User | None = None, query: Any = None) -> Any:
        if user is not None and user.token == "run out":
            raise SignInEnded
        raise Unavailable(service)


async def test_a_token_that_has_run_out_spoils_nobody_elses_page() -> None:
    """Pages of the same roles share one reading, which is made with the first one's token."""
    reading = Reading(cast(Any, Services()), Settings())
    gone, well = (User(UUID(int=1), ("OPERATOR",), "", each) for each in ("run out", "good"))
    first, second = await asyncio.gather(reading.snapshot(gone), reading.snapshot(well), return_exceptions=True)
    assert isinstance(first, SignInEnded)
    assert isinstance(second, Snapshot) and second.services["order"].state == "down"


def test_the_form_of_the_longest_order_is_read_as_a_whole() -> None:
    lines = [{"productId": str(UUID(int=n)), "quantity": 1} for n in range(100)]
    fields = editing.fields_of("order-created", json.dumps({"orderId": str(UUID(int=1)), "products": lines})) or []
    assert len(fields) + 10 < FIELDS_MAX


@pytest.mark.parametrize(
    ("form", "path"),
    [
        ({"record": "delivery-request-topic/2/17"}, "parked/delivery-request-topic/2/17"),
        ({"record": "a?b#c/0/0"}, "parked/a%3Fb%23c/0/0"),
        ({"intent": str(UUID(int=7))}, f"intents/{UUID(int=7)}"),
        ({"record": "../acts/1/2/3"}, None),
        ({"record": "topic/1"}, None),
        ({"record": "topic/1/2x", "intent": "7"}, None),
        ({}, None),
    ],
)
def test_only_a_record_or_an_intent_is_tried_now(form: dict[str, str], path: str | None) -> None:
    assert order_page._put_off(form) == path
