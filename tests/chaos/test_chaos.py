"""The short form of `make chaos`: a few blows of the kinds that differ most, one after the other, then the audit."""

import pytest

from ordersaga.devstack.system import System
from tests.chaos.run import EXTRA, WORKERS, Chaos

KINDS = ["kill-service", "kill-kafka", "make-zombie", "kill-postgres", "kill-unpublished"]
SEED = 20


@pytest.mark.timeout(600)
async def test_nothing_is_lost_and_nothing_is_done_twice_while_parts_of_the_system_are_killed_and_frozen() -> None:
    with System(extra=EXTRA | {"ORDERSAGA_PAYMENT_DEADLINE_S": "20"}, workers=WORKERS) as system:
        outcome = await Chaos(system, SEED, 6.0, print).run(KINDS)
    assert outcome.wrong == []
    assert outcome.placed > 100
    assert sum(len(each.kinds) for each in outcome.recoveries) == len(KINDS)
