"""Our own four services pass every case of `ordersaga conform`, the restart included."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ordersaga.devstack.system import System
from tests.conformance.running_partner import Verdict, conform

EXTRA = {"ORDERSAGA_TOPIC_PARTITIONS": "3", "ORDERSAGA_LOG_LEVEL": "error", "ORDERSAGA_FOREIGN_PARTNERS": "[]"}


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    """The four services. Order runs only while it is judged: it reads what all others write."""
    with System(extra=EXTRA) as running:
        running.kill("order")
        yield running


@contextmanager
def restarts(system: System, folder: Path, role: str) -> Iterator[str]:
    """A command that has this process kill the service and start it again, and that ends when it is ready."""
    asked, over = folder / "restart", threading.Event()

    def watch() -> None:
        while not over.wait(0.1):
            if asked.exists():
                system.kill(role)
                system.start(role)
                asked.unlink()

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield f"touch {asked}; while [ -e {asked} ]; do sleep 0.1; done"
    finally:
        over.set()
        watching.join()


def judged(system: System, folder: Path, role: str) -> Verdict:
    with restarts(system, folder, role) as command:
        return conform(
            folder,
            system.settings.kafka_bootstrap_servers,
            role,
            *("--url", system.urls[role], "--restart-command", command, "--html", str(folder / "report.html")),
            environment={"ORDERSAGA_GATEWAY_URL": system.urls["sandbox"]},
        )


def passes(system: System, folder: Path, role: str) -> None:
    verdict = judged(system, folder, role)
    assert verdict.answer.code == 0, verdict.answer
    assert not verdict.skipped and len(verdict.passed) > 40, verdict.answer
    assert (folder / "report.html").read_text().count("<details") == len(verdict.passed)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("role", ["delivery", "stock", "payment"])
def test_a_service_of_ours_conforms(system: System, tmp_path: Path, role: str) -> None:
    passes(system, tmp_path, role)


@pytest.mark.timeout(300)
def test_our_order_conforms(system: System, tmp_path: Path) -> None:
    for role in ("stock", "payment", "delivery"):
        system.kill(role)
    system.start("order")
    passes(system, tmp_path, "order")
