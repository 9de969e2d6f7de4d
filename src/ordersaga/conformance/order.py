"""The cases of Order. The kit plays the customer, Stock, Payment and Delivery: it places orders and answers what Order asks."""

import itertools
from typing import Final

from ordersaga.conformance.cases import Case, Cases, Play
from ordersaga.conformance.form import form_cases
from ordersaga.conformance.load import load_case, memory_case, restart_case
from ordersaga.conformance.order_flow import (
    COMPLETED,
    CREATED,
    DELIVERY_REQUEST,
    DELIVERY_START,
    EXCHANGES,
    PLACING,
    STOCK,
    TEXTS,
    at_delivery,
    completed,
    delivery_answer,
    delivery_asked,
    draft,
    pay_for,
    placed,
    reserve,
    stock_answer,
)
from ordersaga.conformance.poison import poison_cases
from ordersaga.conformance.repeats import repeat_cases
from ordersaga.conformance.scene import Scene, must
from ordersaga.conformance.shapes import KOREAN, LONG, shape_cases
from ordersaga.conformance.wire import number_in
from ordersaga.contracts.limits import INT32_MAX
from ordersaga.contracts.status import ORDER_CODES

CASES: Final = Cases()
LOAD_SHARE: Final = 0.1
ASKED_AGAIN_S_MIN: Final = 4.0
"""An Order may ask Stock again that has not answered, but not before this time."""
ONLY_THEN: Final = (
    "guide, steps 3, 8 and 9: Order asks for the delivery once its products are reserved and it is paid, and not before"
)
ANY_ORDER: Final = "topics have no order among themselves, so every order of arrival comes out the same"


# The eleven steps -----------------------------------------------------------------------------------------------------


@CASES.case(
    "a placed order asks Stock for its products",
    "guide, step 2: Order sends one stock-decrease request with each product and its quantity",
    "happy",
)
async def asks_stock(scene: Scene) -> None:
    made = await draft(scene, products=3, quantity=4)
    order = await placed(scene, made)
    lines = order.created.field("products") or []
    there = {str(line.get("productId")).lower(): number_in(line.get("quantity")) for line in lines}
    must(there == dict(made.products) and len(lines) == len(there), f"the products are {lines}, not {made.products}")
    await scene.quiet()
    soon = [each for each in scene.here(CREATED, order.order_id) if each.at_s < order.created.at_s + ASKED_AGAIN_S_MIN]
    must(len(soon) == 1, f"one order was placed, and {len(soon)} requests for it came on {CREATED}")


@CASES.case("a reserved and paid order asks for its delivery", ONLY_THEN, "happy")
async def asks_delivery(scene: Scene) -> None:
    await at_delivery(scene)


@CASES.case(
    "the delivery request has the customer's address",
    "guide, messages: DeliveryRequestMessage has the address, the recipient and the memo of the order",
    "happy",
)
async def address(scene: Scene) -> None:
    order = await placed(scene)
    await reserve(scene, order)
    await pay_for(scene, order)
    asked = await delivery_asked(scene, order)
    for name, text in TEXTS.items():
        if name != "orderName":
            must(asked.field(name) == text, f"{name} is {asked.field(name)!r}, not {text!r}")
    must(asked.field("customerId"), "customerId is missing")


@CASES.case(
    "two orders are delivered to their own customers",
    "guide, messages: DeliveryRequestMessage has the address of its order, whoever has ordered since",
    "happy",
)
async def own_address(scene: Scene) -> None:
    orders = [
        await placed(scene, await draft(scene, address=f"{number} Sejong-daero", name=f"customer {number}"))
        for number in (1, 2)
    ]
    for order in orders:
        await reserve(scene, order)
        await pay_for(scene, order)
    asked = [await delivery_asked(scene, order) for order in orders]
    for order, request in zip(orders, asked, strict=True):
        for name in ("address", "name"):
            must(
                request.field(name) == order.draft.texts[name],
                f"{name} is {request.field(name)!r}, not {order.draft.texts[name]!r}, that of its own order",
            )


@CASES.case("Korean, emoji and quotes reach Delivery as they are", "texts are any Unicode, in UTF-8", "happy")
async def korean(scene: Scene) -> None:
    text = KOREAN.replace("\t", " ")
    order = await placed(scene, await draft(scene, address=text, deliveryMemo=text, name=text[:20]))
    await reserve(scene, order)
    await pay_for(scene, order)
    asked = await delivery_asked(scene, order)
    must(asked.field("address") == text, f"address is {asked.field('address')!r}, not {text!r}")


@CASES.case(
    "long texts reach Delivery and the completion whole",
    "200 characters are an ordinary length of an address or a memo, and Korean takes three bytes each: nothing is cut off",
    "happy",
    "limits",
)
async def long_texts(scene: Scene) -> None:
    long, name = LONG[:200].strip(), LONG[:90].strip()
    order = await placed(scene, await draft(scene, address=long, addressDetail=long, deliveryMemo=long, orderName=name))
    await reserve(scene, order)
    await pay_for(scene, order)
    asked = await delivery_asked(scene, order)
    for field in ("address", "addressDetail", "deliveryMemo"):
        must(asked.field(field) == long, f"{field} is {asked.field(field)!r}, not {long!r}")
    await scene.send(DELIVERY_START, delivery_answer(order))
    told = await completed(scene, order)
    must(told.field("orderName") == name, f"orderName is {told.field('orderName')!r}, not {name!r}")


@CASES.case(
    "a started delivery completes the order",
    "guide, steps 10 and 11: Order then completes the order and publishes to order-completed-topic",
    "happy",
)
async def completes(scene: Scene) -> None:
    order = await at_delivery(scene)
    await scene.send(DELIVERY_START, delivery_answer(order))
    await completed(scene, order)


@CASES.case(
    "the completion has the order's customer, total, name and code",
    "wire facts: OrderCompletedMessage.status is ORD0002; a consumer accepts COMPLETED, too",
    "happy",
)
async def completion(scene: Scene) -> None:
    order = await at_delivery(scene)
    await scene.send(DELIVERY_START, delivery_answer(order))
    told = await completed(scene, order)
    must(told.field("status") in (ORDER_CODES["COMPLETED"], "COMPLETED"), f"status is {told.field('status')!r}")
    must(
        told.number("totalAmount") == order.draft.total,
        f"totalAmount is {told.field('totalAmount')!r}, not {order.draft.total}",
    )
    must(told.field("orderName") == TEXTS["orderName"], f"orderName is {told.field('orderName')!r}")
    asked = scene.here(DELIVERY_REQUEST, order.order_id)[0]
    must(
        told.field("customerId") == asked.field("customerId"),
        f"customerId is {told.field('customerId')!r}, and {asked.field('customerId')!r} in the delivery request",
    )


@CASES.case(
    "a total of nearly an int32 is completed as it is", "wire facts: integers are Java Integer, 32-bit signed", "limits"
)
async def large_total(scene: Scene) -> None:
    order = await placed(scene, await draft(scene, quantity=1, price=INT32_MAX))
    await reserve(scene, order)
    await pay_for(scene, order)
    await delivery_asked(scene, order)
    await scene.send(DELIVERY_START, delivery_answer(order))
    told = await completed(scene, order)
    must(
        told.number("totalAmount") == INT32_MAX,
        f"totalAmount is {told.field('totalAmount')!r}, not {INT32_MAX}",
    )


@CASES.case("an order of twenty products waits for all of them", ONLY_THEN, "limits")
async def twenty(scene: Scene) -> None:
    order = await placed(scene, await draft(scene, products=20, quantity=1))
    await pay_for(scene, order)
    for product in range(19):
        await scene.send(STOCK, stock_answer(order, product))
    await scene.silence(DELIVERY_REQUEST, order.order_id, "19 of 20 products are reserved")
    await scene.send(STOCK, stock_answer(order, 19))
    await delivery_asked(scene, order)


# Every order of arrival -----------------------------------------------------------------------------------------------


def _arrivals() -> list[Case]:
    names = {"0": "the first product", "1": "the second product", "p": "the payment"}
    return [
        Case(
            f"arrival: {', then '.join(names[each] for each in order)}",
            ANY_ORDER,
            frozenset({"arrival"}),
            _arrival(order),
        )
        for order in itertools.permutations(names)
    ]


def _arrival(arrivals: tuple[str, ...]) -> Play:
    async def play(scene: Scene) -> None:
        order = await placed(scene, await draft(scene, products=2))
        for n, each in enumerate(arrivals):
            if n == len(arrivals) - 1:
                await scene.silence(DELIVERY_REQUEST, order.order_id, "one of its three answers is still missing")
            if each == "p":
                await pay_for(scene, order)
            else:
                await scene.send(STOCK, stock_answer(order, int(each)))
        await delivery_asked(scene, order)

    return play


CASES.add(*_arrivals())


@CASES.case("a reserved order that is not paid is not delivered", ONLY_THEN, "arrival")
async def unpaid(scene: Scene) -> None:
    order = await placed(scene)
    await reserve(scene, order)
    await scene.silence(DELIVERY_REQUEST, order.order_id, "nothing is paid")


@CASES.case(
    "an answer for one order leaves another order of its product alone",
    "guide, messages: StockResponseMessage has orderId; the product alone does not say whose answer it is",
    "arrival",
)
async def of_one_product(scene: Scene) -> None:
    made = await draft(scene)
    first = await placed(scene, made)
    second = await placed(scene, made, after=first)
    for order in (first, second):
        await pay_for(scene, order)
    await reserve(scene, second)
    await delivery_asked(scene, second)
    await scene.silence(
        DELIVERY_REQUEST, first.order_id, "another order of its product was reserved, and this one was not"
    )


@CASES.case("a paid order that is not reserved is not delivered", ONLY_THEN, "arrival")
async def unreserved(scene: Scene) -> None:
    order = await placed(scene)
    await pay_for(scene, order)
    await scene.silence(DELIVERY_REQUEST, order.order_id, "nothing is reserved")


@CASES.case("a delivery that nobody asked for completes nothing", ONLY_THEN, "arrival")
async def unasked(scene: Scene) -> None:
    order = await placed(scene)
    await scene.send(DELIVERY_START, delivery_answer(order))
    await scene.silence(COMPLETED, order.order_id, "the order is neither reserved nor paid")


@CASES.case(
    "a delivery that has not started completes nothing",
    "guide, steps 10 and 11: Order completes an order once its delivery has started, and not before",
    "arrival",
)
async def not_started(scene: Scene) -> None:
    order = await at_delivery(scene)
    await scene.silence(COMPLETED, order.order_id, "its delivery was asked for and not answered")


@CASES.case(
    "an answer for the whole order reserves all its products",
    "a Stock that decides for the whole order answers without productId",
    "arrival",
    "whole-order",
)
async def whole(scene: Scene) -> None:
    order = await placed(scene, await draft(scene, products=2))
    await pay_for(scene, order)
    await scene.send(STOCK, stock_answer(order) | {"productId": None})
    await delivery_asked(scene, order)


CASES.add(*form_cases(PLACING), *(case for each in EXCHANGES[1:] for case in form_cases(each)))
for _exchange in EXCHANGES:
    CASES.add(*repeat_cases(_exchange), *shape_cases(_exchange))
CASES.add(load_case(EXCHANGES[1], LOAD_SHARE), memory_case(EXCHANGES[1], LOAD_SHARE), restart_case(EXCHANGES[1]))
for _exchange in EXCHANGES:
    CASES.add(*poison_cases(_exchange))
