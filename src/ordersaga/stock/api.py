"""Stock over HTTP: what its routes share, and the operators' commands. The catalogue is in `reading_routes.py`."""

from typing import Any, Final
from uuid import UUID

import msgspec
from litestar import Request, Response, patch, post
from litestar.params import FromPath
from litestar.types import ControllerRouterHandler
from msgspec import Struct

from ordersaga.contracts.codec import NOT_JSON
from ordersaga.http.caller import Callers
from ordersaga.http.problems import Problem, invalid, unless_refused
from ordersaga.http.requests import decoded, idempotency_key, raw_json, repeated_resource
from ordersaga.messaging.gather import Gather
from ordersaga.messaging.idempotency import IdempotencyKey
from ordersaga.messaging.refusal import Refusal
from ordersaga.messaging.runtime import Runtime
from ordersaga.stock import store
from ordersaga.stock.commands import AddProduct, ChangeProduct, Done, ReceivePieces
from ordersaga.stock.listing import Listing, ListingChange
from ordersaga.stock.model import Product
from ordersaga.stock.resources import ADD, CHANGE, RECEIVE, NewPieces, NewProduct, ProductChange, resource

Json = Response[bytes]
AnyRequest = Request[Any, Any, Any]


class ChosenId(Struct, rename="camel"):
    """Only the id of a `NewProduct`, decoded from a body whose other fields may be wrong."""

    product_id: UUID | None = None


_new_product: Final = msgspec.json.Decoder(NewProduct)
_product_id: Final = msgspec.json.Decoder(ChosenId)
_new_pieces: Final = msgspec.json.Decoder(NewPieces)
_change: Final = msgspec.json.Decoder(ProductChange)
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
        """The product that an earlier request with the same key and body added. None: there was no such request.

        `product_id` None: the earlier request's product id was made by Stock. Raises `Problem` 422 for another body.
        """
        resource = await repeated_resource(self.runtime, key)
        if resource is None:
            return None
        async with self.runtime.reading() as db:
            return next(iter((await store.find(db, [product_id or resource])).values()), None)


def routes(products: Products) -> list[ControllerRouterHandler]:
    """The routes of the operators' commands."""

    @post("/api/v1/products", **ADD)
    async def add(request: AnyRequest) -> Json:
        return await _add_product(products, request)

    @post("/api/v1/products/{product_id:uuid}/stock", **RECEIVE)
    async def receive(request: AnyRequest, product_id: FromPath[UUID]) -> Json:
        return await _receive_pieces(products, request, product_id)

    @patch("/api/v1/products/{product_id:uuid}", **CHANGE)
    async def change(request: AnyRequest, product_id: FromPath[UUID]) -> Json:
        return await _change_product(products, request, product_id)

    return [add, receive, change]


async def _add_product(products: Products, request: AnyRequest) -> Json:
    caller = await products.callers.operator(request)
    raw, new_id = await raw_json(request), products.runtime.new_id()
    key = idempotency_key(request, caller.user_id, "POST /api/v1/products", raw, new_id)
    try:
        body = decoded(raw, _new_product)
    except Problem:
        # A repeat gets its product although the body would be refused now, for instance after a limit was lowered.
        if (product := await products.done_before(key, _chosen_id(raw))) is None:
            raise
        return _done(Done(product), 200)
    shown = Listing(body.description, body.picture, body.category, body.active)
    addition = AddProduct(new_id, body.product_id, body.name, body.price, body.quantity, key, shown)
    done = unless_refused(await products.add(addition))
    return _done(done, 200 if done.is_repeat else 201)


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
        command = _change_of(product_id, body, key)
        if not command.listing.fields and command.name is None and command.price is None:
            raise invalid("body", "at least one field must be given", "missing")
    except Problem:
        if (product := await products.done_before(key, product_id)) is None:
            raise
        return _done(Done(product), 200)
    return _done(unless_refused(await products.change(command)), 200)


def _change_of(product_id: UUID, body: ProductChange, key: IdempotencyKey | None) -> ChangeProduct:
    listed = ListingChange(body.description, body.picture, body.category, body.active)
    return ChangeProduct(product_id, body.name, body.price, key, listed)


def _chosen_id(raw: bytes) -> UUID | None:
    """The product id in a body that is not valid as a whole."""
    try:
        return _product_id.decode(raw).product_id
    except NOT_JSON:
        return None


def _done(done: Done, status: int) -> Json:
    response = answer(resource(done.product), status)
    response.headers["Location"] = f"/api/v1/products/{done.product.product_id}"
    return response


def answer(value: Struct, status: int = 200) -> Json:
    """A value as JSON."""
    return Response(_json.encode(value), status_code=status, media_type="application/json")
