"""A service as it runs, for test modules that say by a fixture `shop` which one, with what settings and what in its database; and what
the audit's tests are about."""

from collections.abc import AsyncIterator

import httpx
import pytest

from ordersaga.cli.serve import application
from tests.integration.audit_rig import scene, scene_databases  # noqa: F401  # fixtures
from tests.integration.service import Bench, Wire, running


@pytest.fixture(scope="module")
async def client(shop: Bench) -> AsyncIterator[httpx.AsyncClient]:
    """HTTP to the service, turns and all."""
    async with running(shop.settings, application(shop.service)) as one:
        yield one


@pytest.fixture(scope="module")
def wire(shop: Bench) -> Wire:
    """Kafka as the service's partners see it."""
    return Wire(shop.settings)
