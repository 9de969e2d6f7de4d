"""`topics create` and `topics check`."""

import asyncio
from typing import Annotated

import asyncpg
import typer
from rich.table import Table

from ordersaga.cli.errors import require_kafka
from ordersaga.cli.options import fail, load_settings, out
from ordersaga.contracts.topics import BY_NAME, TOPICS
from ordersaga.messaging import assignment
from ordersaga.messaging.kafka import KafkaUnavailable, Partition, Topics, create_missing_topics, watermarks
from ordersaga.settings import ServiceName, Settings

app = typer.Typer(help="The topics on the Kafka that the settings name.", no_args_is_help=True)


@app.command()
def create() -> None:
    """Create every topic that is missing, dead letter topics too. Existing ones are left as they are."""
    settings = load_settings()
    require_kafka(settings)
    try:
        made = asyncio.run(create_missing_topics(settings))
    except KafkaUnavailable as error:
        raise fail(f"Kafka at {settings.kafka_bootstrap_servers}: {error}", 1) from error
    out.print(f"{len(made)} topics created, {2 * len(TOPICS) - len(made)} were there")


@app.command()
def check() -> None:
    """Show each topic and what is wrong with it; exit code 1 if one is missing."""
    settings = load_settings()
    require_kafka(settings)
    try:
        counts = asyncio.run(
            Topics(settings).partition_counts([name for t in TOPICS for name in (t.name, t.dead_letters)])
        )
    except KafkaUnavailable as error:
        raise fail(f"Kafka at {settings.kafka_bootstrap_servers}: {error}", 1) from error
    table = Table("topic", "from", "to", "partitions", "dead letters", "")
    wrong = 0
    for topic in TOPICS:
        here, letters = counts.get(topic.name), counts.get(topic.dead_letters)
        problem = _problem(here, letters)
        wrong += bool(problem)
        table.add_row(
            topic.name, topic.producer, topic.consumer, str(here or "-"), str(letters or "-"), problem or "ok"
        )
    out.print(table)
    if wrong:
        raise fail("create what is missing with `ordersaga topics create`", 1)


def _problem(partitions: int | None, dead_letter_partitions: int | None) -> str:
    if partitions is None:
        return "missing"
    if dead_letter_partitions is None:
        return "its dead letter topic is missing"
    if dead_letter_partitions < partitions:
        return "its dead letter topic has fewer partitions"
    return ""


@app.command()
def accept(
    topic: Annotated[str, typer.Argument(help="the topic whose partitions are stopped")],
    partition: Annotated[int | None, typer.Option(help="only this partition; default: all that are stopped")] = None,
    at: Annotated[str, typer.Option(help="earliest, latest, or an offset")] = "earliest",
) -> None:
    """Let stopped partitions go on: after a topic was deleted and made again, or records were removed before they were handled.

    Find out first what is missing: `ordersaga verify` names it. The service goes on within seconds.
    """
    consumer = BY_NAME[topic].consumer if topic in BY_NAME else None
    if consumer is None or consumer == "client":
        raise fail(f"no service of ours consumes {topic}")
    settings = load_settings()
    require_kafka(settings)
    try:
        count = asyncio.run(_accept(settings, consumer, topic, partition, at))
    except (KafkaUnavailable, OSError, asyncpg.PostgresError) as error:
        raise fail(str(error), 1) from error
    if not count:
        raise fail(
            f"no partition of {topic} is stopped for {consumer}; name one with --partition to move it all the same", 1
        )
    out.print(f"{consumer} goes on in {count} partitions of {topic}")


async def _accept(settings: Settings, service: ServiceName, topic: str, partition: int | None, at: str) -> int:
    topics = Topics(settings)
    topic_id = (await topics.ids([topic])).get(topic)
    if topic_id is None:
        raise KafkaUnavailable(f"there is no topic {topic}; create it with `ordersaga topics create`")
    numbers = range((await topics.partition_counts([topic]))[topic]) if partition is None else [partition]
    bounds = await asyncio.to_thread(watermarks, settings, [Partition(topic, number) for number in numbers])
    db = await asyncpg.connect(settings.database_url(service))
    try:
        starts = {}
        for number, (known_id, at_offset) in (await assignment.positions_of_topic(db, topic)).items():
            low, high = bounds.get(Partition(topic, number), (0, 0))
            stopped = known_id != topic_id or not low <= at_offset <= high
            if number == partition or (partition is None and stopped):
                starts[number] = _offset(at, low, high)
        return await assignment.accept(db, topic, topic_id, starts)
    finally:
        await db.close()


def _offset(at: str, low: int, high: int) -> int:
    if at in ("earliest", "latest"):
        return low if at == "earliest" else high
    if not at.isdigit() or not low <= int(at) <= high:
        raise fail(f"--at takes earliest, latest or an offset from {low} to {high}")
    return int(at)
