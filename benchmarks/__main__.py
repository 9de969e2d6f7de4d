"""`make bench`: runs benchmarks by name, prints their figures and writes `build/bench/NAME.json`."""

import argparse
import asyncio
import json
from pathlib import Path

from benchmarks import flow
from benchmarks.measure import machine

BUILD = Path("build/bench")
BENCHES = {"flow": flow.run}


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("names", nargs="*", default=list(BENCHES), help=f"of {', '.join(BENCHES)}; default: all")
    parser.add_argument("--orders", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    BUILD.mkdir(parents=True, exist_ok=True)
    print(machine())
    for name in given.names:
        figures = asyncio.run(BENCHES[name](given.orders, given.rounds))
        (BUILD / f"{name}.json").write_text(json.dumps(figures | {"machine": machine()}, indent=1) + "\n")
        print(f"\n{name}")
        for key, value in figures.items():
            print(f"  {key:32} {value}")


main()
