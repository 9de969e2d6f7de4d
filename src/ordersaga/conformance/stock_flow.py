"""How the kit asks Stock for products, and what it makes of the answers."""

from collections.abc import Sequence
from typing import ClassVar, Final
from uuid import uuid4

from ordersaga.conformance.exchange import Exchange
from ordersaga.conformance.scene import Scene, must
from ordersaga.conformance.verdicts import Broken, NotMeasurable, Silent
from ordersaga.conformance.wire import Heard, Json
from ordersaga.said import counted

REQUESTED: Final = "order-created"
ANSWERED: Final = "stock-response-topic"
PLENTY: Final = 1_000


async def product(scene: Scene, quantity: int) -> str:
    """A new product with so many pieces; its id."""
    scene.need(scene.hooks.has("seed"), "--seed puts a product in stock")
    wanted = str(uuid4())
    values = {"productId": wanted, "quantity": quantity, "price": 1_000, "name": "ordersaga conform"}
    answer = await scene.hooks.call("seed", values | {"userRoles": "MASTER"})
    return str(answer.find("productId", "id") or wanted)


def request(scene: Scene, *lines: tuple[str, int]) -> Json:
    """A request for these products and quantities, of a new order."""
    return {"orderId": scene.new_id(), "products": [{"productId": name, "quantity": pieces} for name, pieces in lines]}


class Outcome:
    """What Stock said of an order's products: of each alone, or of all together."""

    def __init__(self, answers: Sequence[Heard]) -> None:
        self.by_product: Final = {
            str(each.field("productId")).lower(): not each.failed for each in answers if each.field("productId")
        }
        self.whole: Final = [not each.failed for each in answers if not each.field("productId")]

    def taken(self, name: str) -> bool:
        """Whether the product was answered SUCCESS."""
        return self.by_product.get(name.lower(), bool(self.whole) and all(self.whole))

    @property
    def failed(self) -> bool:
        return False in self.whole or False in self.by_product.values()

    def is_whole(self, names: set[str]) -> bool:
        """Whether nothing is open: a FAILED decides an order, otherwise each product needs its SUCCESS."""
        return self.failed or bool(self.whole) or names <= set(self.by_product)


async def outcome(scene: Scene, message: Json) -> Outcome:
    """Wait until Stock has decided an order."""
    order = str(message["orderId"])
    names = {str(line["productId"]).lower() for line in message["products"]}
    await scene.stage.until(lambda: Outcome(scene.here(ANSWERED, order)).is_whole(names), scene.limits.answer_s)
    found = Outcome(scene.here(ANSWERED, order))
    if not found.is_whole(names):
        there = await scene.answers(ANSWERED, order, wait_s=0.1)
        missing = ", ".join(sorted(names - set(found.by_product)))
        raise Silent(
            f"{counted(len(there), 'answer')} came, and none for product {missing} within {scene.limits.answer_s:g} s"
        )
    return found


async def ask(scene: Scene, *lines: tuple[str, int]) -> Outcome:
    """Ask for these products and wait for the outcome."""
    message = request(scene, *lines)
    await scene.send(REQUESTED, message)
    return await outcome(scene, message)


async def left_is(scene: Scene, name: str, pieces: int, why: str) -> None:
    """Raise `Broken` unless so many pieces are left: as many can be taken, and one more cannot."""
    if pieces:
        found = await ask(scene, (name, pieces))
        if not found.taken(name):
            another = await product(scene, pieces)
            if not (await ask(scene, (another, pieces))).taken(another):
                raise NotMeasurable(
                    "this Stock refuses the last piece, so nobody sees what is left; other cases judge that"
                )
            raise Broken(
                f"{why}: {counted(pieces, 'piece')} must be left, and a request for {pieces} was answered FAILED"
            )
    if not (await ask(scene, (name, 1))).taken(name):
        return
    if (await ask(scene, (await product(scene, 1), 2))).failed:
        raise Broken(f"{why}: {counted(pieces, 'piece')} must be left, and {pieces + 1} could be taken")
    raise NotMeasurable("this Stock gives more than there is, so nobody sees what is left; other cases judge that")


class StockRequest(Exchange):
    """A request for one product of which there is plenty."""

    request: ClassVar[str] = REQUESTED
    answer: ClassVar[str] = ANSWERED
    noun: ClassVar[str] = "a stock request"
    required: ClassVar[str] = "products"

    async def prepare(self, scene: Scene) -> Json:
        return request(scene, (await product(scene, PLENTY), 1))

    async def answered(self, scene: Scene, message: Json) -> list[Heard]:
        found = await outcome(scene, message)
        must(not found.failed, "a request for a product that is in stock was answered FAILED")
        return scene.here(self.answer, str(message["orderId"]))[:1]

    def essence(self, answer: Heard) -> object:
        return str(answer.field("productId")).lower(), answer.failed

    async def had_one_effect(self, scene: Scene, message: Json) -> None:
        (line,) = message["products"]
        why = "one request takes 1 piece, however often it comes"
        await left_is(scene, line["productId"], PLENTY - line["quantity"], why)


REQUEST: Final = StockRequest()
