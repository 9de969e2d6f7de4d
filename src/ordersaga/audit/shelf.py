"""Judges Stock's products: compares their counters, movements and reservations, and their prices with Order's copy."""

from typing import Any, Final

from ordersaga.audit.finding import Finding, Moment
from ordersaga.audit.sources import Sources, stream
from ordersaga.contracts.messages import ProductPriceMessage
from ordersaga.contracts.topics import BY_MESSAGE
from ordersaga.messaging.queries import queries
from ordersaga.said import say

sql: Final = queries(__file__)

PRICE_TOPIC: Final = BY_MESSAGE[ProductPriceMessage].name
NO_PRODUCT: Final = say("audit.prices.no_product", "Order has a price for it, and Stock no such product")


async def stock(sources: Sources) -> Finding:
    """Compare Stock's tables with each other. All are read from one snapshot, so nothing can be in flight. A balance row counts as a
    movement."""
    finding = Finding(
        "stock is conserved: received - reserved + released = available, never below zero", "stock", unit="products"
    )
    if sources.lacks(finding, "stock"):
        return finding
    async with sources.guarded("stock", finding) as db:
        async for row in stream(db, sql.products):
            finding.count += 1
            _judge_product(finding, row)
        async for row in stream(db, sql.misplaced_movements):
            order, product, kind = row["order_id"], row["product_id"], row["kind"]
            finding.breaks(
                f"{product}: "
                + say(
                    "audit.stock.movements",
                    "order {order}: its reservation says {wanted} {kind}, its movements {moved}",
                    order=order,
                    wanted=row["wanted"],
                    kind=kind,
                    moved=row["moved"],
                )
            )
        async for row in stream(db, sql.wrong_reservations):
            finding.breaks(
                say(
                    "audit.stock.reservation",
                    "order {order}: the reservation's state is {state}; its products' states give {given}",
                    order=row["order_id"],
                    state=row["state"],
                    given=row["given"],
                )
            )
    return finding


def _judge_product(finding: Finding, row: Any) -> None:
    product = row["product_id"]
    moved = {"moved_in": row["moved_in"], "moved_out": row["moved_out"], "moved_back": row["moved_back"]}
    received, reserved, released = row["received"], row["reserved"], row["released"]
    if received is None:
        finding.breaks(
            f"{product}: "
            + say(
                "audit.stock.no_product",
                "there is no such product; movements: {moved_in} received, {moved_out} reserved, {moved_back} released; orders hold {held}",
                held=row["held"],
                **moved,
            )
        )
        return
    if (received, reserved, released) != (row["moved_in"], row["moved_out"], row["moved_back"]):
        finding.breaks(
            f"{product}: "
            + say(
                "audit.stock.counters",
                "counters: {received} received, {reserved} reserved, {released} released; "
                "movements: {moved_in} received, {moved_out} reserved, {moved_back} released",
                received=received,
                reserved=reserved,
                released=released,
                **moved,
            )
        )
    if row["available"] != received - reserved + released:
        finding.breaks(
            f"{product}: "
            + say(
                "audit.stock.available",
                "{available} available, but {received} received - {reserved} reserved + {released} released",
                available=row["available"],
                received=received,
                reserved=reserved,
                released=released,
            )
        )
    elif row["available"] < 0:
        finding.breaks(
            f"{product}: "
            + say("audit.stock.below_zero", "{available} available, which is below zero", available=row["available"])
        )
    if reserved - released != row["held"]:
        finding.breaks(
            f"{product}: "
            + say(
                "audit.stock.held",
                "{reserved} reserved, orders hold {held}",
                reserved=reserved - released,
                held=row["held"],
            )
        )


async def prices(sources: Sources, moment: Moment, is_behind: bool) -> Finding:
    """Compare Stock's prices with Order's copy. `is_behind`: records of prices may still be unpublished or unhandled."""
    finding = Finding("Order knows the price of each of Stock's products", "prices", unit="products")
    if sources.lacks(finding, "stock", "order"):
        return finding
    async with sources.guarded("stock", finding) as stock_db, sources.guarded("order", finding) as order_db:
        copies = stream(order_db, sql.prices)
        copy = await anext(copies, None)
        async for product in stream(stock_db, sql.product_prices):
            finding.count += 1
            while copy is not None and copy["product_id"] < product["product_id"]:
                finding.breaks(f"{copy['product_id']}: " + NO_PRODUCT)
                copy = await anext(copies, None)
            mine = copy if copy is not None and copy["product_id"] == product["product_id"] else None
            if mine is not None:
                copy = await anext(copies, None)
            if what := _wrong_price(product, mine):
                is_recent = mine is not None and moment.is_recent(mine["changed_at"])
                (finding.waits if is_behind or is_recent else finding.breaks)(f"{product['product_id']}: " + what)
        while copy is not None:
            finding.breaks(f"{copy['product_id']}: " + NO_PRODUCT)
            copy = await anext(copies, None)
    return finding


def _wrong_price(product: Any, copy: Any) -> str | None:
    if copy is None:
        return say("audit.prices.none", "Order has no price for it")
    if product["price"] != copy["price"]:
        return say(
            "audit.prices.price",
            "Stock says {theirs} won, Order says {ours}",
            theirs=product["price"],
            ours=copy["price"],
        )
    if product["active"] != copy["active"]:
        return say(
            "audit.prices.sold", "Stock says {theirs}, Order says {ours}", theirs=_sold(product), ours=_sold(copy)
        )
    if copy["version"] > product["version"]:
        return say(
            "audit.prices.version",
            "Order ignores Stock's prices until their version is above {ours}; it is {theirs}",
            ours=copy["version"],
            theirs=product["version"],
        )
    return None


def _sold(row: Any) -> str:
    return "sold" if row["active"] else "not sold any more"
