"""How `make cluster` finds the longest time without an order that ended, and behind which blow that time began."""

from tests.chaos.run import Recovery
from tests.chaos.stops import Span, longest, longest_stop, place


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


def test_the_longest_stop_is_said_with_its_beginning_and_its_end() -> None:
    assert longest([1.0, 2.0, 6.0, 7.0], 0.0, 8.0) == Span(2.0, 6.0)
    assert longest([1.0, 3.0, 12.5, 13.0], 0.0, 14.0, [Span(4.0, 10.0)]) == Span(10.0, 12.5)
    assert longest([], 3.0, 8.0) == Span(3.0, 8.0)


def test_of_two_stops_that_are_as_long_the_first_one_counts() -> None:
    assert longest([2.0, 4.0], 0.0, 6.0) == Span(0.0, 2.0)


def recovery(what: str, since_s: float) -> Recovery:
    return Recovery(what, [what], since_s, None, 0.0, None, 0.0)


def test_a_stop_belongs_to_the_last_blow_before_it_however_long_ago_that_was() -> None:
    blows = [recovery("a broker killed", 10.0), recovery("a primary killed", 40.0)]
    assert place(Span(35.0, 38.0), blows) == "from 25.0 s after: a broker killed"
    assert place(Span(41.5, 45.0), blows) == "from 1.5 s after: a primary killed"
    assert place(Span(5.0, 8.0), blows) == "before the first blow"


def test_a_stop_counts_from_the_last_order_which_may_have_ended_just_before_the_blow() -> None:
    assert place(Span(9.6, 13.0), [recovery("a broker killed", 10.0)]) == "from 0.0 s after: a broker killed"
