"""Stock over HTTP: the catalogue, which everybody may read, and the operators' commands."""

from typing import Annotated, Any, Final, Literal
from uuid import UUID

import msgspec
from litestar import Request, Response, get, patch, post
from litestar.params import FromPath, QueryParameter
from litestar.types import ControllerRouterHandler
from msgspec import UNSET, Meta, Struct, UnsetType

from ordersaga.contracts.limits import INT32_MAX, PRODUCT_NAME_CHARS_MAX
from ordersaga.http.caller import Callers
from ordersaga.http.documents import described
from ordersaga.http.pages import LIMIT_DEFAULT, Cursor, Cursors, Limit, Page, Text
from ordersaga.http.problems import Problem, invalid, not_found, unless_refused
from ordersaga.http.requests import decoded, idempotency_key, raw_json, repeated_resource
from ordersaga.messaging.gather import Gather
from ordersaga.messaging.idempotency import IdempotencyKey
from ordersaga.messaging.refusal import Refusal
from ordersaga.messaging.runtime import Runtime
from ordersaga.stock import listing, store
from ordersaga.stock.commands import AddProduct, ChangeProduct, Done, ReceivePieces
from ordersaga.stock.listing import Listing, ListingChange
from ordersaga.stock.model import CATEGORY_CHARS_MAX, DESCRIPTION_CHARS_MAX, PICTURE_CHARS_MAX, Product
from ordersaga.stock.store import CatalogueFilter

Json = Response[bytes]
AnyRequest = Request[Any, Any, Any]
Name = Annotated[str, Meta(min_length=1, max_length=PRODUCT_NAME_CHARS_MAX, pattern=r"\S")]
Won = Annotated[int, Meta(ge=0, le=INT32_MAX)]
Description = Annotated[str, Meta(max_length=DESCRIPTION_CHARS_MAX)]
Category = Annotated[str, Meta(min_length=1, max_length=CATEGORY_CHARS_MAX, pattern=r"\S")]
Picture = Annotated[
    str,
    Meta(
        max_length=PICTURE_CHARS_MAX,
        pattern=r"^(/(?![/\\])|https://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/|$))[A-Za-z0-9._~:/?#@!$&()*+,;=%-]*$(?!\n)",
    ),
]
"""A path on the shop's own host, or an https URL: a page puts it into `src`, so no other scheme and no quote may be in it."""
ACTIVE: Final = {"true": True, "false": False, "any": None}


Active = Annotated[
    Literal["true", "false", "any"],
    QueryParameter(description="Which products: those that are sold, those that are not any more, or all (operators)."),
]


class NewProduct(Struct, rename="camel", kw_only=True):
    """The body of `POST /api/v1/products`. Price in won; `quantity` is the number of the first pieces."""

    product_id: UUID | None = None
    name: Name
    price: Won
    quantity: Annotated[int, Meta(ge=0, le=INT32_MAX)] = 0
    description: Description = ""
    picture: Picture | None = None
    category: Category | None = None
    active: bool = True


class ChosenId(Struct, rename="camel"):
    """Only the id of a `NewProduct`, decoded from a body whose other fields may be wrong."""

    product_id: UUID | None = None


class NewPieces(Struct, rename="camel"):
    """The body of `POST /api/v1/products/{id}/stock`: how many pieces were received."""

    quantity: Annotated[int, Meta(ge=1, le=INT32_MAX)]


class ProductChange(Struct, rename="camel", kw_only=True):
    """The body of `PATCH /api/v1/products/{id}`: the fields that change. Won. `picture` and `category` null: the product has none any more."""

    name: Name | None = None
    price: Won | None = None
    description: Description | UnsetType = UNSET
    picture: Picture | UnsetType | None = UNSET
    category: Category | UnsetType | None = UNSET
    active: bool | UnsetType = UNSET


class ProductResource(Struct, rename="camel"):
    """The JSON of a product. Won. An inactive product is not sold any more."""

    product_id: UUID
    name: str
    price: int
    available: int
    description: str
    picture: str | None
    category: str | None
    active: bool


class ProductPage(Page[ProductResource]):
    """One page of the catalogue."""


_new_product: Final = msgspec.json.Decoder(NewProduct)
_product_id: Final = msgspec.json.Decoder(ChosenId)
_new_pieces: Final = msgspec.json.Decoder(NewPieces)
_change: Final = msgspec.json.Decoder(ProductChange)
_cursors: Final[Cursors[UUID]] = Cursors("products", UUID)
TAGS: Final = ("products",)
PRODUCT: Final = ProductResource(
    UUID("0193a8f0-0000-7000-8000-000000000001"), "찻잔", 12_000, 7, "A cup.", "/pictures/cup.svg", "cups", True
)
"""The example of the OpenAPI document."""
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
    """Every route of the service."""

    @get(
        "/api/v1/products",
        tags=TAGS,
        summary="The catalogue, a page at a time; inactive products are shown to operators alone",
        **described(
            "listProducts",
            {200: ProductPage},
            refusals=(401, 403),
            access="anybody",
            examples={200: ProductPage([PRODUCT], _cursors.of(PRODUCT.product_id))},
        ),
    )
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
        after = _cursors.key(cursor)
        wanted = CatalogueFilter(listing.search(search or ""), category, ACTIVE[active])
        async with products.runtime.searching() as db:
            found = await store.page(db, after, limit + 1, wanted)
        shown, following = _cursors.cut(found, limit, lambda product: product.product_id)
        return _json_response(ProductPage([resource(product) for product in shown], following))

    @get(
        "/api/v1/products/{product_id:uuid}",
        tags=TAGS,
        summary="One product",
        **described("showProduct", {200: ProductResource}, refusals=(404,), access="anybody", examples={200: PRODUCT}),
    )
    async def show(product_id: FromPath[UUID]) -> Json:
        async with products.runtime.reading() as db:
            found = await store.find(db, [product_id])
        if product_id not in found:
            raise not_found("product")
        return _json_response(resource(found[product_id]))

    @post(
        "/api/v1/products",
        tags=TAGS,
        summary="Add a product (operators); 200: an earlier request with the same Idempotency-Key has added it",
        **described(
            "addProduct",
            {201: ProductResource, 200: ProductResource},
            refusals=(409, 422),
            body=NewProduct,
            headers=("Idempotency-Key",),
            access="operator",
            examples={201: PRODUCT},
            body_example=NewProduct(name=PRODUCT.name, price=PRODUCT.price, quantity=7, category=PRODUCT.category),
        ),
    )
    async def add(request: AnyRequest) -> Json:
        return await _add_product(products, request)

    @post(
        "/api/v1/products/{product_id:uuid}/stock",
        tags=TAGS,
        status_code=200,
        summary="Receive pieces (operators)",
        **described(
            "receivePieces",
            {200: ProductResource},
            refusals=(404, 409, 422),
            body=NewPieces,
            headers=("Idempotency-Key",),
            access="operator",
            examples={200: PRODUCT},
            body_example=NewPieces(7),
        ),
    )
    async def receive(request: AnyRequest, product_id: FromPath[UUID]) -> Json:
        return await _receive_pieces(products, request, product_id)

    @patch(
        "/api/v1/products/{product_id:uuid}",
        tags=TAGS,
        summary="Change name, price, or what the shop shows (operators)",
        **described(
            "changeProduct",
            {200: ProductResource},
            refusals=(404, 422),
            body=ProductChange,
            headers=("Idempotency-Key",),
            access="operator",
            examples={200: PRODUCT},
            body_example=ProductChange(price=11_000),
        ),
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


def resource(product: Product) -> ProductResource:
    """The JSON of a product."""
    shown = product.listing
    return ProductResource(
        product.product_id,
        product.name,
        product.price,
        product.available,
        shown.description,
        shown.picture,
        shown.category,
        shown.active,
    )


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
