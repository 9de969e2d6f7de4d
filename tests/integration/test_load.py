"""`ordersaga load` before a whole system: real orders that end well, steered from outside, and gone with whoever steers."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from ordersaga.cli.load import PRODUCT
from ordersaga.devstack.system import System

pytestmark = pytest.mark.processes
LIMIT_S = 60.0
STAFF = {"User-Id": "00000000-0000-4000-8000-000000000009", "User-Roles": "OPERATOR"}


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    with System(extra={"ORDERSAGA_TRUST_GATEWAY_HEADERS": "true"}) as running:
        yield running


def begin(system: System, *options: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "ordersaga", "load", "--json", *options]
    environment = {**os.environ, **system.environment}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def heard(process: "subprocess.Popen[str]", until: Any) -> dict[str, Any]:
    """The first figures that fulfil a condition."""
    assert process.stdout is not None
    end = time.monotonic() + LIMIT_S
    while time.monotonic() < end:
        if not (line := process.stdout.readline()):
            break
        figures: dict[str, Any] = json.loads(line)
        if until(figures):
            return figures
    raise AssertionError(f"the generator never said it: {process.stderr.read() if process.stderr else ''}")


def sold(system: System) -> bool:
    url = f"{system.urls['stock']}/api/v1/products/{PRODUCT['productId']}"
    return bool(httpx.get(url).json()["active"])


def test_orders_are_placed_and_completed_and_the_product_is_sold_only_meanwhile(system: System) -> None:
    process = begin(system, "--rate", "10", "--seconds", "5")
    first = heard(process, lambda figures: figures["completed"] > 0)
    assert first["p50Ms"] > 0 and first["rate"] == 10
    assert sold(system)
    out, err = process.communicate(timeout=LIMIT_S)
    last = json.loads(out.splitlines()[-1])
    assert process.returncode == 0, err
    assert (last["failed"], last["inFlight"], last["leftS"]) == (0, 0, 0)
    assert 30 <= last["completed"] <= 51
    assert not sold(system)
    orders = httpx.get(f"{system.urls['order']}/api/v1/orders", params={"limit": 200}, headers=STAFF).json()["items"]
    assert len(orders) == last["completed"]
    assert {each["status"] for each in orders} == {"COMPLETED"}


def test_the_rate_is_steered_and_the_end_of_the_steering_ends_it(system: System) -> None:
    process = begin(system, "--rate", "0", "--seconds", "300", "--steered")
    assert process.stdin is not None
    heard(process, lambda figures: figures["leftS"] > 0)
    print("30", "so many", file=process.stdin, sep="\n", flush=True)
    heard(process, lambda figures: figures["rate"] == 30 and figures["completed"] > 0)
    process.stdin.close()  # as when its writer is killed
    heard(process, lambda figures: figures["leftS"] == 0)
    assert process.wait(LIMIT_S) == 0
    assert not sold(system)


def test_a_service_that_is_down_is_told_as_failures_and_nothing_hangs(system: System) -> None:
    system.kill("stock")
    try:
        refused = begin(system, "--seconds", "2")
        _, err = refused.communicate(timeout=LIMIT_S)
        assert refused.returncode == 1 and "no order can be placed" in err and "ordersaga up" in err
    finally:
        system.start("stock")
    process = begin(system, "--rate", "10", "--seconds", "60")
    heard(process, lambda figures: figures["completed"] > 0)
    system.kill("order")
    try:
        figures = heard(process, lambda figures: figures["failed"] > 0)
        assert "place: no answer" in figures["failures"]
    finally:
        system.start("order")
    before = figures["completed"]
    heard(process, lambda figures: figures["completed"] > before + 10)
    process.terminate()
    assert process.wait(LIMIT_S) == 1
