"""How many are taken at once."""

from ordersaga.messaging.sizes import SetSize


def test_a_size_shrinks_to_one_and_grows_to_the_most_again() -> None:
    size = SetSize(2_000)
    for _ in range(6):
        size.too_large(size.now)
    assert size.now == 1
    for _ in range(200):
        size.went_well(size.now)
    assert size.now == 2_000


def test_a_set_that_was_smaller_than_allowed_shrinks_below_itself() -> None:
    size = SetSize(2_000)
    size.too_large(12)
    assert size.now == 3


def test_small_sets_prove_nothing_about_large_ones() -> None:
    size = SetSize(2_000)
    size.too_large(2_000)
    for _ in range(100):
        size.went_well(1)
    assert size.now == 500
