"""`ordersaga conform ROLE`: judge anybody's implementation of a role over live Kafka."""

import asyncio
import os
import time
from pathlib import Path

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from ordersaga.cli.conform_options import (
    AnswerWithin,
    Checkout,
    Config,
    ConfigFile,
    DeadLetterTopic,
    Headers,
    Hooks,
    HtmlFile,
    JunitFile,
    ListCases,
    Load,
    Only,
    Pay,
    Place,
    QuietFor,
    RestartCommand,
    Role,
    RoleName,
    Seed,
    UndeliverableZipcode,
    Url,
    Without,
    options_of,
    plan,
    tags,
)
from ordersaga.cli.options import err, fail, out
from ordersaga.conformance import PARTS, CannotJudge, NoSuchCase, Plan, Report, Result, WrongHook, run
from ordersaga.conformance.cases import select
from ordersaga.conformance.report import explanation, html, junit, summary, table

FAILED, NOT_JUDGED = 1, 2
COUNTED_EVERY_S = 5.0


def conform(
    role: Role,
    only: Only = None,
    without: Without = None,
    list_cases: ListCases = False,
    url: Url = None,
    seed: Seed = None,
    place: Place = None,
    checkout: Checkout = None,
    pay: Pay = None,
    hook: Hooks = None,
    header: Headers = None,
    restart_command: RestartCommand = None,
    undeliverable_zipcode: UndeliverableZipcode = None,
    dead_letter_topic: DeadLetterTopic = None,
    answer_within: AnswerWithin = None,
    quiet_for: QuietFor = None,
    load: Load = None,
    config: ConfigFile = None,
    junit_file: JunitFile = None,
    html_file: HtmlFile = None,
) -> None:
    """Play all other roles over live Kafka against a service, whoever wrote it, and say which promise of the contract it breaks.

    The settings name the Kafka (`ORDERSAGA_KAFKA_BOOTSTRAP_SERVERS`, SASL and TLS as for every command). Use a test system: the kit writes orders
    and broken records. Stop our own services of the other roles: the kit answers in their place.

    A hook is `POST http://host/path BODY`, `postgresql://user@host/db STATEMENT`, or `run COMMAND`; `$name` in it is replaced.

    Exit code 0: every case passed or was skipped. 1: a case failed. 2: nothing failed, but the service, or a case, could not be judged.
    """
    said = options_of(
        config,
        only=only,
        without=without,
        url=url,
        restart_command=restart_command,
        undeliverable_zipcode=undeliverable_zipcode,
        dead_letter_topic=dead_letter_topic,
        answer_within=answer_within,
        quiet_for=quiet_for,
        load=load,
        junit=junit_file and str(junit_file),
        html=html_file and str(html_file),
    )
    if list_cases:
        _print_cases(role, said)
    else:
        hooks = {"seed": seed, "place": place, "checkout": checkout, "pay": pay}
        _run(role, said, hooks, hook or [], header or [])


def _run(role: RoleName, said: Config, hooks: dict[str, str | None], more: list[str], headers: list[str]) -> None:
    """Judge the service, print and write the report, and exit with what it says."""
    _make_room(said)
    try:
        report = _judge(plan(role, said, hooks, more, headers))
    except (NoSuchCase, WrongHook) as error:
        raise fail(str(error)) from error
    except CannotJudge as error:
        raise fail(f"{role} could not be judged: {error}", NOT_JUDGED) from error
    _print(report)
    _write(report, said)
    if report.count("failed"):
        raise typer.Exit(FAILED)
    if report.count("not judged"):
        raise typer.Exit(NOT_JUDGED)


class Counted:
    """Tells how many cases are over where there is no terminal for a bar, every `COUNTED_EVERY_S`."""

    def __init__(self, role: str) -> None:
        self._role = role
        self._told_s = time.monotonic()

    def tell(self, over: int, of: int) -> None:
        if not err.is_terminal and time.monotonic() > self._told_s + COUNTED_EVERY_S:
            self._told_s = time.monotonic()
            err.print(f"{self._role}: {over} of {of} cases", markup=False, highlight=False)


def _judge(plan: Plan) -> Report:
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        console=err,
        transient=True,
        disable=not err.is_terminal,
    )
    counted = Counted(plan.part.role)
    with bar:
        task = bar.add_task(plan.part.role, total=None)

        def say(what: str) -> None:
            err.print(f"[dim]{what} ...[/]")

        def progress(result: Result, of: int) -> None:
            bar.update(task, total=of, advance=1)
            counted.tell(int(bar.tasks[task].completed), of)
            if result.outcome in ("failed", "not judged"):
                err.print(f"{result.outcome}: {result.case.name}", markup=False, soft_wrap=True)

        return asyncio.run(run(plan, say, progress))


def _print_cases(role: RoleName, said: Config) -> None:
    without, rows = tags(said.without), Table("case", "tags", "promise")
    try:
        cases = select(PARTS[role].cases, said.only)
    except NoSuchCase as error:
        raise fail(str(error)) from error
    for case in cases:
        if case.tags & without:
            continue
        rows.add_row(case.name, ", ".join(sorted(case.tags)), case.promise)
    out.print(rows)


def _print(report: Report) -> None:
    out.print(table(report))
    for each in report.results:
        if each.outcome in ("failed", "not judged"):
            out.print()
            for line in explanation(each):
                out.print(line, markup=False, soft_wrap=True)
    for each in report.results:
        if each.outcome == "passed" and "load" in each.case.tags:
            for note in each.notes:
                out.print(f"{each.case.name}: {note}", markup=False, soft_wrap=True)
    for note in report.notes:
        out.print(f"note: {note}", markup=False, soft_wrap=True)
    out.print(summary(report))


def _make_room(said: Config) -> None:
    """Make the folders of the reports before anything is played: a report that cannot be written wastes the run."""
    for option, name in (("--junit", said.junit), ("--html", said.html)):
        if name is None:
            continue
        file = Path(name)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            why = f"the folder {file.parent} cannot be made ({error.strerror})"
            raise fail(
                f"the report cannot be written to {file}: {why}; {option} names another file", NOT_JUDGED
            ) from error
        if file.is_dir() or not os.access(file if file.exists() else file.parent, os.W_OK):
            why = "that is a folder" if file.is_dir() else "this user may not write there"
            raise fail(f"the report cannot be written to {file}: {why}; {option} names another file", NOT_JUDGED)


def _write(report: Report, said: Config) -> None:
    try:
        if said.junit:
            Path(said.junit).write_bytes(junit(report))
        if said.html:
            Path(said.html).write_text(html(report), encoding="utf-8")
    except OSError as error:
        raise fail(f"the report cannot be written: {error}", NOT_JUDGED) from error
