"""A service on a rig of its own for each test."""

from collections.abc import AsyncIterator

import pytest

from ordersaga.devstack import DevStack
from tests.contract.rig import Rig, rig


@pytest.fixture
async def service(stack: DevStack) -> AsyncIterator[Rig]:
    async with rig(stack) as made:
        yield made
