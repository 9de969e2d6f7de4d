"""The cases of Payment. The kit plays the customer, who pays over the service's HTTP, and Order, which reads `PaymentSuccessMessage`."""

import asyncio
from typing import Final
from uuid import uuid4

from ordersaga.conformance.cases import Cases
from ordersaga.conformance.form import form_cases, refusal_has_the_guides_types
from ordersaga.conformance.load import load_case, memory_case
from ordersaga.conformance.payment_flow import (
    AMOUNT,
    APPROVED,
    DECLINED,
    EXCHANGE,
    PAID,
    PAYABLE,
    Bill,
    bill,
    check_out,
    not_paid,
    pay,
    tell_payable,
    told,
)
from ordersaga.conformance.scene import Scene, must
from ordersaga.contracts.limits import INT32_MAX
from ordersaga.contracts.status import ORDER_CODES

CASES: Final = Cases()
ANSWER_LOST: Final = "answer-lost"
SMALLEST: Final = 1_000
LOAD_SHARE: Final = 0.2
OUTCOME: Final = "guide, Payment: it asks the gateway for approval, and then publishes the outcome, success or failure, to payment-success-topic"
NO_OUTCOME: Final = "guide, Payment: success is published only after the gateway's approval of this payment"


@CASES.case("an approved payment is published as SUCCESS", OUTCOME, "happy")
async def approved(scene: Scene) -> None:
    made = await bill(scene)
    await pay(scene, made)
    answer = await told(scene, made)
    must(not answer.failed, f"the gateway approves, and the status is {answer.field('status')!r}")


@CASES.case(
    "a success names the payment key and the amount",
    "guide, messages: PaymentSuccessMessage has paymentKey and amount; Order compares the amount with its total",
    "happy",
)
async def names_it(scene: Scene) -> None:
    made = await bill(scene, 13_371)
    await pay(scene, made)
    answer = await told(scene, made)
    must(
        answer.field("paymentKey") == made["paymentKey"],
        f"paymentKey is {answer.field('paymentKey')!r}, not {made['paymentKey']!r}",
    )
    must(answer.number("amount") == 13_371, f"amount is {answer.field('amount')!r}, not 13371")


@CASES.case(
    "a declined payment is published as FAILED on the same topic",
    "guide, messages: status is SUCCESS or FAILED; failures go to the same topic",
    "failures",
)
async def declined(scene: Scene) -> None:
    made = await bill(scene, card=DECLINED)
    await pay(scene, made)
    answer = await told(scene, made)
    must(answer.failed, f"the gateway declines, and the status is {answer.field('status')!r}")


@CASES.case(
    "a declined payment has the guide's types",
    "guide, messages: paymentKey is a text and amount an int; what is not known is null or left out",
    "form",
    "failures",
)
async def declined_types(scene: Scene) -> None:
    good, made = await bill(scene), await bill(scene, card=DECLINED)
    for each in (good, made):
        await pay(scene, each)
    success = await told(scene, good)
    await scene.stage.until(lambda: bool(scene.here(PAID, made["orderId"])), scene.limits.answer_s)
    for answer in scene.here(PAID, made["orderId"]):
        if answer.failed:
            refusal_has_the_guides_types(answer, success, PAID)


@CASES.case("after a decline another payment can succeed", OUTCOME, "failures")
async def second_card(scene: Scene) -> None:
    made = await bill(scene, card=DECLINED)
    await pay(scene, made)
    await told(scene, made)
    again = await check_out(scene, made, APPROVED)
    await pay(scene, again)
    await scene.answers(PAID, made["orderId"], 2)
    must(
        any(not each.failed for each in scene.here(PAID, made["orderId"])),
        "the second payment was approved, and no success published",
    )


@CASES.case("a payment key that the gateway does not know is no success", NO_OUTCOME, "failures")
async def unknown_key(scene: Scene) -> None:
    scene.need(
        scene.hooks.has("checkout"), "--checkout makes payments at the gateway; without it no key is unknown to it"
    )
    made = await bill(scene)
    await pay(scene, made, paymentKey=f"unknown-{uuid4()}")
    await not_paid(scene, made, "the gateway does not know the payment key")


@CASES.case("an amount that the customer did not approve is no success", NO_OUTCOME, "failures")
async def other_amount(scene: Scene) -> None:
    scene.need(
        scene.hooks.has("checkout"), "--checkout makes payments at the gateway; without it every amount is approved"
    )
    made = await bill(scene, AMOUNT, payable=AMOUNT - 5_000)
    await pay(scene, made, amount=AMOUNT - 5_000)
    await not_paid(scene, made, f"the customer approved {AMOUNT} won and the confirm says {AMOUNT - 5_000}")


@CASES.case("a payment key of one order does not pay another", NO_OUTCOME, "failures")
async def key_of_another(scene: Scene) -> None:
    made, other = await bill(scene), await bill(scene)
    await pay(scene, made)
    await told(scene, made)
    await pay(scene, other, paymentKey=made["paymentKey"])
    await not_paid(scene, other, "its confirm had the payment key of another order, which is paid")


@CASES.case(
    "a payment confirmed twice is published with one outcome",
    "a client repeats a request that had no answer; the payment is the same by its key",
    "repeats",
)
async def confirmed_twice(scene: Scene) -> None:
    made = await bill(scene)
    await pay(scene, made)
    await told(scene, made)
    await pay(scene, made)
    await _one_outcome(scene, made)


@CASES.case(
    "a payment confirmed five times at once is published with one outcome",
    "a client repeats a request that had no answer; the payment is the same by its key",
    "repeats",
    "races",
)
async def confirmed_at_once(scene: Scene) -> None:
    made = await bill(scene)
    await asyncio.gather(*(pay(scene, made) for _ in range(5)))
    await told(scene, made)
    await _one_outcome(scene, made)


@CASES.case(
    "a declined payment confirmed twice stays declined",
    "a client repeats a request that had no answer; the payment is the same by its key",
    "repeats",
    "failures",
)
async def declined_twice(scene: Scene) -> None:
    made = await bill(scene, card=DECLINED)
    await pay(scene, made)
    await told(scene, made)
    await pay(scene, made)
    await not_paid(scene, made, "the gateway declined the payment")


async def _one_outcome(scene: Scene, made: Bill) -> None:
    await scene.quiet()
    said = {
        (each.failed, each.field("paymentKey"), each.number("amount")) for each in scene.here(PAID, made["orderId"])
    }
    must(len(said) == 1, f"one payment has {len(said)} different outcomes: {sorted(map(str, said))}")


@CASES.case(
    "one payment has one outcome record",
    "one payment has one outcome while nothing fails: at the end of the run no order has more outcomes than payments were confirmed",
    "repeats",
    last_look=EXCHANGE.surplus,
)
async def one_record(scene: Scene) -> None:
    made = await bill(scene)
    await pay(scene, made)
    await told(scene, made)
    await scene.quiet()
    count = len(scene.here(PAID, made["orderId"]))
    must(count == 1, f"one payment was confirmed once, and {count} records were published")


@CASES.case(
    "an order is not paid twice",
    "an order has one open or captured payment; a second payment key is refused, or refunded",
    "one-payment",
)
async def paid_once(scene: Scene) -> None:
    made = await bill(scene)
    await pay(scene, made)
    await told(scene, made)
    await pay(scene, await check_out(scene, made))
    await scene.quiet()
    keys = {str(each.field("paymentKey")) for each in scene.here(PAID, made["orderId"]) if not each.failed}
    must(len(keys) == 1, f"the order was paid with {len(keys)} payment keys: {', '.join(sorted(keys))}")


@CASES.case("the smallest payment is taken", "wire facts: the smallest payment is 1,000 won", "limits")
async def smallest(scene: Scene) -> None:
    made = await bill(scene, SMALLEST)
    await pay(scene, made)
    must(not (await told(scene, made)).failed, f"a payment of {SMALLEST} won was declined")


@CASES.case("less than the smallest payment is no success", "wire facts: the smallest payment is 1,000 won", "limits")
async def too_small(scene: Scene) -> None:
    made = Bill(
        orderId=scene.new_id(), userId=str(uuid4()), amount=SMALLEST - 1, card=APPROVED, paymentKey=f"conform-{uuid4()}"
    )
    await tell_payable(scene, made, SMALLEST - 1)
    await pay(scene, made)
    await not_paid(scene, made, f"{SMALLEST - 1} won are less than the smallest payment")


@CASES.case("the largest int32 is published as it is", "wire facts: integers are Java Integer, 32-bit signed", "limits")
async def largest(scene: Scene) -> None:
    made = await bill(scene, INT32_MAX)
    await pay(scene, made)
    answer = await told(scene, made)
    must(
        answer.failed or answer.number("amount") == INT32_MAX,
        f"amount is {answer.field('amount')!r}, not {INT32_MAX}",
    )


@CASES.case(
    "more than an int32 is no success",
    "wire facts: integers are Java Integer, 32-bit signed; an amount must not wrap around",
    "limits",
)
async def beyond(scene: Scene) -> None:
    made = await bill(scene)
    await pay(scene, made, amount=INT32_MAX + 1 + AMOUNT)
    await not_paid(scene, made, "the amount of the confirm is no int32")


@CASES.case(
    "an approval whose answer was lost is published all the same",
    "guide, caution 4: money that the gateway took is told to Order, also where its answer was lost",
    "gateway-faults",
)
async def answer_lost(scene: Scene) -> None:
    scene.need(
        scene.hooks.has("checkout"),
        "--checkout makes payments at a gateway that loses an answer where $card is answer-lost",
    )
    made = await bill(scene, card=ANSWER_LOST)
    await pay(scene, made)
    must(
        not (await told(scene, made)).failed,
        "the gateway took the money and its answer was lost; a failure was published",
    )


# What Order says that may be paid -------------------------------------------------------------------------------------


def _needs_payable(scene: Scene) -> None:
    scene.need(PAYABLE in scene.stage.partitions, f"there is no topic {PAYABLE}")


@CASES.case(
    "another amount than the order's is no success",
    "order-payable-topic: nobody may pay another amount than Order says",
    "payable",
    "failures",
)
async def not_the_total(scene: Scene) -> None:
    _needs_payable(scene)
    made = await bill(scene, AMOUNT, payable=AMOUNT + 5_000)
    await pay(scene, made)
    await not_paid(scene, made, f"the order costs {AMOUNT + 5_000} won and the payment is {AMOUNT}")


@CASES.case(
    "another customer's order cannot be paid",
    "order-payable-topic: the order's customer alone may pay",
    "payable",
    "failures",
)
async def not_the_customer(scene: Scene) -> None:
    _needs_payable(scene)
    made = await bill(scene)
    await pay(scene, made, userId=str(uuid4()))
    await not_paid(scene, made, "another customer paid")


@CASES.case(
    "a cancelled order cannot be paid",
    "order-payable-topic: with a status other than ORD0001 nobody may pay",
    "payable",
    "failures",
)
async def not_pending(scene: Scene) -> None:
    _needs_payable(scene)
    made = Bill(orderId=scene.new_id(), userId=str(uuid4()), amount=AMOUNT, card=APPROVED)
    await tell_payable(scene, made, AMOUNT)
    await tell_payable(scene, made, AMOUNT, ORDER_CODES["CANCELLED"])
    await scene.quiet()
    await pay(scene, await check_out(scene, made))
    await not_paid(scene, made, "the order is cancelled")


CASES.add(*form_cases(EXCHANGE), load_case(EXCHANGE, LOAD_SHARE), memory_case(EXCHANGE, LOAD_SHARE))
