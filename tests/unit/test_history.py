"""The last hours as curves: rates between moments, gaps, and which charts there are."""

from datetime import UTC, datetime, timedelta

import pytest

from ordersaga.operations.flow_resources import FlowMoment, TopicMoment
from ordersaga.web.console.curves import HEIGHT, WIDTH
from ordersaga.web.console.history import charts, topic_charts
from ordersaga.web.console.rates import called, handled, rate_of, written

NOW = datetime(2026, 5, 5, 12, tzinfo=UTC)
CREATED, COMPLETED = "order-created", "order-completed-topic"


def moment(
    ago_s: float, handled: int | None, written: int | None, topic: str = CREATED, placed: int | None = None
) -> FlowMoment:
    behind = None if handled is None or written is None else written - handled
    read = TopicMoment(handled=handled, written=written, lag=behind)
    return FlowMoment(
        at=NOW - timedelta(seconds=ago_s),
        topics={topic: read},
        calls={} if placed is None else {"place-order": placed},
    )


def test_a_rate_is_that_since_the_last_moment_that_is_old_enough() -> None:
    moments = [moment(30, 0, 0), moment(10, 100, 110), moment(1, 130, 170), moment(0, 150, 200)]
    assert rate_of(moments, handled(CREATED)) == 5.0
    assert rate_of(moments, written(CREATED)) == 9.0
    assert rate_of(moments[-2:], handled(CREATED)) is None, "one second is too short"
    assert rate_of([], handled(CREATED)) is None
    assert rate_of([moment(10, 1, None), moment(0, 2, None)], written(CREATED)) is None


def test_a_number_that_began_anew_is_no_negative_rate() -> None:
    assert rate_of([moment(10, 500, 500), moment(0, 3, 3)], handled(CREATED)) == 0.0


def test_a_call_that_has_never_come_is_none_a_second() -> None:
    assert rate_of([moment(10, 0, 0), moment(0, 0, 0)], called("place-order")) == 0.0


def test_orders_a_second_and_records_behind_end_at_the_right_edge() -> None:
    order = [
        moment(60, None, 0, COMPLETED, 0),
        moment(30, None, 60, COMPLETED, 150),
        moment(0, None, 60, COMPLETED, 150),
    ]
    stock = [moment(60, 0, 5), moment(0, 5, 5)]
    orders, lag, gateway = charts({"order": order, "stock": stock, "payment": order}, NOW, 120)
    placed, completed = orders.lines
    assert (orders.top, placed.value, placed.highest, completed.highest) == (5, 0.0, 5.0, 2.0)
    assert placed.paths == [f"{WIDTH * 0.75:.1f},0.0 {WIDTH:.1f},{HEIGHT:.1f}"]
    assert [(line.name, line.value, line.highest) for line in lag.lines][1] == ("stock", 0, 5)
    assert [line.highest for line in gateway.lines] == [0.0, 0.0, 0.0]


def test_a_time_in_which_nobody_looked_is_a_gap() -> None:
    order = [moment(each, None, 0, COMPLETED, 9) for each in (600, 585, 570, 30, 15, 0)]
    stock = [moment(each, 5, 5) for each in (600, 585, 570, 30, 15, 0)]
    orders, lag = charts({"order": order, "stock": stock}, NOW, 900)
    assert len(orders.lines[0].paths) == len(lag.lines[1].paths) == 2


@pytest.mark.parametrize("reader", ["ours", "theirs"])
def test_a_topic_is_told_by_its_reader_and_by_its_writer_where_another_team_reads(reader: str) -> None:
    kept = (
        {"stock": [moment(30, 0, 0), moment(0, 30, 60)]}
        if reader == "ours"
        else {"order": [moment(30, None, 0), moment(0, None, 60)]}
    )
    (chart,) = topic_charts(kept, NOW, 900)
    assert (chart.name, chart.is_busy) == (CREATED, True)
    assert {line.name: line.value for line in chart.lines} == {"in": 2.0} | ({"out": 1.0} if reader == "ours" else {})


def test_without_any_moment_there_is_no_chart() -> None:
    assert charts({"order": [], "stock": []}, NOW, 900) == topic_charts({}, NOW, 900) == []
