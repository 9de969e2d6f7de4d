"""`ordersaga doctor`: examine an installation, say what to do, end with the exit code that tells the outcome."""

import asyncio
from typing import Annotated

import msgspec
import typer
from rich.markup import escape

from ordersaga.cli.migrate import services
from ordersaga.cli.options import err, load_settings, out, services_here
from ordersaga.doctor import Finding, examine
from ordersaga.said import counted

WRONG, UNKNOWN = 1, 2
STYLES = {
    "ok": "[green]ok[/]     ",
    "note": "[yellow]note[/]   ",
    "wrong": "[bold red]wrong[/]  ",
    "unknown": "[bold yellow]unknown[/]",
}


def doctor(
    only: Annotated[
        str | None,
        typer.Option(
            help="the services whose databases and rights are looked at, as in order,payment; default: all that `up` of this folder runs, "
            "else all but those of FOREIGN_PARTNERS"
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="print JSON, one list of all findings")] = False,
) -> None:
    """Look for what is wrong with an installation, and say what to do about each thing. Nothing is changed.

    Topics, partitions, retention, ACLs, brokers' limits; of each database its tables, clock, time-outs, durability, free connections; whether
    each position of a service is still in its log. Settings that cannot work are refused at once, by any command.

    Exit code 0: nothing is wrong, though there may be notes. 1: something is wrong. 2: nothing is, but something could not be looked at, or the
    settings cannot work.
    """
    settings = load_settings()
    here = services_here("--only") if only is None else services(only)
    looked_at = [name for name in here if only is not None or name not in settings.foreign_partners]
    findings = asyncio.run(examine(settings, looked_at, lambda what: err.print(f"looking at {what}", markup=False)))
    if json:
        print(msgspec.json.encode(findings).decode())
    else:
        for each in findings:
            _print(each)
    outcomes = [each.outcome for each in findings]
    if not json:
        counts = ", ".join(f"{outcomes.count(outcome)} {outcome}" for outcome in STYLES if outcome in outcomes)
        out.print(f"{counted(len(findings), 'finding')}: {counts}")
    if "wrong" in outcomes:
        raise typer.Exit(WRONG)
    if "unknown" in outcomes:
        raise typer.Exit(UNKNOWN)


def _print(each: Finding) -> None:
    where = f" {each.where}" if each.where else ""
    out.print(f"{STYLES[each.outcome]} {escape(f'{each.check}{where}: {each.what}')}", soft_wrap=True)
    if each.todo:
        out.print(f"        {escape(each.todo)}", soft_wrap=True)
