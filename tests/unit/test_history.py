"""The last hours as curves: rates between moments, gaps, and which charts there are."""

from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID

import pytest

from ordersaga.http.pages import Page
from ordersaga.messaging.calls import CallCount
from ordersaga.operations.flow_resources import FlowMoment, FlowResource, TopicMoment
from ordersaga.operations.resources import CallsResource
from ordersaga.settings import ServiceName, Settings
from ordersaga.web.accounts import User
from ordersaga.web.console.curves import HEIGHT, WIDTH
from ordersaga.web.console.history import charts, topic_charts
from ordersaga.web.console.model import PartitionState
from ordersaga.web.console.rates import called, handled, rate_of, written
from ordersaga.web.console.reading import FACE, Reading
from ordersaga.web.services import Unavailable

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


class Services:
    """Order alone, ten seconds in which three orders a second were placed."""

    async def get(self, service: ServiceName, path: str, kind: Any, user: User | None = None, query: Any = None) -> Any:
        found: dict[str, Any] = {
            f"{FACE}/flow": FlowResource(moments=[moment(10, 0, 40, "payment-success-topic", 0), LATER]),
            f"{FACE}/calls": CallsResource(calls=[CallCount("place-order", 30, 0)]),
            f"{FACE}/partitions": Page([PARTITION], None),
        }
        if service != "order" or path not in found:
            raise Unavailable(service)
        return found[path]


LATER = moment(0, 20, 40, "payment-success-topic", 30)
PARTITION = PartitionState("payment-success-topic", 0, "running", "READING", 20, 40, 20)


async def test_each_web_process_shows_the_same_rates_at_its_first_look() -> None:
    for reading in (Reading(cast(Any, Services()), Settings()) for _ in range(2)):
        order = (await reading.snapshot(User(UUID(int=1), ("OPERATOR",)))).services["order"]
        assert order.calls is not None and order.topics is not None
        assert order.calls["place-order"].rate == 3.0
        assert order.topics["payment-success-topic"].rate == 2.0
