"""How often Payment looks for intents that are due."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from ordersaga.payment.recovery import CLAIM_EVERY_S, IDLE_S, Recovery
from ordersaga.settings import Settings


class Looks(Recovery):
    """Recovery that finds so many due intents at each look."""

    def __init__(self, found: int) -> None:
        runtime: Any = SimpleNamespace(settings=Settings.model_validate({}))
        super().__init__(runtime, None)  # type: ignore[arg-type]
        self.found, self.looks = found, 0

    async def claim(self) -> int:
        self.looks += 1
        return self.found


@pytest.mark.parametrize(
    ("found", "is_right"),
    [(0, lambda looks: looks <= 2), (1, lambda looks: looks >= 3)],
    ids=["nothing is due", "much is due"],
)
async def test_the_next_look_comes_soon_only_after_one_that_found_something(
    found: int, is_right: Callable[[int], bool]
) -> None:
    recovery = Looks(found)
    looking = asyncio.create_task(recovery._claiming(lambda well=True: None))
    await asyncio.sleep((IDLE_S + CLAIM_EVERY_S) * 0.9)
    looking.cancel()
    assert is_right(recovery.looks), recovery.looks
