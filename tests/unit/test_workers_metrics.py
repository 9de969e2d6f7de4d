"""The metrics of several workers in one scrape: each sample names its worker, each metric has its head once, and the dead are gone."""

import asyncio
import contextlib
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, Metric, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as in_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parsed_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parsed_text

from ordersaga.cli.serve import _run_workers
from ordersaga.cli.supervisor import CANNOT_START
from ordersaga.http.workers import Worker, alone, merged
from ordersaga.messaging.backlog import OUTBOX_ROWS

OPENMETRICS = "application/openmetrics-text;version=1.0.0"
UP = "ordersaga_worker_up"


def parsed(text: bytes, accept: str) -> dict[str, Metric]:
    """The metrics by name. The parser of OpenMetrics refuses one whose samples do not stand together."""
    found = list((parsed_openmetrics if accept else parsed_text)(text.decode()))
    assert len({each.name for each in found}) == len(found)
    return {each.name: each for each in found}


def registry(number: int) -> CollectorRegistry:
    made = CollectorRegistry()
    Counter("of_all", "a\nb", ["worker", "where"], registry=made).labels(str(number), '"\n# HELP of_all x\n').inc(
        number
    )
    Histogram("times", "c", ["worker"], registry=made).labels(str(number)).observe(number, {"trace_id": "a" * 32})
    Gauge(f"of_{number}", "d", ["worker"], registry=made).labels(str(number)).set(number)
    return made


@pytest.mark.parametrize("accept", ["", OPENMETRICS])
def test_what_several_tell_is_one_text_in_which_each_metric_stands_together(accept: str) -> None:
    encode: Callable[[CollectorRegistry], bytes] = in_openmetrics if accept else generate_latest
    found = parsed(merged([encode(registry(1)), encode(CollectorRegistry()), encode(registry(2))]), accept)
    assert set(found) == {"of_all", "times", "of_1", "of_2"}
    counts = {each.labels["worker"]: each.value for each in found["of_all"].samples if each.name == "of_all_total"}
    assert counts == {"1": 1, "2": 2}
    traces = [each.exemplar.labels["trace_id"] for each in found["times"].samples if each.exemplar]
    assert traces == (["a" * 32] * 2 if accept else [])


def scraped(folder: Path, listening: int, accept: str) -> bytes:
    """What the first of three workers tells, of which so many listen."""

    async def scrape() -> bytes:
        workers = [Worker(number, 3, folder) for number in range(3)]
        async with contextlib.AsyncExitStack() as stack:
            for each in workers[:listening]:
                await stack.enter_async_context(each.listening())
            return await workers[0].scrape(accept)

    return asyncio.run(scrape())


@pytest.mark.parametrize("accept", ["", OPENMETRICS])
def test_each_sample_of_a_process_names_its_worker_and_those_of_the_service_come_once(
    tmp_path: Path, accept: str
) -> None:
    OUTBOX_ROWS.set(7)
    found = parsed(scraped(tmp_path, 3, accept), accept)
    assert {each.labels["worker"] for each in found["python_info"].samples} == {"0", "1", "2"}
    assert [(each.labels, each.value) for each in found["ordersaga_outbox_rows"].samples] == [({}, 7)]
    assert {each.labels["worker"]: each.value for each in found[UP].samples} == {"0": 1, "1": 1, "2": 1}


def test_a_worker_that_has_ended_has_no_samples(tmp_path: Path) -> None:
    found = parsed(scraped(tmp_path, 2, ""), "")
    assert {each.labels["worker"] for each in found["python_info"].samples} == {"0", "1"}
    assert {each.labels["worker"]: each.value for each in found[UP].samples} == {"0": 1, "1": 1, "2": 0}
    (tmp_path / "2").write_text("")  # a killed worker leaves its socket behind
    assert parsed(scraped(tmp_path, 3, ""), "")[UP].samples[2].value == 1


def test_a_process_that_is_alone_has_no_such_label() -> None:
    found = parsed(alone(OPENMETRICS), OPENMETRICS)
    assert [set(each.labels) for each in found["python_info"].samples] == [
        {"implementation", "major", "minor", "patchlevel", "version"}
    ]
    assert UP not in found
    assert not any(sample.name.endswith("_created") for each in REGISTRY.collect() for sample in each.samples)


def test_workers_without_a_folder_for_their_sockets_do_not_start_and_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    code, reason = asyncio.run(_run_workers(["a command that is not there"], 2))
    assert code == CANNOT_START
    assert reason and str(tmp_path) in reason and "TMPDIR" in reason
