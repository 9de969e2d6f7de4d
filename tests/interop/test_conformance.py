"""`ordersaga conform` against the partners of this folder, which are written as teams write them first: what fails is listed, with why."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from benchmarks.peers import maven
from ordersaga.devstack.system import System
from tests.conformance.running_partner import Verdict, conform
from tests.interop import others, spring
from tests.interop.partner import Kind

pytestmark = [pytest.mark.processes, pytest.mark.timeout(300)]

OURS_ALONE: Final = ("payable", "one-payment", "gateway-faults", "whole-order", "restart")
"""What our services promise beyond the guide, and what needs a state that outlives the process."""
PATIENT: Final = ("--answer-within", "10", "--quiet-for", "0.7", "--load", "40")
"""Spring's error handler tries a record ten times before the next one: five seconds by default."""
SHORT: Final = (Kind("boot4", ("payment",)), others.NODE, others.GO)
VARIANTS: Final = (
    Kind("boot4", ("order",), ("types",)),
    Kind("boot4", ("order",), ("retryable",)),
    Kind("boot3", ("order",), ("transactions",)),
    Kind("boot4", ("stock",), ("types",)),
    Kind("boot3", ("stock",), ("retryable",)),
    Kind("boot4", ("stock",), ("transactions",)),
    Kind("boot3", ("payment",), ("types",)),
    Kind("boot4", ("payment",), ("retryable",)),
    Kind("boot3", ("payment",), ("transactions",)),
    Kind("boot3", ("delivery",), ("types",)),
    Kind("boot4", ("delivery",), ("retryable",)),
    Kind("boot3", ("delivery",), ("transactions",)),
)
EVERYONE: Final = (
    *(Kind(stack, (role,)) for role in ("order", "stock", "payment", "delivery") for stack in spring.JARS),
    *VARIANTS,
    others.NODE,
    others.GO,
)
ALL: Final = sorted(EVERYONE, key=lambda kind: kind.roles != ("order",))
"""Order first: it tries each answer ten times that others have left for an order which it does not know."""
SPRING_ORDER: Final = {
    "a payment of another amount is not delivered",
    "a payment of more than the total is not delivered",
    "a payment of nothing is not delivered",
    "a payment without an amount is not delivered",
    "an answer for a product of another order reserves nothing",
    "a product that was refused and then reserved does not revive the order",
    "a product out of stock releases the others alone",
    "a product that is reserved after the order's end is released",
    "a payment of another amount is refunded, and the stock released",
    "a second payment is refunded alone",
}
"""It notes each answer in a field of its own, counts products, and looks neither at a payment's amount nor at what has ended."""
STOCK: Final = {
    "one product in two lines is counted twice",
    "a negative quantity adds nothing to the stock",
    "a rollback of one product leaves the others",
    "a request that comes after its rollback holds nothing",
}
"""It compares each line alone with what is there, does not look for a minus, and rolls back whole orders that it knows."""
SPRING_ORDER_BY_CHANCE: Final = {
    "a declined payment releases the stock",
    "a delivery that nobody asked for completes nothing",
    "a FAILED after a SUCCESS of a paid order changes nothing",
    "a paid order that is out of stock is refunded",
    "a payment after the order's end is refunded",
}
"""These fail the Order in Spring, too, if it reads the topics in that order: a listener that tries a failing record again is seconds behind."""
NULL_IS_ZERO: Final = {"a line without a quantity is not answered SUCCESS"}
"""Of an `int`, Jackson 2 makes 0 of null, as JavaScript does in its sums; Jackson 3 refuses it."""
SPRING_PAYMENT: Final = {
    "a payment again after many others",
    "a refund without an amount gives nothing back",
    "a payment confirmed twice is published with one outcome",
    "a payment confirmed five times at once is published with one outcome",
    "a refund of another order's payment is answered FAILED",
    "a refund's balance is what is left of the payment",
    "a refund without optional fields",
    "a refund with null in optional fields",
    "two refunds of one amount with two ids are two refunds",
}
"""It asks the gateway again and publishes that refusal, keeps no order of a payment, remembers one refund of each, hands on what has no amount
as a refund of all, and the gateway refuses a cancel without a reason."""
BY_CHANCE: Final[dict[tuple[str, str], set[str]]] = {
    ("boot3", "order"): SPRING_ORDER_BY_CHANCE,
    ("boot4", "order"): SPRING_ORDER_BY_CHANCE,
    # kafkajs hands out what was aborted where one answer of the broker holds both transactions.
    ("node", "stock"): {f"a {noun} in aborted transactions that overlap" for noun in ("stock request", "rollback")},
}
"""What a partner fails in some runs."""
EXPECTED: Final[dict[tuple[str, str], set[str]]] = {
    ("node", "stock"): STOCK
    | NULL_IS_ZERO
    | {
        "a repeated request in upper case takes its pieces once",
        "a stock request again in other bytes",
        "a stock request with upper-case UUIDs",
        "a stock request: bad JSON",
    },
    ("go", "delivery"): {
        "a delivery request again in other bytes",
        "a delivery request in an aborted transaction",
        "a delivery request in aborted transactions that overlap",
        "a delivery request: bad JSON",
    },
    ("boot3", "order"): SPRING_ORDER,
    ("boot4", "order"): SPRING_ORDER,
    ("boot3", "stock"): STOCK | NULL_IS_ZERO,
    ("boot4", "stock"): STOCK,
    ("boot3", "payment"): SPRING_PAYMENT,
    ("boot4", "payment"): SPRING_PAYMENT,
}


BELIEVES_TYPES: Final[dict[str, set[str]]] = {
    role: {f"{noun} with a Java type header" for noun in nouns}
    for role, nouns in {
        "order": ("a stock answer", "a payment outcome", "a started delivery"),
        "stock": ("a stock request", "a rollback"),
        "payment": ("a refund",),
        "delivery": ("a delivery request",),
    }.items()
}
"""The variant `types` looks for the class that `__TypeId__` names, and gives the record up where it has none of that name."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    metafunc.parametrize("kind", ALL if metafunc.config.getoption("--all-pairings") else SHORT, ids=str)


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    """Kafka and the sandbox gateway, and no service of ours: the kit plays the others."""
    with System(services=[], extra={"ORDERSAGA_TOPIC_PARTITIONS": "3"}) as running:
        yield running


def judged(system: System, folder: Path, kind: Kind) -> Verdict:
    """What the kit says of a partner that has just started."""
    if kind in others.NEEDS:
        others.build(kind)
        partner = others.partner(system.stack.folder, kind, system.settings)
    else:
        spring.build()
        partner = spring.partner(system.stack.folder, kind, system.settings)
    without = [option for tag in OURS_ALONE for option in ("--without", tag)]
    try:
        partner.start()
        return conform(
            folder,
            system.settings.kafka_bootstrap_servers,
            kind.roles[0],
            *PATIENT,
            *without,
            *("--url", partner.url, "--hook", "cancel=", "--hook", "return="),
            environment={"ORDERSAGA_GATEWAY_URL": system.urls["sandbox"]},
        )
    finally:
        partner.stop()
        partner.kill()


def test_the_kit_finds_in_a_partner_what_is_listed_and_no_more(system: System, tmp_path: Path, kind: Kind) -> None:
    lacking = others.missing(kind) if kind in others.NEEDS else maven.missing()
    if lacking:
        pytest.skip(f"no partner in {kind.stack} can be built: {lacking}")
    verdict = judged(system, tmp_path, kind)
    who = kind.stack, kind.roles[0]
    expected, may_fail = EXPECTED.get(who, set()), BY_CHANCE.get(who, set())
    if "types" in kind.options:
        expected = expected | BELIEVES_TYPES[kind.roles[0]]
    assert expected <= verdict.failed <= expected | may_fail, verdict.answer
    assert bool(verdict.not_judged) == (kind in others.NEEDS), (
        "what stops at its first spoilt record is asked no further"
    )
