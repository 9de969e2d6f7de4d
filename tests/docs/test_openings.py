"""The files that one order passes are those that docs/architecture.md lists, no more and no fewer.

Four services run as processes in which every call is noted. What also runs when no order is there (loops, health, taking partitions) is no
part of an order's way.
"""

import json
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest

import ordersaga
from ordersaga.devstack.system import System
from ordersaga.settings import SERVICES

pytestmark = pytest.mark.processes

SOURCE = Path(ordersaga.__file__).parent
PAGE = Path(__file__).parents[2] / "docs" / "architecture.md"
BEFORE, AFTER, PASSED_BY = "Before the first record", "From there to COMPLETED", "Passed by"
BEFORE_MAX, ALL_MAX = 8, 30
RUN_BEFORE_MAX, RUN_MAX = 29, 67
LIMIT_S = 60.0
IDLE_S = 7.0
"""Longer than the period of each loop that goes round while an order is under way."""
LATE = {
    "messaging/kafka/gaps.py",
    "messaging/kafka/lifeline.py",
    "messaging/kafka/unreadable.py",
    "messaging/unreadable.py",
    "operations/flow.py",
    "operations/partitions.py",
}
"""Run by the check of partitions that stand still, by that of a Kafka which is silent for 2 s, by the reports on partitions and by the look at the flow,
every few seconds, and where a fetch fails, as after the sleep of Stock: on a slow machine they may first meet the order's records, and are no part of its way."""
CUSTOMER = {"User-Id": str(UUID(int=2))}
OPERATOR = {"User-Id": str(UUID(int=1)), "User-Roles": "MASTER"}


class Way(NamedTuple):
    """Files that run because of the order, up to the first record and on the whole way; and all files that run on the way."""

    post: set[str]
    whole: set[str]
    run: set[str]


class Tracing:
    """The phases of a running system, and which functions each service ran in them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._phase = "start"
        (folder / "phase").write_text(self._phase)

    def environment(self) -> dict[str, str]:
        path = os.pathsep.join([str(Path(__file__).parent / "openings"), os.environ.get("PYTHONPATH", "")])
        return {"PYTHONPATH": path, "OPENINGS_TO": str(self.folder), "OPENINGS_OF": str(SOURCE)}

    def enter(self, phase: str, processes: int = len(SERVICES) + 1) -> None:
        """Begin a phase; returns when so many processes have written down the one before."""
        before, self._phase = self._phase, phase
        (self.folder / "phase").write_text(phase)
        until(lambda: len(list(self.folder.glob(f"{before}.*.json"))) >= processes)

    def functions(self, phase: str, *services: str) -> set[tuple[str, str]]:
        found = set()
        for file in self.folder.glob(f"{phase}.*.json"):
            said = json.loads(file.read_text())
            if not services or said["command"][said["command"].index("serve") + 1] in services:
                found |= {(path, name) for path, name in said["functions"]}
        return found


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def rows(system: System, service: str, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(system.settings.database_url(service)) as db:
        return db.execute(query).fetchall()


def shop(system: System, tracing: Tracing) -> None:
    """One order, from the POST to COMPLETED; Stock stands still until Order has published the first record."""
    with httpx.Client(timeout=LIMIT_S) as http:
        product = http.post(
            f"{system.urls['stock']}/api/v1/products",
            json={"name": "keyboard", "price": 12_500, "quantity": 9},
            headers=OPERATOR,
        ).json()["productId"]
        until(lambda: rows(system, "order", "SELECT 1 FROM price"))
        tracing.enter("idle")
        time.sleep(IDLE_S)
        tracing.enter("post", len(system.processes))
        os.kill(system.processes["stock"].pid or 0, signal.SIGSTOP)
        order = {
            "orderName": "keyboard",
            "totalAmount": 12_500,
            "items": [{"productId": product, "quantity": 1}],
            "name": "Kim Hana",
            "phone": "010-0000-0000",
            "address": "1 Sejong-daero, Jung-gu",
            "zipcode": "04524",
        }
        headers = CUSTOMER | {"Prefer": "wait=0", "Idempotency-Key": str(uuid4())}
        placed = http.post(f"{system.urls['order']}/api/v1/orders", json=order, headers=headers)
        assert placed.status_code == 202, placed.text
        until(lambda: not rows(system, "order", "SELECT 1 FROM outbox"))
        tracing.enter("rest", len(system.processes) - 1)
        os.kill(system.processes["stock"].pid or 0, signal.SIGCONT)
        order_id = placed.json()["orderId"]
        key = http.post(
            f"{system.urls['sandbox']}/sandbox/payments",
            json={"orderId": order_id, "amount": 12_500, "card": "approve"},
        ).json()["paymentKey"]
        confirm = {"paymentKey": key, "orderId": order_id, "amount": 12_500}
        confirmed = http.post(f"{system.urls['payment']}/api/v1/payments/confirm", json=confirm, headers=CUSTOMER)
        assert confirmed.status_code == 200, confirmed.text
        until(lambda: rows(system, "order", "SELECT 1 FROM saga WHERE status = 'COMPLETED'"))
        until(lambda: not any(rows(system, service, "SELECT 1 FROM outbox") for service in SERVICES))
        tracing.enter("end")


@pytest.fixture(scope="module")
def way(tmp_path_factory: pytest.TempPathFactory) -> Way:
    tracing = Tracing(tmp_path_factory.mktemp("openings"))
    with System(extra=tracing.environment()) as system:
        tracing.enter("product", len(system.processes))
        shop(system, tracing)
    without_an_order = tracing.functions("start") | tracing.functions("idle")
    post = tracing.functions("post", "order")
    run = tracing.functions("post", *SERVICES) | tracing.functions("rest", *SERVICES)
    return Way(_files(post - without_an_order), _files(run - without_an_order), _files(run))


def _files(functions: set[tuple[str, str]]) -> set[str]:
    return {path for path, _ in functions} - LATE


def listed(title: str) -> list[str]:
    """The files that a table of the page names, in its order."""
    section = PAGE.read_text().split(f"### {title}\n")[1].split("\n#")[0]
    return re.findall(r"^\|(?: \d+ \|)? `([\w/.]+)`", section, re.MULTILINE)


def test_the_files_before_the_first_record_are_those_of_the_page(way: Way) -> None:
    before, passed_by = set(listed(BEFORE)), set(listed(PASSED_BY))
    assert sorted(before - way.post) == [], "listed, but not passed before the first record"
    assert sorted(way.post - before - passed_by - set(listed(AFTER))) == [], (
        f"passed, but not listed: add them to {PAGE.name}"
    )


def test_the_files_of_the_whole_way_are_those_of_the_page(way: Way) -> None:
    to_open = {*listed(BEFORE), *listed(AFTER)}
    assert sorted({*to_open, *listed(PASSED_BY)} - way.run) == [], "listed, but not passed"
    assert sorted(way.whole - to_open - set(listed(PASSED_BY))) == [], (
        f"passed, but not listed: add them to {PAGE.name}"
    )


def test_no_more_files_run_than_the_page_says(way: Way) -> None:
    assert f"of {RUN_BEFORE_MAX} files run before the first record and of {RUN_MAX} in all" in PAGE.read_text()
    assert len(way.post) <= RUN_BEFORE_MAX, "merge, or correct the page"
    assert len(listed(BEFORE) + listed(AFTER) + listed(PASSED_BY)) == RUN_MAX, "merge, or correct the page"


def test_the_way_is_short() -> None:
    before, after = listed(BEFORE), listed(AFTER)
    assert len(before) <= BEFORE_MAX
    assert len(before) + len(after) <= ALL_MAX
    assert len({*before, *after, *listed(PASSED_BY)}) == len(before) + len(after) + len(listed(PASSED_BY)), (
        "each file once"
    )
