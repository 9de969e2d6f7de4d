"""The short form of the tests with small partners. Each takes some seconds, most of them waiting for what must not come."""

import pytest

SHORT = {
    "test_a_wrong_delivery_fails_the_cases_of_its_fault_alone": {
        "answers-again-later",
        "answers-twice-after-a-restart",
        "forgets-repeats",
        "snake-case",
        "wrong-status-word",
        "wrong-topic",
        "loses-on-restart",
        "reads-uncommitted",
        "needs-a-type-header",
    },
    "test_a_delivery_that_dies_of_a_bad_record_or_stays_there_is_named_by_the_first": {
        "dies-on-bad-json",
        "drops-what-comes-after-bad",
    },
    "test_a_delivery_that_cannot_be_judged_is_told": {"never-answers", "serializes-twice"},
    "test_a_right_but_unusual_delivery_passes": {"no-key-and-sorted", "transactions", "in-batches", "retries-first"},
    "test_a_wrong_stock_fails_the_cases_of_its_fault": {
        "oversells",
        "takes-the-first-line-alone",
        "knows-rollbacks-by-their-bytes",
        "forgets-rollbacks-on-restart",
    },
    "test_a_stock_that_is_wrong_in_many_ways_is_named": set(),
    "test_a_delivery_that_is_wrong_in_many_ways_is_named": {"remembers-thirty"},
    "test_a_right_but_unusual_stock_passes": {"no-key-and-sorted"},
    "test_a_wrong_order_fails_the_cases_of_its_fault_alone": {
        "counts-stock-answers",
        "null-status-is-success",
        "completes-again",
        "knows-orders-by-product",
    },
    "test_an_order_that_gives_back_wrong_fails_the_cases_of_its_fault_alone": {
        "releases-one-piece-each",
        "releases-twice",
        "forgets-to-refund",
        "delivers-the-cancelled",
    },
    "test_an_order_that_is_wrong_in_many_ways_is_named": {"delivers-unpaid", "delivers-unreserved"},
    "test_a_right_but_unusual_order_passes": {"no-key-and-sorted"},
    "test_a_wrong_payment_fails_the_cases_of_its_fault_alone": {
        "compares-with-the-whole",
        "rounds-to-tens",
        "knows-refunds-by-amount",
        "answers-each-repeat-twice",
    },
    "test_a_right_but_unusual_payment_passes": {"no-key-and-sorted"},
}
"""By test, the manners of its short form."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without `--all-partners`, keep the short form of each test that has one, and each test that has none."""
    if config.getoption("--all-partners"):
        return
    dropped = [item for item in items if not _is_short(item)]
    items[:] = [item for item in items if item not in dropped]
    config.hook.pytest_deselected(items=dropped)


def _is_short(item: pytest.Item) -> bool:
    short = SHORT.get(getattr(item, "originalname", ""))
    return short is None or item.callspec.params["manner"] in short  # type: ignore[attr-defined]
