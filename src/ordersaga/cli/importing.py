"""`dead-letters import`: opens the databases of the services that keep the letters, and prints what was found."""

import asyncio
import contextlib

import msgspec
import typer
from rich.markup import escape

from ordersaga.cli.errors import require_kafka
from ordersaga.cli.operating import chosen, open_desks, out, say_json
from ordersaga.cli.options import err, load_settings
from ordersaga.contracts.topics import BY_NAME
from ordersaga.messaging.acts import Operator
from ordersaga.messaging.partner_letters import Import, Imported, find_topics
from ordersaga.messaging.redrive import Redrive
from ordersaga.said import counted


async def import_topic(topic: str, service: str | None, original_topic: str | None, said: Operator, json: bool) -> None:
    """Import the letters of a topic, or of the dead letter topics of a topic of the contract."""
    settings = load_settings()
    chosen(service)
    await asyncio.to_thread(require_kafka, settings)
    topics = await find_topics(settings, topic)
    async with contextlib.AsyncExitStack() as stack:
        opened: dict[str, Redrive] = {}

        async def keeper(name: str) -> Redrive:
            if name not in opened:
                (desk,) = await stack.enter_async_context(open_desks(settings, name))
                opened[name] = desk.redrive
            return opened[name]

        def progress(name: str, count: int) -> None:
            status.update(f"{escape(name)}: {counted(count, 'record')} read")

        status = stack.enter_context(err.status("reading"))
        original_topic = original_topic or (topic if topic in BY_NAME else None)
        work = Import(settings, keeper, said, service, original_topic, progress)
        found = [await work.run(name, topic_id) for name, topic_id in topics.items()]
    for each in found:
        if json:
            say_json(**msgspec.to_builtins(each))
        else:
            _print(each)
    if any(each.unclear or each.strange for each in found):
        raise typer.Exit(1)


def _print(imported: Imported) -> None:
    told = f"{imported.new} new, {imported.known} known"
    if imported.copies:
        told += f", {imported.copies} more of failures that have a newer letter or are decided"
    if imported.ours:
        told += f", {imported.ours} of our own left out"
    kept = f"; kept by {', '.join(imported.services)}" if imported.services else ""
    out.print(f"{escape(imported.topic)}: {told}{kept}")
    if imported.unclear:
        err.print(
            f"{counted(imported.unclear, 'record is', 'records are')} left out, since no header says which topic it comes from. If all come from one, name it with "
            "`--original-topic`"
        )
    for topic, count in imported.strange.items():
        err.print(
            f"{counted(count, 'letter')} of {escape(topic)} {'is' if count == 1 else 'are'} left out, which is no topic that a service of ours sends. To keep them all the same, name a "
            "service with `--service`"
        )
