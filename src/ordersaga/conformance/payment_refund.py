"""The cases of a Payment that can give back: `PaymentCancelRequestedMessage`, answered with `PaymentCancelledMessage`."""

from typing import ClassVar, Final, Literal
from uuid import uuid4

from ordersaga.conformance.cases import Cases
from ordersaga.conformance.exchange import Exchange
from ordersaga.conformance.form import form_cases
from ordersaga.conformance.load import restart_case
from ordersaga.conformance.payment_flow import AMOUNT, DECLINED, PAID, Bill, bill, pay, told
from ordersaga.conformance.poison import poison_cases
from ordersaga.conformance.repeats import REPEAT, repeat_cases
from ordersaga.conformance.scene import Scene, must
from ordersaga.conformance.shapes import shape_cases
from ordersaga.conformance.verdicts import COMPENSATION, Broken
from ordersaga.conformance.wire import Heard, Json

CASES: Final = Cases()
ASKED: Final = "payment-cancel-requested-topic"
ANSWERED: Final = "payment-cancelled-topic"
GIVEN_BACK: Final = "compensation: a refund is made at the gateway, and then answered with its amount and its outcome"
NAMED: Final = "compensation: requestId is copied from the request; Order takes an answer with another id for that of another refund"
BALANCE: Final = "compensation: balanceAmount, where it is given, is what the gateway still holds; Order believes it"
IS_ANSWERED: Final = "compensation: every refund is answered, SUCCESS or FAILED; one that nobody answers waits for ever"


async def paid(scene: Scene) -> Bill:
    """An order that is paid."""
    made = await bill(scene)
    await pay(scene, made)
    must(not (await told(scene, made)).failed, "a payment that the gateway approves was told to have failed")
    return made


def refund(made: Bill, amount: int = AMOUNT, request_id: str | None = None) -> Json:
    """The request to refund so much of a payment."""
    return {
        "orderId": made["orderId"],
        "paymentKey": made["paymentKey"],
        "amount": amount,
        "reason": "주문 취소",
        "requestId": request_id or str(uuid4()),
    }


class Refund(Exchange):
    """The refund of a whole payment."""

    request: ClassVar[str] = ASKED
    answer: ClassVar[str] = ANSWERED
    noun: ClassVar[str] = "a refund"
    optional: ClassVar[tuple[str, ...]] = ("reason", "requestId")
    texts: ClassVar[tuple[str, ...]] = ("reason",)
    required: ClassVar[str] = "amount"
    tags: ClassVar[frozenset[str]] = frozenset({COMPENSATION})

    async def prepare(self, scene: Scene) -> Json:
        return refund(await paid(scene))

    async def answered(self, scene: Scene, message: Json) -> list[Heard]:
        answers = await scene.answers(self.answer, str(message["orderId"]))
        must(not answers[0].failed, f"the refund of a captured payment failed: {answers[0].field('message')!r}")
        return answers[:1]

    def essence(self, answer: Heard) -> object:
        return answer.field("paymentKey"), answer.number("amount"), answer.failed


EXCHANGE: Final = Refund()


@CASES.case("a captured payment is refunded", GIVEN_BACK, COMPENSATION)
async def refunded(scene: Scene) -> None:
    message = await EXCHANGE.prepare(scene)
    await scene.send(ASKED, message)
    (answer,) = await EXCHANGE.answered(scene, message)
    must(answer.field("paymentKey") == message["paymentKey"], f"paymentKey is {answer.field('paymentKey')!r}")
    must(answer.number("amount") == AMOUNT, f"amount is {answer.field('amount')!r}, not {AMOUNT}")


@CASES.case("a part is refunded, and then the rest", GIVEN_BACK, COMPENSATION)
async def in_parts(scene: Scene) -> None:
    made = await paid(scene)
    await scene.send(ASKED, refund(made, 10_000))
    await scene.answers(ANSWERED, made["orderId"])
    await scene.send(ASKED, refund(made, AMOUNT - 10_000))
    answers = await scene.answers(ANSWERED, made["orderId"], 2)
    must(not any(each.failed for each in answers), "a refund in two parts failed")
    must(
        {each.number("amount") for each in answers} == {10_000, AMOUNT - 10_000},
        f"the amounts are {[each.field('amount') for each in answers]}",
    )


@CASES.case(
    "two refunds of one amount with two ids are two refunds",
    "compensation: requestId names the refund; another id asks for a further one",
    COMPENSATION,
    "repeats",
)
async def two_ids(scene: Scene) -> None:
    made = await paid(scene)
    await scene.send(ASKED, refund(made, 5_000))
    await scene.answers(ANSWERED, made["orderId"])
    await scene.send(ASKED, refund(made, 5_000))
    answers = await scene.answers(ANSWERED, made["orderId"], 2)
    must(
        not any(each.failed for each in answers), "two refunds of 5,000 of 25,000 won with two ids did not both succeed"
    )
    await scene.send(ASKED, refund(made, 20_000), note="more than the 15,000 won that are left after two refunds")
    answers = await scene.answers(ANSWERED, made["orderId"], 3)
    # What an answer says beyond the amount that was asked for, a case of its own judges.
    amounts = zip((5_000, 5_000, 20_000), answers, strict=False)
    if sum(min(asked, each.number("amount") or 0) for asked, each in amounts if not each.failed) <= AMOUNT:
        return
    if (compared := await _compared(scene)) in ("whole", "nothing"):
        scene.notes.append(
            "this Payment refunds more than is left, so nobody sees what is left; another case judges that"
        )
        return
    raise Broken(
        "5,000 of 25,000 won were refunded twice, with two ids; then 20,000 more could be refunded, so "
        + (
            "a further refund is answered as the first was"
            if compared == "first"
            else "the second was taken for the first"
        )
    )


async def _compared(scene: Scene) -> Literal["left", "whole", "first", "nothing"]:
    """With what a refund is compared: what is left of the payment, the whole payment, or nothing. `first`: with nothing after a first refund,
    whose outcome answers every further one."""
    fresh, made = await paid(scene), await paid(scene)
    await scene.send(ASKED, refund(fresh, AMOUNT + 1_000))
    if not (await scene.answers(ANSWERED, fresh["orderId"]))[0].failed:
        return "nothing"
    outcomes = []
    for count, amount in enumerate((10_000, AMOUNT - 5_000, AMOUNT + 1_000), start=1):
        await scene.send(ASKED, refund(made, amount))
        outcomes.append((await scene.answers(ANSWERED, made["orderId"], count))[-1].failed)
    if outcomes[1]:
        return "left"
    return "whole" if outcomes[2] else "first"


@CASES.case("a refund is answered with its own id, or with none", NAMED, COMPENSATION)
async def own_id(scene: Scene) -> None:
    message = await EXCHANGE.prepare(scene)
    await scene.send(ASKED, message)
    (answer,) = await EXCHANGE.answered(scene, message)
    said = answer.field("requestId")
    must(said in (None, message["requestId"]), f"requestId is {said!r}; the request has {message['requestId']!r}")


@CASES.case("a refund's balance is what is left of the payment", BALANCE, COMPENSATION)
async def balance(scene: Scene) -> None:
    made = await paid(scene)
    await scene.send(ASKED, refund(made, 10_000))
    (answer,) = await scene.answers(ANSWERED, made["orderId"])
    said = answer.field("balanceAmount")
    must(
        said is None or answer.number("balanceAmount") == AMOUNT - 10_000,
        f"10,000 of 25,000 won were refunded, and balanceAmount is {said!r}",
    )


@CASES.case("a repeated part is refunded once", REPEAT, COMPENSATION, "repeats")
async def part_once(scene: Scene) -> None:
    made = await paid(scene)
    part = refund(made, 10_000)
    await scene.send(ASKED, part, times=3)
    await scene.answers(ANSWERED, made["orderId"])
    await scene.quiet()
    last = refund(made, 15_000)
    await scene.send(ASKED, last, note="the rest, which is left only if the part was refunded once")

    def rest() -> list[Heard]:
        there = scene.here(ANSWERED, made["orderId"])
        return [
            each for each in there if each.field("requestId") == last["requestId"] or each.number("amount") == 15_000
        ]

    await scene.stage.until(lambda: bool(rest()), scene.limits.answer_s)
    must(
        rest() and not rest()[0].failed,
        "10,000 of 25,000 won were refunded in three records of one request; then 15,000 could not be refunded",
    )


@CASES.case("more than was paid is answered FAILED", IS_ANSWERED, COMPENSATION, "failures")
async def too_much(scene: Scene) -> None:
    made = await paid(scene)
    await scene.send(ASKED, refund(made, AMOUNT + 1_000))
    (answer, *_) = await scene.answers(ANSWERED, made["orderId"])
    must(answer.failed or (answer.number("amount") or 0) <= AMOUNT, f"{AMOUNT + 1_000} of {AMOUNT} won were refunded")


@CASES.case("more than is left after another refund is answered FAILED", IS_ANSWERED, COMPENSATION, "failures")
async def more_than_is_left(scene: Scene) -> None:
    compared = await _compared(scene)
    must(compared not in ("whole", "nothing"), f"10,000 and {AMOUNT - 5_000:,} of {AMOUNT:,} won were refunded")
    if compared == "first":
        scene.notes.append("this Payment answers every further refund as the first; another case judges that")


@CASES.case("a declined payment is not refunded", IS_ANSWERED, COMPENSATION, "failures")
async def declined(scene: Scene) -> None:
    made = await bill(scene, card=DECLINED)
    await pay(scene, made)
    order = made["orderId"]
    await scene.stage.until(lambda: bool(scene.here(PAID, order)), scene.limits.answer_s)
    if any(not each.failed for each in scene.here(PAID, order)):
        scene.notes.append("this Payment does not decline the payment; another case judges that")
        return
    await scene.send(ASKED, refund(made))
    (answer, *_) = await scene.answers(ANSWERED, made["orderId"])
    must(answer.failed, "a payment that was declined was refunded")


@CASES.case(
    "a refund without an amount gives nothing back",
    "compensation: a refund has its amount; null is neither 0 nor all of it",
    COMPENSATION,
    "limits",
    phase="poison",
)
async def without_amount(scene: Scene) -> None:
    made = await paid(scene)
    await scene.send(ASKED, refund(made) | {"amount": None})
    await scene.quiet()
    done = [each for each in scene.here(ANSWERED, made["orderId"]) if not each.failed]
    must(not done, "a refund whose amount is null was answered SUCCESS")


@CASES.case(
    "a refund of less than nothing gives nothing back",
    "compensation: a refund makes what is left of a payment smaller; minus 5,000 won are refused, or a dead letter",
    COMPENSATION,
    "limits",
    phase="poison",
)
async def less_than_nothing(scene: Scene) -> None:
    made = await paid(scene)
    await scene.send(ASKED, refund(made, -5_000))
    await scene.quiet()
    done = [each for each in scene.here(ANSWERED, made["orderId"]) if not each.failed]
    must(not done, "a refund of minus 5,000 won was answered SUCCESS")


@CASES.case("a refund of an unknown payment is answered FAILED", IS_ANSWERED, COMPENSATION, "failures")
async def unknown(scene: Scene) -> None:
    made = Bill(orderId=scene.new_id(), paymentKey=f"unknown-{uuid4()}")
    await scene.send(ASKED, refund(made))
    (answer, *_) = await scene.answers(ANSWERED, made["orderId"])
    must(answer.failed, "a payment that nobody made was refunded")


@CASES.case(
    "a refund of another order's payment is answered FAILED",
    "compensation: a payment key belongs to one order",
    COMPENSATION,
    "failures",
)
async def of_another(scene: Scene) -> None:
    made = await paid(scene)
    wrong = Bill(orderId=scene.new_id(), paymentKey=made["paymentKey"])
    await scene.send(ASKED, refund(wrong))
    await scene.answers(ANSWERED, wrong["orderId"])
    await scene.quiet()
    done = [each for order in (wrong, made) for each in scene.here(ANSWERED, order["orderId"]) if not each.failed]
    must(not done, "the payment of one order was refunded for another")


CASES.add(*form_cases(EXCHANGE), *repeat_cases(EXCHANGE), *shape_cases(EXCHANGE), restart_case(EXCHANGE))
CASES.add(*poison_cases(EXCHANGE))
