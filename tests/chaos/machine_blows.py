"""The blows to machines and to the network between them: killed, cut off from all others, or cut off from some.

A machine that was struck comes back when orders end as fast as before without it. A cut between a service and what it cannot do without is
healed first, and the recovery counts from there.
"""

import asyncio
import contextlib
import http.client
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

from ordersaga.devstack.server import Server
from ordersaga.devstack.system import ServiceProcess, System
from ordersaga.settings import SERVICES
from tests.chaos.cluster import Cluster
from tests.chaos.network import Network
from tests.chaos.standby import Replica, Replicated
from tests.chaos.struck import BROKER_LIMIT_S, Blow, Struck

KILLS: Final = ("kill-broker", "kill-primary", "kill-standby", "kill-standby-then-primary")
CUTS: Final = (
    "cut-off-broker",
    "cut-off-primary",
    "cut-off-standbys",
    "cut-from-kafka",
    "cut-from-broker",
    "cut-from-database",
)
NOTICED_S: Final = (0.5, 2.0)
"""After so long a standby is promoted. What notices and promotes is the operators'; here it is the run itself."""
ON_ONE_STANDBY_S: Final = 4.0
CUT_S: Final = (6.0, 14.0)
"""Shorter and longer than the session of a consumer."""
ASK_S: Final = 10.0


def blows(cluster: Cluster, databases: Replicated, network: Network | None) -> dict[str, Blow]:
    """All that can be done here, by name."""
    strikes = [*_kills(cluster, databases), *(_cuts(cluster, databases, network) if network is not None else ())]
    return {each.__name__.replace("_", "-"): Blow(None, contextlib.asynccontextmanager(each)) for each in strikes}


Strike = Callable[[System, random.Random], AsyncIterator[Struck]]


def _kills(cluster: Cluster, databases: Replicated) -> Sequence[Strike]:
    async def kill_broker(system: System, chance: random.Random) -> AsyncIterator[Struck]:
        """Kill a broker, and start it again later."""
        member = chance.choice(cluster.members)
        led = await asyncio.to_thread(cluster.led_by, member)
        since_s = time.time()
        await asyncio.to_thread(member.kill)
        yield Struck(f"{member.name} killed, which led {led} partitions", since_s, BROKER_LIMIT_S)
        await asyncio.to_thread(member.start)
        await cluster.whole_again()

    async def kill_primary(system: System, chance: random.Random) -> AsyncIterator[Struck]:
        """Kill the primary and promote a standby. The killed one becomes a standby later."""
        name, since_s = databases.primary.name, time.time()
        await asyncio.to_thread(databases.primary.kill)
        promoted = await _promote(databases, databases.standbys, chance)
        yield Struck(f"{name} killed, {promoted}", since_s, BROKER_LIMIT_S)
        await asyncio.to_thread(databases.rebuild)

    async def kill_standby(system: System, chance: random.Random) -> AsyncIterator[Struck]:
        """Kill one of the two standbys. No commit waits for it, since the other one is enough."""
        standby, since_s = chance.choice(databases.standbys), time.time()
        await asyncio.to_thread(standby.kill)
        yield Struck(f"{standby.name}, one of two standbys, killed", since_s, BROKER_LIMIT_S)
        await asyncio.to_thread(databases.rebuild)

    async def kill_standby_then_primary(system: System, chance: random.Random) -> AsyncIterator[Struck]:
        """Kill one of the two standbys, and the primary while only the other one has the last commits."""
        left = list(databases.standbys)
        dead = left.pop(chance.randrange(len(left)))
        await asyncio.to_thread(dead.kill)
        await asyncio.sleep(ON_ONE_STANDBY_S)
        name, since_s = databases.primary.name, time.time()
        await asyncio.to_thread(databases.primary.kill)
        promoted = await _promote(databases, left, chance)
        what = f"{dead.name}, one of two standbys, killed, {ON_ONE_STANDBY_S:.0f} s later {name}, {promoted}"
        yield Struck(what, since_s, BROKER_LIMIT_S)
        await asyncio.to_thread(databases.rebuild)

    return kill_broker, kill_primary, kill_standby, kill_standby_then_primary


def _cuts(cluster: Cluster, databases: Replicated, network: Network) -> Sequence[Strike]:
    return [
        *_cuts_of_brokers(cluster, network),
        *_cuts_of_databases(databases, network),
        *_cuts_of_services(cluster, databases, network),
    ]


def _cuts_of_brokers(cluster: Cluster, network: Network) -> Sequence[Strike]:
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

    return (cut_off_broker,)


def _cuts_of_databases(databases: Replicated, network: Network) -> Sequence[Strike]:
    async def cut_off_primary(system: System, chance: random.Random) -> AsyncIterator[Struck]:
        """Cut the primary off and promote a standby. The old one is ended before it can be reached again, and becomes a standby."""
        old, since_s = databases.primary, time.time()
        network.cut_off(old)
        promoted = await _promote(databases, databases.standbys, chance)
        yield Struck(f"{old.name} cut off, {promoted}", since_s, BROKER_LIMIT_S)
        await bring_back([old])

    async def cut_off_standbys(system: System, chance: random.Random) -> AsyncIterator[Struck]:
        """Cut both standbys off: each commit waits for one until the primary is told to go on alone. They become standbys again later."""
        standbys, since_s, noticed_s = databases.standbys, time.time(), chance.uniform(*NOTICED_S)
        for each in standbys:
            network.cut_off(each)
        await asyncio.sleep(noticed_s)
        await asyncio.to_thread(databases.go_on_alone)
        what = f"both standbys cut off; the primary told to go on alone after {noticed_s:.1f} s"
        yield Struck(what, since_s, BROKER_LIMIT_S)
        await bring_back(standbys)

    async def bring_back(cut_off: Sequence[Replica]) -> None:
        for each in cut_off:
            await asyncio.to_thread(each.kill)
            network.join(each)
        await asyncio.to_thread(databases.rebuild)

    return cut_off_primary, cut_off_standbys


def _cuts_of_services(cluster: Cluster, databases: Replicated, network: Network) -> Sequence[Strike]:
    async def cut_from_kafka(system: System, chance: random.Random) -> AsyncIterator[Struck]:
        """Cut a service off from all brokers, and heal the cut. Meanwhile the service answers HTTP."""
        service = system.processes[chance.choice(SERVICES)]
        yield await _cut_and_heal(network, service, cluster.members, "Kafka", chance, is_ready=True)

    async def cut_from_broker(system: System, chance: random.Random) -> AsyncIterator[Struck]:
        """Cut a service off from a broker that all others reach, so the broker goes on leading. The service goes on with the other partitions.

        Not from the broker to which its group reports: without that one it would lose all partitions.
        """
        name, since_s = chance.choice(SERVICES), time.time()
        coordinator = await asyncio.to_thread(cluster.coordinator_of, system.settings.group(name))
        member = chance.choice([each for each in cluster.members if each.node != coordinator])
        struck = await _cut_and_heal(network, system.processes[name], [member], member.name, chance, is_ready=True)
        yield Struck(struck.what, since_s)

    async def cut_from_database(system: System, chance: random.Random) -> AsyncIterator[Struck]:
        """Cut a service off from all database servers, and heal the cut. Meanwhile the service is not ready."""
        service = system.processes[chance.choice(SERVICES)]
        yield await _cut_and_heal(network, service, databases.servers, "its database", chance, is_ready=False)

    return cut_from_kafka, cut_from_broker, cut_from_database


async def _cut_and_heal(
    network: Network,
    service: ServiceProcess,
    others: Sequence[Server],
    from_what: str,
    chance: random.Random,
    is_ready: bool,
) -> Struck:
    """Cut a service off from others for a random time (`CUT_S`), and check at its end what `/health/ready` says."""
    lasts_s, cut_s = chance.uniform(*CUT_S), time.time()
    network.part(service, others)
    try:
        await asyncio.sleep(max(0.0, cut_s + lasts_s - time.time()))
        ready, alarms = await asyncio.to_thread(_told, service)
    finally:
        network.reunite(service, others)
    name = service.name
    assert (ready == http.client.OK) is is_ready, f"{name}, cut off from {from_what}, says {ready} to /health/ready"
    since_s = time.time()
    what = f"{name} cut off from {from_what} for {since_s - cut_s:.1f} s: ready {ready}, alarms {', '.join(alarms) or 'none'}"
    return Struck(what, since_s, BROKER_LIMIT_S, cut_s)


async def _promote(databases: Replicated, reachable: Sequence[Replica], chance: random.Random) -> str:
    noticed_s = chance.uniform(*NOTICED_S)
    await asyncio.sleep(noticed_s)
    await asyncio.to_thread(databases.promote, reachable)
    return f"{databases.primary.name} promoted after {noticed_s:.1f} s"


def _told(service: ServiceProcess) -> tuple[int, list[str]]:
    """The status of `/health/ready`, and the names of the alarms in the metrics."""
    connection = http.client.HTTPConnection(service.host, service.port, timeout=ASK_S)
    try:
        connection.request("GET", "/health/ready")
        answer = connection.getresponse()
        answer.read()
        connection.request("GET", "/metrics")
        lines = connection.getresponse().read().decode().splitlines()
    finally:
        connection.close()
    found = {
        line.split('alarm="')[1].split('"')[0] for line in lines if line.startswith("ordersaga_alarm_since_seconds{")
    }
    return answer.status, sorted(found)
