"""`migrate` brings the databases up to date."""

import importlib
from typing import Annotated

import psycopg
import typer

from ordersaga.cli.errors import database_problem
from ordersaga.cli.options import fail, load_settings, out, services_here
from ordersaga.messaging import migrating
from ordersaga.messaging.migrating import MigrationUnderWay, Rights
from ordersaga.settings import SERVICES, ServiceName, Settings, user_of


def migrate(
    only: Annotated[
        str | None,
        typer.Option(help="services, with commas between; default: all that `up` of this folder runs, else all four"),
    ] = None,
) -> None:
    """Create or update each service's tables, under a lock: running it twice, or twice at once, is safe.

    Where ORDERSAGA_ORDER_MIGRATING_URL (STOCK_, ...) names a user who owns the tables, the user of ORDERSAGA_ORDER_DATABASE_URL gets the
    rights that the running service needs, and each of ORDERSAGA_READING_ROLES may read.

    If the command is killed, the committed steps stay applied, and the next run applies the others.
    """
    settings = load_settings()
    for name in services_here("--only") if only is None else services(only):
        try:
            applied = apply(settings, name)
        except psycopg.Error as error:
            raise fail(database_problem(name, error), 1) from error
        except MigrationUnderWay as error:
            raise fail(f"the database of {name} could not be migrated: {error}", 1) from error
        out.print(f"{name}: {', '.join(applied) if applied else 'up to date'}")


def apply(settings: Settings, name: ServiceName) -> list[str]:
    """Migrate one service's database; returns the steps applied."""
    url, running = settings.migrating_url(name), settings.database_url(name)
    rights = Rights(None if running == url else user_of(running), settings.reading_roles)
    return migrating.migrate(url, importlib.import_module(f"ordersaga.{name}"), rights)


def services(only: str) -> list[ServiceName]:
    """The services that an option names."""
    chosen = [name.strip() for name in only.split(",") if name.strip()]
    wrong = [name for name in chosen if name not in SERVICES]
    if wrong or not chosen:
        raise fail(f"{', '.join(wrong) or 'nothing'} is no service; there are {', '.join(SERVICES)}")
    return [name for name in SERVICES if name in chosen]
