"""The short form of `make simulate` and `make mutations`: no history breaks a promise, a seed gives the same history everywhere, and
without any one guard some history breaks a promise."""

from collections.abc import Iterator
from concurrent.futures import Future
from typing import Final

import pytest

from tests.simulation.explorer import Choice, Explorer, Found, exploring
from tests.simulation.mutations import MUTATIONS, Mutation

HISTORIES: Final = 200
COMPARED: Final = 20
DYING: Final = (373, 631)
"""When this was written, a process of these histories was killed while it waited for a lock that it held itself."""
HISTORIES_PER_MUTATION: Final = 300


@pytest.fixture(scope="module")
def explorer() -> Iterator[Explorer]:
    with exploring() as running:
        yield running


@pytest.fixture(scope="module")
def histories(explorer: Explorer) -> list[Found]:
    """Run once for two tests. The first histories run in new databases."""
    return list(explorer.explore([*range(HISTORIES), *DYING]))


@pytest.mark.timeout(1800)
def test_no_history_breaks_a_promise(histories: list[Found]) -> None:
    broken = [found for found in histories if found.broken]
    assert not broken, [f"make simulate ARGS='{each.choice.options}': {each.broken[0]}" for each in broken]


@pytest.mark.timeout(900)
def test_a_seed_gives_the_same_history_in_any_process_whatever_went_before(
    explorer: Explorer, histories: list[Found]
) -> None:
    """Some histories again, in one worker, in reverse order, after hundreds of others."""
    seeds = [*range(COMPARED), *DYING * 4]
    again = explorer.run([Choice(seed) for seed in reversed(seeds)])
    digests = {(found.choice.seed, found.digest) for found in [*histories, *again] if found.choice.seed in seeds}
    assert len(digests) == len({digest for _, digest in digests}) == len(set(seeds))


@pytest.fixture(scope="module")
def at_noted_seeds(explorer: Explorer) -> dict[str, Future[list[Found]]]:
    """The history of each mutation at its noted seed, all queued at once so that no core idles."""
    return {each.name: explorer.submit([Choice(each.found_at, mutation=each.name, aimed=True)]) for each in MUTATIONS}


@pytest.mark.timeout(900)
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_without_a_guard_some_history_breaks_a_promise(
    explorer: Explorer, at_noted_seeds: dict[str, Future[list[Found]]], mutation: Mutation
) -> None:
    """The noted seed finds one; after a change elsewhere other seeds are tried. A patched query with a syntax error proves nothing."""
    (found,) = at_noted_seeds[mutation.name].result()
    others = explorer.explore(range(HISTORIES_PER_MUTATION), stop_at_first=True, mutation=mutation.name, aimed=True)
    broken = found.broken or next((other.broken for other in others if other.broken), [])
    assert broken and "syntax error" not in broken[0]


@pytest.mark.timeout(900)
def test_a_shrunk_history_breaks_a_promise_again(explorer: Explorer) -> None:
    mutation = MUTATIONS[0]
    (found,) = explorer.run([Choice(mutation.found_at, mutation=mutation.name)])
    short = explorer.shrink(found)
    assert short.broken and short.length <= found.length
    assert explorer.run([short.choice])[0].digest == short.digest
