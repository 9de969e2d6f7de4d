"""What `make simulate` does, for some hundred histories, and that it can be relied on: a seed means the same everywhere, and a guard
that is taken out is missed."""

from collections.abc import Iterator
from concurrent.futures import Future
from typing import Final

import pytest

from tests.simulation.explorer import Choice, Explorer, Found, exploring
from tests.simulation.mutations import MUTATIONS, Mutation

HISTORIES: Final = 200
COMPARED: Final = (*range(20), *[373, 631] * 5)
"""In the last two a process dies while it waits for a lock of its own."""
HISTORIES_PER_MUTATION: Final = 300


@pytest.fixture(scope="module")
def explorer() -> Iterator[Explorer]:
    with exploring() as running:
        yield running


@pytest.mark.timeout(1800)
def test_no_history_breaks_a_promise(explorer: Explorer) -> None:
    broken = [found for found in explorer.explore(range(HISTORIES)) if found.broken]
    assert not broken, [f"make simulate ARGS='{each.choice.options}': {each.broken[0]}" for each in broken]


@pytest.mark.timeout(900)
def test_a_seed_gives_the_same_history_in_any_process_whatever_went_before(explorer: Explorer) -> None:
    digests = {(found.choice.seed, found.digest) for found in explorer.explore(COMPARED)}
    with exploring(workers=1) as another:
        backwards = another.live([Choice(seed) for seed in reversed(COMPARED)])
    digests |= {(found.choice.seed, found.digest) for found in backwards}
    assert len(digests) == len({digest for _, digest in digests}) == len(set(COMPARED))


@pytest.fixture(scope="module")
def at_noted_seeds(explorer: Explorer) -> dict[str, Future[list[Found]]]:
    """The history of each mutation's noted seed, all queued at once so that no core waits."""
    return {each.name: explorer.begin([Choice(each.found_at, mutation=each.name, aimed=True)]) for each in MUTATIONS}


@pytest.mark.timeout(900)
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_guard_that_is_taken_out_is_missed(
    explorer: Explorer, at_noted_seeds: dict[str, Future[list[Found]]], mutation: Mutation
) -> None:
    """The noted seed finds it; after a change elsewhere other seeds are tried. A query that is no SQL any more misses no guard."""
    (found,) = at_noted_seeds[mutation.name].result()
    others = explorer.explore(range(HISTORIES_PER_MUTATION), stop_at_first=True, mutation=mutation.name, aimed=True)
    broken = found.broken or next((other.broken for other in others if other.broken), [])
    assert broken and "syntax error" not in broken[0]


@pytest.mark.timeout(900)
def test_the_shortest_history_found_breaks_the_same_guard_again(explorer: Explorer) -> None:
    mutation = MUTATIONS[0]
    (found,) = explorer.live([Choice(mutation.found_at, mutation=mutation.name)])
    short = explorer.shrink(found)
    assert short.broken and short.length <= found.length
    assert explorer.live([short.choice])[0].digest == short.digest
