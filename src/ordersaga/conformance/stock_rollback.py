"""The cases of a Stock that can give back: `StockRollbackRequestedMessage`, answered completed or failed."""

from typing import ClassVar, Final

from ordersaga.conformance.cases import Cases
from ordersaga.conformance.exchange import Exchange
from ordersaga.conformance.form import form_cases
from ordersaga.conformance.load import restart_case
from ordersaga.conformance.poison import poison_cases
from ordersaga.conformance.repeats import REPEAT, repeat_cases
from ordersaga.conformance.scene import Scene, must
from ordersaga.conformance.shapes import shape_cases
from ordersaga.conformance.stock_flow import PLENTY, REQUESTED, ask, left_is, outcome, product, request
from ordersaga.conformance.verdicts import COMPENSATION, NotMeasurable, Silent
from ordersaga.conformance.wire import Heard, Json

CASES: Final = Cases()
ROLLBACK: Final = "stock-rollback-requested-topic"
COMPLETED: Final = "stock-rollback-completed-topic"
FAILED: Final = "stock-rollback-failed-topic"
BOTH_S: Final = 0.5
GIVEN_BACK: Final = (
    "wire facts, compensation: a rollback gives back what the order has taken, and is answered completed"
)


def rollback_of(message: Json) -> Json:
    """The rollback of all products of a request."""
    return {"orderId": message["orderId"], "items": [dict(line) for line in message["products"]]}


async def reserved(scene: Scene, name: str, pieces: int) -> Json:
    """A request that Stock has answered SUCCESS."""
    message = request(scene, (name, pieces))
    await scene.send(REQUESTED, message)
    must((await outcome(scene, message)).taken(name), "a request for a product that is in stock was answered FAILED")
    return message


async def rolled_back(scene: Scene, message: Json) -> bool:
    """Wait for the answer to a rollback; whether it is completed."""
    order = str(message["orderId"])
    if not await scene.stage.until(
        lambda: bool(scene.here(COMPLETED, order) or scene.here(FAILED, order)), scene.limits.answer_s
    ):
        raise Silent(
            f"no answer to the rollback of order {order} came on {COMPLETED} or {FAILED} within {scene.limits.answer_s:g} s"
        )
    # A Stock that says both has a case of its own, whichever topic is heard first.
    return await scene.stage.until(lambda: bool(scene.here(COMPLETED, order)), BOTH_S, may_not_come=True)


class Rollback(Exchange):
    """The rollback of all that an order has taken."""

    request: ClassVar[str] = ROLLBACK
    answer: ClassVar[str] = COMPLETED
    noun: ClassVar[str] = "a rollback"
    required: ClassVar[str] = "items"
    tags: ClassVar[frozenset[str]] = frozenset({COMPENSATION})

    async def prepare(self, scene: Scene) -> Json:
        return rollback_of(await reserved(scene, await product(scene, PLENTY), 1))

    async def answered(self, scene: Scene, message: Json) -> list[Heard]:
        must(await rolled_back(scene, message), f"the rollback of what was taken was answered on {FAILED}")
        return scene.here(self.answer, str(message["orderId"]))[:1]

    def essence(self, answer: Heard) -> object:
        return answer.topic

    async def had_one_effect(self, scene: Scene, message: Json) -> None:
        (line,) = message["items"]
        why = "1 piece was taken, and a rollback gives it back once, however often it comes"
        await left_is(scene, line["productId"], PLENTY, why)


EXCHANGE: Final = Rollback()


@CASES.case("a rollback puts the pieces back", GIVEN_BACK, COMPENSATION)
async def back(scene: Scene) -> None:
    name = await product(scene, 5)
    message = await reserved(scene, name, 4)
    await scene.send(ROLLBACK, rollback_of(message))
    must(await rolled_back(scene, message), f"the rollback of what was taken was answered on {FAILED}")
    await left_is(scene, name, 5, "4 of 5 pieces were taken and given back")


@CASES.case("a repeated rollback puts the pieces back once", REPEAT, COMPENSATION, "repeats")
async def back_once(scene: Scene) -> None:
    name = await product(scene, 5)
    message = await reserved(scene, name, 2)
    await scene.send(ROLLBACK, rollback_of(message), times=3)
    await rolled_back(scene, message)
    await scene.quiet()
    await left_is(scene, name, 5, "2 of 5 pieces were taken, and given back in three records of one rollback")


@CASES.case("a rollback of one product leaves the others", GIVEN_BACK, COMPENSATION)
async def one_of_two(scene: Scene) -> None:
    one, other = await product(scene, 2), await product(scene, 2)
    message = request(scene, (one, 2), (other, 2))
    await scene.send(REQUESTED, message)
    must(not (await outcome(scene, message)).failed, "an order for products that are in stock was answered FAILED")
    await scene.send(ROLLBACK, {"orderId": message["orderId"], "items": [{"productId": one, "quantity": 2}]})
    await rolled_back(scene, message)
    await left_is(scene, one, 2, "the product was given back")
    await left_is(scene, other, 0, "the other product was not given back")


@CASES.case(
    "two rollbacks of two products give both back",
    "compensation: Order may give back an order's products one after the other; a rollback of another product is no repeat",
    COMPENSATION,
    "repeats",
)
async def one_after_the_other(scene: Scene) -> None:
    one, other = await product(scene, 2), await product(scene, 2)
    message = request(scene, (one, 2), (other, 2))
    await scene.send(REQUESTED, message)
    must(not (await outcome(scene, message)).failed, "an order for products that are in stock was answered FAILED")
    for name in (one, other):
        await scene.send(ROLLBACK, {"orderId": message["orderId"], "items": [{"productId": name, "quantity": 2}]})
    await rolled_back(scene, message)
    await scene.quiet()
    await left_is(scene, one, 2, "the product was given back by the first rollback")
    await left_is(scene, other, 2, "the product was given back by the second rollback")


@CASES.case(
    "a rollback of an order without stock is answered",
    "an order whose rollback nobody answers waits for ever; completed and failed are both right",
    COMPENSATION,
    "failures",
)
async def nothing_taken(scene: Scene) -> None:
    name = await product(scene, 1)
    message = request(scene, (name, 2))
    await scene.send(REQUESTED, message)
    await outcome(scene, message)
    await scene.send(ROLLBACK, rollback_of(message))
    await rolled_back(scene, message)
    await left_is(scene, name, 1, "the order was refused, so its rollback gives nothing back")


@CASES.case(
    "a rollback of more than was taken adds nothing",
    "a rollback gives back what the order has taken, and no more",
    COMPENSATION,
    "failures",
)
async def too_much(scene: Scene) -> None:
    name = await product(scene, 5)
    message = await reserved(scene, name, 1)
    await scene.send(ROLLBACK, {"orderId": message["orderId"], "items": [{"productId": name, "quantity": 3}]})
    done = await rolled_back(scene, message)
    await left_is(
        scene,
        name,
        5 if done else 4,
        f"1 of 5 pieces was taken, and a rollback of 3 was answered {'completed' if done else 'failed'}",
    )


@CASES.case(
    "a request that comes after its rollback holds nothing",
    "topics have no order among themselves: after a completed rollback the order is dead, and its request takes nothing",
    COMPENSATION,
    "arrival",
)
async def overtaken(scene: Scene) -> None:
    name = await product(scene, 5)
    message = request(scene, (name, 2))
    await scene.send(ROLLBACK, rollback_of(message), note="before the request")
    done = await rolled_back(scene, message)
    await scene.send(REQUESTED, message)
    found = await outcome(scene, message)
    if done:
        must(not found.taken(name), "the rollback was answered completed, and the request after it SUCCESS")
    await left_is(scene, name, 3 if found.taken(name) else 5, "the request came after its rollback")


@CASES.case("a repeated request after its rollback takes nothing", REPEAT, COMPENSATION, "repeats", "arrival")
async def after_release(scene: Scene) -> None:
    name = await product(scene, 5)
    message = await reserved(scene, name, 2)
    await scene.send(ROLLBACK, rollback_of(message))
    must(await rolled_back(scene, message), f"the rollback of what was taken was answered on {FAILED}")
    await scene.send(REQUESTED, message, note="again, after the rollback")
    await scene.quiet()
    await left_is(scene, name, 5, "2 pieces were taken and given back, then the request came again")


@CASES.case("given back pieces can be taken by another order", GIVEN_BACK, COMPENSATION)
async def for_another(scene: Scene) -> None:
    name = await product(scene, 1)
    message = await reserved(scene, name, 1)
    must(not (await ask(scene, (name, 1))).taken(name), "one piece was taken twice")
    await scene.send(ROLLBACK, rollback_of(message))
    await rolled_back(scene, message)
    must((await ask(scene, (name, 1))).taken(name), "the piece that was given back could not be taken")


@CASES.case(
    "a refused request stays refused when pieces come back",
    "an order that was refused is dead: its repeat takes nothing, though there is enough by then",
    COMPENSATION,
    "repeats",
)
async def stays_refused(scene: Scene) -> None:
    name = await product(scene, 1)
    message, late = await reserved(scene, name, 1), request(scene, (name, 1))
    await scene.send(REQUESTED, late)
    if (await outcome(scene, late)).taken(name):
        raise NotMeasurable("this Stock gives more than there is, so nothing is refused; other cases judge that")
    await scene.send(ROLLBACK, rollback_of(message))
    await rolled_back(scene, message)
    await scene.send(REQUESTED, late, note="again, now that the piece is back")
    await scene.quiet()
    await left_is(
        scene, name, 1, "the piece came back after the request for it was refused, and the request came again"
    )


@CASES.case(
    "a rollback is completed or failed, and not both",
    "wire facts, compensation: a rollback has one outcome, on one of the two topics",
    COMPENSATION,
    "repeats",
)
async def one_outcome(scene: Scene) -> None:
    message = await reserved(scene, await product(scene, 5), 2)
    await scene.send(ROLLBACK, rollback_of(message))
    await rolled_back(scene, message)
    await scene.quiet()
    order = str(message["orderId"])
    both = scene.here(COMPLETED, order) and scene.here(FAILED, order)
    must(not both, f"one rollback was answered on {COMPLETED} and on {FAILED}")


CASES.add(*form_cases(EXCHANGE), *repeat_cases(EXCHANGE), *shape_cases(EXCHANGE), restart_case(EXCHANGE))
CASES.add(*poison_cases(EXCHANGE))
