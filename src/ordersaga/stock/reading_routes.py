"""The catalogue over HTTP, which everybody may read."""

from typing import Annotated, Final, Literal
from uuid import UUID

from litestar import get
from litestar.params import FromPath, QueryParameter
from litestar.types import ControllerRouterHandler

from ordersaga.http.pages import LIMIT_DEFAULT, Cursor, Limit, Text
from ordersaga.http.problems import not_found
from ordersaga.stock import listing, store
from ordersaga.stock.api import AnyRequest, Json, Products, answer
from ordersaga.stock.resources import LIST, SHOW, ProductPage, cursors, resource
from ordersaga.stock.store import CatalogueFilter

ACTIVE: Final = {"true": True, "false": False, "any": None}
Active = Annotated[
    Literal["true", "false", "any"],
    QueryParameter(description="Which products: those that are sold, those that are not any more, or all (operators)."),
]


def routes(products: Products) -> list[ControllerRouterHandler]:
    """The routes."""

    @get("/api/v1/products", **LIST)
    async def catalogue(
        request: AnyRequest,
        search: Text = None,
        category: Text = None,
        active: Active = "true",
        cursor: Cursor = None,
        limit: Limit = LIMIT_DEFAULT,
    ) -> Json:
        if active != "true":
            await products.callers.operator(request)
        after = cursors.key(cursor)
        wanted = CatalogueFilter(listing.search(search or ""), category, ACTIVE[active])
        async with products.runtime.searching() as db:
            found = await store.page(db, after, limit + 1, wanted)
        shown, following = cursors.cut(found, limit, lambda product: product.product_id)
        return answer(ProductPage([resource(product) for product in shown], following))

    @get("/api/v1/products/{product_id:uuid}", **SHOW)
    async def show(product_id: FromPath[UUID]) -> Json:
        async with products.runtime.reading() as db:
            found = await store.find(db, [product_id])
        if product_id not in found:
            raise not_found("product")
        return answer(resource(found[product_id]))

    return [catalogue, show]
