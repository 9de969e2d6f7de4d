"""Delivery's rule: one delivery per order, by the carrier's verdict, the same however often it is asked for."""

import re
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ordersaga.contracts.address import Address, address_fields
from ordersaga.contracts.messages import DeliveryRequestMessage, DeliveryStartMessage
from ordersaga.delivery.carrier import Accepted, BuiltInCarrier, Parcel, Refused
from ordersaga.delivery.dispatch import dispatch, parcels
from ordersaga.delivery.model import Delivery
from ordersaga.delivery.resources import resource
from ordersaga.http.caller import Caller

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CUSTOMER = UUID(int=7)
CARRIER = BuiltInCarrier(["63", "69"])


def ask(
    order: int = 1, address: str | None = "1 Sejong-daero", zipcode: str | None = "04524"
) -> DeliveryRequestMessage:
    return DeliveryRequestMessage(order_id=UUID(int=order), customer_id=CUSTOMER, address=address, zipcode=zipcode)


class Depot:
    """Deliveries as the service keeps them."""

    def __init__(self) -> None:
        self.deliveries: dict[UUID, Delivery] = {}

    async def take(self, *requests: DeliveryRequestMessage) -> list[DeliveryStartMessage]:
        verdicts = await CARRIER.hand_over(parcels(self.deliveries, requests))
        dispatched = dispatch(self.deliveries, verdicts, requests, NOW, uuid4)
        self.deliveries |= {delivery.order_id: delivery for delivery in dispatched.deliveries}
        return dispatched.answers


async def test_a_delivery_starts_with_a_tracking_number() -> None:
    depot = Depot()
    (answer,) = await depot.take(ask())
    delivery = depot.deliveries[UUID(int=1)]
    assert (answer.status, answer.delivery_id) == ("STARTED", delivery.delivery_id)
    assert delivery.tracking_number
    assert delivery.refusal is None


@pytest.mark.parametrize(
    ("address", "zipcode"),
    [
        (None, "04524"),
        ("", "04524"),
        (" \t", "04524"),
        ("here", None),
        ("here", ""),
        ("here", "0452"),
        ("here", "045245"),
        ("here", "0452a"),
        ("here", "04524\n"),
        ("here", " 04524"),
        ("here", "٠٤٥٢٤"),
        ("here", "63000"),
        ("here", "69999"),
    ],
)
async def test_what_cannot_be_delivered_is_answered_failed_with_a_reason(
    address: str | None, zipcode: str | None
) -> None:
    depot = Depot()
    (answer,) = await depot.take(ask(address=address, zipcode=zipcode))
    delivery = depot.deliveries[UUID(int=1)]
    assert (answer.status, answer.delivery_id) == ("FAILED", delivery.delivery_id)
    assert delivery.refusal
    assert delivery.tracking_number is None


async def test_a_repeat_gets_the_same_delivery_again_in_one_batch_and_in_the_next() -> None:
    depot = Depot()
    first, second = await depot.take(ask(), ask())
    (third,) = await depot.take(ask())
    assert first == second == third
    assert len(depot.deliveries) == 1


async def test_the_first_request_decides_even_if_a_later_one_names_another_address() -> None:
    depot = Depot()
    first, later = await depot.take(ask(zipcode="63000"), ask(zipcode="04524"))
    assert first == later
    assert first.status == "FAILED"


def test_the_carrier_is_asked_once_per_order_and_never_about_a_known_one() -> None:
    known = {
        UUID(int=1): Delivery(
            UUID(int=1), uuid4(), CUSTOMER, "STARTED", "x", None, Address(*address_fields(ask())), NOW
        )
    }
    assert [parcel.order_id.int for parcel in parcels(known, [ask(1), ask(2), ask(2), ask(3)])] == [2, 3]


def test_the_carrier_gives_the_same_tracking_number_again() -> None:
    parcel = Parcel(UUID(int=1), Address(*address_fields(ask())))
    assert CARRIER.verdict(parcel) == CARRIER.verdict(parcel)
    other = CARRIER.verdict(Parcel(UUID(int=2), Address(*address_fields(ask()))))
    assert isinstance(other, Accepted)
    assert other != CARRIER.verdict(parcel)


def test_an_empty_prefix_does_not_refuse_the_whole_country() -> None:
    assert isinstance(BuiltInCarrier([""]).verdict(Parcel(UUID(int=1), Address(*address_fields(ask())))), Accepted)
    assert isinstance(BuiltInCarrier(["04"]).verdict(Parcel(UUID(int=1), Address(*address_fields(ask())))), Refused)


@given(
    st.lists(st.tuples(st.integers(1, 5), st.sampled_from(["04524", "63000", "x"])), max_size=20), st.integers(0, 20)
)
async def test_however_a_batch_is_split_each_order_has_one_delivery_and_one_answer(
    asked: list[tuple[int, str]], cut: int
) -> None:
    requests = [ask(order, zipcode=zipcode) for order, zipcode in asked]
    depot = Depot()
    answers = [*await depot.take(*requests[:cut]), *await depot.take(*requests[cut:])]
    assert len(answers) == len(requests)
    assert [answer.order_id for answer in answers] == [request.order_id for request in requests]
    for answer in answers:
        delivery = depot.deliveries[answer.order_id]
        assert (answer.delivery_id, answer.status) == (delivery.delivery_id, delivery.status)


async def test_a_reader_is_not_told_the_zipcode_by_the_carriers_reason() -> None:
    depot = Depot()
    await depot.take(ask(zipcode="63000"))
    delivery = depot.deliveries[UUID(int=1)]
    assert "63000" in str(resource(delivery, Caller(CUSTOMER, frozenset({"CUSTOMER"}))))
    shown = resource(delivery, Caller(UUID(int=8), frozenset({"READER"})))
    assert shown.refusal == "nothing is delivered to zipcode ***"
    assert not re.search(r"\b63000\b", str(shown))
