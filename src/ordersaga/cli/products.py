"""`products publish-prices` publishes all prices of Stock again."""

from typing import Final

import typer

from ordersaga.cli.operating import open_desks, run
from ordersaga.cli.options import load_settings, out
from ordersaga.said import counted
from ordersaga.settings import Settings
from ordersaga.stock.commands import PricePage, publish_prices

app = typer.Typer(help="Products, in the Stock service's database.", no_args_is_help=True)

PRODUCTS_MAX: Final = 500


@app.callback()
def products() -> None:
    """Makes Typer require the command's name although there is only one command."""


@app.command("publish-prices")
def publish() -> None:
    """Publish the price of each product again with a new version, if Order has lost prices or its prices differ from Stock's.

    If a record cannot be published at once, a process of Stock publishes it later.
    """
    count: int = run(_publish(load_settings()))
    out.print(f"{counted(count, 'price is', 'prices are')} on the way to Order")


async def _publish(settings: Settings) -> int:
    count, after = 0, None
    async with open_desks(settings, "stock") as [desk]:
        say = desk.gather(publish_prices)
        while ids := await say(PricePage(after, PRODUCTS_MAX)):
            count, after = count + len(ids), ids[-1]
    return count
