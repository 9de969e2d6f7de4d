"""`topics` creates and checks topics, and lets an operator pause, resume and accept partitions."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import typer
from rich.table import Table

from ordersaga.cli.errors import require_kafka
from ordersaga.cli.operating import Who, Why, open_desks, operator, run
from ordersaga.cli.options import err, fail, load_settings, out
from ordersaga.contracts.topics import BY_NAME, TOPICS
from ordersaga.messaging.kafka import (
    KafkaUnavailable,
    Partition,
    Topics,
    TopicState,
    create_missing_topics,
    faults,
    states,
)
from ordersaga.operations.partitions import Partitions
from ordersaga.said import counted
from ordersaga.settings import ServiceName, Settings

Result = TypeVar("Result")

app = typer.Typer(help="The topics on the Kafka that the settings name.", no_args_is_help=True)

OneTopic = Annotated[str, typer.Argument(help="the topic")]
OnePartition = Annotated[int | None, typer.Option(help="this partition alone; default: every partition of the topic")]


@app.command()
def create(
    apply: Annotated[bool, typer.Option("--apply", help="also correct the configs of topics that exist")] = False,
) -> None:
    """Create every topic that is missing, and give each dead letter topic as many partitions as its topic.

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
    out.print(
        f"{counted(len(changes), 'change')}; {counted(untouched, 'topic')} existed already and {'was' if untouched == 1 else 'were'} not changed"
    )


@app.command()
def check() -> None:
    """Compare each topic with what the order process needs of it: partitions, retention, compaction, sizes, replicas, leaders.

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
        raise fail(
            f"{counted(len(wrong), 'thing is', 'things are')} wrong with {counted(len({fault.topic for fault in wrong}), 'topic')}",
            1,
        )


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
            ", ".join(topic.consumers),
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
    why: Why = "accepted",
    who: Who = None,
) -> None:
    """Let stopped partitions continue, after their topic was deleted and created again, or records were removed before they were handled.

    `ordersaga verify` names what is missing: look at that first. The service continues within seconds. If the topic was created again with
    fewer partitions, `--forget` ends the stop of those that Kafka does not have any more.
    """
    consumer, said = _consumer(topic), operator(who, why)
    require_kafka(load_settings())
    accepted, absent = at_partitions(consumer, lambda partitions: partitions.accept(topic, partition, at, said))
    forgotten: list[int] = []
    if forget and absent:
        forgotten = at_partitions(consumer, lambda partitions: partitions.forget(topic, absent, said))
        out.print(f"{consumer} has forgotten its position in {counted(len(forgotten), 'partition')} of {topic}")
        absent = [number for number in absent if number not in forgotten]
    if absent:
        numbers = ", ".join(map(str, absent))
        hint = (
            "since records of theirs are parked: see `ordersaga parked discard`" if forget else "--forget removes them"
        )
        err.print(
            f"{topic} has no partition {numbers} in Kafka; their ledger rows are not changed, {hint}", soft_wrap=True
        )
    if not accepted and not forgotten:
        raise fail(
            f"no partition of {topic} is stopped for {consumer}; name a partition with --partition to set its offset all the same",
            1,
        )
    if accepted:
        out.print(f"{consumer} continues in {counted(len(accepted), 'partition')} of {topic}")
    if absent:
        raise typer.Exit(1)


@app.command()
def pause(topic: OneTopic, partition: OnePartition = None, why: Why = None, who: Who = None) -> None:
    """Have a topic, or one partition, read no further, also by the next process that takes it, until it is resumed."""
    consumer, said = _consumer(topic), operator(who, why)
    if partition is None:
        changed = at_partitions(consumer, lambda partitions: partitions.pause_topic(topic, said))
        out.print(f"{consumer} stops reading {counted(len(changed), 'partition')} of {topic} within seconds")
        return
    at_partitions(consumer, lambda partitions: partitions.pause(Partition(topic, partition), said))
    out.print(f"{consumer} stops reading {topic}/{partition} within seconds")


@app.command()
def resume(topic: OneTopic, partition: OnePartition = None, why: Why = "resumed", who: Who = None) -> None:
    """Have the paused partitions of a topic, or one of them, read again, within seconds."""
    consumer, said = _consumer(topic), operator(who, why)
    if partition is None:
        changed = at_partitions(consumer, lambda partitions: partitions.resume_topic(topic, said))
        out.print(f"{consumer} reads {counted(len(changed), 'partition')} of {topic} again")
        return
    at_partitions(consumer, lambda partitions: partitions.resume(Partition(topic, partition), said))
    out.print(f"{consumer} reads {topic}/{partition} again")


def _consumer(topic: str) -> ServiceName:
    consumer = BY_NAME[topic].consumer if topic in BY_NAME else None
    if consumer is None or consumer == "client":
        raise fail(f"no service of ours consumes {topic}")
    return consumer


def at_partitions(service: ServiceName, work: Callable[[Partitions], Awaitable[Result]]) -> Result:
    """Run the work of a command on a service's partitions."""
    settings = load_settings()

    async def opened() -> Result:
        async with open_desks(settings, service) as [desk]:
            return await work(Partitions(desk, Topics(settings)))

    result: Result = run(opened())
    return result
