"""`make cluster KILLS=30`: three brokers, a primary database with a synchronous standby, and customers who shop while one machine after the other
is killed or cut off from all others. Then the audit.

Exits with 1 if anything is wrong, or if no order was completed for longer than 10 s at any moment. Machines can be cut off on Linux and as root only.
"""

import argparse
import asyncio
import contextlib
import os
import random
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise
from statistics import median
from typing import Final

import asyncpg
from rich.console import Console
from rich.table import Table

from ordersaga.cli.verify import print_findings
from ordersaga.devstack import jars
from ordersaga.devstack.system import System
from tests.chaos import network as networks
from tests.chaos.cluster import BROKERS, Cluster
from tests.chaos.network import Network
from tests.chaos.run import BACK_LIMIT_S, EXTRA, Chaos, Recovery, Result
from tests.chaos.standby import Pair
from tests.chaos.struck import BROKER_LIMIT_S, Blow, Struck

KILLS: Final = ("kill-broker", "kill-primary")
CUTS: Final = ("cut-off-broker", "cut-off-primary", "cut-off-standby")
STOP_LIMIT_S: Final = 10.0
NOTICED_S: Final = (0.5, 2.0)
"""After so long the standby is promoted. What notices and promotes is the operators'; here it is the run itself."""
LAST_S: Final = 5.0
"""The last orders come one by one, since customers stop coming: the time before is judged."""
console = Console(highlight=False, soft_wrap=True)


def blows(cluster: Cluster, pair: Pair, network: Network | None) -> dict[str, Blow]:
    """The blows to machines. A part that was struck comes back when orders end as fast as before without it."""

    @contextlib.asynccontextmanager
    async def kill_broker(system: System, chance: random.Random) -> AsyncIterator[Struck]:
        """Kill a broker, and start it again later."""
        member = chance.choice(cluster.members)
        led = await asyncio.to_thread(cluster.led_by, member)
        since_s = time.time()
        await asyncio.to_thread(member.kill)
        yield Struck(f"{member.name} killed, which led {led} partitions", since_s, BROKER_LIMIT_S)
        await asyncio.to_thread(member.start)
        await cluster.whole_again()

    @contextlib.asynccontextmanager
    async def kill_primary(system: System, chance: random.Random) -> AsyncIterator[Struck]:
        """Kill the primary and promote the standby. The killed one becomes the new primary's standby later."""
        name, since_s = pair.primary.name, time.time()
        await asyncio.to_thread(pair.primary.kill)
        noticed_s = await _promote(pair, chance)
        yield Struck(f"{name} killed, the standby promoted after {noticed_s:.1f} s", since_s, BROKER_LIMIT_S)
        await asyncio.to_thread(pair.rebuild)

    if network is None:
        return {"kill-broker": Blow(None, kill_broker), "kill-primary": Blow(None, kill_primary)}

    @contextlib.asynccontextmanager
    async def cut_off_broker(system: System, chance: random.Random) -> AsyncIterator[Struck]:
        """Cut a broker off from the other brokers and the services. It goes on, and leads its partitions for nobody."""
        member = chance.choice(cluster.members)
        led = await asyncio.to_thread(cluster.led_by, member)
        since_s = time.time()
        network.cut_off(member)
        try:
            yield Struck(f"{member.name} cut off, which led {led} partitions", since_s, BROKER_LIMIT_S)
        finally:
            network.join(member)
        await cluster.whole_again()

    @contextlib.asynccontextmanager
    async def cut_off_primary(system: System, chance: random.Random) -> AsyncIterator[Struck]:
        """Cut the primary off and promote the standby. The old one is ended before it can be reached again, and becomes a standby."""
        old, since_s = pair.primary, time.time()
        network.cut_off(old)
        noticed_s = await _promote(pair, chance)
        yield Struck(f"{old.name} cut off, the standby promoted after {noticed_s:.1f} s", since_s, BROKER_LIMIT_S)
        await asyncio.to_thread(old.kill)
        network.join(old)
        await asyncio.to_thread(pair.rebuild)

    @contextlib.asynccontextmanager
    async def cut_off_standby(system: System, chance: random.Random) -> AsyncIterator[Struck]:
        """Cut the standby off: each commit waits for it until the primary is told to go on alone. It becomes a standby again later."""
        name, since_s, noticed_s = pair.standby.name, time.time(), chance.uniform(*NOTICED_S)
        network.cut_off(pair.standby)
        await asyncio.sleep(noticed_s)
        await asyncio.to_thread(pair.go_on_alone)
        what = f"{name}, the standby, cut off; the primary told to go on alone after {noticed_s:.1f} s"
        yield Struck(what, since_s, BROKER_LIMIT_S)
        await asyncio.to_thread(pair.standby.kill)
        network.join(pair.standby)
        await asyncio.to_thread(pair.rebuild)

    return {
        "kill-broker": Blow(None, kill_broker),
        "kill-primary": Blow(None, kill_primary),
        "cut-off-standby": Blow(None, cut_off_standby),
        "cut-off-broker": Blow(None, cut_off_broker),
        "cut-off-primary": Blow(None, cut_off_primary),
    }


async def _promote(pair: Pair, chance: random.Random) -> float:
    noticed_s = chance.uniform(*NOTICED_S)
    await asyncio.sleep(noticed_s)
    await asyncio.to_thread(pair.promote)
    return noticed_s


async def judged(url: str) -> tuple[list[float], float]:
    """The times at which orders were completed, and the time until which they are judged.

    An order that is cancelled or expires ends in Order alone, so only completions tell that all services work.
    """
    db = await asyncpg.connect(url)
    try:
        rows = await db.fetch("SELECT min(at) AS at FROM order_event WHERE status = 'COMPLETED' GROUP BY order_id")
        placed = await db.fetchval("SELECT max(at) FROM order_event WHERE status = 'PENDING'")
    finally:
        await db.close()
    return sorted(row["at"].timestamp() for row in rows), placed.timestamp() - LAST_S


def longest_stop(ends: Sequence[float], from_s: float, to_s: float) -> float:
    """The longest time between these two in which no order ended."""
    moments = [from_s, *(each for each in ends if from_s < each < to_s), to_s]
    return max(later - earlier for earlier, later in pairwise(moments))


def table(recoveries: Sequence[Recovery], ends: Sequence[float]) -> Table:
    """What each kind of blow cost."""
    kinds = defaultdict(list)
    for each in recoveries:
        kinds[each.kinds[0]].append(each)
    made = Table("blow", "times", "s without a completed order: median / worst", "s until full speed: median / worst")
    for kind, found in sorted(kinds.items()):
        took = [BACK_LIMIT_S if each.back_after_s is None else each.back_after_s for each in found]
        stops = [
            longest_stop(ends, each.since_s, each.since_s + back_s) for each, back_s in zip(found, took, strict=True)
        ]
        made.add_row(
            kind, str(len(found)), f"{median(stops):.1f} / {max(stops):.1f}", f"{median(took):.1f} / {max(took):.1f}"
        )
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    given = _given(arguments)
    kinds = given.only.split(",")
    console.print(f"seed {given.seed}, {given.kills} blows of {', '.join(kinds)}; {given.orders_per_s:.0f} orders/s")
    console.print(f"load of this machine before the start: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    network = Network() if networks.is_possible() else None
    with Cluster(network) as cluster, Pair(network) as pair:
        console.print(f"{BROKERS} brokers and two database servers run")
        with System(
            bootstrap_servers=cluster.bootstrap_servers,
            database_url=pair.database_url("postgres"),
            extra=EXTRA,
            say=lambda step: console.print(f"{step} ..."),
        ) as system:
            chaos = Chaos(system, given.seed, given.orders_per_s, console.print, blows=blows(cluster, pair, network))
            result = asyncio.run(chaos.run([kinds[n % len(kinds)] for n in range(given.kills)]))
            ends, until_s = asyncio.run(judged(system.settings.database_url("order")))
            wrong = _report(result, ends, until_s)
            if wrong:
                for server in [*system.processes.values(), *cluster.members, pair.primary, pair.standby]:
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
    stop_s = longest_stop(ends, min(ends, default=0.0), until_s)
    console.print(f"longest time without a completed order: {stop_s:.1f} s (promised: {STOP_LIMIT_S:.0f})")
    for what in result.wrong:
        console.print(f"[red]wrong[/]  {what}")
    return bool(result.wrong) or stop_s > STOP_LIMIT_S


if __name__ == "__main__":
    _given(None)  # `--help` and a mistake need no network
    if networks.is_possible():
        jars.classpath()  # from the network outside
        networks.enter("tests.chaos.machines", sys.argv[1:])
    sys.exit(main())
