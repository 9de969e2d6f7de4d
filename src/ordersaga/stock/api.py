"""Stock over HTTP: the catalogue, which everybody may read, and the operators' commands."""

from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from litestar import Request, Response, get, patch, post
from litestar.params import FromPath
from litestar.types import ControllerRouterHandler
from msgspec import Meta, Struct

from ordersaga.contracts.messages import INT32_MAX
from ordersaga.http.caller import Callers
from ordersaga.http.pages import LIMIT_DEFAULT, Cursor, Cursors, Limit, Page
from ordersaga.http.problems import Problem, invalid, not_found, unless_refused
from ordersaga.http.requests import decoded, earlier, idempotency_key, json_body, raw_json
from ordersaga.messaging.gather import Gather
from ordersaga.messaging.idempotency import IdempotencyKey
from ordersaga.messaging.refusal import Refusal
from ordersaga.messaging.runtime import Runtime
from ordersaga.stock import store
from ordersaga.stock.commands import AddProduct, ChangeProduct, Done, ReceivePieces
from ordersaga.stock.model import NAME_CHARS_MAX, Product

Json = Response[bytes]
AnyRequest = Request[Any, Any, Any]
Name = Annotated[str, Meta(min_length=1, max_length=NAME_CHARS_MAX, pattern=r"\S")]
Won = Annotated[int, Meta(ge=0, le=INT32_MAX)]


class NewProduct(Struct, rename="camel", kw_only=True):
    """The body of `POST /api/v1/products`. Price in won; `quantity` is the number of the first pieces."""

    product_id: UUID | None = None
    name: Name
    price: Won
    quantity: Annotated[int, Meta(ge=0, le=INT32_MAX)] = 0


class ChosenId(Struct, rename="camel"):
    """The id of a `NewProduct`, read alone from a body whose other fields may be wrong."""

    product_id: UUID | None = None


class NewPieces(Struct, rename="camel"):
    """The body of `POST /api/v1/products/{id}/stock`: how many pieces were received."""

    quantity: Annotated[int, Meta(ge=1, le=INT32_MAX)]


class ProductChange(Struct, rename="camel", kw_only=True):
    """The body of `PATCH /api/v1/products/{id}`: the new name, the new price, or both. Won."""

    name: Name | None = None
    price: Won | None = None


class ProductResource(Struct, rename="camel"):
    """The JSON of a product. Won."""

    product_id: UUID
    name: str
    price: int
    available: int


class ProductPage(Page[ProductResource]):
    """One page of the catalogue."""


_new_product: Final = msgspec.json.Decoder(NewProduct)
_product_id: Final = msgspec.json.Decoder(ChosenId)
_new_pieces: Final = msgspec.json.Decoder(NewPieces)
_change: Final = msgspec.json.Decoder(ProductChange)
_cursors: Final[Cursors[UUID]] = Cursors("products", UUID)
_json: Final = msgspec.json.Encoder()


class Products:
    """The parts of the service that its routes use. `app.py` sets the gathered writes when the service starts."""

    def __init__(self, runtime: Runtime, callers: Callers) -> None:
        self.runtime: Final = runtime
        self.callers: Final = callers
        self.add: Gather[AddProduct, Done | Refusal]
        self.receive: Gather[ReceivePieces, Done | Refusal]
        self.change: Gather[ChangeProduct, Done | Refusal]

    async def done_before(self, key: IdempotencyKey | None, product_id: UUID | None) -> Product | None:
        """The product of an earlier request with the same key and body, whose body was valid then. None: there was no such request.

        `product_id` None: the id that the earlier request made. Raises `Problem` 422 for another body.
        """
        resource = await earlier(self.runtime, key)
        if resource is None:
            return None
        async with self.runtime.reading() as db:
            return next(iter((await store.find(db, [product_id or resource])).values()), None)


def routes(products: Products) -> list[ControllerRouterHandler]:
    """Every route of the service."""

    @get("/api/v1/products", summary="The catalogue, a page at a time")
    async def catalogue(cursor: Cursor = None, limit: Limit = LIMIT_DEFAULT) -> Json:
        after = _cursors.key(cursor)
        async with products.runtime.searching() as db:
            found = await store.page(db, after, limit + 1)
        shown, following = _cursors.cut(found, limit, lambda product: product.product_id)
        return _json_response(ProductPage([resource(product) for product in shown], following))

    @get("/api/v1/products/{product_id:uuid}", summary="One product")
    async def show(product_id: FromPath[UUID]) -> Json:
        async with products.runtime.reading() as db:
            found = await store.find(db, [product_id])
        if product_id not in found:
            raise not_found("product")
        return _json_response(resource(found[product_id]))

    @post("/api/v1/products", operation_class=json_body(NewProduct), summary="Add a product (operators)")
    async def add(request: AnyRequest) -> Json:
        return await _add_product(products, request)

    @post(
        "/api/v1/products/{product_id:uuid}/stock",
        operation_class=json_body(NewPieces),
        status_code=200,
        summary="Receive pieces (operators)",
    )
    async def receive(request: AnyRequest, product_id: FromPath[UUID]) -> Json:
        return await _receive_pieces(products, request, product_id)

    @patch(
        "/api/v1/products/{product_id:uuid}",
        operation_class=json_body(ProductChange),
        summary="Change name or price (operators)",
    )
    async def change(request: AnyRequest, product_id: FromPath[UUID]) -> Json:
        return await _change_product(products, request, product_id)

    return [catalogue, show, add, receive, change]


async def _add_product(products: Products, request: AnyRequest) -> Json:
    caller = await products.callers.operator(request)
    raw, new_id = await raw_json(request), products.runtime.new_id()
    key = idempotency_key(request, caller.user_id, "POST /api/v1/products", raw, new_id)
    try:
        body = decoded(raw, _new_product)
    except Problem:
        if (product := await products.done_before(key, _chosen_id(raw))) is None:
            raise
        return _done(Done(product), 200)
    addition = AddProduct(new_id, body.product_id, body.name, body.price, body.quantity, key)
    done = unless_refused(await products.add(addition))
    return _done(done, 200 if done.earlier else 201)


async def _receive_pieces(products: Products, request: AnyRequest, product_id: UUID) -> Json:
    caller = await products.callers.operator(request)
    raw = await raw_json(request)
    route = f"POST /api/v1/products/{product_id}/stock"
    key = idempotency_key(request, caller.user_id, route, raw, products.runtime.new_id())
    try:
        body = decoded(raw, _new_pieces)
    except Problem:
        if (product := await products.done_before(key, product_id)) is None:
            raise
        return _done(Done(product), 200)
    return _done(unless_refused(await products.receive(ReceivePieces(product_id, body.quantity, key))), 200)


async def _change_product(products: Products, request: AnyRequest, product_id: UUID) -> Json:
    caller = await products.callers.operator(request)
    raw = await raw_json(request)
    key = idempotency_key(
        request, caller.user_id, f"PATCH /api/v1/products/{product_id}", raw, products.runtime.new_id()
    )
    try:
        body = decoded(raw, _change)
        if body.name is None and body.price is None:
            raise invalid("body", "name or price must be given", "missing")
    except Problem:
        if (product := await products.done_before(key, product_id)) is None:
            raise
        return _done(Done(product), 200)
    return _done(unless_refused(await products.change(ChangeProduct(product_id, body.name, body.price, key))), 200)


def resource(product: Product) -> ProductResource:
    """The JSON of a product."""
    return ProductResource(product.product_id, product.name, product.price, product.available)


def _chosen_id(raw: bytes) -> UUID | None:
    """The product id in a body that is not valid as a whole."""
    try:
        return _product_id.decode(raw).product_id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _done(done: Done, status: int) -> Json:
    response = _json_response(resource(done.product), status)
    response.headers["Location"] = f"/api/v1/products/{done.product.product_id}"
    return response


def _json_response(value: Struct, status: int = 200) -> Json:
    return Response(_json.encode(value), status_code=status, media_type="application/json")
