"""The short form of `make chaos`: a few blows of the kinds that differ most, one after the other, then the audit."""

import pytest

from ordersaga.devstack.system import System
from tests.chaos.neighbours import hanging_provider
from tests.chaos.run import EXTRA, WORKERS, Chaos

KINDS = [
    "kill-service",
    "kill-kafka",
    "make-zombie",
    "kill-postgres",
    "kill-unpublished",
    "freeze-postgres",
    "refuse-dead-letters",
    "restart-with-parked",
    "read-only-postgres",
    "write-in-transactions",
    "hanging-provider",
]
SEED = 20
STEADY_S, CALM_S = 3.0, (0.5, 1.5)
"""`make chaos` measures recoveries, and waits for longer to be sure of one and before the next blow."""


@pytest.mark.timeout(900)
async def test_nothing_is_lost_and_nothing_is_done_twice_while_the_system_and_its_neighbours_are_killed_and_frozen() -> (
    None
):
    with (
        hanging_provider() as provider,
        System(extra=EXTRA | provider | {"ORDERSAGA_PAYMENT_DEADLINE_S": "20"}, workers=WORKERS) as system,
    ):
        result = await Chaos(system, SEED, 6.0, print, STEADY_S, CALM_S).run(KINDS)
    assert result.wrong == []
    assert result.placed > 200
    assert sum(len(each.kinds) for each in result.recoveries) == len(KINDS)
