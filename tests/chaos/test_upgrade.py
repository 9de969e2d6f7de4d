"""The short form of `make upgrade`: the last release is replaced by the present code under customers and operators, then the audit."""

from pathlib import Path

import pytest

from tests.chaos.last_release import REVISION, LastRelease, NoHistory, unpack
from tests.chaos.run import EXTRA
from tests.chaos.upgrade import Upgrade

SEED = 3
BETWEEN = 3


@pytest.mark.timeout(900)
async def test_the_last_release_is_replaced_while_customers_shop_and_nobody_hears_of_an_error(tmp_path: Path) -> None:
    try:
        release = unpack(REVISION, tmp_path)
    except NoHistory as error:
        pytest.skip(str(error))
    with LastRelease(release, extra=EXTRA | {"ORDERSAGA_PAYMENT_DEADLINE_S": "6"}) as system:
        async with Upgrade(system, SEED, 6.0, print) as run:
            await run.pause()
            await run.spoil()
            await run.migrate()
            await run.replace(None, "the present release runs", BETWEEN)
            await run.resume()
            await run.discard()
            wrong = await run.end()
    assert wrong == []
    assert run.crowd.placed > 10 * BETWEEN
