"""Stock's rule: every arrival order of requests and rollbacks comes out right, and no piece is lost or made."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ordersaga.contracts.limits import INT32_MAX
from ordersaga.contracts.messages import (
    Message,
    OrderedProduct,
    StockDecreaseRequestMessage,
    StockResponseMessage,
    StockRollbackCompletedMessage,
    StockRollbackFailedMessage,
    StockRollbackRequestedMessage,
)
from ordersaga.stock.allocation import Reply, Request, allocate
from ordersaga.stock.model import Movement, Reservation

ORDER, OTHER = UUID(int=1), UUID(int=2)
A, B, C = UUID(int=10), UUID(int=11), UUID(int=12)
COMPLETED = StockRollbackCompletedMessage(order_id=ORDER)


def lines(*pieces: tuple[UUID, int]) -> tuple[OrderedProduct, ...]:
    return tuple(OrderedProduct(product_id=product_id, quantity=quantity) for product_id, quantity in pieces)


def ask(*pieces: tuple[UUID, int], order: UUID = ORDER) -> StockDecreaseRequestMessage:
    return StockDecreaseRequestMessage(order_id=order, products=lines(*pieces))


def roll_back(*pieces: tuple[UUID, int], order: UUID = ORDER) -> StockRollbackRequestedMessage:
    return StockRollbackRequestedMessage(order_id=order, items=lines(*pieces))


class Shelf:
    """Stock as the service keeps it: what is available, what was decided, what moved."""

    def __init__(self, available: Mapping[UUID, int]) -> None:
        self.available = dict(available)
        self.reservations: dict[UUID, Reservation] = {}
        self.movements: list[Movement] = []

    def take(self, *requests: Request) -> list[Reply]:
        allocation = allocate(self.available, self.reservations, requests)
        self.reservations |= allocation.reservations
        self.movements += allocation.movements
        for movement in allocation.movements:
            self.available[movement.product_id] += movement.quantity * (1 if movement.kind == "released" else -1)
        return allocation.replies

    def answers(self, *requests: Request) -> tuple[Message, ...]:
        return self.take(*requests)[-1].answers


def verdicts(answers: Sequence[Message]) -> dict[UUID | None, str]:
    return {a.product_id: a.status for a in answers if isinstance(a, StockResponseMessage)}


def test_an_order_gets_one_success_per_product() -> None:
    shelf = Shelf({A: 5, B: 5})
    assert verdicts(shelf.answers(ask((A, 2), (B, 5)))) == {A: "SUCCESS", B: "SUCCESS"}
    assert shelf.available == {A: 3, B: 0}


def test_a_shortage_names_each_short_product_and_takes_nothing() -> None:
    shelf = Shelf({A: 5, B: 1, C: 0})
    answers = shelf.answers(ask((A, 1), (B, 2), (C, 1)))
    assert verdicts(answers) == {B: "FAILED", C: "FAILED"}
    assert "asked for 2, available 1" in (answers[0].message or "")  # type: ignore[attr-defined]
    assert shelf.available == {A: 5, B: 1, C: 0}
    assert shelf.movements == []


def test_the_last_piece_goes_to_the_first_that_asked() -> None:
    shelf = Shelf({A: 1})
    first, second = shelf.take(ask((A, 1)), ask((A, 1), order=OTHER))
    assert verdicts(first.answers) == {A: "SUCCESS"}
    assert verdicts(second.answers) == {A: "FAILED"}


def test_an_unknown_product_is_named_and_fails_the_order() -> None:
    answers = Shelf({A: 5}).answers(ask((A, 1), (C, 1)))
    assert verdicts(answers) == {C: "FAILED"}
    assert "there is no product" in (answers[0].message or "")  # type: ignore[attr-defined]


def test_a_product_named_twice_is_answered_once_with_the_sum() -> None:
    shelf = Shelf({A: 5})
    assert [type(each) for each in shelf.answers(ask((A, 2), (A, 3)))] == [StockResponseMessage]
    assert shelf.available == {A: 0}


def test_a_sum_beyond_int32_is_a_shortage_like_any_other() -> None:
    shelf = Shelf({A: INT32_MAX})
    assert verdicts(shelf.answers(ask((A, INT32_MAX), (A, INT32_MAX)))) == {A: "FAILED"}
    assert shelf.available == {A: INT32_MAX}


@pytest.mark.parametrize("quantity", [3, 9])
def test_a_repeat_gets_the_same_answers_and_moves_nothing(quantity: int) -> None:
    shelf = Shelf({A: 5, B: 5})
    first = shelf.answers(ask((A, quantity), (B, 1)))
    moved = list(shelf.movements)
    assert shelf.answers(ask((B, 1), (A, quantity))) == first
    assert shelf.movements == moved


def test_a_refused_order_stays_refused_when_stock_comes_in() -> None:
    shelf = Shelf({A: 0})
    first = shelf.answers(ask((A, 1)))
    shelf.available[A] = 10
    assert shelf.answers(ask((A, 1))) == first


def test_a_request_with_other_items_for_a_known_order_is_rejected() -> None:
    shelf = Shelf({A: 5})
    shelf.take(ask((A, 1)))
    reply = shelf.take(ask((A, 2)))[0]
    assert reply.answers == ()
    assert reply.rejection
    assert shelf.available == {A: 4}


def test_a_rollback_gives_back_what_was_reserved_and_only_once() -> None:
    shelf = Shelf({A: 5, B: 5})
    shelf.take(ask((A, 2), (B, 3)))
    assert shelf.answers(roll_back((A, 2), (B, 3))) == (COMPLETED,)
    assert shelf.answers(roll_back((A, 2), (B, 3))) == (COMPLETED,)
    assert shelf.available == {A: 5, B: 5}
    assert shelf.reservations[ORDER].state == "RELEASED"


def test_a_rollback_of_some_products_leaves_the_others_reserved() -> None:
    shelf = Shelf({A: 5, B: 5})
    shelf.take(ask((A, 2), (B, 3)))
    assert shelf.answers(roll_back((A, 2))) == (COMPLETED,)
    assert shelf.available == {A: 5, B: 2}
    assert shelf.reservations[ORDER].state == "RESERVED"
    assert shelf.answers(roll_back((A, 2), (B, 3))) == (COMPLETED,)
    assert shelf.available == {A: 5, B: 5}


@pytest.mark.parametrize("wrong", [(A, 1), (A, 3), (C, 1)])
def test_a_rollback_of_what_was_not_reserved_fails_and_changes_nothing(wrong: tuple[UUID, int]) -> None:
    shelf = Shelf({A: 5, B: 5})
    shelf.take(ask((A, 2), (B, 3)))
    (answer,) = shelf.answers(roll_back((B, 3), wrong))
    assert isinstance(answer, StockRollbackFailedMessage)
    assert str(wrong[0]) in (answer.error_message or "")
    assert shelf.available == {A: 3, B: 2}


def test_a_released_product_is_not_rolled_back_with_another_quantity() -> None:
    shelf = Shelf({A: 5})
    shelf.take(ask((A, 2)), roll_back((A, 2)))
    assert isinstance(shelf.answers(roll_back((A, 5)))[0], StockRollbackFailedMessage)


def test_a_rollback_of_a_refused_order_fails() -> None:
    shelf = Shelf({A: 0})
    shelf.take(ask((A, 1)))
    assert isinstance(shelf.answers(roll_back((A, 1)))[0], StockRollbackFailedMessage)


def test_a_rollback_without_products_is_answered_failed_and_leaves_no_tombstone() -> None:
    shelf = Shelf({A: 5})
    assert isinstance(shelf.answers(roll_back())[0], StockRollbackFailedMessage)
    assert verdicts(shelf.answers(ask((A, 1)))) == {A: "SUCCESS"}


def test_a_refusal_of_very_many_products_fits_into_a_record() -> None:
    shelf = Shelf({A: 5})
    shelf.take(ask((A, 1)))
    (answer,) = shelf.answers(roll_back(*((UUID(int=n), 1) for n in range(1_000, 20_000))))
    assert len(answer.error_message or "") < 1_000  # type: ignore[attr-defined]


def test_a_request_that_its_rollback_overtook_gets_nothing() -> None:
    shelf = Shelf({A: 5, B: 5})
    assert shelf.answers(roll_back((A, 2))) == (COMPLETED,)
    assert verdicts(shelf.answers(ask((A, 2), (B, 1)))) == {A: "FAILED", B: "FAILED"}
    assert verdicts(shelf.answers(ask((A, 2), (B, 1)))) == {A: "FAILED", B: "FAILED"}
    assert shelf.answers(roll_back((A, 2))) == (COMPLETED,)
    assert shelf.movements == []


def test_a_request_repeated_after_a_release_gets_failed() -> None:
    shelf = Shelf({A: 5})
    shelf.take(ask((A, 2)), roll_back((A, 2)))
    assert verdicts(shelf.answers(ask((A, 2)))) == {A: "FAILED"}
    assert shelf.available == {A: 5}


def test_a_product_still_held_is_never_called_failed() -> None:
    """Order asks again while some products are released: FAILED for a held one would keep it from ever being given back."""
    shelf = Shelf({A: 5, B: 5})
    shelf.take(ask((A, 2), (B, 3)), roll_back((A, 2)))
    assert verdicts(shelf.answers(ask((A, 2), (B, 3)))) == {A: "FAILED", B: "SUCCESS"}


products = st.sampled_from([A, B, C])
pieces = st.lists(st.tuples(products, st.integers(1, 4)), min_size=1, max_size=3)
orders = st.sampled_from([UUID(int=n) for n in range(1, 5)])
batches = st.lists(
    st.one_of(
        st.builds(lambda order, some: ask(*some, order=order), orders, pieces),
        st.builds(lambda order, some: roll_back(*some, order=order), orders, pieces),
    ),
    max_size=25,
)
stocks = st.fixed_dictionaries({A: st.integers(0, 12), B: st.integers(0, 12)})


@given(stocks, batches)
def test_stock_is_conserved_and_never_negative(stock: dict[UUID, int], batch: list[Request]) -> None:
    shelf = Shelf(stock)
    for request in batch:
        shelf.take(request)
        assert min(shelf.available.values()) >= 0
        for product_id in stock:
            held = sum(
                item.quantity
                for reservation in shelf.reservations.values()
                for item in reservation.items
                if item.product_id == product_id and item.state == "RESERVED"
            )
            assert shelf.available[product_id] + held == stock[product_id]


@given(stocks, batches)
def test_no_order_moves_a_product_twice_in_one_direction(stock: dict[UUID, int], batch: list[Request]) -> None:
    shelf = Shelf(stock)
    shelf.take(*batch)
    moved = [(movement.order_id, movement.product_id, movement.kind) for movement in shelf.movements]
    assert len(moved) == len(set(moved))


@given(stocks, batches, st.lists(st.integers(0, 25), max_size=6))
def test_however_a_batch_is_split_the_result_is_the_same(
    stock: dict[UUID, int], batch: list[Request], cuts: list[int]
) -> None:
    whole, parts = Shelf(stock), Shelf(stock)
    replies = whole.take(*batch)
    bounds = sorted({0, len(batch), *(min(cut, len(batch)) for cut in cuts)})
    in_parts = [reply for start, end in pairwise(bounds) for reply in parts.take(*batch[start:end])]
    assert in_parts == replies
    assert parts.available == whole.available
    assert parts.reservations == whole.reservations
    assert parts.movements == whole.movements


@given(stocks, batches)
def test_a_batch_taken_again_moves_nothing(stock: dict[UUID, int], batch: list[Request]) -> None:
    """Any record may be resent, after all the others."""
    shelf = Shelf(stock)
    shelf.take(*batch)
    moved = len(shelf.movements)
    shelf.take(*batch)
    assert len(shelf.movements) == moved
