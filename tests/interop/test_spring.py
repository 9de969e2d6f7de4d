"""Our services beside a Spring team's, each role either way."""

import pytest

from benchmarks.peers import maven
from tests.interop import letters, spring
from tests.interop.pairing import pairing
from tests.interop.partner import Kind

pytestmark = [pytest.mark.processes, pytest.mark.timeout(300)]

ONE_OF_THEIRS = (
    Kind("boot3", ("delivery",), ("transactions",)),
    Kind("boot4", ("stock",), ("retryable", "types")),
    Kind("boot3", ("payment",)),
    Kind("boot4", ("order",), ("types",)),
)
THREE_OF_THEIRS = (
    Kind("boot3", ("order", "stock", "payment"), ("retryable",)),
    Kind("boot4", ("order", "payment", "delivery"), ("transactions",)),
    Kind("boot3", ("order", "stock", "delivery"), ("types",)),
    Kind("boot4", ("stock", "payment", "delivery")),
)


VARIANTS = (
    (),
    ("types",),
    ("retryable",),
    ("retryable", "types"),
    ("transactions",),
    ("transactions", "types"),
)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """The short form has each pairing, each Spring Boot and each variant once; --all-pairings has each with each."""
    short = ONE_OF_THEIRS if "one_of_their" in metafunc.function.__name__ else THREE_OF_THEIRS
    roles = dict.fromkeys(kind.roles for kind in short)
    every = [Kind(stack, each, options) for stack in spring.JARS for each in roles for options in VARIANTS]
    metafunc.parametrize("kind", every if metafunc.config.getoption("--all-pairings") else short, ids=str)


@pytest.fixture(scope="module", autouse=True)
def jars() -> None:
    if lacking := maven.missing():
        pytest.skip(f"no Spring partner can be built: {lacking}")
    spring.build()


async def test_one_of_their_services_beside_three_of_ours(kind: Kind) -> None:
    async with pairing(kind, spring.partner) as pair:
        orders = await pair.customers.shop()
        await pair.all_is_as_it_must_be(orders)
        await letters.theirs_are_replayed_by_ours(pair)
        await letters.a_malformed_record_is_kept_as_it_was(pair)
        await letters.ours_are_replayed_by_theirs(pair)
        await pair.audit_holds()


async def test_three_of_their_services_beside_one_of_ours(kind: Kind) -> None:
    async with pairing(kind, spring.partner) as pair:
        await pair.all_is_as_it_must_be(await pair.customers.shop())
