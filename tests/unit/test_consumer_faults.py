"""Faults of a consumer on purpose: which records fail, how often, and that nothing does once they are over."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID, uuid4

import pytest

from ordersaga.contracts.messages import DeliveryRequestMessage
from ordersaga.messaging.consumer_faults import ON_PURPOSE, ConsumerFaults, Faults, InForce, PassingFault
from ordersaga.messaging.handler import Batch, Handler, Incoming, Outgoing, Record
from ordersaga.messaging.health import Alarms

NOW = datetime(2026, 5, 5, 12, tzinfo=UTC)
TOPIC = "delivery-request-topic"


def incoming(offset: int) -> Incoming:
    order_id = uuid4()
    record = Record(TOPIC, 0, offset, None, b"{}", None, 0)
    return Incoming(DeliveryRequestMessage(order_id=order_id, customer_id=uuid4(), address="1", name="1"), record)


RECORDS = [incoming(n) for n in range(1_000)]


class Tried:
    """A handler that takes everything, and what it was given."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    async def handle(self, batch: Batch, _: Any) -> list[Outgoing]:
        self.seen += [each.record.offset for each in batch.incoming]
        return []


def faults(now: Faults) -> ConsumerFaults:
    found = ConsumerFaults(Alarms(lambda: NOW))
    found.use(InForce(now, "kim", NOW))
    return found


def handled(one: ConsumerFaults, records: list[Incoming], at: datetime = NOW) -> tuple[list[int], list[int]]:
    """The offsets that reach the handler, and those that are given up. Raises `PassingFault`."""
    tried = Tried()
    batch = Batch(records, at, lambda: UUID(int=0))

    async def handle() -> None:
        await one.around(Handler((), tried.handle)).handle(batch, cast(Any, None))

    asyncio.run(handle())
    return tried.seen, [each.record.offset for each in batch.rejected]


def failing(one: ConsumerFaults, at: datetime = NOW) -> set[int]:
    found = set()
    for each in RECORDS:
        try:
            handled(one, [each], at)
        except PassingFault:
            found.add(each.record.offset)
    return found


def test_without_faults_each_record_is_handled() -> None:
    assert handled(faults(Faults()), RECORDS) == (list(range(1_000)), [])


def test_a_passing_fault_hits_its_share_of_the_tries_and_the_next_try_is_drawn_anew() -> None:
    one = faults(Faults(passing_percent=20))
    first, again = failing(one), failing(one, NOW + timedelta(seconds=4))
    assert 120 < len(first) < 280
    assert failing(one) == first, "the halves of a turn meet the same records"
    assert len(first & again) < len(first) / 2
    with pytest.raises(PassingFault):
        handled(one, RECORDS)


def test_a_lasting_fault_gives_up_its_share_at_each_try_and_the_others_go_on() -> None:
    one = faults(Faults(lasting_percent=10))
    seen, given_up = handled(one, RECORDS)
    assert 50 < len(given_up) < 150
    assert sorted(seen + given_up) == list(range(1_000))
    assert handled(one, RECORDS, NOW + timedelta(hours=1))[1] == given_up
    one.use(InForce(Faults(), "kim", NOW))
    assert handled(one, RECORDS)[1] == []


def test_a_turn_is_late_and_small() -> None:
    async def delayed() -> float:
        began = asyncio.get_running_loop().time()
        await faults(Faults(turn_delay_ms=50)).delay()
        return asyncio.get_running_loop().time() - began

    assert asyncio.run(delayed()) >= 0.049
    assert faults(Faults()).records_max(2_000) == 2_000
    assert faults(Faults(turn_records_max=5)).records_max(2_000) == 5
    assert faults(Faults(turn_records_max=5)).records_max(2) == 2


def test_an_alarm_says_what_goes_wrong_for_as_long_as_it_does() -> None:
    alarms = Alarms(lambda: NOW)
    one = ConsumerFaults(alarms)
    assert alarms.now() == []
    one.use(InForce(Faults(500, 20, 10, 5), "kim", NOW))
    (alarm,) = alarms.now()
    assert alarm.alarm == ON_PURPOSE
    assert alarm.what == (
        "kim has set faults of this service's consumers: each turn begins 500 ms late, a turn has 20 records at most, "
        "10 % of the tries fail, 5 % of the records become dead letters"
    )
    one.use(InForce(Faults(), "kim", NOW))
    assert alarms.now() == []


def test_faults_that_were_read_before_they_were_changed_do_not_come_back() -> None:
    one = faults(Faults(turn_delay_ms=50))
    one.use(InForce(Faults(), "kim", NOW + timedelta(seconds=1)))
    one.use(InForce(Faults(turn_delay_ms=50), "kim", NOW))
    assert one.now == Faults()
