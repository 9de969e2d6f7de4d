"""What all tests share: one real Kafka and one real PostgreSQL for the whole session, started when first asked for."""

import faulthandler
import sys
from collections.abc import Iterator

import pytest

from ordersaga.devstack import DevStack

# These run in seconds on any machine, with nothing started.
FOLDERS_WITHOUT_STACK = ("tests/unit/",)
END_S = 60


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--all-pairings",
        action="store_true",
        help="tests/interop: each pairing with each Spring Boot and each variant, 96 instead of 8",
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
    for item in items:
        needs_stack = "stack" in getattr(item, "fixturenames", ())
        if needs_stack:
            item.add_marker("processes")
        if needs_stack and item.nodeid.startswith(FOLDERS_WITHOUT_STACK):
            raise pytest.UsageError(f"{item.nodeid} asks for the stack; move it to tests/integration.")


def pytest_unconfigure(config: pytest.Config) -> None:
    """End a run that does not end although its tests have, and say where every thread stands. xdist itself ends its workers."""
    if hasattr(config, "workerinput"):
        return
    assert sys.__stderr__ is not None
    faulthandler.dump_traceback_later(END_S, exit=True, file=sys.__stderr__)
