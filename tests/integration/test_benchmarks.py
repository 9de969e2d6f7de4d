"""Each benchmark runs at a tiny size, so that none rots; no figure is judged, for they depend on the machine."""

import asyncio
import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from io import StringIO
from pathlib import Path
from unittest.mock import AsyncMock, Mock

import pytest
from rich.console import Console

from benchmarks import flow, growth
from benchmarks.benches import BENCHES
from benchmarks.http_client import Host
from benchmarks.peers import compare, maven, rates, spring
from benchmarks.peers.contender import Contender
from benchmarks.report import Bench, Figures, Report, Size, chart, show, write
from ordersaga.contracts.topics import GUIDE_TOPICS
from ordersaga.devstack.system import System

ORDERS = 20
WITH_GATEWAY = ("whole", "http", "payments")
"""These compare with the gateway's books, so on a shared system they go before those whose payment results come as records."""
OF_THEIR_OWN = ("growth", "payments")
"""These have a system of their own: the one judges every order that is stored, the other has no Order, so Payment asks for no word of it."""
PYTHON_PEERS = partial(compare.run, names=(compare.OURS, compare.BATCH_1, compare.FASTSTREAM))
"""The Java peers are built by a test of their own, and one of them runs in `rates`."""


async def _one_rate(size: Size) -> Report:
    """One rate is enough here. A counter that counts nothing would not be seen in the table."""
    report = await rates.run(size, rates=(10,))
    ours = report.median(f"{rates.OURS} 10/s")
    counted = (
        "requests_per_order_produce",
        "requests_per_order_fetch",
        "own_records_per_order",
        "statements_per_order",
    )
    assert all(ours[name] > 0 for name in counted), ours
    assert ours["records_per_order"] >= len(GUIDE_TOPICS), "an order has a record on each topic of the guide"
    return report


HERE = BENCHES | {
    compare.BENCH.name: replace(compare.BENCH, run=PYTHON_PEERS),
    rates.BENCH.name: replace(rates.BENCH, run=_one_rate),
}
IN_TURN = sorted(HERE.values(), key=lambda bench: bench.name not in WITH_GATEWAY)


SHORT_S = 0.1
SMALL = (
    (flow, "SETTLE_S", SHORT_S),
    (growth, "SETTLE_S", SHORT_S),
    (growth, "GIVE_BACK_EVERY_S", SHORT_S),
    (growth, "RUN_ROUNDS", 4),
    (growth, "STORED_ROUNDS", 20),
    (rates, "SETTLE_S", SHORT_S),
)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A benchmark waits until what it reads is at rest, and stores a history, for the sake of its figures, and these are not judged here.
    A contender's wait stays: it is frozen afterwards, and what it has not tidied up by then stays for the audit."""
    for module, name, value in SMALL:
        monkeypatch.setattr(module, name, value)


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    """One system for all, since starting one takes longer than such a small benchmark. It has few partitions: contenders of ours in turn find
    each partition taken by the other, one after the other, and a few orders would meet a new one each."""
    with System(extra={"ORDERSAGA_LOG_LEVEL": "error", "ORDERSAGA_TOPIC_PARTITIONS": "3"}) as running:
        yield running


@pytest.mark.timeout(600)
@pytest.mark.parametrize("bench", IN_TURN, ids=[bench.name for bench in IN_TURN])
@pytest.mark.usefixtures("small")
async def test_a_benchmark_measures_and_its_audit_holds(bench: Bench, system: System, tmp_path: Path) -> None:
    shared = None if bench.name in OF_THEIR_OWN else system
    report = await bench.run(Size(ORDERS, rounds=1, say=lambda _: None, system=shared))
    assert report.broken == []
    assert all(figures[report.main] > 0 for rounds in report.rounds.values() for figures in rounds)
    show(Console(quiet=True), bench, report)
    write(tmp_path, bench, report, "a machine")
    flat = json.loads((tmp_path / f"{bench.name}.json").read_text())
    assert flat[report.main] > 0
    assert flat["machine_pace"] > 0
    assert all(goal.key in flat for goal in report.goals), "a goal that nothing is measured for"
    ElementTree.parse(tmp_path / f"{bench.name}.svg")


def test_the_java_peers_are_built_where_java_and_maven_are_there_and_else_the_bench_can_say_why_not() -> None:
    if why := maven.missing():
        assert "not found" in why
    else:
        spring.build()
        assert spring.JAR.exists()


ANSWERS = {
    b"/length": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    b"/chunks": b"HTTP/1.1 201 Created\r\ntransfer-encoding: chunked\r\n\r\n2\r\nor\r\n3\r\nder\r\n0\r\n\r\n",
    b"/last": b"HTTP/1.1 202 Accepted\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
    b"/none": b"good morning\r\n\r\n",
}


async def test_the_load_reads_every_kind_of_answer_and_says_what_is_none() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readline():
            await reader.readuntil(b"\r\n\r\n")
            for byte in ANSWERS[head.split()[1]]:
                writer.write(bytes([byte]))
                await writer.drain()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    host = Host(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", 1)
    found = [await host.ask(host.get(path)) for path in ("/length", "/chunks", "/last", "/length")]
    assert found == [(200, b"ok"), (201, b"order"), (202, b""), (200, b"ok")]
    with pytest.raises(ConnectionError, match="no HTTP"):
        await host.ask(host.get("/none"))
    host.close()
    server.close()


def test_figures_are_medians_beside_their_spread_and_ratios_are_of_medians() -> None:
    report = Report()
    for rate in (100.0, 900.0, 200.0):
        report.add("ours", {"orders_per_s": rate, "cpu_ms_per_order": rate / 10})
    report.add("One at a time", {"orders_per_s": 50.0, "cpu_ms_per_order": 4.0})
    report.ratio("one", over="ours", under="One at a time")
    flat = report.flat()
    assert (flat["orders_per_s"], flat["orders_per_s_min"], flat["orders_per_s_max"]) == (200.0, 100.0, 900.0)
    assert flat["cpu_ms_per_order"] == 20.0
    assert flat["orders_per_s_one_at_a_time"] == 50.0
    assert flat["ratio_one"] == 4.0


async def test_a_peer_that_cannot_keep_up_is_not_asked_for_more_in_any_round(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, int]] = []

    async def turn(entry: rates.Entry, rate: int, turn_s: float) -> Figures:
        asked.append((entry.name, rate))
        is_late = entry.name == "theirs" and rate >= 50
        return {"cores": 1.0, "cpu_ms_per_order": 2.0, "latency_ms_p50": 3_000.0 if is_late else 5.0}

    monkeypatch.setattr(rates, "_turn", turn)
    monkeypatch.setattr(rates, "_idle", AsyncMock(return_value={"cores": 0.1}))
    monkeypatch.setattr(rates, "_order", AsyncMock())
    contenders = [Mock(spec=Contender, check=AsyncMock(return_value=[])) for _ in range(2)]
    contenders[0].name, contenders[1].name = rates.OURS, "theirs"
    report = Report(main="cores")
    await rates._measure(
        report,
        [rates.Entry(each, "order", [], "") for each in contenders],
        (10, 50, 100),
        Size(1, rounds=2, say=lambda _: None),
        Mock(),
    )
    assert asked == 2 * [(rates.OURS, 10), ("theirs", 10), (rates.OURS, 50), ("theirs", 50), (rates.OURS, 100)]
    assert report.settings["theirs_falls_behind_at_orders_per_s"] == 50


def test_a_grid_is_charted_as_a_bar_for_each_name_at_each_place() -> None:
    report = Report(charted=["cpu_ms_per_order"], grid=(("ours", "theirs"), ("2/s", "10/s", "50/s")))
    report.add("ours idle", {"orders_per_s": 0.0})
    for variant, cpu_ms in (
        ("ours 2/s", 31.5),
        ("theirs 2/s", 47.25),
        ("ours 10/s", 12.5),
        ("theirs 10/s", 8.75),
        ("ours 50/s", 6.5),
    ):
        report.add(variant, {"orders_per_s": 1.0, "cpu_ms_per_order": cpu_ms})
    drawn = chart(report, "what an order costs").render().decode()
    assert all(
        text in drawn for text in ("ours", "theirs", "2/s", "10/s", "31.5", "47.25", "12.5", "8.75", "50/s", "6.5")
    )
    assert "idle" not in drawn


def test_no_name_and_no_figure_is_cut_off_where_a_table_is_wider_than_the_terminal() -> None:
    report = Report()
    variants = ["ours", *(f"peer number {n}" for n in range(6))]
    for variant in variants:
        report.add(variant, {"orders_per_s": 12_345.0, "cpu_ms_per_order_postgres": 0.375})
    printed = StringIO()
    show(Console(file=printed, width=80), Bench("wide", "many variants", Mock()), report)
    assert all(whole in printed.getvalue() for whole in [*variants, "cpu_ms_per_order_postgres", "12,345", "0.375"])
    assert "…" not in printed.getvalue()
