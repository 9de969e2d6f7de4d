"""The cases of an Order whose partners fail, repeat themselves, or speak of orders that nobody placed."""

from typing import Final
from uuid import uuid4

from ordersaga.conformance.cases import Cases
from ordersaga.conformance.order_flow import (
    COMPLETED,
    DELIVERY_REQUEST,
    DELIVERY_START,
    PAYMENT,
    STOCK,
    Placed,
    at_delivery,
    completed,
    delivery_answer,
    delivery_asked,
    draft,
    pay_for,
    payment_answer,
    placed,
    reserve,
    stock_answer,
)
from ordersaga.conformance.repeats import REPEAT
from ordersaga.conformance.scene import Scene, must
from ordersaga.conformance.verdicts import Broken, NotMeasurable

CASES: Final = Cases()
FAILS: Final = "guide, messages: a FAILED ends the order; it is neither delivered nor completed"


async def _dead(scene: Scene, order: Placed, why: str) -> None:
    """Wait, and raise `Broken` if the order is delivered or completed all the same."""
    await scene.silence(DELIVERY_REQUEST, order.order_id, why)
    must(not scene.here(COMPLETED, order.order_id), f"{why}, and yet it was completed")


async def _not_yet_completed(scene: Scene, order: Placed) -> None:
    """Raise `NotMeasurable` if the order is completed already, though Delivery has not answered."""
    await scene.quiet()
    if scene.here(COMPLETED, order.order_id):
        raise NotMeasurable("this Order completes an order before Delivery has answered; another case judges that")


@CASES.case("a product out of stock ends the order", FAILS, "failures")
async def out_of_stock(scene: Scene) -> None:
    order = await placed(scene)
    await reserve(scene, order, "FAILED")
    await pay_for(scene, order)
    await _dead(scene, order, "its product is out of stock")


@CASES.case("one of two products out of stock ends the order", FAILS, "failures")
async def half_out_of_stock(scene: Scene) -> None:
    order = await placed(scene, await draft(scene, products=2))
    await scene.send(STOCK, stock_answer(order, 0))
    await scene.send(STOCK, stock_answer(order, 1, "FAILED"))
    await pay_for(scene, order)
    await _dead(scene, order, "one of its products is out of stock")


@CASES.case("a product that was refused and then reserved does not revive the order", FAILS, "failures", "arrival")
async def reserved_after_all(scene: Scene) -> None:
    order = await placed(scene)
    await reserve(scene, order, "FAILED")
    await reserve(scene, order)
    await pay_for(scene, order)
    await _dead(scene, order, "its product was answered FAILED first")


@CASES.case("a paid order that is out of stock is not delivered", FAILS, "failures", "arrival")
async def paid_out_of_stock(scene: Scene) -> None:
    order = await placed(scene)
    await pay_for(scene, order)
    await reserve(scene, order, "FAILED")
    await _dead(scene, order, "its product is out of stock")


@CASES.case("a declined payment ends the order", FAILS, "failures")
async def declined(scene: Scene) -> None:
    order = await placed(scene)
    await reserve(scene, order)
    await pay_for(scene, order, status="FAILED")
    await _dead(scene, order, "its payment was declined")


@CASES.case("a declined payment before the stock answer ends the order", FAILS, "failures", "arrival")
async def declined_first(scene: Scene) -> None:
    order = await placed(scene)
    await pay_for(scene, order, status="FAILED")
    await reserve(scene, order)
    await _dead(scene, order, "its payment was declined")


@CASES.case(
    "a payment of another amount is not delivered",
    "guide, messages: PaymentSuccessMessage.amount is what was paid; less than the total does not pay the order",
    "failures",
)
async def mismatch(scene: Scene) -> None:
    order = await placed(scene)
    await reserve(scene, order)
    await pay_for(scene, order, amount=order.draft.total - 1)
    await _dead(scene, order, "1 won of its total is missing")


@CASES.case(
    "a payment of more than the total is not delivered",
    "guide, messages: PaymentSuccessMessage.amount is what was paid; it is the order's total, or something is wrong",
    "failures",
)
async def overpaid(scene: Scene) -> None:
    order = await placed(scene)
    await reserve(scene, order)
    await pay_for(scene, order, amount=order.draft.total + 1)
    await _dead(scene, order, "1 won more than its total was paid")


@CASES.case(
    "a payment of nothing is not delivered",
    "guide, messages: PaymentSuccessMessage.amount is what was paid",
    "failures",
    "limits",
)
async def nothing_paid(scene: Scene) -> None:
    order = await placed(scene)
    await reserve(scene, order)
    await pay_for(scene, order, amount=0)
    await _dead(scene, order, "0 won were paid")


@CASES.case("a failed delivery does not complete the order", FAILS, "failures")
async def undeliverable(scene: Scene) -> None:
    order = await at_delivery(scene)
    await _not_yet_completed(scene, order)
    await scene.send(DELIVERY_START, delivery_answer(order, "FAILED"))
    await scene.silence(COMPLETED, order.order_id, "its delivery has failed")


@CASES.case("a started delivery after a failed one does not complete the order", REPEAT, "failures", "repeats")
async def revived(scene: Scene) -> None:
    order = await at_delivery(scene)
    await _not_yet_completed(scene, order)
    await scene.send(DELIVERY_START, delivery_answer(order, "FAILED"))
    await scene.send(DELIVERY_START, delivery_answer(order), note="after the failure")
    await scene.silence(COMPLETED, order.order_id, "its delivery has failed first")


# Repeats --------------------------------------------------------------------------------------------------------------


@CASES.case("every record three times completes the order once", REPEAT, "repeats")
async def thrice(scene: Scene) -> None:
    order = await placed(scene)
    await scene.send(STOCK, stock_answer(order), times=3)
    await scene.send(PAYMENT, payment_answer(order), times=3)
    await delivery_asked(scene, order)
    await scene.send(DELIVERY_START, delivery_answer(order), times=3)
    await completed(scene, order)
    await scene.quiet()
    for topic in (DELIVERY_REQUEST, COMPLETED):
        count = len(scene.here(topic, order.order_id))
        must(count == 1, f"{count} records came on {topic}")


@CASES.case("a repeated stock answer does not stand for another product", REPEAT, "repeats")
async def not_another(scene: Scene) -> None:
    order = await placed(scene, await draft(scene, products=2))
    await pay_for(scene, order)
    await scene.send(STOCK, stock_answer(order, 0), times=3)
    await scene.silence(DELIVERY_REQUEST, order.order_id, "its second product was never answered")


@CASES.case(
    "an answer for a product of another order reserves nothing",
    "guide, messages: StockResponseMessage names a productId; Order waits for each of its own products",
    "failures",
)
async def of_no_product(scene: Scene) -> None:
    order = await placed(scene, await draft(scene, products=2))
    await pay_for(scene, order)
    await scene.send(STOCK, stock_answer(order, 0))
    await scene.send(STOCK, stock_answer(order) | {"productId": str(uuid4())})
    await scene.silence(DELIVERY_REQUEST, order.order_id, "its second product was never answered")


@CASES.case(
    "a payment without an amount is not delivered",
    "guide, messages: PaymentSuccessMessage.amount is what was paid; null is no amount",
    "failures",
    "limits",
    phase="poison",
)
async def no_amount(scene: Scene) -> None:
    order = await placed(scene)
    await reserve(scene, order)
    await scene.send(PAYMENT, payment_answer(order) | {"amount": None})
    await _dead(scene, order, "its payment says no amount")


@CASES.case(
    "a payment outcome without a status is not delivered",
    "guide, messages: PaymentSuccessMessage.status is SUCCESS or FAILED; null is no success",
    "failures",
    "limits",
    phase="poison",
)
async def no_status(scene: Scene) -> None:
    order = await placed(scene)
    await reserve(scene, order)
    await scene.send(PAYMENT, payment_answer(order) | {"status": None})
    await _dead(scene, order, "its payment says no status")


@CASES.case(
    "a FAILED after a SUCCESS of a paid order changes nothing",
    "the first outcome of a payment counts; a late FAILED, of an earlier try, does not end a paid order",
    "repeats",
)
async def late_decline(scene: Scene) -> None:
    order = await at_delivery(scene)
    await pay_for(scene, order, status="FAILED", key=f"conform-{uuid4()}")
    await scene.send(DELIVERY_START, delivery_answer(order))
    await completed(scene, order)


@CASES.case("answers after the completion change nothing", REPEAT, "repeats")
async def after_the_end(scene: Scene) -> None:
    order = await at_delivery(scene)
    await scene.send(DELIVERY_START, delivery_answer(order))
    await completed(scene, order)
    await scene.send(STOCK, stock_answer(order, 0, "FAILED"))
    await scene.send(PAYMENT, payment_answer(order, "FAILED"))
    await scene.send(DELIVERY_START, delivery_answer(order, "FAILED"))
    await scene.quiet()
    count = len(scene.here(COMPLETED, order.order_id))
    must(count == 1, f"{count} records came on {COMPLETED}")


@CASES.case(
    "answers for an order that nobody placed stop nothing",
    "guide, caution 3: an answer for an unknown order is ignored or becomes a dead letter; the partition goes on",
    "failures",
)
async def unknown_order(scene: Scene) -> None:
    order = await placed(scene)
    stranger = scene.new_id()
    await scene.send(STOCK, stock_answer(order) | {"orderId": stranger}, partition=0)
    await scene.send(STOCK, stock_answer(order), partition=0)
    await scene.send(PAYMENT, payment_answer(order) | {"orderId": stranger}, partition=0)
    await scene.send(PAYMENT, payment_answer(order), partition=0)
    try:
        await delivery_asked(scene, order)
    except Broken as error:
        raise Broken(f"answers for an unknown order stood before those of this one: {error}") from error
    must(not scene.here(DELIVERY_REQUEST, stranger), "a delivery was asked for an order that nobody placed")
