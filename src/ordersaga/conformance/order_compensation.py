"""The cases of an Order that compensates: it gives back stock and money of orders that fail, are cancelled or are returned."""

from typing import Final
from uuid import uuid4

from ordersaga.conformance.cases import Cases
from ordersaga.conformance.order_flow import (
    DELIVERY_REQUEST,
    DELIVERY_START,
    STOCK,
    Placed,
    at_delivery,
    call,
    completed,
    delivery_answer,
    draft,
    pay_for,
    placed,
    reserve,
    stock_answer,
)
from ordersaga.conformance.repeats import REPEAT
from ordersaga.conformance.scene import Scene, must
from ordersaga.conformance.verdicts import COMPENSATION
from ordersaga.conformance.wire import Heard, number_in

CASES: Final = Cases()
ROLLBACK: Final = "stock-rollback-requested-topic"
ROLLED_BACK: Final = "stock-rollback-completed-topic"
REFUND: Final = "payment-cancel-requested-topic"
RELEASES: Final = "wire facts, compensation: Order asks for a rollback of what an order that has ended still holds"
REFUNDS: Final = "compensation: Order asks for the money back that an order which has ended was paid with"


async def released(scene: Scene, order: Placed, products: list[int]) -> None:
    """Wait until Order has asked to release exactly these products. Each request is answered as it comes: an Order may wait for that before it asks for
    a product that was reserved later."""
    wanted: set[tuple[str, object]] = {
        (name.lower(), pieces) for name, pieces in (order.draft.products[each] for each in products)
    }

    def requests() -> list[Heard]:
        return scene.here(ROLLBACK, order.order_id)

    def asked() -> set[tuple[str, object]]:
        lines = [line for each in requests() for line in each.field("items") or []]
        return {(str(line.get("productId")).lower(), number_in(line.get("quantity"))) for line in lines}

    answered: list[Heard] = []
    while await scene.stage.until(lambda: len(requests()) > len(answered), scene.limits.answer_s):
        for each in requests()[len(answered) :]:
            await scene.send(ROLLED_BACK, {"orderId": order.order_id})
            answered.append(each)
        if wanted <= asked():
            break
    must(asked() == wanted, f"the products {_listed(asked())} were to be rolled back, not {_listed(wanted)}")


def _listed(lines: set[tuple[str, object]]) -> str:
    return ", ".join(sorted(f"{pieces} of {name}" for name, pieces in lines)) or "none"


async def refunded(scene: Scene, order: Placed, key: str | None = None, amount: int | None = None) -> Heard:
    """Wait until Order has asked for the money back."""
    asked = (await scene.answers(REFUND, order.order_id))[0]
    must(asked.field("paymentKey") == (key or order.payment_key), f"paymentKey is {asked.field('paymentKey')!r}")
    wanted = order.draft.total if amount is None else amount
    must(asked.number("amount") == wanted, f"amount is {asked.field('amount')!r}, not {wanted}")
    answer = {"orderId": order.order_id, "paymentKey": key or order.payment_key, "amount": wanted, "status": "SUCCESS"}
    await scene.send(
        "payment-cancelled-topic", answer | {"message": None, "balanceAmount": 0, "requestId": asked.field("requestId")}
    )
    return asked


@CASES.case("a declined payment releases the stock", RELEASES, COMPENSATION, "failures")
async def declined(scene: Scene) -> None:
    order = await placed(scene, await draft(scene, products=2))
    await reserve(scene, order)
    await pay_for(scene, order, status="FAILED")
    await released(scene, order, [0, 1])


@CASES.case("a product out of stock releases the others alone", RELEASES, COMPENSATION, "failures")
async def others(scene: Scene) -> None:
    order = await placed(scene, await draft(scene, products=2))
    await scene.send(STOCK, stock_answer(order, 0))
    await scene.send(STOCK, stock_answer(order, 1, "FAILED"))
    await released(scene, order, [0])


@CASES.case("a product that is reserved after the order's end is released", RELEASES, COMPENSATION, "arrival")
async def late_success(scene: Scene) -> None:
    order = await placed(scene, await draft(scene, products=2))
    await scene.send(STOCK, stock_answer(order, 1, "FAILED"))
    await scene.quiet()
    await scene.send(STOCK, stock_answer(order, 0), note="after the order's end")
    await released(scene, order, [0])


@CASES.case("a paid order that is out of stock is refunded", REFUNDS, COMPENSATION, "failures")
async def paid_out_of_stock(scene: Scene) -> None:
    order = await placed(scene)
    await pay_for(scene, order)
    await reserve(scene, order, "FAILED")
    await refunded(scene, order)


@CASES.case("a payment after the order's end is refunded", REFUNDS, COMPENSATION, "arrival")
async def late_payment(scene: Scene) -> None:
    order = await placed(scene)
    await reserve(scene, order, "FAILED")
    await scene.quiet()
    await pay_for(scene, order)
    await refunded(scene, order)


@CASES.case("a payment of another amount is refunded, and the stock released", REFUNDS, COMPENSATION, "failures")
async def mismatch(scene: Scene) -> None:
    order = await placed(scene)
    await reserve(scene, order)
    less = order.draft.total - 1_000
    await pay_for(scene, order, amount=less)
    await refunded(scene, order, amount=less)
    await released(scene, order, [0])


@CASES.case("a second payment is refunded alone", REFUNDS, COMPENSATION, "repeats")
async def second_payment(scene: Scene) -> None:
    order = await at_delivery(scene)
    key = f"conform-{uuid4()}"
    await pay_for(scene, order, key=key)
    await refunded(scene, order, key)
    await scene.send(DELIVERY_START, delivery_answer(order))
    await completed(scene, order)


@CASES.case("a failed delivery gives back the stock and the money", REFUNDS, COMPENSATION, "failures")
async def undeliverable(scene: Scene) -> None:
    order = await at_delivery(scene)
    await scene.send(DELIVERY_START, delivery_answer(order, "FAILED"))
    await refunded(scene, order)
    await released(scene, order, [0])


@CASES.case("a repeated failure is compensated once", REPEAT, COMPENSATION, "repeats")
async def once(scene: Scene) -> None:
    order = await at_delivery(scene)
    await scene.send(DELIVERY_START, delivery_answer(order, "FAILED"), times=3)
    await refunded(scene, order)
    await released(scene, order, [0])
    await scene.quiet()
    requests = {str(each.field("requestId")) for each in scene.here(REFUND, order.order_id)}
    must(len(requests) == 1, f"{len(requests)} different refunds were asked for")
    rollbacks = len(scene.here(ROLLBACK, order.order_id))
    must(rollbacks == 1, f"{rollbacks} rollbacks of its one product were asked for")


@CASES.case("a completed order gives nothing back", RELEASES, COMPENSATION, "repeats")
async def nothing_back(scene: Scene) -> None:
    order = await at_delivery(scene)
    await scene.send(DELIVERY_START, delivery_answer(order))
    await completed(scene, order)
    await scene.send(DELIVERY_START, delivery_answer(order, "FAILED"), note="after the completion")
    await pay_for(scene, order, status="FAILED")
    await scene.send(STOCK, stock_answer(order, 0, "FAILED"))
    await scene.quiet()
    for topic in (ROLLBACK, REFUND):
        must(not scene.here(topic, order.order_id), f"the order is completed, and a record came on {topic}")


@CASES.case("a cancelled order gives back the stock and the money", REFUNDS, COMPENSATION, "cancel")
async def cancelled(scene: Scene) -> None:
    order = await placed(scene, await draft(scene, products=2))
    await scene.send(STOCK, stock_answer(order, 0))
    await pay_for(scene, order)
    await scene.quiet()
    await call(scene, "cancel", order)
    await refunded(scene, order)
    await released(scene, order, [0])
    await scene.send(STOCK, stock_answer(order, 1), note="after the cancellation")
    await scene.silence(DELIVERY_REQUEST, order.order_id, "the order is cancelled")


@CASES.case("a returned order gives back the stock and the money", REFUNDS, COMPENSATION, "return")
async def returned(scene: Scene) -> None:
    order = await at_delivery(scene)
    await scene.send(DELIVERY_START, delivery_answer(order))
    await completed(scene, order)
    await call(scene, "return", order)
    await refunded(scene, order)
    await released(scene, order, [0])
