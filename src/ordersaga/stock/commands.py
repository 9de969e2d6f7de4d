"""What operators may do, as gathered writes, many at once: add a product, receive pieces, change name and price, say prices again.

A refusal is raised: it undoes its transaction, and with it the claim on the Idempotency-Key, so nothing is kept of it.
The gather tries the others of that transaction again without it.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from ordersaga.contracts.messages import INT32_MAX, ProductPriceMessage
from ordersaga.http.fields import FieldError
from ordersaga.http.keys import key_reused
from ordersaga.http.problems import Problem, not_found
from ordersaga.messaging.database import Connection
from ordersaga.messaging.gather import Write
from ordersaga.messaging.handler import Outgoing
from ordersaga.messaging.idempotency import IdempotencyKey, claim
from ordersaga.stock import store
from ordersaga.stock.model import Movement, Product, next_version

AVAILABLE_MAX: Final = INT32_MAX


class Add(Struct, frozen=True):
    """A new product with its first pieces. `product_id` None: the key's resource, or a new id, given as `new_id`."""

    new_id: UUID
    product_id: UUID | None
    name: str
    price: int
    quantity: int
    key: IdempotencyKey | None


class Receive(Struct, frozen=True):
    """Pieces of a product that came in."""

    product_id: UUID
    quantity: int
    key: IdempotencyKey | None


class Change(Struct, frozen=True):
    """Another name or price, or both."""

    product_id: UUID
    name: str | None
    price: int | None
    key: IdempotencyKey | None


class PricePage(Struct, frozen=True):
    """Some products in the order of their ids, behind the one named, whose prices are to be said again."""

    after: UUID | None
    rows_max: int


class Done(Struct, frozen=True):
    """The product as it is now; `earlier`: an earlier request with the same key has done it."""

    product: Product
    earlier: bool = False


async def add(db: Connection, additions: Sequence[Add], now: datetime) -> Write[Done]:
    """Add products and say what they cost. Raises `Problem` 409 if one exists, 422 if a key was used otherwise."""
    earlier = await _earlier(db, additions, now)
    fresh = [each for n, each in enumerate(additions) if n not in earlier]
    products = {product.product_id: product for product in (_product(each, now) for each in fresh)}
    if len(products) < len(fresh) or await store.add_products(db, list(products.values())) < len(products):
        taken = [FieldError("productId", "is the id of another product", "duplicate")]
        raise Problem(409, "The product exists already", errors=taken)
    first_pieces = [_received(product.product_id, product.received) for product in products.values()]
    await store.move(db, [movement for movement in first_pieces if movement.quantity], now)
    ids = [each.product_id or earlier.get(n, each.new_id) for n, each in enumerate(additions)]
    if earlier:
        products |= await store.find(db, [ids[n] for n in earlier])
    answers = [Done(products[product_id], n in earlier) for n, product_id in enumerate(ids)]
    return Write(answers, [Outgoing(_price(answer.product, now)) for answer in answers if not answer.earlier])


async def receive(db: Connection, arrivals: Sequence[Receive], now: datetime) -> Write[Done]:
    """Put pieces on the shelf.

    Raises `Problem` 404, 409 if more would be there than an `int` of Java counts, 422 if a key was used otherwise.
    """
    earlier = await _earlier(db, arrivals, now)
    products = await store.lock_products(db, (each.product_id for each in arrivals))
    answers: list[Done] = []
    for n, each in enumerate(arrivals):
        product = _existing(products, each.product_id)
        if n not in earlier:
            product = replace(product, received=product.received + each.quantity)
            if product.available > AVAILABLE_MAX:
                more = f"at most {max(0, AVAILABLE_MAX - product.available + each.quantity)} more fit"
                raise Problem(409, "Too many pieces", more, [FieldError("quantity", more, "too_large")])
        products[each.product_id] = product
        answers.append(Done(product, n in earlier))
    fresh = [_received(each.product_id, each.quantity) for n, each in enumerate(arrivals) if n not in earlier]
    await store.move(db, fresh, now)
    return Write(answers)


async def change(db: Connection, changes: Sequence[Change], now: datetime) -> Write[Done]:
    """Change names and prices, and say what the products cost now. Raises `Problem` 404, 422 if a key was used otherwise."""
    earlier = await _earlier(db, changes, now)
    products = await store.lock_products(db, (each.product_id for each in changes))
    answers = []
    changed: dict[UUID, Product] = {}
    for n, each in enumerate(changes):
        product = _existing(products, each.product_id)
        if n not in earlier:
            name, price = each.name or product.name, product.price if each.price is None else each.price
            version = next_version(product.version, now)
            products[each.product_id] = replace(product, name=name, price=price, version=version)
            changed[each.product_id] = products[each.product_id]
        answers.append(Done(products[each.product_id], n in earlier))
    await store.change_products(db, list(changed.values()))
    return Write(answers, [Outgoing(_price(product, now)) for product in changed.values()])


async def _earlier(db: Connection, requests: Sequence[Add | Receive | Change], now: datetime) -> dict[int, UUID]:
    """Which of these requests were done before under the same key, and the id that the first use was given."""
    keyed = [(n, each.key) for n, each in enumerate(requests) if each.key is not None]
    found = {}
    for (n, _), reuse in zip(keyed, await claim(db, [key for _, key in keyed], now), strict=True):
        if reuse is not None:
            if not reuse.same_body:
                raise key_reused()
            found[n] = reuse.resource
    return found


async def publish_prices(db: Connection, pages: Sequence[PricePage], now: datetime) -> Write[Sequence[UUID]]:
    """Say again what products cost, under new versions, so that Order takes it for the last word whatever it has heard before.

    Answers with the ids of each page.
    """
    answers, outgoing = [], []
    for page in pages:
        found = await store.page(db, page.after, page.rows_max)
        products = await store.lock_products(db, (each.product_id for each in found))
        told = [replace(each, version=next_version(each.version, now)) for each in products.values()]
        await store.change_products(db, told)
        outgoing += [Outgoing(_price(product, now)) for product in told]
        answers.append([each.product_id for each in found])
    return Write(answers, outgoing)


def _product(addition: Add, now: datetime) -> Product:
    product_id = addition.product_id or addition.new_id
    return Product(product_id, addition.name, addition.price, next_version(0, now), addition.quantity, 0, 0)


def _received(product_id: UUID, quantity: int) -> Movement:
    return Movement(product_id, None, "received", quantity)


def _existing(products: dict[UUID, Product], product_id: UUID) -> Product:
    if product_id not in products:
        raise not_found("product")
    return products[product_id]


def _price(product: Product, now: datetime) -> ProductPriceMessage:
    return ProductPriceMessage(
        product_id=product.product_id, name=product.name, price=product.price, changed_at=now, version=product.version
    )
