"""Which traces are sampled, and that a process without the setting has nothing of OpenTelemetry."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ordersaga import tracing
from ordersaga.settings import Settings

TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture(autouse=True)
def ended() -> Iterator[None]:
    yield
    tracing.stop()
    tracing.start(Settings(), "order")


def with_ratio(ratio: float) -> None:
    tracing.start(Settings(traces_ratio=ratio), "order")


@given(st.integers(1, 2**128 - 1), st.sampled_from([0.0, 0.001, 0.25, 0.5, 1.0]))
def test_more_traces_are_sampled_at_a_higher_ratio_and_those_of_a_lower_one_among_them(
    trace: int, ratio: float
) -> None:
    with_ratio(ratio)
    own = tracing.is_sampled(tracing.child_of(None, f"{trace:032x}"))
    with_ratio(min(1.0, ratio * 2))
    assert own <= tracing.is_sampled(tracing.child_of(None, f"{trace:032x}"))


@pytest.mark.parametrize("ratio", [0.1, 0.5])
def test_the_share_of_sampled_traces_is_the_ratio(ratio: float) -> None:
    with_ratio(ratio)
    sampled = sum(tracing.is_sampled(tracing.child_of(None)) for _ in range(4_000))
    assert abs(sampled / 4_000 - ratio) < 0.06  # seven standard deviations


def test_the_caller_of_a_trace_decides_whether_it_is_sampled() -> None:
    with_ratio(0.0)
    assert tracing.child_of(f"00-{TRACE}-b7ad6b7169203331-01").endswith("-01")
    with_ratio(1.0)
    assert tracing.child_of(f"00-{TRACE}-b7ad6b7169203331-00").endswith("-00")


def test_a_service_without_the_packages_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(tracing.NotInstalled, match=r"pip install 'ordersaga\[traces\]'"):
        tracing.start(Settings(traces_url="http://127.0.0.1:1/v1/traces"), "order")


def test_without_the_setting_nothing_of_opentelemetry_is_imported() -> None:
    said = (
        "import sys; from ordersaga import tracing; from ordersaga.order.app import create_app; from ordersaga.settings import Settings; "
        "tracing.start(Settings(), 'order'); print(sorted(each for each in sys.modules if each.startswith('opentelemetry')))"
    )
    assert subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_the_words_of_a_failure_have_no_secret_and_no_personal_data(monkeypatch: pytest.MonkeyPatch) -> None:
    exporter = tracing.Exporter("http://127.0.0.1:1/v1/traces", "order")
    ended: list[Any] = []
    monkeypatch.setattr(exporter._processor, "on_end", ended.append)
    why = "DETAIL:  Failing row contains (1, Kim Hana)."
    exporter.span("process", tracing.child_of(None), None, tracing.Kind.CONSUMER, 1, 2, {}, f"password=hunter22 {why}")
    assert ended[0].status.description == "password=******** DETAIL:  Failing row contains (***)"
    exporter.close()
