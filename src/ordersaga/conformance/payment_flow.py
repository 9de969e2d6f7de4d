"""How the kit pays an order over the hooks, and hears the outcome."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Final
from uuid import uuid4

from ordersaga.conformance.exchange import Exchange
from ordersaga.conformance.hooks import Answer
from ordersaga.conformance.scene import Scene, must
from ordersaga.conformance.wire import Heard, Json, instant
from ordersaga.contracts.status import ORDER_CODES

PAID: Final = "payment-success-topic"
PAYABLE: Final = "order-payable-topic"
AMOUNT: Final = 25_000
APPROVED: Final = "approve"
DECLINED: Final = "REJECT_CARD_COMPANY"
PAY_WITHIN: Final = timedelta(minutes=30)


class Bill(dict[str, Any]):
    """What the customer is to pay: `orderId`, `userId`, `amount`, and the `paymentKey` that the gateway gave."""


async def bill(scene: Scene, amount: int = AMOUNT, *, card: str = APPROVED, payable: int | None = None) -> Bill:
    """An order to be paid, and the customer at the gateway's checkout. `payable`: what Order says that it costs."""
    made = Bill(orderId=scene.new_id(), userId=str(uuid4()), amount=amount, card=card)
    await tell_payable(scene, made, amount if payable is None else payable)
    return await check_out(scene, made)


async def tell_payable(scene: Scene, made: Bill, amount: int, status: str = ORDER_CODES["PENDING"]) -> None:
    """Tell Payment who may pay how much, where it wants to know that."""
    if PAYABLE in scene.stage.partitions:
        before = instant(datetime.now(UTC) + PAY_WITHIN)
        message = {"orderId": made["orderId"], "customerId": made["userId"], "totalAmount": amount}
        await scene.send(PAYABLE, message | {"payBefore": before, "status": status})


async def check_out(scene: Scene, made: Bill, card: str | None = None) -> Bill:
    """A payment key from the gateway for this bill."""
    if card is not None:
        made = Bill(made | {"card": card})
    key = f"conform-{uuid4()}"
    if scene.hooks.has("checkout"):
        values = made | {"orderName": "ordersaga conform", "paymentKey": key}
        key = str((await scene.hooks.call("checkout", values)).find("paymentKey") or key)
    return Bill(made | {"paymentKey": key})


async def pay(scene: Scene, made: Bill, **changed: Any) -> Answer:
    """Confirm the payment. A refusal is an answer, too."""
    scene.need(scene.hooks.has("pay"), "--pay confirms a payment")
    scene.stage.tally.ask(EXCHANGE.request, made["orderId"])
    answer = await scene.hooks.call("pay", made | changed, may_be_refused=True)
    if answer.status >= 400:
        scene.notes.append(f"the confirm of order {made['orderId']} was refused with {answer.status}: {answer.body}")
    return answer


async def told(scene: Scene, made: Bill) -> Heard:
    """The first outcome of the order."""
    return (await scene.answers(PAID, made["orderId"]))[0]


async def not_paid(scene: Scene, made: Bill, why: str) -> None:
    """Wait, and raise `Broken` if the order is told to be paid."""
    order = made["orderId"]
    await scene.quiet(lambda: any(not each.failed for each in scene.here(PAID, order)))
    paid = [each for each in scene.here(PAID, order) if not each.failed]
    must(not paid, f"{why}, and yet a success was published")


class Confirm(Exchange):
    """A payment that the gateway approves. The request is the hook `pay`."""

    request: ClassVar[str] = ""
    answer: ClassVar[str] = PAID
    noun: ClassVar[str] = "a payment"
    required: ClassVar[str] = ""

    async def prepare(self, scene: Scene) -> Json:
        return await bill(scene)

    async def ask(self, scene: Scene, message: Json) -> None:
        await pay(scene, Bill(message))

    async def ask_all(self, scene: Scene, messages: Sequence[Json]) -> None:
        await asyncio.gather(*(self.ask(scene, message) for message in messages))

    async def answered(self, scene: Scene, message: Json) -> list[Heard]:
        answers = await scene.answers(self.answer, str(message["orderId"]))
        must(not answers[0].failed, "a payment that the gateway approves was told to have failed")
        return answers[:1]


EXCHANGE: Final = Confirm()
