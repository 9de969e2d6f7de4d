"""`make chaos KILLS=30`: kills and freezes parts of the real system under load, then audits. Exits with 1 if anything is wrong."""

import argparse
import asyncio
import os
import random
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ordersaga.cli.verify import print_findings
from ordersaga.devstack.system import System
from tests.chaos.blows import BLOWS
from tests.chaos.neighbours import hanging_provider
from tests.chaos.run import EXTRA, WORKERS, Chaos, Result, deck, recovery_table
from tests.simulation.mutations import MUTATIONS

NAMED = 50
WITHOUT = Path(__file__).parent / "without"
console = Console(highlight=False, soft_wrap=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=30, help="blows in all")
    parser.add_argument("--seed", type=int, default=None, help="default: random; it is printed")
    parser.add_argument("--only", default=None, help=f"kinds of blows, with commas between: {', '.join(BLOWS)}")
    parser.add_argument("--orders-per-s", type=float, default=15.0, help="customers that come each second")
    parser.add_argument("--workers", type=int, default=WORKERS, help="processes of each service")
    parser.add_argument("--one-process", action="store_true", help="all services share each process")
    parser.add_argument(
        "--without", choices=[each.name for each in MUTATIONS], help="take this guard out of the services"
    )
    given = parser.parse_args()
    if given.without:
        os.environ["CHAOS_WITHOUT"] = given.without
        os.environ["PYTHONPATH"] = os.pathsep.join(map(str, (WITHOUT, WITHOUT.parents[2])))
    seed = random.randrange(100_000) if given.seed is None else given.seed
    kinds = deck(seed, given.kills)
    if given.only:
        kinds = [given.only.split(",")[n % len(given.only.split(","))] for n in range(given.kills)]
    console.print(f"seed {seed}, {given.kills} blows, {given.orders_per_s:.0f} orders/s, {given.workers} workers each")
    console.print(f"load of this machine before the start: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    with (
        hanging_provider() as provider,
        System(
            extra=EXTRA | provider,
            workers=given.workers,
            one_process=given.one_process,
            say=lambda step: console.print(f"{step} ..."),
        ) as system,
    ):
        result = asyncio.run(Chaos(system, seed, given.orders_per_s, console.print).run(kinds))
        _report(result)
        if result.wrong:
            for server in [*system.processes.values(), system.stack.kafka, system.stack.postgres]:
                console.print(server.log_tail(40), markup=False)
    if result.wrong:
        console.print(f"[bold red]{len(result.wrong)} things are wrong[/]; the same again: --seed {seed}")
        return 1
    console.print(f"[bold green]{result.placed:,} orders, nothing lost, nothing twice[/]")
    return 0


def _report(result: Result) -> None:
    table = Table("blow", "times", "s until full speed: median / worst", "promised")
    for row in recovery_table(result.recoveries):
        table.add_row(*row)
    console.print(table)
    heard = ", ".join(f"{answer} {count:,}" for answer, count in sorted(result.answers.items()))
    console.print(f"what customers heard besides answers, and asked again: {heard or 'nothing'}")
    print_findings(result.findings)
    for what in result.wrong[:NAMED]:
        console.print(f"[red]wrong[/]  {what}")
    if len(result.wrong) > NAMED:
        console.print(f"        and {len(result.wrong) - NAMED} more")


sys.exit(main())
