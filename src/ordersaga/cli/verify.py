"""`verify` audits the system."""

import asyncio
from typing import Annotated

import asyncpg
import msgspec
import typer
from rich.table import Table

from ordersaga.audit import Finding
from ordersaga.audit import verify as judge
from ordersaga.cli.options import fail, load_settings, out
from ordersaga.messaging.kafka import KafkaUnavailable

NAMED: int = 20


def verify(
    live: Annotated[
        float,
        typer.Option(
            min=0, help="the system is running: judge what has not changed for so many seconds; 0: all must be at rest"
        ),
    ] = 10.0,
    json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Prove from the four databases, Kafka and the gateway's books that nothing was lost and nothing taken twice. Exit code 1 if not."""
    settings = load_settings()
    try:
        findings = asyncio.run(judge(settings, live))
    except (OSError, asyncpg.PostgresError, KafkaUnavailable) as error:
        raise fail(
            f"the audit cannot read the system: {error}; check the addresses with `ordersaga settings`", 2
        ) from error
    if json:
        print(msgspec.json.encode([{**msgspec.to_builtins(each), "holds": each.holds} for each in findings]).decode())
    else:
        print_findings(findings)
    if not all(each.holds for each in findings):
        raise typer.Exit(1)


def print_findings(findings: list[Finding]) -> None:
    """A table, then the rows that break an invariant."""
    table = Table("invariant", "counted", "")
    for each in findings:
        table.add_row(
            each.invariant,
            each.counted,
            "[green]holds[/]" if each.holds else f"[bold red]broken[/] {each.broken_count} times",
        )
    out.print(table)
    for each in findings:
        for what in each.broken[:NAMED]:
            out.print(f"[red]broken[/]  {each.invariant}: {what}", soft_wrap=True)
        if each.broken_count > NAMED:
            out.print(f"        and {each.broken_count - NAMED} more; `--json` names up to 1,000")
