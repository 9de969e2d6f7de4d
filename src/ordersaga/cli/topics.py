"""The commands `topics create`, `topics check` and `topics accept`."""

import asyncio
from collections.abc import Sequence
from typing import Annotated

import asyncpg
import typer
from rich.table import Table

from ordersaga.cli.errors import require_kafka
from ordersaga.cli.options import err, fail, load_settings, out
from ordersaga.contracts.topics import BY_NAME, TOPICS
from ordersaga.messaging import guests, ledger
from ordersaga.messaging.kafka import (
    KafkaUnavailable,
    Partition,
    Topics,
    TopicState,
    create_missing_topics,
    faults,
    states,
    watermarks,
)
from ordersaga.settings import ServiceName, Settings

app = typer.Typer(help="The topics on the Kafka that the settings name.", no_args_is_help=True)


@app.command()
def create(
    apply: Annotated[bool, typer.Option("--apply", help="also correct the configs of topics that exist")] = False,
) -> None:
    """Create every topic that is missing, and make dead letter topics as wide as their topics.

    Configs of existing topics are not changed, since an operator may have chosen them; `topics check` names the configs that are wrong.
    """
    settings = load_settings()
    require_kafka(settings)
    try:
        changes = asyncio.run(create_missing_topics(settings, apply))
    except KafkaUnavailable as error:
        raise fail(f"Kafka at {settings.kafka_bootstrap_servers}: {error}", 1) from error
    for change in changes:
        out.print(f"{change.topic}: {change.what}", soft_wrap=True)
    untouched = 2 * len(TOPICS) - len({change.topic for change in changes})
    out.print(f"{len(changes)} changes; {untouched} topics existed already and were not changed")


@app.command()
def check() -> None:
    """Compare each topic with its purpose: partitions, retention, compaction, sizes, replicas, leaders.

    Exit code 1: something is wrong, and the output says what to change; 2: Kafka did not answer.
    """
    settings = load_settings()
    require_kafka(settings, 2)
    try:
        found = asyncio.run(_states(settings))
    except KafkaUnavailable as error:
        raise fail(f"Kafka at {settings.kafka_bootstrap_servers}: {error}", 2) from error
    wrong = faults(settings, found)
    out.print(_table(found, {fault.topic for fault in wrong}))
    for fault in wrong:
        err.print(f"{fault.topic}: {fault.what}; {fault.todo}", soft_wrap=True)
    if wrong:
        raise fail(f"{len(wrong)} things are wrong with {len({fault.topic for fault in wrong})} topics", 1)


async def _states(settings: Settings) -> dict[str, TopicState]:
    return await states(Topics(settings))


def _table(found: dict[str, TopicState], wrong: set[str]) -> Table:
    table = Table("topic", "from", "to", "partitions", "replicas", "kept", "dead letters", "")
    for topic in TOPICS:
        here, letters = found.get(topic.name), found.get(topic.dead_letters)
        config = (here and here.config) or {}
        table.add_row(
            topic.name,
            topic.producer,
            topic.consumer,
            str(here.partitions) if here else "-",
            str(here.replicas) if here else "-",
            _kept(config) if config else "-",
            str(letters.partitions) if letters else "-",
            "wrong" if wrong & {topic.name, topic.dead_letters} else "ok",
        )
    return table


def _kept(config: dict[str, str]) -> str:
    if config["cleanup.policy"] == "compact":
        return "last of each key"
    return "for ever" if config["retention.ms"] == "-1" else f"{int(config['retention.ms']) / 86_400_000:g} days"


@app.command()
def accept(
    topic: Annotated[str, typer.Argument(help="the topic whose partitions are stopped")],
    partition: Annotated[
        int | None, typer.Option(help="only this partition, also if it is not stopped; default: all stopped ones")
    ] = None,
    at: Annotated[str, typer.Option(help="earliest, latest, or an offset")] = "earliest",
    forget: Annotated[
        bool, typer.Option("--forget", help="forget partitions that Kafka does not have any more")
    ] = False,
) -> None:
    """Let stopped partitions continue, after their topic was deleted and created again, or records were removed before they were handled.

    `ordersaga verify` names what is missing: look at that first. The service continues within seconds. If the topic was created again with
    fewer partitions, `--forget` ends the stop of those that Kafka does not have any more.
    """
    consumer = BY_NAME[topic].consumer if topic in BY_NAME else None
    if consumer is None or consumer == "client":
        raise fail(f"no service of ours consumes {topic}")
    settings = load_settings()
    require_kafka(settings)
    try:
        count, absent = asyncio.run(_accept(settings, consumer, topic, partition, at))
        forgotten: list[int] = []
        if forget and absent:
            forgotten = asyncio.run(_forget(settings, consumer, topic, absent))
            out.print(f"{consumer} has forgotten its position in {len(forgotten)} partitions of {topic}")
            absent = [number for number in absent if number not in forgotten]
    except (KafkaUnavailable, OSError, asyncpg.PostgresError) as error:
        raise fail(str(error), 1) from error
    if absent:
        partitions = ", ".join(map(str, absent))
        why = "since it has parked records; see `ordersaga parked discard`" if forget else "--forget removes it"
        err.print(
            f"{topic} has no partition {partitions} in Kafka; its ledger row is not changed, {why}", soft_wrap=True
        )
    if not count and not forgotten:
        raise fail(
            f"no partition of {topic} is stopped for {consumer}; name a partition with --partition to set its offset all the same",
            1,
        )
    if count:
        out.print(f"{consumer} continues in {count} partitions of {topic}")
    if absent:
        raise typer.Exit(1)


async def _accept(
    settings: Settings, service: ServiceName, topic: str, partition: int | None, at: str
) -> tuple[int, list[int]]:
    """The number of partitions that continue, and the partitions with a ledger row that Kafka does not have."""
    topics = Topics(settings)
    topic_id = (await topics.ids([topic])).get(topic)
    if topic_id is None:
        raise KafkaUnavailable(f"there is no topic {topic}; create it with `ordersaga topics create`")
    there = range((await topics.partition_counts([topic]))[topic])
    bounds = await asyncio.to_thread(watermarks, settings, [Partition(topic, number) for number in there])
    async with guests.connection(settings.database_url(service), settings) as db:
        starts, absent = {}, []
        for number, (known_id, at_offset) in sorted((await ledger.positions_of_topic(db, topic)).items()):
            if partition is not None and number != partition:
                continue
            if number not in there:
                absent.append(number)
                continue
            low, high = bounds[Partition(topic, number)]
            if partition is not None or known_id != topic_id or not low <= at_offset <= high:
                starts[number] = _offset(at, low, high)
        return await ledger.accept(db, topic, topic_id, starts), absent


async def _forget(settings: Settings, service: ServiceName, topic: str, absent: Sequence[int]) -> list[int]:
    """Forget the positions of these partitions. Returns those without parked records, which are forgotten."""
    forgotten = []
    async with guests.connection(settings.database_url(service), settings) as db:
        for number in absent:
            async with db.transaction():
                if not await ledger.forget(db, topic, number):
                    forgotten.append(number)
    return forgotten


def _offset(at: str, low: int, high: int) -> int:
    if at in ("earliest", "latest"):
        return low if at == "earliest" else high
    if not at.isdigit() or not low <= int(at) <= high:
        raise fail(f"--at takes earliest, latest or an offset from {low} to {high}")
    return int(at)
