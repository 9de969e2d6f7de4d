"""`ordersaga verify`: run the audit, print its findings, end with the exit code that tells its outcome."""

import asyncio
from typing import Annotated

import msgspec
import typer
from rich.table import Table

from ordersaga.audit import Finding
from ordersaga.audit import verify as judge
from ordersaga.audit.remote import verify_via_http
from ordersaga.cli.migrate import services
from ordersaga.cli.operating import Headers, Token, headers_of, run
from ordersaga.cli.options import err, fail, load_settings, out
from ordersaga.said import counted

NAMED: int = 20
REASONS: int = 5
BROKEN, UNKNOWN = 1, 2
STYLES = {"holds": "green", "broken": "bold red", "could not be judged": "bold yellow", "not applicable": "dim"}


def verify(
    live: Annotated[
        float,
        typer.Option(
            min=0,
            help="N, for a running system: changes of the last N seconds are in flight; 0: the system must be at rest",
        ),
    ] = 10.0,
    json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
    only: Annotated[
        str | None,
        typer.Option(
            help="the services whose databases are ours, as in order,payment; default: all but those of FOREIGN_PARTNERS"
        ),
    ] = None,
    via_http: Annotated[
        str | None, typer.Option(help="have the `serve audit` at this address run it, such as http://localhost:8087")
    ] = None,
    token: Token = None,
    header: Headers = None,
) -> None:
    """Prove from the four databases, Kafka and the gateway's books that nothing was lost and nothing was taken twice.

    Exit code 0: every invariant holds. 1: one is broken. 2: none is broken, but one could not be judged.
    """
    ours = None if only is None else services(only)
    if via_http is not None:
        findings = run(verify_via_http(via_http, headers_of(token, header), live, ours, _say))
    else:
        if header:
            raise fail("--header is for --via-http; give that, too, or leave it out")
        findings = asyncio.run(judge(load_settings(), live, ours, _say))
    if json:
        print(
            msgspec.json.encode(
                [
                    {**msgspec.to_builtins(each), "outcome": each.outcome, "holds": each.outcome == "holds"}
                    for each in findings
                ]
            ).decode()
        )
    else:
        print_findings(findings)
    reasons = list(dict.fromkeys(why for each in findings for why in each.unjudged))
    if reasons:
        more = f" and {len(reasons) - REASONS:,} more" if len(reasons) > REASONS else ""
        err.print(
            f"some invariants could not be judged: {'; '.join(reasons[:REASONS])}{more}", markup=False, soft_wrap=True
        )
    outcomes = {each.outcome for each in findings}
    if "broken" in outcomes:
        raise typer.Exit(BROKEN)
    if "could not be judged" in outcomes:
        raise typer.Exit(UNKNOWN)


def _say(what: str) -> None:
    err.print(what)


def print_findings(findings: list[Finding]) -> None:
    """Print a table of the invariants, then the rows that break one, and the reasons why others could not be judged."""
    table = Table("invariant", "counted", "")
    for each in findings:
        times = f" {counted(each.broken_count, 'time')}" if each.broken_count else ""
        table.add_row(each.invariant, each.counted, f"[{STYLES[each.outcome]}]{each.outcome}[/]{times}")
    out.print(table)
    for each in findings:
        _print_named("[red]broken[/] ", each.invariant, each.broken, each.broken_count)
        _print_named("[yellow]not judged[/] ", each.invariant, each.unjudged, each.unjudged_count)
        for note in [*each.notes, *([each.left_out] if each.left_out else [])]:
            out.print(f"note    {each.invariant}: {note}", soft_wrap=True)


def _print_named(outcome: str, invariant: str, named: list[str], count: int) -> None:
    for what in named[:NAMED]:
        out.print(f"{outcome} {invariant}: ", end="", soft_wrap=True)
        out.print(what, markup=False, soft_wrap=True)
    if count > NAMED:
        out.print(f"        and {count - NAMED:,} more; `--json` names up to 1,000")
