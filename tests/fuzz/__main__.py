"""`make fuzz`: valid and odd requests to each operation of the services and the audit by each role, and to each page of the web process.

No answer may be a 5xx or one that the OpenAPI document does not have. Exits with 1 if one is. It never calls a system that runs already.
"""

import argparse
import random
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from tests.fuzz import faces, pages, stateful
from tests.fuzz.world import SERVED, USERS, errors_of, world

console = Console(highlight=False, soft_wrap=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--examples", type=int, default=100, help="requests of each operation, beside the systematic ones"
    )
    parser.add_argument("--services", default=",".join(SERVED), help="with commas between; empty for the pages alone")
    parser.add_argument("--roles", default=",".join([*USERS, "none"]), help="with commas between")
    parser.add_argument("--pages", type=int, default=50, help="requests of each page by each person")
    parser.add_argument("--scenarios", type=int, default=100, help="chains of requests that follow the answers' links")
    parser.add_argument("--seed", type=int, default=None, help="default: random; it is printed")
    given = parser.parse_args()
    seed = random.randrange(100_000) if given.seed is None else given.seed
    console.print(f"seed {seed}")
    wrong = 0
    with tempfile.TemporaryDirectory() as folder, world(say=lambda step: console.print(f"{step} ...")) as one:
        for service in [each for each in SERVED if each in given.services.split(",")]:
            for role in given.roles.split(","):
                outcome = faces.fuzz(
                    one,
                    service,
                    None if role == "none" else role,
                    Path(folder),
                    phases="examples,coverage,fuzzing",
                    examples=given.examples,
                    seed=seed,
                )
                console.print(f"{service} by {role}: {'right' if outcome.is_right else 'WRONG'}")
                if not outcome.is_right:
                    wrong += 1
                    console.print(outcome.report, markup=False)
        if given.scenarios:
            chains = stateful.fuzz(one, Path(folder), scenarios=given.scenarios, seed=seed)
            console.print(
                f"chains of requests: {'right' if chains.is_right else 'WRONG'}; {dict(chains.answers)} with 2xx"
            )
            if not chains.is_right:
                wrong += 1
                console.print(chains.report, markup=False)
        if given.pages:
            found = [*pages.fuzz(one, seed, given.pages), *errors_of(one)]
            console.print(f"pages: {len(found) or 'nothing'} wrong")
            for each in found:
                console.print(f"  {each}", markup=False)
            wrong += len(found)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
