"""The JSON of Stock's API: bodies and products, and what the OpenAPI document says of each route."""

from typing import Annotated, Final
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType

from ordersaga.contracts.limits import INT32_MAX, PRODUCT_NAME_CHARS_MAX
from ordersaga.http.documents import described
from ordersaga.http.pages import Cursors, Page
from ordersaga.stock.model import CATEGORY_CHARS_MAX, DESCRIPTION_CHARS_MAX, PICTURE_CHARS_MAX, Product

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


class NewPieces(Struct, rename="camel"):
    """The body of `POST /api/v1/products/{id}/stock`: how many pieces were received."""

    quantity: Annotated[int, Meta(ge=1, le=INT32_MAX)]


class ProductChange(Struct, rename="camel", kw_only=True):
    """The body of `PATCH /api/v1/products/{id}`: the fields that change. Price in won. `picture` and `category` null: the product has none any more."""

    name: Name | None = None
    price: Won | None = None
    description: Description | UnsetType = UNSET
    picture: Picture | UnsetType | None = UNSET
    category: Category | UnsetType | None = UNSET
    active: bool | UnsetType = UNSET


class ProductResource(Struct, rename="camel"):
    """The JSON of a product. Price in won. An inactive product is not sold any more."""

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


cursors: Final[Cursors[UUID]] = Cursors("products", UUID)
PRODUCT: Final = ProductResource(
    UUID("0193a8f0-0000-7000-8000-000000000001"), "찻잔", 12_000, 7, "A cup.", "/pictures/cup.svg", "cups", True
)
"""The example of the OpenAPI document."""
TAGS: Final = ("products",)
LIST: Final = {
    "tags": TAGS,
    "summary": "The catalogue, a page at a time; inactive products are shown to operators alone",
    **described(
        "listProducts",
        {200: ProductPage},
        refusals=(401, 403),
        access="anybody",
        examples={200: ProductPage([PRODUCT], cursors.of(PRODUCT.product_id))},
    ),
}
SHOW: Final = {
    "tags": TAGS,
    "summary": "One product",
    **described("showProduct", {200: ProductResource}, refusals=(404,), access="anybody", examples={200: PRODUCT}),
}
ADD: Final = {
    "tags": TAGS,
    "summary": "Add a product (operators); 200: an earlier request with the same Idempotency-Key has added it",
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
}
RECEIVE: Final = {
    "tags": TAGS,
    "status_code": 200,
    "summary": "Receive pieces (operators)",
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
}
CHANGE: Final = {
    "tags": TAGS,
    "summary": "Change name, price, or what the shop shows (operators)",
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
}
