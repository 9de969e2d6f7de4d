"""Stock over HTTP: the catalogue, open to all, and what operators do with it."""

from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from litestar import Request, Response, get, patch, post
from litestar.params import FromPath, FromQuery, QueryParameter
from litestar.types import ControllerRouterHandler
from msgspec import Meta, Struct

from ordersaga.contracts.messages import INT32_MAX
from ordersaga.http.caller import Callers
from ordersaga.http.keys import earlier, idempotency_key
from ordersaga.http.problems import Problem, decoded, invalid, json_body, not_found, raw_json, unless_refused
from ordersaga.messaging.gather import Gather
from ordersaga.messaging.idempotency import IdempotencyKey
from ordersaga.messaging.refusal import Refusal
from ordersaga.messaging.runtime import Runtime
from ordersaga.stock import store
from ordersaga.stock.commands import Add, Change, Done, Receive
from ordersaga.stock.model import NAME_CHARS_MAX, Product

PAGE_ROWS_DEFAULT: Final = 50
PAGE_ROWS_MAX: Final = 200

Json = Response[bytes]
AnyRequest = Request[Any, Any, Any]
Name = Annotated[str, Meta(min_length=1, max_length=NAME_CHARS_MAX, pattern=r"\S")]
Won = Annotated[int, Meta(ge=0, le=INT32_MAX)]
Limit = Annotated[int, QueryParameter(ge=1, le=PAGE_ROWS_MAX)]


class NewProduct(Struct, rename="camel", kw_only=True):
    """The body of `POST /api/v1/products`. Price in won; `quantity` is what is there from the start."""

    product_id: UUID | None = None
    name: Name
    price: Won
    quantity: Annotated[int, Meta(ge=0, le=INT32_MAX)] = 0


class ChosenId(Struct, rename="camel"):
    """Of `NewProduct`, the id alone."""

    product_id: UUID | None = None


class Arrival(Struct, rename="camel"):
    """The body of `POST /api/v1/products/{id}/stock`: pieces that came in."""

    quantity: Annotated[int, Meta(ge=1, le=INT32_MAX)]


class ProductChange(Struct, rename="camel", kw_only=True):
    """The body of `PATCH /api/v1/products/{id}`: what is to be otherwise. Won."""

    name: Name | None = None
    price: Won | None = None


class ProductResource(Struct, rename="camel"):
    """A product as everybody sees it. Won."""

    product_id: UUID
    name: str
    price: int
    available: int


class ProductPage(Struct, rename="camel"):
    """Part of the catalogue; `next` is the cursor of the next part, null at the end."""

    products: list[ProductResource]
    next: UUID | None


_new_product: Final = msgspec.json.Decoder(NewProduct)
_product_id: Final = msgspec.json.Decoder(ChosenId)
_arrival: Final = msgspec.json.Decoder(Arrival)
_change: Final = msgspec.json.Decoder(ProductChange)
_json: Final = msgspec.json.Encoder()


class Shelf:
    """What the routes work with; made when the service starts."""

    def __init__(self, runtime: Runtime, callers: Callers) -> None:
        self.runtime: Final = runtime
        self.callers: Final = callers
        self.add: Gather[Add, Done | Refusal]
        self.receive: Gather[Receive, Done | Refusal]
        self.change: Gather[Change, Done | Refusal]

    async def done_before(self, key: IdempotencyKey | None, product_id: UUID | None) -> Product | None:
        """The product of an earlier request with the same key and body, though the body would not be valid now.

        `product_id` None: the key's resource. Raises `Problem` 422 for another body.
        """
        resource = await earlier(self.runtime, key)
        if resource is None:
            return None
        async with self.runtime.reading() as db:
            return next(iter((await store.find(db, [product_id or resource])).values()), None)


def routes(shelf: Shelf) -> list[ControllerRouterHandler]:
    """Every route of the service."""

    @get("/api/v1/products", summary="The catalogue, a page at a time")
    async def catalogue(cursor: FromQuery[UUID | None] = None, limit: Limit = PAGE_ROWS_DEFAULT) -> Json:
        async with shelf.runtime.reading() as db:
            found = await store.page(db, cursor, limit + 1)
        shown = found[:limit]
        following = shown[-1].product_id if len(found) > limit else None
        return _json_response(ProductPage([resource(product) for product in shown], following))

    @get("/api/v1/products/{product_id:uuid}", summary="One product")
    async def show(product_id: FromPath[UUID]) -> Json:
        async with shelf.runtime.reading() as db:
            found = await store.find(db, [product_id])
        if product_id not in found:
            raise not_found("product")
        return _json_response(resource(found[product_id]))

    @post("/api/v1/products", operation_class=json_body(NewProduct), summary="Add a product (operators)")
    async def add(request: AnyRequest) -> Json:
        return await _add_product(shelf, request)

    @post(
        "/api/v1/products/{product_id:uuid}/stock",
        operation_class=json_body(Arrival),
        status_code=200,
        summary="Receive pieces (operators)",
    )
    async def receive(request: AnyRequest, product_id: FromPath[UUID]) -> Json:
        return await _receive_pieces(shelf, request, product_id)

    @patch(
        "/api/v1/products/{product_id:uuid}",
        operation_class=json_body(ProductChange),
        summary="Change name or price (operators)",
    )
    async def change(request: AnyRequest, product_id: FromPath[UUID]) -> Json:
        return await _change_product(shelf, request, product_id)

    return [catalogue, show, add, receive, change]


async def _add_product(shelf: Shelf, request: AnyRequest) -> Json:
    caller = await shelf.callers.operator(request)
    raw, new_id = await raw_json(request), shelf.runtime.new_id()
    key = idempotency_key(request, caller, "POST /api/v1/products", raw, new_id)
    try:
        body = decoded(raw, _new_product)
    except Problem:
        if (product := await shelf.done_before(key, _chosen_id(raw))) is None:
            raise
        return _done(Done(product), 200)
    addition = Add(new_id, body.product_id, body.name, body.price, body.quantity, key)
    done = unless_refused(await shelf.add(addition))
    return _done(done, 200 if done.earlier else 201)


async def _receive_pieces(shelf: Shelf, request: AnyRequest, product_id: UUID) -> Json:
    caller = await shelf.callers.operator(request)
    raw = await raw_json(request)
    route = f"POST /api/v1/products/{product_id}/stock"
    key = idempotency_key(request, caller, route, raw, shelf.runtime.new_id())
    try:
        body = decoded(raw, _arrival)
    except Problem:
        if (product := await shelf.done_before(key, product_id)) is None:
            raise
        return _done(Done(product), 200)
    return _done(unless_refused(await shelf.receive(Receive(product_id, body.quantity, key))), 200)


async def _change_product(shelf: Shelf, request: AnyRequest, product_id: UUID) -> Json:
    caller = await shelf.callers.operator(request)
    raw = await raw_json(request)
    key = idempotency_key(request, caller, f"PATCH /api/v1/products/{product_id}", raw, shelf.runtime.new_id())
    try:
        body = decoded(raw, _change)
        if body.name is None and body.price is None:
            raise invalid("body", "name or price must be given", "missing")
    except Problem:
        if (product := await shelf.done_before(key, product_id)) is None:
            raise
        return _done(Done(product), 200)
    return _done(unless_refused(await shelf.change(Change(product_id, body.name, body.price, key))), 200)


def resource(product: Product) -> ProductResource:
    """A product, as JSON shows it."""
    return ProductResource(product.product_id, product.name, product.price, product.available)


def _chosen_id(raw: bytes) -> UUID | None:
    """The id in a body whose other fields may not be valid."""
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
