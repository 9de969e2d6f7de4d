"""The cases of Stock. The kit plays Order: it sends `StockDecreaseRequestMessage` and reads `StockResponseMessage`.

A Stock may answer product by product, or once for the whole order without `productId`. Both are right.
"""

import asyncio
from typing import Final
from uuid import uuid4

from ordersaga.conformance.cases import Cases
from ordersaga.conformance.form import form_cases, refusal_has_the_guides_types
from ordersaga.conformance.load import load_case, memory_case, restart_case
from ordersaga.conformance.poison import poison_cases
from ordersaga.conformance.repeats import REPEAT, repeat_cases
from ordersaga.conformance.scene import Scene, must
from ordersaga.conformance.shapes import shape_cases
from ordersaga.conformance.stock_flow import (
    ANSWERED,
    PLENTY,
    REQUEST,
    REQUESTED,
    Outcome,
    ask,
    left_is,
    outcome,
    product,
    request,
)
from ordersaga.conformance.verdicts import NotMeasurable
from ordersaga.contracts.limits import INT32_MAX

CASES: Final = Cases()
NO_OVERSELLING: Final = (
    "guide, Stock: it decreases the stock; what is not there cannot be taken, and the answer is FAILED"
)
ONLY_WHAT_IS_SAID: Final = (
    "guide, Stock: the outcome that it publishes is what it has done; a product that was answered FAILED was not taken"
)


# The stock itself -----------------------------------------------------------------------------------------------------


@CASES.case(
    "a product that is in stock is answered SUCCESS",
    "guide, Stock: it consumes order-created, decreases the stock, and publishes the outcome",
    "happy",
)
async def success(scene: Scene) -> None:
    name = await product(scene, 3)
    found = await ask(scene, (name, 3))
    must(found.taken(name), "3 pieces of 3 were answered FAILED")


@CASES.case(
    "each product of an order is answered",
    "guide, messages: StockResponseMessage names a productId; Order waits for each product",
    "happy",
)
async def several(scene: Scene) -> None:
    names = [await product(scene, 5) for _ in range(3)]
    found = await ask(scene, *((name, 2) for name in names))
    must(all(map(found.taken, names)), "an order of three products that are in stock was answered FAILED")


@CASES.case("a request decreases the stock", NO_OVERSELLING, "happy")
async def decreased(scene: Scene) -> None:
    name = await product(scene, 5)
    await ask(scene, (name, 3))
    await left_is(scene, name, 2, "3 of 5 pieces were taken")


@CASES.case("each product of an order is decreased", NO_OVERSELLING, "happy")
async def each_decreased(scene: Scene) -> None:
    first, second = await product(scene, 5), await product(scene, 5)
    message = request(scene, (first, 1), (second, 3))
    order = str(message["orderId"])
    await scene.send(REQUESTED, message)
    await scene.answers(ANSWERED, order)
    await scene.quiet(lambda: Outcome(scene.here(ANSWERED, order)).is_whole({first.lower(), second.lower()}))
    must(not Outcome(scene.here(ANSWERED, order)).failed, "an order for products that are in stock was answered FAILED")
    await left_is(scene, second, 2, "3 of 5 pieces of an order's second product were taken")


@CASES.case("more than there is is answered FAILED", NO_OVERSELLING, "failures")
async def short(scene: Scene) -> None:
    name = await product(scene, 2)
    found = await ask(scene, (name, 3))
    must(not found.taken(name), "3 pieces of 2 were answered SUCCESS")


@CASES.case("a refused request takes nothing", ONLY_WHAT_IS_SAID, "failures")
async def refused_takes_nothing(scene: Scene) -> None:
    name = await product(scene, 2)
    await ask(scene, (name, 3))
    await left_is(scene, name, 2, "a request for 3 of 2 pieces was refused")


@CASES.case("a product without stock is answered FAILED", NO_OVERSELLING, "failures")
async def empty(scene: Scene) -> None:
    name = await product(scene, 0)
    must(not (await ask(scene, (name, 1))).taken(name), "1 piece of 0 was answered SUCCESS")


@CASES.case(
    "an unknown product is answered FAILED",
    "guide, Stock: it publishes the outcome of every request; an order that nobody answers waits for ever",
    "failures",
)
async def unknown(scene: Scene) -> None:
    name = str(uuid4())
    must(not (await ask(scene, (name, 1))).taken(name), "a product that does not exist was answered SUCCESS")


@CASES.case("what fails in part is taken as it was answered", ONLY_WHAT_IS_SAID, "failures")
async def in_part(scene: Scene) -> None:
    plenty, scarce = await product(scene, 5), await product(scene, 1)
    message = request(scene, (plenty, 2), (scarce, 3))
    await scene.send(REQUESTED, message)
    found = await outcome(scene, message)
    must(found.failed, "an order with 3 pieces of a product that has 1 was not answered FAILED")
    await scene.quiet()
    found = Outcome(scene.here(ANSWERED, str(message["orderId"])))
    must(not found.taken(scarce), "3 pieces of 1 were answered SUCCESS")
    await left_is(
        scene,
        plenty,
        3 if found.taken(plenty) else 5,
        "the other product was answered " + ("SUCCESS" if found.taken(plenty) else "nothing or FAILED"),
    )


@CASES.case("orders for the last pieces at once do not oversell", NO_OVERSELLING, "races")
async def race(scene: Scene) -> None:
    name = await product(scene, 10)
    messages = [request(scene, (name, 1)) for _ in range(30)]
    await scene.send_all(REQUESTED, messages)
    taken = sum([(await outcome(scene, message)).taken(name) for message in messages])
    must(taken == 10, f"30 orders asked for one piece each of 10, and {taken} were answered SUCCESS")


@CASES.case(
    "orders for two products in opposite orders all end",
    "guide, Stock: it publishes the outcome of every request, also when two requests lock the same products",
    "races",
)
async def crossing(scene: Scene) -> None:
    one, other = await product(scene, PLENTY), await product(scene, PLENTY)
    messages = [request(scene, *(((one, 1), (other, 1)) if n % 2 else ((other, 1), (one, 1)))) for n in range(40)]
    await scene.send_all(REQUESTED, messages)
    for message in messages:
        must(not (await outcome(scene, message)).failed, "an order for products that are in stock was answered FAILED")


@CASES.case("one product in two lines is counted twice", NO_OVERSELLING, "limits")
async def two_lines(scene: Scene) -> None:
    name = await product(scene, 3)
    found = await ask(scene, (name, 2), (name, 2))
    must(
        not found.taken(name) or found.failed,
        "two lines of 2 pieces each, of a product that has 3, were answered SUCCESS",
    )


@CASES.case(
    "an order of fifty products is answered whole", "guide, messages: products is a list, without a limit", "limits"
)
async def fifty(scene: Scene) -> None:
    names = await asyncio.gather(*(product(scene, 2) for _ in range(50)))
    found = await ask(scene, *((name, 1) for name in names))
    must(all(map(found.taken, names)), "an order of fifty products that are in stock was answered FAILED")


@CASES.case(
    "the largest int32 is answered FAILED",
    "wire facts: integers are Java int, 32-bit signed; 2147483647 pieces are more than there are",
    "limits",
)
async def largest(scene: Scene) -> None:
    name = await product(scene, 5)
    must(not (await ask(scene, (name, INT32_MAX))).taken(name), f"{INT32_MAX} pieces of 5 were answered SUCCESS")
    await left_is(scene, name, 5, f"{INT32_MAX} pieces were asked for and refused")


@CASES.case(
    "two lines that overflow an int32 are answered FAILED",
    "wire facts: integers are Java int, 32-bit signed; a sum must not wrap around to a small number",
    "limits",
)
async def overflow(scene: Scene) -> None:
    name = await product(scene, 5)
    found = await ask(scene, (name, INT32_MAX), (name, INT32_MAX))
    must(not found.taken(name) or found.failed, f"two lines of {INT32_MAX} pieces each were answered SUCCESS")
    await left_is(scene, name, 5, "two lines beyond an int32 were asked for and refused")


@CASES.case(
    "a negative quantity adds nothing to the stock",
    "guide, Stock: a request decreases the stock; minus five pieces are refused, or a dead letter",
    "limits",
    phase="poison",
)
async def negative(scene: Scene) -> None:
    name = await product(scene, 5)
    message = request(scene, (name, -5))
    await scene.send(REQUESTED, message)
    await scene.quiet()
    found = Outcome(scene.here(ANSWERED, str(message["orderId"])))
    must(not found.taken(name), "a request for minus five pieces was answered SUCCESS")
    await left_is(scene, name, 5, "minus five pieces were asked for")


@CASES.case(
    "a line without a quantity is not answered SUCCESS",
    "guide, messages: each product has its quantity; null is not 0, and Order would take the product for reserved",
    "limits",
    phase="poison",
)
async def no_quantity(scene: Scene) -> None:
    name = await product(scene, 5)
    message = request(scene, (name, 1))
    message["products"] = [{"productId": name, "quantity": None}]
    await scene.send(REQUESTED, message)
    await scene.quiet()
    found = Outcome(scene.here(ANSWERED, str(message["orderId"])))
    must(not found.taken(name), "a request whose quantity is null was answered SUCCESS")


# Repeats --------------------------------------------------------------------------------------------------------------


@CASES.case("a repeated request takes its pieces once", REPEAT, "repeats")
async def taken_once(scene: Scene) -> None:
    name = await product(scene, 10)
    message = request(scene, (name, 4))
    await scene.send(REQUESTED, message, times=2)
    await outcome(scene, message)
    await scene.send(REQUESTED, message, key=None, note="again, without a key")
    await scene.quiet()
    await left_is(scene, name, 6, "an order for 4 of 10 pieces came three times")


@CASES.case(
    "a repeated request in upper case takes its pieces once",
    f"{REPEAT}; a UUID is the same in upper and lower case",
    "repeats",
)
async def taken_once_in_any_case(scene: Scene) -> None:
    name = await product(scene, 10)
    message = request(scene, (name, 4))
    await scene.send(REQUESTED, message)
    await outcome(scene, message)
    await scene.send(
        REQUESTED, message | {"orderId": str(message["orderId"]).upper()}, note="again, with the id in upper case"
    )
    await scene.quiet()
    await left_is(scene, name, 6, "an order for 4 of 10 pieces came twice")


@CASES.case("a repeat of a refused request is refused again", REPEAT, "repeats", "failures")
async def refused_again(scene: Scene) -> None:
    name = await product(scene, 2)
    message = request(scene, (name, 3))
    await scene.send(REQUESTED, message)
    if not (await outcome(scene, message)).failed:
        raise NotMeasurable("this Stock gives more than there is, so nothing is refused; other cases judge that")
    await scene.send(REQUESTED, message)
    await scene.quiet()
    found = Outcome(scene.here(ANSWERED, str(message["orderId"])))
    must(not found.taken(name), "a request was refused, and its repeat answered SUCCESS")


@CASES.case(
    "a refused request is answered with the guide's word",
    "guide, messages: status is FAILED where the stock was not decreased; Order knows no other word for it",
    "form",
    "failures",
)
async def refused_word(scene: Scene) -> None:
    message = request(scene, (await product(scene, 2), 3))
    await scene.send(REQUESTED, message)
    if not (await outcome(scene, message)).failed:
        raise NotMeasurable("this Stock gives more than there is, so nothing is refused; other cases judge that")
    words = {each.field("status") for each in scene.here(ANSWERED, str(message["orderId"])) if each.failed}
    must(words == {"FAILED"}, f"the status is {', '.join(sorted(map(repr, words)))}, not FAILED")


@CASES.case(
    "a refused request has the guide's types",
    "guide, messages: productId is a UUID; where an answer is about the whole order it is null or left out",
    "form",
    "failures",
)
async def refused_types(scene: Scene) -> None:
    good, message = await REQUEST.prepare(scene), request(scene, (await product(scene, 2), 3))
    for each in (good, message):
        await scene.send(REQUESTED, each)
    (success,) = await REQUEST.answered(scene, good)
    await scene.stage.until(lambda: bool(scene.here(ANSWERED, str(message["orderId"]))), scene.limits.answer_s)
    for answer in scene.here(ANSWERED, str(message["orderId"])):
        if answer.failed:
            refusal_has_the_guides_types(answer, success, ANSWERED)


@CASES.case(
    "an order in an aborted transaction takes nothing",
    "guide, caution 4: what a producer has aborted was never said",
    "transactions",
)
async def aborted_takes_nothing(scene: Scene) -> None:
    name = await product(scene, 5)
    await scene.send(REQUESTED, request(scene, (name, 4)), commit=False, note="in a transaction that was aborted")
    await scene.quiet()
    await left_is(scene, name, 5, "a request was sent in a transaction that was aborted")


CASES.add(*form_cases(REQUEST), *repeat_cases(REQUEST), *shape_cases(REQUEST))
CASES.add(load_case(REQUEST), memory_case(REQUEST), restart_case(REQUEST))
CASES.add(*poison_cases(REQUEST))
