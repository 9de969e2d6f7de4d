"""What all tests share: one real Kafka and one real PostgreSQL for the whole session, started when first asked for."""

import faulthandler
import sys
from collections import defaultdict
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from ordersaga.devstack import DevStack

# How long an example takes, and how long it takes to make one, depends on what else the machine does.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")

# These run in seconds on any machine, with nothing started.
FOLDERS_WITHOUT_STACK = ("tests/unit/",)
END_S = 60
LONG_FIRST = ("interop", "chaos", "simulation", "docs", "conformance", "browser", "fuzz", "contract", "integration")
"""The folders whose files take minutes, the longest first. A worker takes a whole file at a time: were a long file among the last ones, the
other worker would have nothing to do at the end."""
SLOWEST = 15


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--all-pairings",
        action="store_true",
        help="tests/interop: each pairing with each Spring Boot and each variant, 96 instead of 8, and the kit against all partners",
    )
    parser.addoption(
        "--all-partners",
        action="store_true",
        help="tests/conformance: the kit against every small partner, instead of the short form",
    )


@pytest.fixture(scope="session")
def stack() -> Iterator[DevStack]:
    """The stack of the session. Tests share it: name topics, groups and databases so that no two tests meet in them,
    and a test that kills a server starts it again."""
    with DevStack.start() as running:
        yield running


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=_rank)
    for item in items:
        needs_stack = "stack" in getattr(item, "fixturenames", ())
        if needs_stack:
            item.add_marker("processes")
        if needs_stack and item.nodeid.startswith(FOLDERS_WITHOUT_STACK):
            raise pytest.UsageError(f"{item.nodeid} asks for the stack; move it to tests/integration.")


def _rank(item: pytest.Item) -> int:
    """Where the folder of a test stands in the run. Tests of one folder keep their order."""
    folder = item.nodeid.split("/")[1]
    return LONG_FIRST.index(folder) if folder in LONG_FIRST else len(LONG_FIRST)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which files took longest, as one worker had them."""
    seconds: dict[str, float] = defaultdict(float)
    for reports in terminalreporter.stats.values():
        for each in reports:
            if isinstance(each, pytest.TestReport):
                seconds[each.nodeid.split("::")[0]] += each.duration
    if len(seconds) > SLOWEST:
        terminalreporter.section("slowest files")
        for file in sorted(seconds, key=seconds.__getitem__, reverse=True)[:SLOWEST]:
            terminalreporter.write_line(f"{seconds[file]:7.0f} s  {file}")


def pytest_unconfigure(config: pytest.Config) -> None:
    """End a run that does not end although its tests have, and say where every thread stands. xdist itself ends its workers."""
    if hasattr(config, "workerinput"):
        return
    assert sys.__stderr__ is not None
    faulthandler.dump_traceback_later(END_S, exit=True, file=sys.__stderr__)
