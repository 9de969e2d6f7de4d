"""`up` runs the whole system until Ctrl-C."""

import shlex
import signal
import time
from pathlib import Path
from types import FrameType
from typing import Annotated, Final

import typer

from ordersaga.cli.migrate import services
from ordersaga.cli.options import err, fail, out
from ordersaga.devstack.errors import DevStackError
from ordersaga.devstack.system import System
from ordersaga.settings import HTTP_PORTS, SERVICES, SETTINGS_FILE

LOOK_S: Final = 0.5


def up(
    data: Annotated[
        Path | None, typer.Option(help="keep Kafka's and PostgreSQL's data here between starts; default: thrown away")
    ] = None,
    only: Annotated[
        str, typer.Option(help="services to run, with commas between; the others are left to somebody else")
    ] = ",".join(SERVICES),
    first_port: Annotated[
        int, typer.Option(min=1024, max=65000, help="order's port; stock, payment, delivery and the sandbox follow")
    ] = HTTP_PORTS["order"],
    bootstrap: Annotated[str | None, typer.Option(help="use this Kafka (host:port) instead of starting one")] = None,
    database_url: Annotated[
        str | None,
        typer.Option(
            help="use this PostgreSQL server instead of starting one; its user must be able to make databases"
        ),
    ] = None,
) -> None:
    """Run the whole system on a Kafka and a PostgreSQL of its own, each service as its own process, until Ctrl-C.

    A service that dies is started again. While it runs, other commands in this folder (`orders show`, `topics check`, ...) find it.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with System(
            data,
            services(only),
            first_port=first_port,
            bootstrap_servers=bootstrap,
            database_url=database_url,
            long_lived=True,
            say=lambda step: err.print(f"[dim]{step} ...[/]"),
        ) as system:
            _write_settings(system)
            try:
                _tell(system)
                _watch(system)
            finally:
                SETTINGS_FILE.unlink(missing_ok=True)
    except KeyboardInterrupt:
        err.print("stopped")
    except DevStackError as error:
        raise fail(str(error), 1) from error


def _interrupt(_: int, __: FrameType | None) -> None:
    raise KeyboardInterrupt


def _write_settings(system: System) -> None:
    SETTINGS_FILE.parent.mkdir(exist_ok=True)
    lines = [f"{name}={shlex.quote(value)}\n" for name, value in system.environment.items()]
    SETTINGS_FILE.write_text("# written by `ordersaga up`, removed when it ends\n" + "".join(lines))


def _tell(system: System) -> None:
    for name, url in system.urls.items():
        out.print(
            f"{name:10} {url}" + ("   (checkout page: /checkout)" if name == "sandbox" else f"   API: {url}/schema")
        )
    out.print(f"{'kafka':10} {system.settings.kafka_bootstrap_servers}")
    for name in SERVICES:
        out.print(f"{'database':10} {system.settings.database_url(name)}", soft_wrap=True)
    out.print(f"{'logs':10} {system.stack.folder.path}/*/*.log", soft_wrap=True)
    out.print("[bold]ready[/]; Ctrl-C ends it")


def _watch(system: System) -> None:
    """Start a service again that has died, and say so."""
    while True:
        time.sleep(LOOK_S)
        for name, process in system.processes.items():
            if not process.is_running:
                err.print(f"[yellow]{name} has died and is started again[/]")
                try:
                    system.start(name)
                except DevStackError as error:
                    err.print(f"[red]{error}[/]")
        for server in (name for name in ("kafka", "postgres") if _is_dead(system, name)):
            raise DevStackError(f"{server} has died; its log is in {system.stack.folder.path}")


def _is_dead(system: System, name: str) -> bool:
    try:
        return not getattr(system.stack, name).is_running
    except DevStackError:
        return False  # somebody else's
