"""`make simulate` and `make mutations`: runs histories, shrinks one that breaks a promise, and prints the command that repeats it."""

import argparse
import sys
import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tests.simulation.explorer import Choice, Explorer, Found, exploring
from tests.simulation.mutations import MUTATIONS

BROKEN_TOLD_MAX = 12


def main() -> int:
    options = _options()
    with exploring(options.workers) as explorer:
        if options.mutations:
            return _mutations(explorer, options)
        if options.seed is not None:
            return _one(explorer, options)
        return _many(explorer, options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make simulate", description=__doc__)
    parser.add_argument("--seeds", type=int, default=2_000, help="how many histories")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--workers", type=int, help="processes; default: two per core")
    parser.add_argument("--seed", type=int, help="run only this history, and print it line by line")
    parser.add_argument("--orders", help="with --seed: keep only these orders, as 0,2")
    parser.add_argument("--faults", help="with --seed: keep only these faults, as 1,3, or none")
    parser.add_argument("--schedule", type=int, default=0, help="with --seed: the schedule")
    parser.add_argument("--mutation", choices=[each.name for each in MUTATIONS], help="take this guard out")
    parser.add_argument(
        "--aimed", action="store_true", help="with a mutation: change each plan by the aim of the mutation"
    )
    parser.add_argument(
        "--mutations",
        action="store_true",
        help="take out one guard after the other, and look for a history that breaks a promise",
    )
    return parser.parse_args()


def _one(explorer: Explorer, options: argparse.Namespace) -> int:
    choice = Choice(
        options.seed,
        _numbers(options.orders),
        _numbers(options.faults),
        options.schedule,
        options.mutation,
        options.aimed,
    )
    found, lines = explorer.run_traced(choice)
    print("\n".join(lines))
    _print_plan(found)
    return 1 if found.broken else 0


def _numbers(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    return () if text == "none" else tuple(map(int, text.split(",")))


def _print_plan(found: Found) -> None:
    plan = found.choice.plan()
    print(f"\nSeed {found.choice.seed}, {found.length} steps, digest {found.digest}")
    for order in plan.orders:
        print(f"  order {order.number}: {order}")
    for fault in plan.faults:
        print(f"  {fault}")
    for broken in found.broken[:BROKEN_TOLD_MAX] or ["every promise was kept"]:
        print(f"  => {broken}")


def _many(explorer: Explorer, options: argparse.Namespace) -> int:
    console = Console()
    began = time.perf_counter()
    failed: Found | None = None
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("histories", total=options.seeds)
        seeds = range(options.first, options.first + options.seeds)
        for found in explorer.explore(seeds, True, options.mutation, options.aimed):
            progress.advance(task)
            if found.broken and (failed is None or found.length < failed.length):
                failed = found
    seconds = time.perf_counter() - began
    if failed is None:
        print(
            f"{options.seeds} histories kept every promise, in {seconds:.0f} s ({options.seeds / seconds:.1f} per second)."
        )
        return 0
    return _explain(explorer, failed)


def _explain(explorer: Explorer, failed: Found) -> int:
    print(f"Seed {failed.choice.seed} breaks a promise: {failed.broken[0]}\nLooking for a shorter history ...")
    short = explorer.shrink(failed)
    _print_plan(short)
    print(f"\nSee it happen:\n  make simulate ARGS='{short.choice.options}'")
    return 1


def _mutations(explorer: Explorer, options: argparse.Namespace) -> int:
    missed = 0
    for mutation in MUTATIONS:
        if options.mutation not in (None, mutation.name):
            continue
        seeds = range(options.first, options.first + options.seeds)
        broken = [found for found in explorer.explore(seeds, True, mutation.name, options.aimed) if found.broken]
        first = min(broken, key=lambda found: found.choice.seed, default=None)
        missed += first is None
        told = f"seed {first.choice.seed}: {first.broken[0]}" if first else f"NOT FOUND in {options.seeds} histories"
        print(f"{mutation.name:22} {mutation.prevents:55} {' '.join(told.split())[:180]}", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
