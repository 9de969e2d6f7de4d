"""The short form of `make chaos`: a few blows of the kinds that differ most, one after the other, then the audit."""

from collections.abc import Sequence

import pytest

from ordersaga.devstack.system import System
from tests.chaos.neighbours import hanging_provider
from tests.chaos.run import EXTRA, WORKERS, Chaos

KINDS = ["kill-service", "kill-kafka", "make-zombie", "kill-postgres", "kill-unpublished"]
NEIGHBOURS = [
    "freeze-postgres",
    "refuse-dead-letters",
    "restart-with-parked",
    "read-only-postgres",
    "write-in-transactions",
    "hanging-provider",
]
SEED = 20


@pytest.mark.timeout(600)
async def test_nothing_is_lost_and_nothing_is_done_twice_while_parts_of_the_system_are_killed_and_frozen() -> None:
    await _run(KINDS)


@pytest.mark.timeout(600)
async def test_neighbours_that_freeze_refuse_or_hang_lose_nothing_and_stop_nobody_for_long() -> None:
    await _run(NEIGHBOURS)


async def _run(kinds: Sequence[str]) -> None:
    with (
        hanging_provider() as provider,
        System(extra=EXTRA | provider | {"ORDERSAGA_PAYMENT_DEADLINE_S": "20"}, workers=WORKERS) as system,
    ):
        outcome = await Chaos(system, SEED, 6.0, print).run(kinds)
    assert outcome.wrong == []
    assert outcome.placed > 100
    assert sum(len(each.kinds) for each in outcome.recoveries) == len(kinds)
