"""A real PostgreSQL for histories, without durability: each history begins with empty tables."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from ordersaga.devstack.folder import StackFolder
from ordersaga.devstack.postgres import PostgresServer
from ordersaga.messaging.migrating import migrate
from tests.simulation.database import Database

SERVICES: Final = ("order", "stock", "payment", "delivery")
CARELESS: Final = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "autovacuum": "off",  # new statistics would change query plans, and with them the order of rows
    "deadlock_timeout": "1h",  # the simulator detects deadlocks itself, in a deterministic way
    "log_lock_waits": "off",
}


class CarelessServer(PostgresServer):
    """The devstack's server with other settings."""

    def _command(self) -> list[str]:
        return [*super()._command(), *(word for name, value in CARELESS.items() for word in ("-c", f"{name}={value}"))]


@contextmanager
def server(workers: int) -> Iterator[list[dict[str, str]]]:
    """Start the server and make the databases of each worker; yields one dict of URLs by service per worker. Everything is deleted at the end."""
    folder = StackFolder(None)
    postgres = CarelessServer(folder)
    try:
        postgres.start()
        names = [{service: f"sim_{n}_{service}" for service in SERVICES} for n in range(workers)]
        postgres.create_databases([name for each in names for name in each.values()])
        urls = [{service: postgres.database_url(name) for service, name in each.items()} for each in names]
        for each in urls:
            for service, url in each.items():
                migrate(url, importlib.import_module(f"ordersaga.{service}"))
        yield urls
    finally:
        postgres.kill()
        folder.close()


async def open_databases(urls: dict[str, str]) -> dict[str, Database]:
    """Connect to the databases of one worker."""
    databases = {service: Database(service, url) for service, url in urls.items()}
    for database in databases.values():
        await database.open()
    return databases
