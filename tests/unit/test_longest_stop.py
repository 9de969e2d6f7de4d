"""How `make cluster` finds the longest time without an order that ended."""

from tests.chaos.stops import Span, longest_stop


def test_the_longest_time_without_an_end_counts_from_the_first_and_to_the_last_moment() -> None:
    assert longest_stop([1.0, 2.0, 6.0, 7.0], 0.0, 8.0) == 4.0
    assert longest_stop([4.0, 5.0], 0.0, 6.0) == 4.0
    assert longest_stop([1.0, 2.0], 0.0, 9.0) == 7.0
    assert longest_stop([], 3.0, 8.0) == 5.0


def test_what_ended_outside_of_the_time_does_not_count() -> None:
    assert longest_stop([1.0, 5.0, 9.0], 2.0, 6.0) == 3.0


def test_a_time_without_kafka_or_the_database_does_not_count_but_what_comes_before_and_after_it_does() -> None:
    cut = [Span(4.0, 10.0)]
    assert longest_stop([1.0, 3.0, 12.5, 13.0], 0.0, 14.0, cut) == 2.5
    assert longest_stop([1.0, 10.5, 11.0], 0.0, 12.0, cut) == 3.0
    assert longest_stop([1.0, 3.0], 0.0, 14.0, cut) == 4.0
    assert longest_stop([1.0, 7.0, 10.5, 11.0], 0.0, 12.0, cut) == 3.0
