"""The order of an examination: Kafka, each service's database, then the positions of the one in the other."""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from ordersaga.contracts.topics import TOPICS
from ordersaga.doctor import cluster, databases
from ordersaga.doctor.databases import Position
from ordersaga.doctor.finding import Finding
from ordersaga.messaging.kafka import KafkaUnavailable, Partition, Topics, TopicState, states, why_unreachable
from ordersaga.messaging.kafka.cluster import Log, brokers, logs
from ordersaga.settings import PREFIX, Settings


class _Kafka:
    """What was found on Kafka, for the positions of services."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self.topics: dict[str, TopicState] = {}
        self.logs: dict[Partition, Log] = {}


async def examine(
    settings: Settings,
    services: Sequence[str],
    say: Callable[[str], None] = lambda _: None,
    clock: Callable[[], float] = time.time,
) -> list[Finding]:
    """Everything that is found. `say` is told what is looked at next."""
    say(f"Kafka at {settings.kafka_bootstrap_servers}")
    kafka = await _kafka(settings, services, clock)
    findings = kafka.findings
    for service in services:
        say(f"the database of {service}")
        found = await databases.examine(settings, service, clock)
        findings += found.findings
        if kafka.topics:
            now = await _grown(settings, kafka.logs, found.positions)
            findings += cluster.positions(service, found.positions, kafka.topics, now)
    return findings + list(_development(settings))


async def _grown(
    settings: Settings, earlier: Mapping[Partition, Log], positions: Sequence[Position]
) -> dict[Partition, Log]:
    """The logs, and the present one of each whose end is before the position: a service that runs moves on while we look."""
    beyond = [
        row.partition for row in positions if row.partition in earlier and row.next_offset > earlier[row.partition].end
    ]
    now = dict(earlier)
    for each in beyond:
        del now[each]
    try:
        return now | await asyncio.to_thread(logs, settings, beyond)
    except KafkaUnavailable:
        return now


async def _kafka(settings: Settings, services: Sequence[str], clock: Callable[[], float]) -> _Kafka:
    kafka = _Kafka()
    if why := await asyncio.to_thread(why_unreachable, settings):
        todo = f"start it, or correct {PREFIX}KAFKA_BOOTSTRAP_SERVERS and the settings beside it"
        kafka.findings = [
            Finding("Kafka", settings.kafka_bootstrap_servers, "unknown", f"it does not answer: {why}", todo)
        ]
        return kafka
    try:
        client = Topics(settings)
        kafka.topics = await states(client)
        access = await client.access(list(kafka.topics))
        partitions = [
            Partition(each.name, n)
            for each in TOPICS
            if each.name in kafka.topics
            for n in range(kafka.topics[each.name].partitions)
        ]
        kafka.logs = await asyncio.to_thread(logs, settings, partitions)
        there = await asyncio.to_thread(brokers, settings)
    except KafkaUnavailable as error:
        kafka.findings = [Finding("Kafka", settings.kafka_bootstrap_servers, "unknown", str(error), "try again")]
        return kafka
    kafka.findings = [
        *cluster.brokers(settings, there, kafka.topics),
        *cluster.topics(settings, kafka.topics),
        *cluster.retention(settings, kafka.topics),
        *cluster.rights(services, access),
        cluster.clocks(kafka.logs, clock()),
    ]
    return kafka


def _development(settings: Settings) -> Iterator[Finding]:
    """Settings that are meant for development."""
    if settings.development:
        what = "the sandbox, test keys, sign-in as anybody and faults on purpose are allowed"
        yield Finding("settings", f"{PREFIX}DEVELOPMENT", "note", what, "unset it in production")
