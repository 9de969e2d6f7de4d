"""The options of `ordersaga conform`: those of the command line, of a config file, and of the environment."""

import json
import os
import tomllib
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer
from msgspec import Meta, Struct

from ordersaga.cli.options import fail, is_setting, load_settings, settings_from
from ordersaga.conformance import PARTS, Plan
from ordersaga.conformance.hooks import Hook
from ordersaga.conformance.scene import Limits, Offers
from ordersaga.conformance.verdicts import DEAD_LETTERS
from ordersaga.settings import PREFIX, Settings

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


Role = Annotated[RoleName, typer.Argument(help="the role that the service plays; the kit plays the others")]
Only = Annotated[
    list[str] | None, typer.Option("--only", help="a tag, or a part of a case's name; may be given several times")
]
Without = Annotated[
    list[str] | None,
    typer.Option("--without", help="a tag of what the service does not have, such as compensation or dead-letters"),
]
ListCases = Annotated[bool, typer.Option("--list", help="print the cases with their tags, and run nothing")]
Url = Annotated[str | None, typer.Option(help="where the service's HTTP is, for the hooks' defaults")]
Seed = Annotated[str | None, typer.Option(help="hook: put $quantity pieces of $productId in stock")]
Place = Annotated[
    str | None, typer.Option(help="hook: place an order of $items for $totalAmount; it is known by its products")
]
Checkout = Annotated[
    str | None, typer.Option(help="hook: what the customer does at the gateway; its answer has a paymentKey")
]
Pay = Annotated[str | None, typer.Option(help="hook: confirm $paymentKey of $orderId over $amount")]
Hooks = Annotated[
    list[str] | None,
    typer.Option("--hook", help="any hook as NAME=HOOK, such as cancel or return: see docs/conformance.md"),
]
Headers = Annotated[
    list[str] | None, typer.Option("--header", help="a header of HTTP hooks as NAME: VALUE, such as a token")
]
RestartCommand = Annotated[
    str | None, typer.Option(help="kills the service and starts it again; without it that case is skipped")
]
UndeliverableZipcode = Annotated[
    str | None, typer.Option(help="delivery: a zipcode that is refused; an empty text if there is none")
]
DeadLetterTopic = Annotated[
    str | None, typer.Option(help="where dead letters go; {topic} is the record's topic. Default: {topic}-dlt")
]
AnswerWithin = Annotated[
    float | None, typer.Option(min=ANSWER_S[0], max=ANSWER_S[1], help="seconds to wait for an answer; default: 10")
]
QuietFor = Annotated[
    float | None,
    typer.Option(
        min=QUIET_S[0],
        max=QUIET_S[1],
        help="seconds to wait for what must not come, and longer while answers are slow; default: 2",
    ),
]
Load = Annotated[int | None, typer.Option(min=LOAD[0], max=LOAD[1], help="requests of the load case; default: 500")]
ConfigFile = Annotated[
    Path | None,
    typer.Option(exists=True, dir_okay=False, help="a TOML file with these options, and settings as [settings]"),
]
JunitFile = Annotated[Path | None, typer.Option("--junit", dir_okay=False, help="write JUnit XML here")]
HtmlFile = Annotated[
    Path | None, typer.Option("--html", dir_okay=False, help="write a page with every record sent and heard here")
]


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


def options_of(config: Path | None, **options: Any) -> Config:
    """The file's options, with those of the command line in their place where they are given."""
    given = {name: each for name, each in options.items() if each not in (None, [])}
    return msgspec.structs.replace(_read(config), **given)


def plan(role: RoleName, said: Config, given: dict[str, str | None], more: list[str], headers: list[str]) -> Plan:
    """What is judged, and how. Raises `WrongHook`."""
    part, settings = PARTS[role], _settings(said.settings)
    urls = {"url": said.url or f"http://127.0.0.1:{part.port}", "gateway": settings.gateway_url}
    offers = Offers(tags(said.without), said.undeliverable_zipcode, _topic_name(said.dead_letter_topic), said.load)
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


def tags(without: list[str]) -> frozenset[str]:
    """The tags of `--without`. Ends the command at one that no case has."""
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
