"""`products publish-prices` has Stock say again what its products cost."""

from typing import Final

import typer

from ordersaga.cli.operating import desks, run
from ordersaga.cli.options import load_settings, out
from ordersaga.settings import Settings
from ordersaga.stock.commands import PricePage, publish_prices

app = typer.Typer(help="Products, as the Stock service's database knows them.", no_args_is_help=True)

PRODUCTS_MAX: Final = 500


@app.callback()
def products() -> None:
    """So that `publish-prices` has to be said, though it is the only command."""


@app.command("publish-prices")
def publish() -> None:
    """Send the price of each product again, as its last word: for an Order that has lost prices, or has others than Stock.

    Records that do not reach Kafka at once are sent by Stock.
    """
    count: int = run(_publish(load_settings()))
    out.print(f"the prices of {count} products are on their way to Order")


async def _publish(settings: Settings) -> int:
    count, after = 0, None
    async with desks(settings, "stock") as [desk]:
        say = desk.gather(publish_prices)
        while ids := await say(PricePage(after, PRODUCTS_MAX)):
            count, after = count + len(ids), ids[-1]
    return count
