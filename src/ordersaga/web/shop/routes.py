"""Every route of the shop."""

from litestar.types import ControllerRouterHandler

from ordersaga.http.limits import Streams
from ordersaga.web.desk import Desk
from ordersaga.web.shop import buying, catalogue, tracking
from ordersaga.web.shop.live import Live
from ordersaga.web.shop.orders import Orders


def routes(desk: Desk, orders: Orders, live: Live, streams: Streams) -> list[ControllerRouterHandler]:
    """Products and cart, checkout and payment, orders and their streams."""
    products = catalogue.Catalogue(desk.services)
    return [
        *catalogue.routes(desk, products),
        *buying.routes(desk, orders, products),
        *tracking.routes(desk, orders, live, streams),
    ]
