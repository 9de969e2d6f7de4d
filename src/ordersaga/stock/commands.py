"""Carries out operators' commands as gathered writes: add a product, receive pieces, change name, price and listing, publish the prices
again.

Each function carries out many commands in one transaction. A refused command has no effect on the others.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Final, TypeVar
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from ordersaga.contracts.limits import INT32_MAX
from ordersaga.contracts.messages import ProductPriceMessage
from ordersaga.messaging.database import Connection
from ordersaga.messaging.gather import Write
from ordersaga.messaging.handler import Outgoing
from ordersaga.messaging.idempotency import IdempotencyKey, Reused, each_once
from ordersaga.messaging.refusal import FieldError, Refusal, no_such
from ordersaga.stock import store
from ordersaga.stock.listing import Listing, ListingChange
from ordersaga.stock.model import Movement, Product, next_version

AVAILABLE_MAX: Final = INT32_MAX
NO_SUCH_PRODUCT: Final = no_such("product")
PRODUCT_EXISTS: Final = Refusal(
    "CONFLICT",
    "The product exists already",
    errors=(FieldError("productId", "is the id of another product", "duplicate"),),
)


class AddProduct(Struct, frozen=True):
    """A new product with its first pieces. `product_id` None: its id is `new_id`, which is also the resource of `key`."""

    new_id: UUID
    product_id: UUID | None
    name: str
    price: int
    quantity: int
    key: IdempotencyKey | None
    listing: Listing = Listing()


class ReceivePieces(Struct, frozen=True):
    """Pieces of a product that were received."""

    product_id: UUID
    quantity: int
    key: IdempotencyKey | None


class ChangeProduct(Struct, frozen=True):
    """A new name, a new price, and what changes of the listing. Price in won."""

    product_id: UUID
    name: str | None
    price: int | None
    key: IdempotencyKey | None
    listing: ListingChange = ListingChange()

    @property
    def concerns_order(self) -> bool:
        """Whether Order must learn of the change."""
        return self.name is not None or self.price is not None or "active" in self.listing.fields


class PricePage(Struct, frozen=True):
    """The products whose prices are to be published again: at most `rows_max`, in id order, after the id `after`."""

    after: UUID | None
    rows_max: int


class Done(Struct, frozen=True):
    """The product after the command. `is_repeat`: an earlier request with the same key carried it out."""

    product: Product
    is_repeat: bool = False


async def add(db: Connection, additions: Sequence[AddProduct], now: datetime) -> Write[Done | Refusal]:
    """Add products with their first pieces, and tell Order their prices. Refuses an id that another product has."""
    outgoing: list[Outgoing] = []

    async def add_products(fresh: Sequence[AddProduct]) -> list[Done | Refusal]:
        products = [_product(each, now) for each in fresh]
        first_of_each_id = {product.product_id: product for product in reversed(products)}
        free = await store.add_products(db, first_of_each_id.values())
        answers: list[Done | Refusal] = []
        pieces: list[Movement] = []
        for product in products:
            if product.product_id not in free:
                answers.append(PRODUCT_EXISTS)
                continue
            free.remove(product.product_id)
            answers.append(Done(product))
            outgoing.append(Outgoing(_price(product, now)))
            if product.received:
                pieces.append(_received(product.product_id, product.received))
        await store.save_movements(db, pieces, now)
        return answers

    return Write(await _once(db, additions, now, add_products), outgoing)


async def receive(db: Connection, receipts: Sequence[ReceivePieces], now: datetime) -> Write[Done | Refusal]:
    """Add pieces to products. Refuses an unknown product, and more pieces than an `int` of Java counts."""

    async def add_pieces(fresh: Sequence[ReceivePieces]) -> list[Done | Refusal]:
        products = await store.lock_products(db, (each.product_id for each in fresh))
        answers: list[Done | Refusal] = []
        pieces: list[Movement] = []
        for each in fresh:
            product = products.get(each.product_id)
            if product is None:
                answers.append(NO_SUCH_PRODUCT)
            elif product.available + each.quantity > AVAILABLE_MAX:
                answers.append(_too_many(product))
            else:
                product = replace(product, received=product.received + each.quantity)
                products[each.product_id] = product
                answers.append(Done(product))
                pieces.append(_received(each.product_id, each.quantity))
        await store.save_movements(db, pieces, now)
        return answers

    return Write(await _once(db, receipts, now, add_pieces))


async def change(db: Connection, changes: Sequence[ChangeProduct], now: datetime) -> Write[Done | Refusal]:
    """Change names, prices and listings, and tell Order the prices. Refuses an unknown product."""
    changed: dict[UUID, Product] = {}
    told: dict[UUID, Product] = {}

    async def change_products(fresh: Sequence[ChangeProduct]) -> list[Done | Refusal]:
        products = await store.lock_products(db, (each.product_id for each in fresh))
        answers: list[Done | Refusal] = []
        for each in fresh:
            product = products.get(each.product_id)
            if product is None:
                answers.append(NO_SUCH_PRODUCT)
                continue
            name, price = each.name or product.name, product.price if each.price is None else each.price
            product = replace(product, name=name, price=price, listing=each.listing.of(product.listing))
            if each.concerns_order:
                product = replace(product, version=next_version(product.version, now))
                told[each.product_id] = product
            products[each.product_id] = changed[each.product_id] = product
            answers.append(Done(product))
        await store.change_products(db, list(told.values()))
        await store.save_listings(db, list(changed.values()))
        return answers

    done = await _once(db, changes, now, change_products)
    return Write(done, [Outgoing(_price(product, now)) for product in told.values()])


Command = TypeVar("Command", AddProduct, ReceivePieces, ChangeProduct)


async def _once(
    db: Connection,
    commands: Sequence[Command],
    now: datetime,
    work: Callable[[Sequence[Command]], Awaitable[Sequence[Done | Refusal]]],
) -> list[Done | Refusal]:
    """Answer each command. A repeat with the same Idempotency-Key gets the product as it is now."""
    done = await each_once(db, commands, now, work)
    repeats = {
        n: command.product_id or answer.resource
        for n, (command, answer) in enumerate(zip(commands, done, strict=True))
        if isinstance(answer, Reused)
    }
    found = await store.find(db, repeats.values()) if repeats else {}
    return [_repeated(found, repeats[n]) if isinstance(each, Reused) else each for n, each in enumerate(done)]


def _repeated(products: dict[UUID, Product], product_id: UUID) -> Done | Refusal:
    return Done(products[product_id], is_repeat=True) if product_id in products else NO_SUCH_PRODUCT


async def publish_prices(db: Connection, pages: Sequence[PricePage], now: datetime) -> Write[Sequence[UUID]]:
    """Publish the prices of each page again. Each price gets a new version, since Order ignores a version it has. Answers with each page's
    ids."""
    answers, outgoing = [], []
    for page in pages:
        found = await store.ids_after(db, page.after, page.rows_max)
        products = await store.lock_products(db, found)
        renewed = [replace(each, version=next_version(each.version, now)) for each in products.values()]
        await store.change_products(db, renewed)
        outgoing += [Outgoing(_price(product, now)) for product in renewed]
        answers.append(found)
    return Write(answers, outgoing)


def _product(addition: AddProduct, now: datetime) -> Product:
    product_id = addition.product_id or addition.new_id
    version = next_version(0, now)
    return Product(product_id, addition.name, addition.price, version, addition.quantity, 0, 0, addition.listing)


def _received(product_id: UUID, quantity: int) -> Movement:
    return Movement(product_id, None, "received", quantity)


def _too_many(product: Product) -> Refusal:
    more = f"at most {max(0, AVAILABLE_MAX - product.available)} more fit"
    return Refusal("CONFLICT", "Too many pieces", more, (FieldError("quantity", more, "too_large"),))


def _price(product: Product, now: datetime) -> ProductPriceMessage:
    return ProductPriceMessage(
        product_id=product.product_id,
        name=product.name,
        price=product.price,
        changed_at=now,
        version=product.version,
        active=product.listing.active,
    )
