"""A real browser before the real system: Kafka, PostgreSQL, the services, the sandbox and the web process.

A worker of the tests starts the system once for its files of this folder, so a test leaves no trouble to the next one: see `nothing_left`.
A file that looks at everything in the system has one of its own.
"""

import asyncio
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, sync_playwright

from ordersaga.devstack.system import System
from ordersaga.settings import SERVICES
from ordersaga.web.shop import seeds
from tests.browser.troubles import FACE, OPERATOR, accept_stopped, end_faults, execute
from tests.browser.visitor import Visitor

BROWSERS = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
NO_SANDBOX = ["--no-sandbox", "--disable-dev-shm-usage"]
"""Chromium's own sandbox needs rights that a container's root does not have."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/browser/" in item.nodeid:
            item.add_marker("processes")


@pytest.fixture(scope="session")
def browser_path() -> str:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(
            "no Chromium here: install the system's package chromium; `make test` does so where apt and root allow it"
        )
    return found


@contextmanager
def seeded() -> Iterator[System]:
    """The whole system with the catalogue that `up` makes."""
    with System(web=True) as running:
        # In a thread of its own: while Playwright runs, its event loop counts as running in this one, so no other can run here.
        with ThreadPoolExecutor(1) as beside:
            beside.submit(asyncio.run, seeds.seed(running.urls["stock"])).result()
        yield running


shared: list[System] = []
until_the_last_file = ExitStack()


@pytest.fixture(scope="module")
def system(browser_path: str) -> System:
    if not shared:
        shared.append(until_the_last_file.enter_context(seeded()))
    return shared[0]


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(nextitem: pytest.Item | None) -> None:
    """After the last test of this folder, end the system: it takes a tenth of a core from the tests of other folders."""
    if nextitem is None or "tests/browser/" not in nextitem.nodeid:
        shared.clear()
        until_the_last_file.close()


@pytest.fixture(scope="module")
def chromium(browser_path: str) -> Iterator[Browser]:
    """Ended with the file: while Playwright runs, its event loop counts as running in this thread, so no other test could run one."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=NO_SANDBOX)
        yield browser
        browser.close()


@pytest.fixture
def visitor(chromium: Browser, system: System) -> Iterator[Callable[..., Visitor]]:
    """Makes visitors, each with a browser window of its own. At the end none may have seen an error of the console."""
    contexts: list[BrowserContext] = []
    visitors: list[Visitor] = []

    def make(language: str = "en-US", width: int = 1280, **options: Any) -> Visitor:
        context = chromium.new_context(locale=language, viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        visitors.append(Visitor(context, system.urls["web"]))
        return visitors[-1]

    yield make
    errors = [error for each in visitors for error in each.errors]
    for context in contexts:
        context.close()
    assert errors == []


@pytest.fixture
def nothing_left(system: System) -> Iterator[None]:
    """End the faults, the sandbox's too, accept stopped partitions and discard the letters that a test leaves: the next one finds no trouble.

    What other files have done to the gateway is forgotten before.
    """
    execute(system, "payment", "DELETE FROM flow_moment")
    yield
    httpx.put(f"{system.urls['sandbox']}/sandbox/faults", json={}).raise_for_status()
    accept_stopped(system)
    for service in SERVICES:
        end_faults(system, service)
        url = f"{system.urls[service]}{FACE}/dead-letters"
        for letter in httpx.get(url, params={"limit": "200"}, headers=OPERATOR).json()["items"]:
            httpx.post(f"{url}/{letter['id']}/discard", json={"reason": "a test", "version": "OPEN"}, headers=OPERATOR)
