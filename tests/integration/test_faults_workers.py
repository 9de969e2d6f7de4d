"""Faults and the load generator where each service, and the web process, are two workers on one port: the same, whichever worker answers."""

import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from ordersaga.devstack.system import System
from ordersaga.messaging.consumer_faults import ON_PURPOSE

pytestmark = pytest.mark.processes
FACE = "/api/v1/operations"
OPERATOR = {"User-Id": "00000000-0000-4000-8000-000000000009", "User-Roles": "OPERATOR"}
LIMIT_S = 30.0
LOOKS = 12
"""So many new connections reach both workers, but for one case in two thousand."""


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    with System(web=True, workers=2) as running:
        yield running


def looks(look: Callable[[], Any]) -> list[Any]:
    """What is seen over several new connections."""
    return [look() for _ in range(LOOKS)]


def until_all(look: Callable[[], Any], wanted: Any) -> None:
    end = time.monotonic() + LIMIT_S
    while (found := looks(look)) != [wanted] * LOOKS:
        assert time.monotonic() < end, found
        time.sleep(0.2)


def test_faults_are_those_of_every_worker(system: System) -> None:
    stock = system.urls["stock"]

    def alarms() -> int:
        found = httpx.get(f"{stock}/health/status").json()["alarms"]
        return sum(each["alarm"] == ON_PURPOSE and "250 ms late" in each["what"] for each in found)

    def delay() -> int:
        return int(httpx.get(f"{stock}{FACE}/faults", headers=OPERATOR).json()["turnDelayMs"])

    def spoil(delay_ms: int) -> None:
        version = httpx.get(f"{stock}{FACE}/faults", headers=OPERATOR).json()["version"]
        body = {"reason": "a test", "version": version, "turnDelayMs": delay_ms}
        httpx.post(f"{stock}{FACE}/faults", json=body, headers=OPERATOR).raise_for_status()

    spoil(250)
    assert looks(delay) == [250] * LOOKS
    until_all(alarms, 1)
    system.kill("stock")
    system.start("stock")
    until_all(alarms, 1)
    spoil(0)
    assert looks(delay) == [0] * LOOKS
    until_all(alarms, 0)


class Operator:
    """An operator of the console whose every request is a connection of its own."""

    def __init__(self, system: System) -> None:
        self._url = system.urls["web"]
        self._cookies = httpx.Cookies()
        self.send("/console/sign-in", "/console/sign-in", role="operator")

    def __call__(self, method: str, path: str, **more: Any) -> httpx.Response:
        with httpx.Client(base_url=self._url, cookies=self._cookies, timeout=LIMIT_S) as http:
            answer = http.request(method, path, **more)
            self._cookies = http.cookies
            return answer

    def send(self, page: str, path: str, **fields: str) -> None:
        found = dict(re.findall(r'name="(csrf)" value="([^"]*)"', self("GET", page).text))
        assert self("POST", path, data=found | fields).status_code == 303

    def load(self) -> str:
        """The state of the form that steers the load."""
        said = self("GET", "/console/faults/now").text
        state = re.search(r'id="load-control"[^>]* data-state="(\w+)"', said)
        return state[1] if state else said

    def moments(self) -> int:
        """How many moments the curve of Stock's lag has."""
        said = self("GET", "/console/faults/now").text
        return sum(len(each.split()) for each in re.findall(r'<polyline class="line of-stock" points="([^"]*)"', said))


def test_every_worker_draws_the_same_curves(system: System) -> None:
    one = Operator(system)
    counts = []
    for _ in range(LOOKS):
        time.sleep(1)
        counts.append(one.moments())
    assert counts == list(range(counts[0], counts[0] + LOOKS)), "each look adds one moment to those of all workers"


def test_one_load_generator_is_shown_steered_and_stopped_by_every_worker(system: System) -> None:
    one = Operator(system)
    assert looks(one.load) == ["idle"] * LOOKS
    one.send("/console/faults", "/console/faults/load", act="begin", rate="5", minutes="5")
    until_all(one.load, "running")
    kept = f"{system.urls['sandbox']}/sandbox/load"
    for rate in range(6, 6 + LOOKS):
        one.send("/console/faults", "/console/faults/load", act="steer", rate=str(rate))
        assert httpx.get(kept).json()["rate"] == rate
    for _ in range(LOOKS):
        one.send("/console/faults", "/console/faults/load", act="begin", rate="50", minutes="5")
    assert httpx.get(kept).json()["rate"] == 5 + LOOKS, "there is one already"
    end = time.monotonic() + LIMIT_S
    while (httpx.get(kept).json()["figures"] or {}).get("rate") != 5 + LOOKS:
        assert time.monotonic() < end
        time.sleep(0.2)
    one.send("/console/faults", "/console/faults/load", act="stop")
    until_all(one.load, "idle")
