"""Shared by all commands: reading the settings, and one way to report an error."""

import difflib
import os
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Final

import typer
from rich.console import Console
from rich.markup import escape

from ordersaga.cli import running
from ordersaga.masking import masked, remember
from ordersaga.settings import PREFIX, SERVICES, ServiceName, Settings, WrongSettings

out = Console(highlight=False, width=None if sys.stdout.isatty() else 150)
err = Console(stderr=True, highlight=False)

LIBPQ: Final = "PG"
TOKEN: Final = "ORDERSAGA_OPERATOR_TOKEN"
"""An operator's bearer token for commands over HTTP: no setting of a service."""
KNOWN: Final = [PREFIX + name.upper() for name in Settings.model_fields]
FILE_SUFFIX: Final = "_FILE"


def fail(message: str, code: int = 2) -> typer.Exit:
    """Print the error, with secrets masked; `raise` the result."""
    err.print(f"[bold red]error[/]: {escape(masked(message))}", soft_wrap=True)
    return typer.Exit(code)


def warn(message: str) -> None:
    """Print a note; the command goes on."""
    err.print(f"[yellow]note[/]: {escape(masked(message))}", soft_wrap=True)


def load_settings() -> Settings:
    """The settings from the environment, and for variables that are not set there, from an `up` that runs in this folder. A wrong value
    ends the command."""
    up = running_here()
    if up is not None and "postgres" in up.embedded:
        # This shell's variables of libpq are meant for another server than `up`'s.
        for name in [each for each in os.environ if each.startswith(LIBPQ)]:
            del os.environ[name]
    return settings_from({**(up.variables if up else {}), **os.environ})


def production_settings() -> Settings:
    """The settings from the environment alone. The file of an `up` switches the check of callers off, so `serve` never reads it."""
    if running.is_left_behind() or _lives():
        warn(
            f"`serve` takes nothing from {running.SETTINGS_FILE}; its settings are the variables {PREFIX}... of its environment"
        )
    return settings_from(os.environ)


@cache
def running_here() -> running.Running | None:
    """The `up` that runs in this folder. If it has ended and left its file, print a note that the file is not used."""
    try:
        found = running.read()
    except running.Unreadable as error:
        raise fail(f"{error}; run the command as the user that runs `ordersaga up`, or in another folder", 1) from error
    if found is None and running.is_left_behind():
        warn(f"{running.SETTINGS_FILE} was left by an `ordersaga up` that no longer runs, and is not used")
    return found


def services_here(option: str) -> Sequence[ServiceName]:
    """All services except those that the `up` of this folder does not run. The user can still name such a service with `option`."""
    up = running_here()
    absent = up.absent if up else []
    if absent:
        warn(f"{', '.join(absent)} left out: `ordersaga up` does not run them here; {option} names one all the same")
    return [name for name in SERVICES if name not in absent]


def _lives() -> bool:
    try:
        return running.is_live()
    except OSError:
        return False


def settings_from(variables: Mapping[str, str]) -> Settings:
    """The settings from these variables. A wrong value ends the command; a variable that names no setting gets a note."""
    for name in variables:
        if name.upper().startswith(PREFIX) and (hint := _hint(name)):
            warn(hint)
    try:
        settings = Settings.of(variables)
    except WrongSettings as error:
        raise fail(str(error)) from error
    remember(settings.secrets())
    return settings


def is_setting(variable: str) -> bool:
    """Whether a variable names a setting, or the file with its value."""
    return variable.upper().removesuffix(FILE_SUFFIX) in KNOWN or variable.upper() in KNOWN


def _hint(variable: str) -> str | None:
    if is_setting(variable) or variable.upper() in (*running.ABOUT_UP, TOKEN):
        return None
    near = difflib.get_close_matches(variable.upper(), KNOWN, n=1)
    meant = f"is {near[0]} meant?" if near else "`ordersaga settings` prints all there are"
    return f"{variable} is no setting and does nothing; {meant}"
