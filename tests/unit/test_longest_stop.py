"""How `make cluster` finds the longest time without an order that ended."""

from tests.chaos.machines import longest_stop


def test_the_longest_time_without_an_end_counts_from_the_first_and_to_the_last_moment() -> None:
    assert longest_stop([1.0, 2.0, 6.0, 7.0], 0.0, 8.0) == 4.0
    assert longest_stop([4.0, 5.0], 0.0, 6.0) == 4.0
    assert longest_stop([1.0, 2.0], 0.0, 9.0) == 7.0
    assert longest_stop([], 3.0, 8.0) == 5.0


def test_what_ended_outside_of_the_time_does_not_count() -> None:
    assert longest_stop([1.0, 5.0, 9.0], 2.0, 6.0) == 3.0
