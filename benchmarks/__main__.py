"""`make bench`: runs benchmarks by name, prints their figures, and writes them and a chart to `build/bench/`.

Exit code 1 if the audit after one of them finds anything broken.
"""

import argparse
import asyncio
import sys
import time
from pathlib import Path

from rich.console import Console

from benchmarks.benches import BENCHES
from benchmarks.measure import machine
from benchmarks.report import Bench, Size, show, write

BUILD = Path("build/bench")


def main() -> int:
    given = _arguments()
    console = Console(highlight=False)
    console.print(f"machine: {machine()}", soft_wrap=True)
    broken = False
    for name in given.names or BENCHES:
        bench = BENCHES[name]
        broken |= _run(console, bench, given.orders or bench.orders, given.rounds or bench.rounds)
    return int(broken)


def _run(console: Console, bench: Bench, orders: int, rounds: int) -> bool:
    """Run one and tell of it; whether its audit found anything broken."""
    began = time.monotonic()

    def say(what: str) -> None:
        console.print(f"{bench.name}, {time.monotonic() - began:4.0f} s: {what}", style="dim", soft_wrap=True)

    say(f"{orders:,} orders a round, {rounds} rounds; the system is started and warmed up")
    report = asyncio.run(bench.run(Size(orders, rounds, say)))
    show(console, bench, report)
    write(BUILD, bench, report, machine())
    console.print(f"  written: {BUILD / bench.name}.json and .svg\n")
    return bool(report.broken)


def _arguments() -> argparse.Namespace:
    listed = "\n".join(f"  {bench.name:12} {bench.about}" for bench in BENCHES.values())
    parser = argparse.ArgumentParser(
        prog="make bench",
        description=__doc__,
        epilog=f"benchmarks:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="which; default: all")
    parser.add_argument("--orders", type=int, help="orders a round; default: what is sensible for each")
    parser.add_argument("--rounds", type=int, help="rounds of each variant; the median is told, and the spread")
    given = parser.parse_args()
    if unknown := [name for name in given.names if name not in BENCHES]:
        parser.error(f"no benchmark is called {', '.join(unknown)}")
    return given


if __name__ == "__main__":
    sys.exit(main())
