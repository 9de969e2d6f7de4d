"""The cases of Delivery. The kit plays Order: it sends `DeliveryRequestMessage` and reads `DeliveryStartMessage`."""

from collections.abc import Sequence
from typing import ClassVar, Final
from uuid import uuid4

from ordersaga.conformance.cases import Cases
from ordersaga.conformance.exchange import Exchange
from ordersaga.conformance.form import form_cases, refusal_has_the_guides_types
from ordersaga.conformance.load import load_case, memory_case, restart_case
from ordersaga.conformance.poison import poison_cases
from ordersaga.conformance.repeats import repeat_cases
from ordersaga.conformance.scene import Scene, must
from ordersaga.conformance.shapes import shape_cases
from ordersaga.conformance.verdicts import NotOffered
from ordersaga.conformance.wire import Heard, Json

CASES: Final = Cases()


class DeliveryRequest(Exchange):
    """A delivery that can be made."""

    request: ClassVar[str] = "delivery-request-topic"
    answer: ClassVar[str] = "delivery-start-topic"
    noun: ClassVar[str] = "a delivery request"
    optional: ClassVar[tuple[str, ...]] = ("addressDetail", "deliveryMemo")
    texts: ClassVar[tuple[str, ...]] = ("address", "addressDetail", "deliveryMemo")
    required: ClassVar[str] = "address"

    async def prepare(self, scene: Scene) -> Json:
        return {
            "orderId": scene.new_id(),
            "customerId": str(uuid4()),
            "address": "1 Sejong-daero, Jung-gu",
            "addressDetail": "12F",
            "zipcode": "04524",
            "phone": "010-0000-0000",
            "name": "김하나",
            "deliveryMemo": "문 앞에 두세요",
        }

    async def answered(self, scene: Scene, message: Json) -> list[Heard]:
        answers = await scene.answers(self.answer, str(message["orderId"]))
        must(not answers[0].failed, f"a delivery that can be made was answered {answers[0].field('status')!r}")
        return answers[:1]

    def essence(self, answer: Heard) -> object:
        return str(answer.field("deliveryId")).lower(), answer.failed

    def different(self, answers: Sequence[Heard]) -> None:
        ids = [str(answer.field("deliveryId")).lower() for answer in answers if answer.field("deliveryId") is not None]
        must(
            len(set(ids)) == len(ids), f"{len(ids)} orders that came at once have {len(set(ids))} different deliveryIds"
        )


REQUEST: Final = DeliveryRequest()
OUR_ZIPCODE: Final = "63000"


def _undeliverable(scene: Scene) -> str:
    """A zipcode to which the service does not deliver."""
    zipcode = scene.offers.undeliverable_zipcode
    scene.need(zipcode != "", "--undeliverable-zipcode names a zipcode to which the service does not deliver")
    return zipcode or OUR_ZIPCODE


@CASES.case(
    "a delivery request is answered STARTED",
    "guide, Delivery: it consumes delivery-request-topic, starts the delivery, and publishes to delivery-start-topic",
    "happy",
)
async def started(scene: Scene) -> None:
    message = await REQUEST.prepare(scene)
    await scene.send(REQUEST.request, message)
    await REQUEST.answered(scene, message)


@CASES.case(
    "a started delivery has an id",
    "guide, messages: DeliveryStartMessage has deliveryId, which names the delivery of this order alone",
    "happy",
)
async def has_an_id(scene: Scene) -> None:
    messages = [await REQUEST.prepare(scene) for _ in range(2)]
    ids = []
    for message in messages:
        await scene.send(REQUEST.request, message)
        (answer,) = await REQUEST.answered(scene, message)
        ids.append(answer.field("deliveryId"))
    must(all(ids), "a started delivery has no deliveryId")
    must(ids[0] != ids[1], f"two orders have one deliveryId, {ids[0]}")


@CASES.case(
    "two orders of one customer are two deliveries",
    "one delivery for each order: the order id is the business key, not the customer or the address",
    "repeats",
)
async def one_customer(scene: Scene) -> None:
    first = await REQUEST.prepare(scene)
    ids = []
    for message in (first, first | {"orderId": scene.new_id()}):
        await scene.send(REQUEST.request, message)
        (answer,) = await REQUEST.answered(scene, message)
        ids.append(answer.field("deliveryId"))
    must(ids[0] != ids[1] or ids[0] is None, f"two orders of one customer have one deliveryId, {ids[0]}")


@CASES.case(
    "an address without delivery is answered FAILED",
    'guide, messages: status is "STARTED" or "FAILED"; an order that nobody answers waits for ever',
    "failures",
)
async def refused(scene: Scene) -> None:
    message = await REQUEST.prepare(scene) | {"zipcode": _undeliverable(scene)}
    await scene.send(REQUEST.request, message)
    order = str(message["orderId"])
    await scene.answers(REQUEST.answer, order)
    await scene.quiet(lambda: scene.here(REQUEST.answer, order)[-1].failed)
    answer = scene.here(REQUEST.answer, order)[-1]
    if not answer.failed and scene.offers.undeliverable_zipcode is None:
        raise NotOffered(
            f"this Delivery delivers to {OUR_ZIPCODE}, too; --undeliverable-zipcode names one that it refuses"
        )
    must(answer.failed, f"zipcode {message['zipcode']} was answered {answer.field('status')!r}")


@CASES.case(
    "a refused delivery has the guide's types",
    "guide, messages: deliveryId is a UUID; where there is no delivery it is null or left out, and no text without an id",
    "form",
    "failures",
)
async def refused_types(scene: Scene) -> None:
    good = await REQUEST.prepare(scene)
    message = await REQUEST.prepare(scene) | {"zipcode": _undeliverable(scene)}
    for each in (good, message):
        await scene.send(REQUEST.request, each)
    (success,) = await REQUEST.answered(scene, good)
    await scene.stage.until(lambda: bool(scene.here(REQUEST.answer, str(message["orderId"]))), scene.limits.answer_s)
    for answer in scene.here(REQUEST.answer, str(message["orderId"])):
        if answer.failed:
            refusal_has_the_guides_types(answer, success, REQUEST.answer)


@CASES.case(
    "a repeat of a refused delivery is refused again",
    "wire facts: Kafka delivers at least once, so a repeat has no further effect; its answer, if there is one, says the same",
    "failures",
    "repeats",
)
async def refused_twice(scene: Scene) -> None:
    message = await REQUEST.prepare(scene) | {"zipcode": _undeliverable(scene)}
    order = str(message["orderId"])
    await scene.send(REQUEST.request, message)
    await scene.stage.until(lambda: bool(scene.here(REQUEST.answer, order)), scene.limits.answer_s)
    await scene.quiet()
    first = {each.failed for each in scene.here(REQUEST.answer, order)}
    await scene.send(REQUEST.request, message, note="again, after the answer")
    await scene.quiet()
    said = {each.failed for each in scene.here(REQUEST.answer, order)}
    must(not first or said == first, "one request of the order was refused, and its repeat was started")


@CASES.case(
    "a second request with another address starts no second delivery",
    "one delivery for each order: the order id is the business key, and the first request decides",
    "repeats",
)
async def another_address(scene: Scene) -> None:
    message = await REQUEST.prepare(scene)
    await scene.send(REQUEST.request, message)
    await REQUEST.answered(scene, message)
    await scene.send(REQUEST.request, message | {"address": "2 Sejong-daero"}, note="the same order, another address")
    await scene.quiet()
    ids = {str(each.field("deliveryId")) for each in scene.here(REQUEST.answer, str(message["orderId"]))}
    must(len(ids) == 1, f"the order has {len(ids)} deliveries: {', '.join(sorted(ids))}")


@CASES.case(
    "an address that is missing is answered or becomes a dead letter",
    "guide, caution 3: a request that cannot be carried out is answered FAILED or becomes a dead letter; it is not lost",
    "failures",
)
async def no_address(scene: Scene) -> None:
    message = await REQUEST.prepare(scene) | dict.fromkeys(("address", "zipcode", "phone", "name"))
    sent = await scene.send(REQUEST.request, message)
    order = str(message["orderId"])

    def heard() -> bool:
        return bool(scene.here(REQUEST.answer, order) or scene.stage.letters_of(sent, order))

    must(
        await scene.stage.until(heard, scene.limits.answer_s),
        f"nothing came for order {order}, whose address is null, within {scene.limits.answer_s:g} s",
    )


CASES.add(*form_cases(REQUEST), *repeat_cases(REQUEST), *shape_cases(REQUEST))
CASES.add(load_case(REQUEST), memory_case(REQUEST), restart_case(REQUEST))
CASES.add(*poison_cases(REQUEST))
