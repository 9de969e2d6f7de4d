"""`up` runs the whole system until Ctrl-C."""

import asyncio
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, Final

import aiohttp
import typer
from rich.markup import escape

from ordersaga.cli import running
from ordersaga.cli.migrate import services
from ordersaga.cli.options import err, fail, is_setting, out, settings_from
from ordersaga.devstack.errors import DevStackError
from ordersaga.devstack.side_by_side import side_by_side
from ordersaga.devstack.system import SANDBOX, WEB, System
from ordersaga.masking import masked
from ordersaga.said import counted
from ordersaga.settings import HTTP_PORTS, SERVICES
from ordersaga.web.shop import seeds

LOOK_S: Final = 0.5
ASK_EVERY_S: Final = 2.0
AGAIN_S: Final = 1.0
AGAIN_S_MAX: Final = 30.0
ALL: Final = ",".join(SERVICES)

Data = Annotated[
    Path | None,
    typer.Option(help="keep Kafka's and PostgreSQL's data here between starts; default: deleted at the end"),
]
Only = Annotated[str, typer.Option(help="services to run, with commas between; another team runs the others")]
FirstPort = Annotated[
    int,
    typer.Option(
        min=1024,
        max=65000,
        help="order's port; stock, payment, delivery, the sandbox, the shop and the audit follow",
    ),
]
Bootstrap = Annotated[str | None, typer.Option(help="use this Kafka (host:port) instead of starting one")]
DatabaseUrl = Annotated[
    str | None,
    typer.Option(help="use this PostgreSQL server instead of starting one; its user must be able to make databases"),
]
OneProcess = Annotated[
    bool,
    typer.Option(
        "--one-process",
        help="run the services in one process, as a small shop may: less CPU and memory; default: a process for each",
    ),
]
Catalogue = Annotated[bool, typer.Option(help="put a small catalogue into the shop")]


def up(
    data: Data = None,
    only: Only = ALL,
    first_port: FirstPort = HTTP_PORTS["order"],
    bootstrap: Bootstrap = None,
    database_url: DatabaseUrl = None,
    catalogue: Catalogue = True,
    one_process: OneProcess = False,
) -> None:
    """Run the whole system on a Kafka and a PostgreSQL of its own, each service as its own process, until Ctrl-C.

    A service that dies is started again, and alarms of the services are printed. Settings come from this command's environment. While `up`
    runs, other commands in this folder (`orders show`, `topics check`, ...) find it and share its settings.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _interrupt)
    chosen = services(only)
    try:
        with (
            running.owned(),
            System(
                data,
                chosen,
                first_port=first_port,
                bootstrap_servers=bootstrap,
                database_url=database_url,
                one_process=one_process,
                long_lived=True,
                web=True,
                say=_say,
                addressed=_write_settings,
            ) as system,
        ):
            if catalogue and "stock" in system.services:
                _fill_shelf(system)
            _tell(system)
            _Watch(system).run()
    except KeyboardInterrupt:
        err.print("stopped")
    except running.AlreadyRunning as error:
        raise fail(
            f"`ordersaga up` is already running in this folder (process {error}); stop that one, or start this one in another folder",
            1,
        ) from error
    except DevStackError as error:
        raise fail(str(error), 1) from error
    except OSError as error:
        raise fail(f"{error}; `up` must be allowed to write to {running.FOLDER} here and to --data", 1) from error


def _interrupt(_: int, __: FrameType | None) -> None:
    raise KeyboardInterrupt


def _say(step: str) -> None:
    err.print(f"[dim]{escape(masked(step))} ...[/]", soft_wrap=True)


def _write_settings(system: System) -> None:
    settings_from(system.environment)  # prints a note for a variable that names no setting, once
    variables = {name: value for name, value in system.environment.items() if is_setting(name)}
    running.write(running.Running(variables, system.services, system.embedded))


def _fill_shelf(system: System) -> None:
    """Put a small catalogue into the shop. Without it the shop still works."""
    try:
        added = asyncio.run(seeds.seed(system.urls["stock"]))
    except (aiohttp.ClientError, TimeoutError) as error:
        err.print(f"[yellow]the shop's catalogue could not be made: {escape(masked(str(error)))}[/]", soft_wrap=True)
    else:
        if added:
            _say(f"{counted(added, 'product')} put into the shop")


def _tell(system: System) -> None:
    out.print(f"[bold]{'shop':10} {system.urls[WEB]}[/]")
    out.print(f"[bold]{'console':10} {system.urls[WEB]}/console[/]")
    for name, url in system.urls.items():
        if name == WEB:
            continue
        page = "   (checkout page: /checkout)" if name == SANDBOX else f"   API: {url}/schema"
        out.print(f"{name:10} {url}{page}")
    out.print(f"{'kafka':10} {system.settings.kafka_bootstrap_servers}")
    for name in system.services:
        out.print(f"{'database':10} {escape(masked(system.settings.database_url(name)))}", soft_wrap=True)
    out.print(f"{'settings':10} {running.SETTINGS_FILE.absolute()}", soft_wrap=True)
    out.print(f"{'logs':10} {system.stack.folder.path}/*/*.log", soft_wrap=True)
    out.print("[bold]ready[/]; Ctrl-C ends it")


class _Watch:
    """Starts a dead service again, and prints each alarm of the services when it begins and when it ends."""

    def __init__(self, system: System) -> None:
        self._system: Final = system
        self._again_at_s: dict[str, float] = {}
        self._wait_s: dict[str, float] = {}
        self._told: dict[str, dict[str, str]] = {name: {} for name in system.urls}

    def run(self) -> None:
        """Watch until Ctrl-C. Raises `DevStackError` if a server of this system dies."""
        ask_at_s = 0.0
        while True:
            for name, process in self._system.processes.items():
                if not process.is_running and time.monotonic() >= self._again_at_s.get(name, 0.0):
                    self._start_again(name)
            for server in self._system.stack.dead:
                raise DevStackError(f"{server.name} has died; its log is {server.log_path}")
            if time.monotonic() >= ask_at_s:
                side_by_side([lambda each=name: self._ask(each) for name in self._system.processes])  # type: ignore[misc]
                ask_at_s = time.monotonic() + ASK_EVERY_S
            time.sleep(LOOK_S)

    def _start_again(self, name: str) -> None:
        err.print(f"[yellow]{name} has died and is started again[/]")
        try:
            self._system.start(name)
        except DevStackError as error:
            err.print(f"[red]{escape(masked(str(error)))}[/]", soft_wrap=True)
            self._wait_s[name] = min(self._wait_s.get(name, AGAIN_S / 2) * 2, AGAIN_S_MAX)
            self._again_at_s[name] = time.monotonic() + self._wait_s[name]
        else:
            self._wait_s.pop(name, None)

    def _ask(self, process: str) -> None:
        for name, status in self._system.processes[process].statuses().items():
            if status is None:
                continue  # the service is busy or dead; its last answer counts until it answers again
            self._tell_changes(name, status)

    def _tell_changes(self, name: str, status: Mapping[str, Any]) -> None:
        now = {problem: problem for problem in status["problems"]}
        for each in status["alarms"]:
            now[f"{each['alarm']} {each['where']}"] = f"{each['where']}: {each['what']}. {each['todo']}".removeprefix(
                ": "
            )
        told, self._told[name] = self._told[name], now
        for key in now.keys() - told.keys():
            err.print(f"[yellow]{name}[/]  {escape(masked(now[key]))}", soft_wrap=True)
        for key in told.keys() - now.keys():
            err.print(f"[green]{name}[/]  over: {escape(masked(told[key]))}", soft_wrap=True)
