"""What parking decides without the database: who must wait, for how long, and when a record is given up."""

from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from ordersaga.contracts.messages import DeliveryStartMessage
from ordersaga.messaging.handler import Incoming, Record
from ordersaga.messaging.parking import Parked, Parking
from ordersaga.settings import Settings


def incoming(key: UUID, partition: int = 0) -> Incoming:
    message = DeliveryStartMessage(order_id=key, delivery_id=uuid4(), status="STARTED")
    return Incoming(message, Record("t", partition, 0, None, b"", None, 0))


def test_later_records_of_a_parked_key_wait_and_all_others_are_handled() -> None:
    parking, key = Parking(Settings()), uuid4()
    parking.add_keys([], [incoming(key)])
    same, other, elsewhere = incoming(key), incoming(uuid4()), incoming(key, partition=1)
    assert parking.split([same, other, elsewhere]) == ([other, elsewhere], [same])


def test_while_nothing_is_parked_the_records_are_not_even_looked_at() -> None:
    records = [incoming(uuid4())]
    handled, waiting = Parking(Settings()).split(records)
    assert handled is records and not waiting


def test_the_wait_doubles_with_each_attempt() -> None:
    parking = Parking(Settings(park_backoff_ms=1_000))
    for attempts, seconds in [(1, 1), (2, 2), (5, 16)]:
        waits = [parking._wait(attempts) for _ in range(100)]
        assert all(timedelta(seconds=0.8 * seconds) <= wait <= timedelta(seconds=1.2 * seconds) for wait in waits)
        assert len(set(waits)) > 1


@pytest.mark.parametrize(("attempts", "before", "gives_up"), [(3, 0, False), (4, 0, True), (8, 5, False), (9, 5, True)])
def test_a_record_is_given_up_after_so_many_attempts_since_its_last_replay(
    attempts: int, before: int, gives_up: bool
) -> None:
    parked = Parked(Record("t", 0, 0, None, b"", None, 0), attempts, before)
    assert Parking(Settings(park_attempts_max=5)).gives_up(parked) is gives_up
