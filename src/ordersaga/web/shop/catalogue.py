"""The pages of the products and of the cart. Both read the products from Stock."""

from typing import Final
from uuid import UUID

from litestar import Response, get, post
from litestar.params import FromPath
from litestar.types import ControllerRouterHandler
from msgspec import Struct

from ordersaga.http.pages import Page as ListPage
from ordersaga.web import pictures
from ordersaga.web.desk import AnyRequest, Desk, Page, nothing
from ordersaga.web.services import Services, side_by_side
from ordersaga.web.shop.model import Product
from ordersaga.web.texts import local
from ordersaga.web.visit import Visit

PRODUCTS_SHOWN: Final = 60
SEARCH_CHARS_MAX: Final = 80
CATEGORIES: Final = ("kitchen", "desk", "home", "carry")


class CartLine(Struct):
    """One line of a cart. `product` None: it is not sold any more. Amounts in won."""

    product_id: UUID
    product: Product | None
    pieces: int

    @property
    def amount(self) -> int:
        return self.product.price * self.pieces if self.product else 0

    @property
    def is_short(self) -> bool:
        return self.product is None or not self.product.active or self.product.available < self.pieces


class Catalogue:
    """Reads products from Stock. Raises `Unavailable`."""

    def __init__(self, services: Services) -> None:
        self._services: Final = services

    async def page(self, query: str, category: str, cursor: str) -> tuple[list[Product], str | None]:
        """A page of products, and the cursor of the next one."""
        asked = {"limit": str(PRODUCTS_SHOWN), "cursor": cursor, "search": query, "category": category}
        page = await self._services.get(
            "stock",
            "/api/v1/products",
            ListPage[Product],
            None,
            {name: value for name, value in asked.items() if value},
        )
        found = page.items if page else []
        return found, page.next if page else None

    async def find(self, product_id: UUID) -> Product | None:
        """One product."""
        return await self._services.get("stock", f"/api/v1/products/{product_id}", Product)

    async def cart(self, visit: Visit) -> list[CartLine]:
        """The visitor's cart with today's prices and stock."""
        found = await side_by_side(*(self.find(product_id) for product_id in visit.cart.pieces))
        pairs = zip(visit.cart.pieces.items(), found, strict=True)
        return [CartLine(product_id, product, pieces) for (product_id, pieces), product in pairs]


def routes(desk: Desk, products: Catalogue) -> list[ControllerRouterHandler]:
    """The routes."""

    @get("/")
    async def home(request: AnyRequest) -> Page:
        visit = desk.visit(request)
        query = request.query_params.get("q", "").strip()[:SEARCH_CHARS_MAX]
        category = request.query_params.get("category", "")
        category = category if category in CATEGORIES else ""
        found, following = await products.page(query, category, request.query_params.get("cursor", ""))
        values = {"products": found, "next": following, "query": query, "category": category, "categories": CATEGORIES}
        return desk.page(visit, "shop/products.html", values)

    @get("/products/{product_id:uuid}")
    async def product(request: AnyRequest, product_id: FromPath[UUID]) -> Page:
        found = await products.find(product_id) or nothing()
        return desk.page(desk.visit(request), "shop/product.html", {"product": found})

    @get("/cart")
    async def cart(request: AnyRequest) -> Page:
        visit = desk.visit(request)
        lines = await products.cart(visit)
        return desk.page(visit, "shop/cart.html", {"lines": lines, "total": sum(line.amount for line in lines)})

    @post("/cart/add")
    async def add(request: AnyRequest) -> Page:
        visit = desk.visit(request)
        form = await desk.form(request, visit)
        product_id, pieces = _chosen(form)
        wanted = visit.cart.pieces.get(product_id, 0) + max(1, pieces)
        return desk.go(visit, "/cart", "added" if visit.cart.put(product_id, wanted) else "cart_full")

    @post("/cart/change")
    async def change(request: AnyRequest) -> Page:
        visit = desk.visit(request)
        form = await desk.form(request, visit)
        product_id, pieces = _chosen(form)
        if product_id in visit.cart.pieces:
            visit.cart.put(product_id, pieces)
        return desk.go(visit, "/cart", "changed")

    @get("/pictures/{name:str}")
    async def drawn(name: FromPath[str]) -> Response[str]:
        """One of our drawings as an SVG file, so that a page of another site can show it."""
        svg = pictures.file(name.removesuffix(".svg")) or nothing()
        return Response(svg, media_type="image/svg+xml")

    return [home, product, cart, add, change, drawn]


def _chosen(form: dict[str, str]) -> tuple[UUID, int]:
    try:
        pieces = form.get("remove") or form.get("pieces", "1")
        return UUID(form.get("product", "")), int(pieces) if pieces.isdecimal() else 1
    except ValueError:
        nothing()


def order_name(lines: list[CartLine], visit: Visit) -> str:
    """What an order of these lines is called: its first product, and how many others."""
    first = local(lines[0].product.name, visit.language) if lines[0].product else ""
    return first if len(lines) == 1 else visit.t("cart.and_more", first=first, count=len(lines) - 1)
