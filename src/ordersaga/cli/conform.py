"""`ordersaga conform ROLE`: judge anybody's implementation of a role over live Kafka."""

import asyncio
import json
import os
import tomllib
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer
from msgspec import Meta, Struct
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from ordersaga.cli.options import err, fail, is_setting, load_settings, out, settings_from
from ordersaga.conformance import PARTS, CannotJudge, NoSuchCase, Plan, Report, Result, WrongHook, run
from ordersaga.conformance.cases import select
from ordersaga.conformance.hooks import Hook
from ordersaga.conformance.report import explanation, html, junit, summary, table
from ordersaga.conformance.scene import Limits, Offers
from ordersaga.conformance.verdicts import DEAD_LETTERS
from ordersaga.settings import PREFIX, Settings

FAILED, NOT_JUDGED = 1, 2
ANSWER_S: Final = (0.5, 600)
QUIET_S: Final = (0.1, 600)
LOAD: Final = (1, 100_000)
HOOKS: Final = ("seed", "place", "checkout", "pay", "cancel", "return")


class RoleName(StrEnum):
    """The roles that can be judged."""

    order = "order"
    stock = "stock"
    payment = "payment"
    delivery = "delivery"


class Config(Struct, frozen=True, rename="kebab"):
    """What a config file may say: the options, without their dashes, and the tables `hooks`, `headers` and `settings`."""

    only: list[str] = []
    without: list[str] = []
    url: str | None = None
    restart_command: str | None = None
    undeliverable_zipcode: str | None = None
    dead_letter_topic: str = Offers().dead_letter_topic
    answer_within: Annotated[float, Meta(ge=ANSWER_S[0], le=ANSWER_S[1])] = Limits().answer_s
    quiet_for: Annotated[float, Meta(ge=QUIET_S[0], le=QUIET_S[1])] = Limits().quiet_s
    load: Annotated[int, Meta(ge=LOAD[0], le=LOAD[1])] = Offers().load
    junit: str | None = None
    html: str | None = None
    hooks: dict[str, str] = {}
    headers: dict[str, str] = {}
    settings: dict[str, Any] = {}


def conform(
    role: Annotated[RoleName, typer.Argument(help="the role that the service plays; the kit plays the others")],
    only: Annotated[
        list[str] | None, typer.Option("--only", help="a tag, or a part of a case's name; may be given several times")
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option("--without", help="a tag of what the service does not have, such as compensation or dead-letters"),
    ] = None,
    list_cases: Annotated[
        bool, typer.Option("--list", help="print the cases with their tags, and run nothing")
    ] = False,
    url: Annotated[str | None, typer.Option(help="where the service's HTTP is, for the hooks' defaults")] = None,
    seed: Annotated[str | None, typer.Option(help="hook: put $quantity pieces of $productId in stock")] = None,
    place: Annotated[
        str | None, typer.Option(help="hook: place an order of $items for $totalAmount; it is known by its products")
    ] = None,
    checkout: Annotated[
        str | None, typer.Option(help="hook: what the customer does at the gateway; its answer has a paymentKey")
    ] = None,
    pay: Annotated[str | None, typer.Option(help="hook: confirm $paymentKey of $orderId over $amount")] = None,
    hook: Annotated[
        list[str] | None,
        typer.Option("--hook", help="any hook as NAME=HOOK, such as cancel or return: see docs/conformance.md"),
    ] = None,
    header: Annotated[
        list[str] | None, typer.Option("--header", help="a header of HTTP hooks as NAME: VALUE, such as a token")
    ] = None,
    restart_command: Annotated[
        str | None, typer.Option(help="kills the service and starts it again; without it that case is skipped")
    ] = None,
    undeliverable_zipcode: Annotated[
        str | None, typer.Option(help="delivery: a zipcode that is refused; an empty text if there is none")
    ] = None,
    dead_letter_topic: Annotated[
        str | None, typer.Option(help="where dead letters go; {topic} is the record's topic. Default: {topic}-dlt")
    ] = None,
    answer_within: Annotated[
        float | None, typer.Option(min=ANSWER_S[0], max=ANSWER_S[1], help="seconds to wait for an answer; default: 10")
    ] = None,
    quiet_for: Annotated[
        float | None,
        typer.Option(
            min=QUIET_S[0],
            max=QUIET_S[1],
            help="seconds to wait for what must not come, and longer while answers are slow; default: 2",
        ),
    ] = None,
    load: Annotated[
        int | None, typer.Option(min=LOAD[0], max=LOAD[1], help="requests of the load case; default: 500")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="a TOML file with these options, and settings as [settings]"),
    ] = None,
    junit_file: Annotated[Path | None, typer.Option("--junit", dir_okay=False, help="write JUnit XML here")] = None,
    html_file: Annotated[
        Path | None, typer.Option("--html", dir_okay=False, help="write a page with every record sent and heard here")
    ] = None,
) -> None:
    """Play all other roles over live Kafka against a service, whoever wrote it, and say which promise of the contract it breaks.

    Kafka is the one of the settings (`ORDERSAGA_KAFKA_BOOTSTRAP_SERVERS`, SASL and TLS as for every command). Use a test system: the kit writes orders
    and broken records. Stop our own services of the other roles: the kit answers in their place.

    A hook is `POST http://host/path BODY`, `postgresql://user@host/db STATEMENT`, or `run COMMAND`; `$name` in it is replaced.

    Exit code 0: every case passed or was skipped. 1: a case failed. 2: nothing failed, but the service, or a case, could not be judged.
    """
    said = _overridden(
        _read(config),
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
    hooks = {"seed": seed, "place": place, "checkout": checkout, "pay": pay}
    try:
        if list_cases:
            _print_cases(role, said.only, _tags(said.without))
            return
        _make_room(said)
        report = _judge(_plan(role, said, hooks, hook or [], header or []))
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


def _overridden(said: Config, **options: Any) -> Config:
    """The file's options, with those of the command line in their place where they are given."""
    return msgspec.structs.replace(said, **{name: each for name, each in options.items() if each not in (None, [])})


def _plan(role: RoleName, said: Config, given: dict[str, str | None], more: list[str], headers: list[str]) -> Plan:
    part, settings = PARTS[role], _settings(said.settings)
    urls = {"url": said.url or f"http://127.0.0.1:{part.port}", "gateway": settings.gateway_url}
    offers = Offers(_tags(said.without), said.undeliverable_zipcode, _topic_name(said.dead_letter_topic), said.load)
    return Plan(
        part,
        settings,
        _hooks(role, said.hooks, urls, given, more),
        _headers(said.headers, headers),
        said.restart_command,
        Limits(said.answer_within, said.quiet_for),
        offers,
        said.only,
    )


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
    with bar:
        task = bar.add_task(plan.part.role, total=None)

        def say(what: str) -> None:
            err.print(f"[dim]{what} ...[/]")

        def progress(result: Result, of: int) -> None:
            bar.update(task, total=of, advance=1)
            if result.outcome in ("failed", "not judged"):
                err.print(f"{result.outcome}: {result.case.name}", markup=False, soft_wrap=True)

        return asyncio.run(run(plan, say, progress))


def _print_cases(role: RoleName, only: list[str], without: frozenset[str]) -> None:
    rows = Table("case", "tags", "promise")
    for case in select(PARTS[role].cases, only):
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
    for name in filter(None, (said.junit, said.html)):
        file = Path(name)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise fail(f"the report cannot be written: {error}", NOT_JUDGED) from error
        if file.is_dir() or not os.access(file if file.exists() else file.parent, os.W_OK):
            raise fail(f"the report cannot be written: {file} is a folder, or may not be written here", NOT_JUDGED)


def _write(report: Report, said: Config) -> None:
    try:
        if said.junit:
            Path(said.junit).write_bytes(junit(report))
        if said.html:
            Path(said.html).write_text(html(report), encoding="utf-8")
    except OSError as error:
        raise fail(f"the report cannot be written: {error}", NOT_JUDGED) from error


def _read(config: Path | None) -> Config:
    if config is None:
        return Config()
    try:
        said = {name.replace("_", "-"): value for name, value in tomllib.loads(config.read_text("utf-8")).items()}
        if unknown := said.keys() - {field.encode_name for field in msgspec.structs.fields(Config)}:
            raise fail(f"{config}: {', '.join(sorted(unknown))} is no option of `ordersaga conform`; --help lists all")
        return msgspec.convert(said, Config)
    except (OSError, ValueError) as error:
        raise fail(f"{config} cannot be used: {error}") from error


def _tags(without: list[str]) -> frozenset[str]:
    known = {DEAD_LETTERS, *(tag for part in PARTS.values() for case in part.cases for tag in case.tags)}
    if wrong := sorted(set(without) - known):
        raise fail(f"--without {wrong[0]!r}: no case has this tag. Tags: {', '.join(sorted(known))}")
    return frozenset(without)


def _topic_name(pattern: str) -> str:
    if set("{}") & set(pattern.replace("{topic}", "")):
        raise fail(
            f"--dead-letter-topic {pattern!r}: {{topic}} is the only name that is replaced, as in 'failed-{{topic}}'"
        )
    return pattern


def _settings(extra: dict[str, Any]) -> Settings:
    """The settings of the environment, with those of the file for what it does not name. Names may have the prefix, or not."""
    named = {
        name.upper() if name.upper().startswith(PREFIX) else PREFIX + name.upper(): v
        if isinstance(v, str)
        else json.dumps(v)
        for name, v in extra.items()
    }
    wrong = [name for name in named if not is_setting(name)]
    if wrong:
        raise fail(f"{', '.join(wrong)} in [settings] is no setting; `ordersaga settings` prints all there are")
    return settings_from({**named, **os.environ}) if named else load_settings()


def _hooks(
    role: RoleName, said: dict[str, str], urls: dict[str, str], given: dict[str, str | None], more: list[str]
) -> dict[str, str]:
    """The hooks: of the command line, else of the file, else ours at the service's and the gateway's address."""
    hooks = dict(PARTS[role].hooks) | said | {name: text for name, text in given.items() if text is not None}
    for each in more:
        name, separator, text = each.partition("=")
        if not separator:
            raise fail(f"--hook {each!r}: write it as NAME=HOOK")
        hooks[name.strip()] = text
    for name, address in urls.items():
        hooks = {hook: text.replace("{" + name + "}", address.rstrip("/")) for hook, text in hooks.items()}
    for name, text in hooks.items():
        if name not in HOOKS:
            raise fail(f"there is no hook {name!r}; there are {', '.join(HOOKS)}")
        if text:
            Hook(name, text)
    return hooks


def _headers(said: dict[str, str], given: list[str]) -> dict[str, str]:
    headers = {"User-Id": "$userId", "User-Roles": "$userRoles", "Prefer": "respond-async", **said}
    for each in given:
        name, separator, value = each.partition(":")
        if not separator:
            raise fail(f"--header {each!r}: write it as NAME: VALUE")
        headers[name.strip()] = value.strip()
    return headers
