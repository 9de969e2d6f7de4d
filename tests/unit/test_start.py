"""A command imports what it needs and no more: a service is started often, and by itself imports for half a second."""

import subprocess
import sys
from typing import Final

import pytest

from ordersaga.cli.main import COMMANDS
from ordersaga.settings import SERVICES

OTHERS = ("conformance", "audit.verify", "devstack.system", "operations.desk")
"""Of the package: what other commands are made of."""
MIGRATING: Final = ("psycopg", "yoyo")
"""What migrations are made of: 9 MiB of memory for a driver of PostgreSQL that a service does not use."""


@pytest.mark.processes
def test_a_service_is_started_without_what_other_commands_are_made_of() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "ordersaga", "serve", "--help"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert "Run one service" in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "ordersaga.cli.supervisor" in imported
    assert not imported & {f"ordersaga.{each}" for each in OTHERS}


@pytest.mark.processes
@pytest.mark.parametrize("service", SERVICES)
def test_a_service_runs_without_what_migrations_are_made_of(service: str) -> None:
    program = (
        f"import sys, ordersaga.cli.main, ordersaga.cli.serve, ordersaga.{service}.app; print(sorted(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    imported = done.stdout
    assert f"'ordersaga.{service}.handlers'" in imported
    assert not [each for each in MIGRATING if f"'{each}'" in imported]


@pytest.mark.processes
def test_help_has_every_command() -> None:
    done = subprocess.run([sys.executable, "-m", "ordersaga", "--help"], check=True, capture_output=True, text=True)
    listed = {line.strip("│ ").partition(" ")[0] for line in done.stdout.splitlines() if line.startswith("│")}
    assert set(COMMANDS) <= listed
