"""`ordersaga conform stock` against small Stocks: each wrong one fails the cases of its fault and no other; unusual ones pass."""

from pathlib import Path

import pytest

from ordersaga.devstack import DevStack
from tests.conformance.running_partner import RunningPartner, Verdict

NOUNS = ("a stock request", "a rollback")
RESTARTED = "a stock request while the service restarts"
ROLLBACK_RESTARTED = "a rollback while the service restarts"
HOW = ("twice in a row", "again after its answer", "again in other bytes", "in several partitions")
REPEATED = {f"a stock request {how}" for how in (*HOW, "again after many others")}
BACK = {"a repeated rollback puts the pieces back once", *(f"a rollback {how}" for how in HOW)}
WRONG = {
    "forgets-orders-on-restart": {RESTARTED, ROLLBACK_RESTARTED},
    "forgets-rollbacks-on-restart": {ROLLBACK_RESTARTED},
    "fails-repeats": REPEATED,
    "looks-at-the-first-product-alone": {"what fails in part is taken as it was answered"},
    "reads-uncommitted": {
        "an order in an aborted transaction takes nothing",
        *(f"{noun} in an aborted transaction" for noun in NOUNS),
        *(f"{noun} in aborted transactions that overlap" for noun in NOUNS),
    },
    "trips-over-headers": {f"{noun} with headers of a stranger" for noun in NOUNS},
    "believes-the-type-header": {f"{noun} with a Java type header" for noun in NOUNS},
    "reads-small-records-alone": {f"{noun} of nearly a megabyte" for noun in NOUNS},
    "takes-the-first-line-alone": {
        "each product of an order is decreased",
        "a rollback of one product leaves the others",
        "two rollbacks of two products give both back",
    },
    "keys-rollbacks-by-something-else": {"the answer to a rollback is keyed by its order"},
    "last-line-wins": {"one product in two lines is counted twice"},
    "knows-small-numbers-alone": {
        "the largest int32 is answered FAILED",
        "two lines that overflow an int32 are answered FAILED",
    },
    "forgets-early-rollbacks": {"a request that comes after its rollback holds nothing"},
    "silent-about-empty-rollbacks": {
        "a rollback of an order without stock is answered",
        "a request that comes after its rollback holds nothing",
    },
    "gives-back-the-whole-order": {"a rollback of one product leaves the others"},
    "gives-back-what-is-asked": {"a rollback of more than was taken adds nothing"},
    "takes-null-for-nothing": {"a line without a quantity is not answered SUCCESS"},
    "swaps-answers": {"what fails in part is taken as it was answered"},
    "lower-case-status": {
        "the answer to a stock request has the guide's status word",
        "a refused request is answered with the guide's word",
    },
    "knows-rollbacks-by-their-bytes": {"a rollback again in other bytes"},
    "knows-repeats-by-their-bytes": {
        "a stock request again in other bytes",
        "a repeated request in upper case takes its pieces once",
    },
    "gives-back-the-refused": {"a rollback of an order without stock is answered"},
    "gives-back-one-less": BACK
    | {
        "a rollback puts the pieces back",
        "a rollback of one product leaves the others",
        "two rollbacks of two products give both back",
        "a repeated request after its rollback takes nothing",
        "given back pieces can be taken by another order",
        "a refused request stays refused when pieces come back",
    },
    "answers-before-it-keeps": {RESTARTED, ROLLBACK_RESTARTED},
    "oversells": {
        "more than there is is answered FAILED",
        "a product without stock is answered FAILED",
        "what fails in part is taken as it was answered",
        "orders for the last pieces at once do not oversell",
        "one product in two lines is counted twice",
        "the largest int32 is answered FAILED",
        "two lines that overflow an int32 are answered FAILED",
        "given back pieces can be taken by another order",
    },
    "takes-repeats-again": REPEATED
    | {
        "a repeated request takes its pieces once",
        "a repeated request in upper case takes its pieces once",
    },
    "keeps-what-it-refuses": {"what fails in part is taken as it was answered"},
    "wraps-around": {"two lines that overflow an int32 are answered FAILED"},
    "takes-negative-quantities": {"a negative quantity adds nothing to the stock"},
    "gives-back-twice": BACK,
    "gives-back-one-rollback": {"two rollbacks of two products give both back"},
    "judges-the-refused-again": {"a refused request stays refused when pieces come back"},
    "own-word-for-failures": {"a refused request is answered with the guide's word"},
    "completes-and-fails": {"a rollback is completed or failed, and not both"},
    "silent-about-unknown-products": {"an unknown product is answered FAILED"},
    "answers-the-first-product-alone": {
        "each product of an order is answered",
        "an order of fifty products is answered whole",
        "orders for two products in opposite orders all end",
        "a rollback of one product leaves the others",
        "two rollbacks of two products give both back",
    },
}


UNHURRIED = ("in-batches", "two-seconds-late")


def judged(
    stack: DevStack, folder: Path, manner: str, *arguments: str, restart: bool = False, slow_s: float = 0.0
) -> Verdict:
    with RunningPartner(folder, stack, "stock", manner, slow_s) as partner:
        seed = f'POST http://127.0.0.1:{partner.port}/products {{"productId": "$productId", "quantity": $quantity}}'
        return partner.conform("--seed", seed, *arguments, restart=restart)


@pytest.mark.parametrize("manner", WRONG)
def test_a_wrong_stock_fails_the_cases_of_its_fault(stack: DevStack, tmp_path: Path, manner: str) -> None:
    verdict = judged(stack, tmp_path, manner, restart=ROLLBACK_RESTARTED in WRONG[manner])
    assert verdict.failed == WRONG[manner], verdict.answer
    assert verdict.answer.code == 1
    assert bool(verdict.not_judged) == (manner == "oversells"), (
        "nobody sees what is left where more is given than there is"
    )


@pytest.mark.parametrize(
    "manner, slow_s, few",
    [
        ("fails-repeats", 0.1, ("--only", "repeats", "--without", "compensation")),
        ("forgets-rollbacks-on-restart", 0.03, ("--only", "restart")),
    ],
)
def test_a_wrong_stock_that_is_slow_is_found_as_well(
    stack: DevStack, tmp_path: Path, manner: str, slow_s: float, few: tuple[str, ...]
) -> None:
    """Each record waits for those before it: longer than the kit is told to wait for a second answer, and than a restart takes to begin."""
    verdict = judged(stack, tmp_path, manner, *few, "--answer-within", "20", restart="restart" in few, slow_s=slow_s)
    assert verdict.failed == WRONG[manner], verdict.answer


@pytest.mark.parametrize(
    "manner, one",
    [
        ("fails-every-rollback", "a rollback puts the pieces back"),
        ("names-the-first-product-alone", "each product of an order is answered"),
        ("oversells-by-one", "orders for the last pieces at once do not oversell"),
        ("gives-up-the-whole-batch", "a stock request: bad JSON"),
        ("remembers-thirty", "a stock request again after many others"),
        ("reads-one-partition", "a stock request in each partition"),
    ],
)
def test_a_stock_that_is_wrong_in_many_ways_is_named(stack: DevStack, tmp_path: Path, manner: str, one: str) -> None:
    verdict = judged(stack, tmp_path, manner)
    assert one in verdict.failed, verdict.answer
    if manner != "reads-one-partition":  # it may read nothing else that was asked
        assert "a product that is in stock is answered SUCCESS" in verdict.passed, verdict.answer


@pytest.mark.parametrize(
    "manner",
    [
        "right",
        "decides-for-the-whole-order",
        "no-key-and-sorted",
        "talkative",
        "transactions",
        "writes-a-journal",
        *UNHURRIED,
    ],
)
@pytest.mark.timeout(240)
def test_a_right_but_unusual_stock_passes(stack: DevStack, tmp_path: Path, manner: str) -> None:
    verdict = judged(stack, tmp_path, manner, restart=True)
    assert verdict.answer.code == 0 and not verdict.skipped, verdict.answer


def test_a_stock_that_gives_nothing_back_says_so(stack: DevStack, tmp_path: Path) -> None:
    verdict = judged(stack, tmp_path, "right", "--without", "compensation", "--only", "happy", "--only", "compensation")
    assert verdict.answer.code == 0 and len(verdict.skipped) > 30 and len(verdict.passed) == 4, verdict.answer


def test_a_stock_that_writes_another_charset_is_told(stack: DevStack, tmp_path: Path) -> None:
    verdict = judged(stack, tmp_path, "euc-kr")
    assert verdict.answer.code == 2 and "on are in another charset" in verdict.answer.err, verdict.answer
