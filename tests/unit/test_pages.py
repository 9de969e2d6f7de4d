"""The cursors of a list: read back as they were made, and refused where they were not."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ordersaga.delivery.resources import DeliveryPage
from ordersaga.http.pages import Cursors, Page
from ordersaga.http.problems import Problem
from ordersaga.order.resources import EventPage, OrderPage
from ordersaga.payment.resources import PageKey, PaymentPage
from ordersaga.stock.resources import ProductPage

things: Cursors[UUID] = Cursors("things", UUID)
others: Cursors[UUID] = Cursors("others", UUID)
KEY = UUID(int=7)


def refused(cursor: str) -> dict[str, Any]:
    with pytest.raises(Problem) as error:
        things.key(cursor)
    assert (error.value.status, error.value.body.title) == (400, "The request is not valid")
    (field,) = error.value.body.errors or []
    return {"field": field.field, "code": field.code}


@given(st.uuids())
def test_a_cursor_is_read_back_as_its_key(key: UUID) -> None:
    cursor = things.of(key)
    assert things.key(cursor) == key
    assert set(cursor) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


def test_a_key_of_two_parts_is_read_back_too() -> None:
    payments: Cursors[PageKey] = Cursors("payments", PageKey)
    key = PageKey(datetime(2026, 11, 29, 12, 0, 0, 123, tzinfo=UTC), "a_key-1")
    assert payments.key(payments.of(key)) == key


def test_no_cursor_is_the_first_page() -> None:
    assert things.key(None) is None


@given(st.text(max_size=100))
def test_a_text_that_is_no_cursor_is_refused(text: str) -> None:
    assert refused(text) == {"field": "cursor", "code": "invalid"}


@given(st.integers(min_value=0), st.characters(codec="ascii"))
def test_an_altered_cursor_is_refused(position: int, character: str) -> None:
    cursor = things.of(KEY)
    position %= len(cursor)
    altered = cursor[:position] + character + cursor[position + 1 :]
    if altered != cursor:
        assert refused(altered)["field"] == "cursor"


@pytest.mark.parametrize(
    "cursor", [others.of(KEY), things.of(KEY)[:-1], things.of(KEY) + "=", things.of(KEY) * 2, str(KEY), "", "A" * 9_999]
)
def test_a_cursor_of_another_list_or_a_part_of_one_is_refused(cursor: str) -> None:
    assert refused(cursor) == {"field": "cursor", "code": "invalid"}


def test_a_page_has_a_cursor_where_more_rows_were_read_than_it_shows() -> None:
    rows = [uuid4() for _ in range(3)]
    assert things.cut(rows, 2, lambda row: row) == (rows[:2], things.of(rows[1]))
    assert things.cut(rows, 3, lambda row: row) == (rows, None)
    assert things.cut([], 3, lambda row: row) == ([], None)


def test_each_page_of_the_services_has_the_same_fields() -> None:
    for page in (OrderPage, EventPage, ProductPage, PaymentPage, DeliveryPage):
        assert issubclass(page, Page) and page.__struct_fields__[:2] == ("items", "next")
