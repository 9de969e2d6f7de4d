"""`python -m benchmarks.scaling`: simulates each layout at a rate, and says what is full. Costs and assumptions: `benchmarks/scaling/costs.toml`."""

import argparse
from typing import Final

from rich.console import Console
from rich.table import Table

from benchmarks.scaling.layouts import ALL_AT_ONCE, LAYOUTS, kind
from benchmarks.scaling.simulation import COSTS, Load, Simulation

ASSUMED: Final[dict[str, float]] = COSTS["machine"]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    parser.add_argument("--rate", type=float, default=ALL_AT_ONCE, help="orders/s; default: as many as the layout does")
    parser.add_argument("--orders", type=int, default=50_000, help="how many orders are simulated")
    parser.add_argument("--products", type=int, default=100_000)
    parser.add_argument("--skew", type=float, default=1.0, help="the exponent of Zipf's law; 0: all products alike")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--layout", type=int, choices=range(1, len(LAYOUTS) + 1), help="one of them; default: all")
    parser.add_argument("--assume", action="append", default=[], metavar="NAME=VALUE", help=f"of {', '.join(ASSUMED)}")
    given = parser.parse_args()
    for each in given.assume:
        name, _, value = each.partition("=")
        if name not in ASSUMED or not value.replace(".", "", 1).isdigit() or not float(value):
            parser.error(f"--assume {each}: give one of {', '.join(ASSUMED)} a number of more than 0")
        ASSUMED[name] = float(value)
    if min(given.rate, given.orders, given.products) <= 0:
        parser.error("--rate, --orders and --products must be more than 0")
    load = Load(given.orders, given.rate, given.products, given.skew, pays_by_http=True)
    table = Table("", "layout", "orders/s", "p50, ms", "p99, ms", "CPU-ms an order", "fullest")
    for n, (name, layout) in enumerate(LAYOUTS.items(), 1):
        if given.layout in (None, n):
            outcome = Simulation(layout, load, given.seed).run()
            figures = (outcome.orders_per_s, outcome.p50_ms, outcome.p99_ms)
            full = f"{kind(outcome.fullest)}, {outcome.busy[outcome.fullest]:.0%}"
            table.add_row(str(n), name, *(f"{each:,.0f}" for each in figures), f"{outcome.cpu_ms_per_order:.2f}", full)
    Console().print(table)


if __name__ == "__main__":
    main()
