"""The page of faults is there where everybody may sign in, and nowhere else; its curves; and who still looks at the console."""

from collections import Counter
from datetime import UTC, datetime

import pytest

from ordersaga.operations.load_figures import Figures, LoadNow, Orders
from ordersaga.operations.moments import Moment, Past
from ordersaga.sandbox.load import SILENT_S, Audience, Load
from ordersaga.settings import SERVICES, Settings
from ordersaga.web.app import create_app
from ordersaga.web.console import audience as console_audience
from ordersaga.web.console.curves import HEIGHT, WIDTH
from ordersaga.web.console.fault_curves import charts, lags
from ordersaga.web.console.model import HealthStatus
from ordersaga.web.console.snapshot import ServiceView, Snapshot, TopicRead

FIGURES = Figures(20, 19.5, 18.0, 100, 2, 5, 0, 80.0, 400.0, {"place: 503": 2}, 30.0)


@pytest.mark.parametrize(("sign_in", "there"), [("demo", True), ("token", False)])
def test_the_page_is_for_demonstrations_alone(sign_in: str, there: bool) -> None:
    app = create_app(Settings(development=True, web_sign_in=sign_in))  # type: ignore[arg-type]
    assert any(route.path.startswith("/console/faults") for route in app.routes) is there


def test_a_curve_ends_at_the_right_edge_and_has_a_gap_where_nothing_was_known() -> None:
    moments = [Moment(10.0, FIGURES, {"stock": 0}), Moment(70.0, None, {"stock": 150}), Moment(130.0, FIGURES, {})]
    rate, took, lag = charts(moments, ["stock"])
    assert (rate.top, took.top, lag.top) == (20, 500, 200)
    assert [line.value for line in rate.lines] == [20, 18.0]
    assert rate.lines[0].paths == [f"0.0,{0.0}", f"{WIDTH:.1f},{0.0}"]
    assert lag.lines[0].value is None
    assert lag.lines[0].paths == [f"0.0,{HEIGHT:.1f} {WIDTH / 2:.1f},{HEIGHT * 0.25:.1f}"]


def test_without_any_moment_there_are_empty_curves() -> None:
    assert [chart.lines[0].paths for chart in charts([], ["stock"])] == [[], [], []]


def test_moments_are_noted_once_a_second_and_kept_for_two_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter((0.0, 0.1, 1.0, 121.0))
    monkeypatch.setattr("ordersaga.operations.moments.time.monotonic", lambda: next(clock))
    past, running = Past(), LoadNow(is_running=True, figures=FIGURES)
    moments = [past.look({"stock": 7}, each).moments for each in (running, running, LoadNow(figures=FIGURES))][-1]
    assert [(each.at_s, each.figures) for each in moments] == [(0.0, FIGURES), (1.0, None)]
    assert [each.at_s for each in past.look({}, running).moments] == [1.0, 121.0]


def test_the_lag_of_a_service_is_that_of_all_its_topics_if_it_is_ours() -> None:
    reads = {name: TopicRead(name, 7, 1.0, Counter()) for name in ("order-created", "stock-release")}
    views: dict[str, ServiceView] = {
        **{name: ServiceView(name) for name in SERVICES},
        "stock": ServiceView("stock", health=HealthStatus("UP"), topics=reads),
        "order": ServiceView("order", foreign=True, topics=reads),
    }
    assert lags(Snapshot(datetime.now(UTC), views, None)) == {"stock": 14}


FAR = [f"session {n}" for n in range(3)]


@pytest.fixture
def now_s(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    clock = [0.0]
    monkeypatch.setattr("ordersaga.sandbox.load.time.monotonic", lambda: clock[0])
    return clock


def test_the_audience_is_gone_after_the_last_sign_out_or_a_minute(now_s: list[float]) -> None:
    people = Audience()
    assert not people.is_gone, "it is not known yet who is there"
    people.note(FAR[:2], [])
    people.note([], FAR[:1])
    assert not people.is_gone
    people.note([], [FAR[1], "nobody"])
    assert people.is_gone
    people.note(FAR[2:], [])
    now_s[0] = 59.0
    assert not people.is_gone
    now_s[0] = 61.0
    assert people.is_gone


def test_each_web_process_tells_of_its_sessions_once_and_not_their_names() -> None:
    here = console_audience.Audience()
    assert here.news() is None
    here.seen("one")
    here.seen("two")
    here.left("two")
    news = here.news()
    assert news is not None and (len(news.seen), len(news.left)) == (1, 1)
    assert "one" not in news.seen and here.news() is None


def test_one_generator_is_steered_and_stopped_by_whoever_asks(now_s: list[float]) -> None:
    load = Load()
    assert not load.steer(5) and load.begin(20) and not load.begin(30)
    assert load.tell(FIGURES) == Orders(20, True)
    assert load.steer(35) and load.tell(FIGURES) == Orders(35, True)
    assert (load.now.is_running, load.now.rate, load.now.figures) == (True, 35, FIGURES)
    assert load.steer(None) and load.tell(FIGURES) == Orders(35, False)
    load.end("")
    assert (load.now.is_running, load.now.figures) == (False, FIGURES)
    assert load.begin(10)
    now_s[0] = SILENT_S
    assert not load.now.is_running, "its web process was killed"


def test_a_generator_that_goes_on_after_a_restart_of_the_sandbox_keeps_its_rate(now_s: list[float]) -> None:
    load = Load()
    assert load.tell(FIGURES) == Orders(FIGURES.rate, True)
    assert load.now.is_running


def test_a_generator_ends_with_the_last_reader(now_s: list[float]) -> None:
    load = Load()
    load.audience.note(FAR, [])
    assert load.begin(20) and load.tell(FIGURES).goes_on
    load.audience.note([], FAR)
    assert not load.tell(FIGURES).goes_on
