"""`ordersaga`: every command, and how errors look."""

import typer

from ordersaga.cli import dead_letters, demo, migrate, orders, parked, serve, settings, topics, up, verify

app = typer.Typer(
    name="ordersaga",
    help="The order process of an online shop: four services over Kafka and PostgreSQL, each effect exactly once.\n\n"
    "Begin with `ordersaga demo`, then `ordersaga up`.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_show_locals=False,
)
app.command("demo")(demo.demo)
app.command("up")(up.up)
app.command("serve")(serve.serve)
app.command("migrate")(migrate.migrate)
app.command("settings")(settings.settings)
app.command("openapi")(serve.openapi)
app.command("verify")(verify.verify)
app.add_typer(topics.app, name="topics")
app.add_typer(orders.app, name="orders")
app.add_typer(dead_letters.app, name="dead-letters")
app.add_typer(parked.app, name="parked")
