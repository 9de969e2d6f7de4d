"""Our services beside a team that writes Node, and beside one that writes Go."""

import pytest

from tests.interop import others
from tests.interop.pairing import pairing
from tests.interop.partner import Kind

pytestmark = [pytest.mark.processes, pytest.mark.timeout(300)]


@pytest.mark.parametrize("kind", [others.NODE, others.GO], ids=str)
async def test_another_languages_service_beside_three_of_ours(kind: Kind) -> None:
    if lacking := others.missing(kind):
        pytest.skip(f"no partner in {kind.stack} can be built: {lacking}")
    others.build(kind)
    async with pairing(kind, others.partner) as pair:
        await pair.all_is_as_it_must_be(await pair.customers.shop())
