"""How the kit takes an order through Order: places it over HTTP, and answers as Stock, Payment and Delivery."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar, Final
from uuid import uuid4

from msgspec import Struct

from ordersaga.conformance.exchange import Exchange
from ordersaga.conformance.hooks import Answer, HookFailed
from ordersaga.conformance.scene import Scene
from ordersaga.conformance.verdicts import Broken
from ordersaga.conformance.wire import Heard, Json, instant

CREATED: Final = "order-created"
STOCK: Final = "stock-response-topic"
PAYMENT: Final = "payment-success-topic"
DELIVERY_REQUEST: Final = "delivery-request-topic"
DELIVERY_START: Final = "delivery-start-topic"
COMPLETED: Final = "order-completed-topic"
PRICES: Final = "product-price-topic"

PRICE: Final = 12_347
"""With a total that no rounding leaves as it is."""
PRICE_PATIENCE: Final = 0.8
REFUSED_AGAIN_S: Final = 0.3
"""Order refuses a product until its price has come over Kafka. A refused order is placed again every `REFUSED_AGAIN_S`, for this share of
the limit of an answer."""


class Draft(Struct):
    """What a customer orders: the values of the hook `place`."""

    user_id: str
    products: list[tuple[str, int]]
    total: int
    texts: dict[str, str]

    @property
    def values(self) -> Json:
        """The hook's values."""
        return {
            "userId": self.user_id,
            "totalAmount": self.total,
            "items": [{"productId": name, "quantity": pieces} for name, pieces in self.products],
            "productId": self.products[0][0],
            "quantity": self.products[0][1],
            **self.texts,
        }


class Placed(Struct):
    """An order that Order has told Stock about."""

    order_id: str
    draft: Draft
    created: Heard
    payment_key: str


TEXTS: Final = {
    "orderName": "키보드와 마우스",
    "address": "1 Sejong-daero, Jung-gu",
    "addressDetail": "12F",
    "zipcode": "04524",
    "phone": "010-0000-0000",
    "name": "김하나",
    "deliveryMemo": "문 앞에 두세요",
}


async def draft(scene: Scene, products: int = 1, quantity: int = 2, price: int = PRICE, **texts: str) -> Draft:
    """A draft of an order of new products, whose prices Order is told where it wants to know them."""
    scene.need(scene.hooks.has("place"), "--place places an order")
    names = [scene.follow(str(uuid4())) for _ in range(products)]
    for name in names if PRICES in scene.stage.partitions else []:
        changed_at = instant(datetime.now(UTC))
        known = {"productId": name, "name": "ordersaga conform", "price": price, "changedAt": changed_at, "version": 1}
        await scene.send(PRICES, known | {"active": True}, key=name.encode())
    lines = [(name, quantity) for name in names]
    return Draft(str(uuid4()), lines, products * quantity * price, {**TEXTS, **texts})


async def _sent_in(scene: Scene, made: Draft) -> Answer:
    """Place the order. A refusal is repeated for a while: the price of its product may not be there yet."""
    loop = asyncio.get_running_loop()
    end = loop.time() + PRICE_PATIENCE * scene.limits.answer_s
    while True:
        answer = await scene.hooks.call("place", made.values, may_be_refused=True)
        if answer.status < 400:
            return answer
        if loop.time() > end:
            raise HookFailed(f"the hook place was answered {answer.status}: {answer.body}")
        await asyncio.sleep(REFUSED_AGAIN_S)


async def placed(scene: Scene, made: Draft | None = None, after: Placed | None = None) -> Placed:
    """Place an order, and wait until Order asks Stock for its products.

    The order is known by its products, which no other order has, except one that was placed before, `after` which this one is: the hook's
    answer may come only after Stock's.
    """
    made = made or await draft(scene)
    name = made.products[0][0]
    hook = scene.in_background(_sent_in(scene, made))
    try:
        created = await _created(scene, name, after)
    except Broken:
        if hook.done():
            hook.result()  # the reason why nothing came
        raise
    order = str(created.field("orderId") or "")
    try:
        scene.follow(order)
    except ValueError:
        raise Broken(f"the request on {CREATED} has no orderId that is a UUID: {order!r}") from None
    return Placed(order, made, created, f"conform-{uuid4()}")


async def _created(scene: Scene, name: str, after: Placed | None) -> Heard:
    """The request for a product that comes first, or first for another order than `after`."""
    if after is None:
        return (await scene.answers(CREATED, name))[0]

    def others() -> list[Heard]:
        return [
            each for each in scene.here(CREATED, name) if str(each.field("orderId")).lower() != after.order_id.lower()
        ]

    if not await scene.stage.until(lambda: bool(others()), scene.limits.answer_s):
        raise Broken(f"a second order of product {name} was placed, and no request for it came on {CREATED}")
    return others()[0]


def stock_answer(order: Placed, product: int = 0, status: str = "SUCCESS") -> Json:
    """Stock's answer for one product."""
    name = order.draft.products[product][0]
    return {"orderId": order.order_id, "productId": name, "status": status, "message": f"stock {status.lower()}"}


def payment_answer(order: Placed, status: str = "SUCCESS", amount: int | None = None, key: str | None = None) -> Json:
    """Payment's outcome."""
    total = order.draft.total if amount is None else amount
    return {"orderId": order.order_id, "paymentKey": key or order.payment_key, "amount": total, "status": status}


def delivery_answer(order: Placed, status: str = "STARTED", delivery_id: str | None = None) -> Json:
    """Delivery's answer."""
    return {"orderId": order.order_id, "deliveryId": delivery_id or str(uuid4()), "status": status}


async def reserve(scene: Scene, order: Placed, status: str = "SUCCESS") -> None:
    """Answer for every product."""
    for product in range(len(order.draft.products)):
        await scene.send(STOCK, stock_answer(order, product, status))


async def pay_for(scene: Scene, order: Placed, **how: Any) -> None:
    """Tell the outcome of the payment."""
    await scene.send(PAYMENT, payment_answer(order, **how))


async def delivery_asked(scene: Scene, order: Placed) -> Heard:
    """Wait for the delivery request."""
    return (await scene.answers(DELIVERY_REQUEST, order.order_id))[0]


async def completed(scene: Scene, order: Placed) -> Heard:
    """Wait for the completion."""
    return (await scene.answers(COMPLETED, order.order_id))[0]


async def at_delivery(scene: Scene) -> Placed:
    """An order that is reserved, paid, and waits for Delivery."""
    order = await placed(scene)
    await reserve(scene, order)
    await pay_for(scene, order)
    await delivery_asked(scene, order)
    return order


async def call(scene: Scene, hook: str, order: Placed) -> Answer:
    """Call a hook about an order as its customer."""
    scene.need(scene.hooks.has(hook), f"--hook {hook}=... does this")
    return await scene.hooks.call(hook, {"orderId": order.order_id, "userId": order.draft.user_id})


# The exchanges --------------------------------------------------------------------------------------------------------


class Placing(Exchange):
    """An order of one product. The request is the hook `place`; its `orderId` here is the product's, by which the order is found."""

    request: ClassVar[str] = ""
    answer: ClassVar[str] = CREATED
    noun: ClassVar[str] = "a placed order"
    required: ClassVar[str] = ""

    async def prepare(self, scene: Scene) -> Json:
        made = await draft(scene)
        return {"orderId": made.products[0][0], "draft": made}

    async def ask(self, scene: Scene, message: Json) -> None:
        scene.in_background(_sent_in(scene, message["draft"]))

    async def ask_all(self, scene: Scene, messages: Sequence[Json]) -> None:
        for message in messages:
            await self.ask(scene, message)


class StockAnswer(Exchange):
    """Stock's SUCCESS for a paid order: the last thing that is missing for the delivery."""

    request: ClassVar[str] = STOCK
    answer: ClassVar[str] = DELIVERY_REQUEST
    noun: ClassVar[str] = "a stock answer"
    optional: ClassVar[tuple[str, ...]] = ("message",)
    texts: ClassVar[tuple[str, ...]] = ("message",)
    required: ClassVar[str] = "status"
    asks_again: ClassVar[bool] = True

    async def prepare(self, scene: Scene) -> Json:
        order = await placed(scene)
        await pay_for(scene, order)
        return stock_answer(order)


class PaymentAnswer(Exchange):
    """Payment's SUCCESS for a reserved order."""

    request: ClassVar[str] = PAYMENT
    answer: ClassVar[str] = DELIVERY_REQUEST
    noun: ClassVar[str] = "a payment outcome"
    required: ClassVar[str] = "amount"
    asks_again: ClassVar[bool] = True

    async def prepare(self, scene: Scene) -> Json:
        order = await placed(scene)
        await reserve(scene, order)
        return payment_answer(order)


class DeliveryAnswer(Exchange):
    """Delivery's STARTED."""

    request: ClassVar[str] = DELIVERY_START
    answer: ClassVar[str] = COMPLETED
    noun: ClassVar[str] = "a started delivery"
    required: ClassVar[str] = "status"

    async def prepare(self, scene: Scene) -> Json:
        return delivery_answer(await at_delivery(scene))


PLACING: Final = Placing()
EXCHANGES: Final = (StockAnswer(), PaymentAnswer(), DeliveryAnswer())
