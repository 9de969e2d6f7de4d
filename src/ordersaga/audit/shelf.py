"""Stock's products: their counters against movements and reservations, and their prices against the copy that Order checks totals with."""

from typing import Final

from ordersaga.audit.finding import Finding, Moment
from ordersaga.audit.sources import Sources, stream
from ordersaga.contracts.messages import ProductPriceMessage
from ordersaga.contracts.topics import BY_MESSAGE
from ordersaga.messaging.database import queries

sql: Final = queries(__file__)

PRICE_TOPIC: Final = BY_MESSAGE[ProductPriceMessage].name


async def stock(sources: Sources) -> Finding:
    """One snapshot holds all of it, so it is exact at any moment. Old movements are summed up in balance rows, which count as movements."""
    finding = Finding(
        "stock is conserved: received - reserved + released = available, never below zero", unit="products"
    )
    if sources.lacks(finding, "stock"):
        return finding
    async with sources.guarded("stock", finding) as db:
        async for row in stream(db, sql.products):
            finding.count += 1
            product = row["product_id"]
            if row["received"] is None:
                what = f"movements of {row['moved_in']}, {row['moved_out']}, {row['moved_back']} and {row['held']} held"
                finding.breaks(f"{product}: there is no such product, and {what}")
                continue
            counters = (row["received"], row["reserved"], row["released"])
            moved = (row["moved_in"], row["moved_out"], row["moved_back"])
            if counters != moved:
                finding.breaks(f"{product}: counters {counters}, movements {moved}")
            if row["available"] != row["received"] - row["reserved"] + row["released"] or row["available"] < 0:
                finding.breaks(f"{product}: {row['available']} available of {counters}")
            if row["reserved"] - row["released"] != row["held"]:
                finding.breaks(f"{product}: {row['reserved'] - row['released']} reserved, orders hold {row['held']}")
    return finding


async def prices(sources: Sources, moment: Moment, is_behind: bool) -> Finding:
    """`is_behind`: Order may not have heard yet what Stock has said."""
    finding = Finding("Order knows the price of each of Stock's products", unit="products")
    if sources.lacks(finding, "stock", "order"):
        return finding
    async with sources.guarded("stock", finding) as stock_db, sources.guarded("order", finding) as order_db:
        ours = stream(order_db, sql.prices)
        known = await anext(ours, None)
        async for product in stream(stock_db, sql.product_prices):
            finding.count += 1
            while known is not None and known["product_id"] < product["product_id"]:
                finding.breaks(f"{known['product_id']}: Order has a price for it, and Stock no such product")
                known = await anext(ours, None)
            if known is None or known["product_id"] != product["product_id"]:
                what, is_recent = "Order knows no price of it", False
            else:
                what = f"costs {product['price']} won, and {known['price']} for Order"
                is_recent = known["changed_at"] > moment.cutoff and not moment.at_rest
                is_right = known["price"] == product["price"]
                known = await anext(ours, None)
                if is_right:
                    continue
            (finding.waits if is_behind or is_recent else finding.breaks)(f"{product['product_id']}: {what}")
        while known is not None:
            finding.breaks(f"{known['product_id']}: Order has a price for it, and Stock no such product")
            known = await anext(ours, None)
    return finding
