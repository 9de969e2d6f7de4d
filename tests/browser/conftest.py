"""A real browser before the real system: Kafka, PostgreSQL, the services, the sandbox and the web process, started once a file."""

import asyncio
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, sync_playwright

from ordersaga.devstack.system import System
from ordersaga.settings import SERVICES
from ordersaga.web.shop import seeds
from tests.browser.troubles import FACE, OPERATOR, accept_stopped, end_faults
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


@pytest.fixture(scope="module")
def system(browser_path: str) -> Iterator[System]:
    """The whole system with the catalogue that `up` makes."""
    with System(web=True) as running:
        asyncio.run(seeds.seed(running.urls["stock"]))
        yield running


@pytest.fixture(scope="module")
def chromium(system: System, browser_path: str) -> Iterator[Browser]:
    """Begun after the system, and ended with the file: while Playwright runs, its event loop counts as running in this thread, so no
    other test could run one."""
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
    """End the faults, the sandbox's too, accept stopped partitions and discard the letters that a test leaves: the next one finds no trouble."""
    yield
    httpx.put(f"{system.urls['sandbox']}/sandbox/faults", json={}).raise_for_status()
    accept_stopped(system)
    for service in SERVICES:
        end_faults(system, service)
        url = f"{system.urls[service]}{FACE}/dead-letters"
        for letter in httpx.get(url, params={"limit": "200"}, headers=OPERATOR).json()["items"]:
            httpx.post(f"{url}/{letter['id']}/discard", json={"reason": "a test", "version": "OPEN"}, headers=OPERATOR)
