"""Our services beside a Spring team's, each role either way."""

import pytest

from benchmarks.peers import maven
from tests.interop import spring
from tests.interop.pairing import pairing
from tests.interop.partner import Kind

pytestmark = [pytest.mark.processes, pytest.mark.timeout(300)]

PAIRINGS = (
    Kind("boot3", ("delivery",)),
    Kind("boot4", ("stock",), ("retryable", "types")),
    Kind("boot3", ("payment",), ("transactions",)),
    Kind("boot4", ("order",), ("types",)),
    Kind("boot3", ("order", "stock", "payment"), ("retryable",)),
    Kind("boot4", ("order", "payment", "delivery"), ("transactions",)),
    Kind("boot3", ("order", "stock", "delivery"), ("types",)),
    Kind("boot4", ("stock", "payment", "delivery")),
)


@pytest.fixture(scope="module", autouse=True)
def jars() -> None:
    if lacking := maven.missing():
        pytest.skip(f"no Spring partner can be built: {lacking}")
    spring.build()


@pytest.mark.parametrize("kind", PAIRINGS, ids=str)
async def test_two_hundred_orders_beside_a_spring_partner_end_as_they_must(kind: Kind) -> None:
    async with pairing(kind, spring.partner) as pair:
        await pair.all_is_as_it_must_be(await pair.customers.shop())
