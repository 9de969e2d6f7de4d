"""`topics create` and `topics check`."""

import asyncio

import typer
from rich.table import Table

from ordersaga.cli.options import fail, load_settings, out
from ordersaga.contracts.topics import TOPICS
from ordersaga.messaging.kafka import KafkaUnavailable, Topics, create_missing_topics

app = typer.Typer(help="The topics on the Kafka that the settings name.", no_args_is_help=True)


@app.command()
def create() -> None:
    """Create every topic that is missing, dead letter topics too. Existing ones are left as they are."""
    settings = load_settings()
    try:
        made = asyncio.run(create_missing_topics(settings))
    except KafkaUnavailable as error:
        raise fail(f"Kafka at {settings.kafka_bootstrap_servers}: {error}", 1) from error
    out.print(f"{len(made)} topics created, {2 * len(TOPICS) - len(made)} were there")


@app.command()
def check() -> None:
    """Show each topic and what is wrong with it; exit code 1 if one is missing."""
    settings = load_settings()
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
