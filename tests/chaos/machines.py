"""`make cluster KILLS=30`: three brokers, a primary database with two synchronous standbys, and customers who shop while one machine after the
other is killed or cut off from all others, or a service from Kafka or its database. Then the audit.

Exits with 1 if anything is wrong, or if no order was completed for longer than 10 s at any moment; where a service was cut off, from the moment
that the cut was healed. Machines can be cut off on Linux and as root only.
"""

import argparse
import asyncio
import os
import random
import sys
from collections.abc import Sequence
from typing import Final

from rich.console import Console

from ordersaga.cli.verify import print_findings
from ordersaga.devstack import jars
from ordersaga.devstack.system import System
from tests.chaos import network as networks
from tests.chaos.cluster import BROKERS, Cluster
from tests.chaos.machine_blows import CUTS, KILLS, blows
from tests.chaos.network import Network
from tests.chaos.run import EXTRA, Chaos, Result
from tests.chaos.standby import Replicated
from tests.chaos.stops import cuts, judged, longest, place, table

STOP_LIMIT_S: Final = 10.0
STANDBYS: Final = 2
console = Console(highlight=False, soft_wrap=True)


def main(arguments: Sequence[str] | None = None) -> int:
    given = _given(arguments)
    kinds = given.only.split(",")
    console.print(f"seed {given.seed}, {given.kills} blows of {', '.join(kinds)}; {given.orders_per_s:.0f} orders/s")
    console.print(f"load of this machine before the start: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    network = Network() if networks.is_possible() else None
    with Cluster(network) as cluster, Replicated(network, STANDBYS) as databases:
        console.print(f"{BROKERS} brokers and {1 + STANDBYS} database servers run")
        with System(
            bootstrap_servers=cluster.bootstrap_servers,
            database_url=databases.database_url("postgres"),
            extra=EXTRA,
            say=lambda step: console.print(f"{step} ..."),
            place=network.place if network is not None else lambda _: None,
        ) as system:
            chaos = Chaos(
                system, given.seed, given.orders_per_s, console.print, blows=blows(cluster, databases, network)
            )
            result = asyncio.run(chaos.run([kinds[n % len(kinds)] for n in range(given.kills)]))
            ends, until_s = asyncio.run(judged(system.settings.database_url("order")))
            wrong = _report(result, ends, until_s)
            if wrong:
                for server in [*system.processes.values(), *cluster.members, *databases.servers]:
                    console.print(server.log_tail(40), markup=False)
    if wrong:
        return 1
    console.print(f"[bold green]{result.placed:,} orders, nothing lost, nothing twice[/]")
    return 0


def _given(arguments: Sequence[str] | None) -> argparse.Namespace:
    possible = networks.is_possible()
    parser = argparse.ArgumentParser(prog="make cluster", description=__doc__)
    parser.add_argument(
        "--kills", type=int, default=30, help="machines that are killed or cut off, one after the other"
    )
    parser.add_argument("--seed", type=int, default=random.randrange(100_000), help="default: random; it is printed")
    parser.add_argument("--orders-per-s", type=float, default=15.0, help="customers that come each second")
    parser.add_argument(
        "--only",
        default=",".join(KILLS + CUTS if possible else KILLS),
        help=f"kinds of blows, with commas between: {', '.join(KILLS + CUTS)}",
    )
    given = parser.parse_args(arguments)
    kinds = given.only.split(",")
    if unknown := set(kinds) - {*KILLS, *CUTS}:
        parser.error(f"there is no blow {', '.join(sorted(unknown))}; there are {', '.join(KILLS + CUTS)}")
    if not possible and not set(kinds).isdisjoint(CUTS):
        parser.error(f"{', '.join(CUTS)}: only root on Linux can cut a machine off; choose --only {','.join(KILLS)}")
    return given


def _report(result: Result, ends: Sequence[float], until_s: float) -> bool:
    """Print the result; returns whether anything is wrong."""
    console.print(table(result.recoveries, ends))
    heard = ", ".join(f"{answer} {count:,}" for answer, count in sorted(result.answers.items()))
    console.print(f"what customers heard besides answers, and asked again: {heard or 'nothing'}")
    print_findings(result.findings)
    stop = longest(ends, min(ends, default=0.0), until_s, cuts(result.recoveries))
    stop_s = stop.to_s - stop.from_s
    console.print(f"longest time without a completed order: {stop_s:.1f} s (promised: {STOP_LIMIT_S:.0f})")
    console.print(f"    {place(stop, result.recoveries)}")
    for what in result.wrong:
        console.print(f"[red]wrong[/]  {what}")
    return bool(result.wrong) or stop_s > STOP_LIMIT_S


if __name__ == "__main__":
    _given(None)  # `--help` and a mistake need no network
    if networks.is_possible():
        jars.classpath()  # from the network outside
        networks.enter("tests.chaos.machines", sys.argv[1:])
    sys.exit(main())
