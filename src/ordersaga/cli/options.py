"""What the commands share: settings with errors that say what to do, and options that stand in for settings."""

import os
import sys
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.console import Console

from ordersaga.settings import Settings

out = Console(highlight=False, width=None if sys.stdout.isatty() else 150)
err = Console(stderr=True, highlight=False)


def fail(message: str, code: int = 2) -> typer.Exit:
    """Say what is wrong and what to do; `raise` the result."""
    err.print(f"[bold red]error[/]: {message}", soft_wrap=True)
    return typer.Exit(code)


def load_settings() -> Settings:
    """The settings from the environment; a wrong one ends the command with its name."""
    try:
        return Settings()
    except ValidationError as error:
        wrong = "; ".join(
            f"ORDERSAGA_{'_'.join(map(str, e['loc'])).upper()}: {e['msg']}" if e["loc"] else e["msg"]
            for e in error.errors()
        )
        raise fail(wrong) from error


def set_environment(**values: str) -> None:
    """Settings for this process and the ones it starts."""
    os.environ.update({f"ORDERSAGA_{name.upper()}": value for name, value in values.items()})


Bootstrap = Annotated[str | None, typer.Option(help="use this Kafka instead of starting one, host:port")]
DatabaseUrl = Annotated[
    str | None,
    typer.Option(
        help="use this PostgreSQL server instead of starting one; the four databases ordersaga_order, ... are made in it if they can be"
    ),
]
