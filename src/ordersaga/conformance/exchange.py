"""A request of the kit and the answer of a right service, and the cases that any such pair has."""

from collections.abc import Sequence
from typing import ClassVar

from ordersaga.conformance.cases import Case, LastLook, Phase, Play
from ordersaga.conformance.scene import Scene
from ordersaga.conformance.tally import Surplus
from ordersaga.conformance.verdicts import Broken
from ordersaga.conformance.wire import Heard, Json


class Exchange:
    """One kind of record that the service reads, with what it must answer.

    `request`, `answer`: the topics. `noun`: what a person calls the request. `optional`: fields of the request that may be absent or null.
    `texts`: fields with free text. `required`: a field beside `orderId` without which the message means nothing. `tags`: of all its cases.
    `asks_again`: the answer is a request of the service to another one, which it may send again when it has waited long enough.
    """

    request: ClassVar[str]
    answer: ClassVar[str]
    noun: ClassVar[str]
    optional: ClassVar[tuple[str, ...]] = ()
    texts: ClassVar[tuple[str, ...]] = ()
    required: ClassVar[str]
    tags: ClassVar[frozenset[str]] = frozenset()
    asks_again: ClassVar[bool] = False

    def case(
        self,
        name: str,
        promise: str,
        *tags: str,
        play: Play,
        phase: Phase = "together",
        last_look: LastLook | None = None,
    ) -> Case:
        """A case of this exchange."""
        return Case(name, promise, frozenset({*tags, *self.tags}), play, phase, last_look, self.noun)

    def surplus(self, scene: Scene) -> Surplus | None:
        """An order with more answers than it was asked for, over all cases of the run."""
        return scene.stage.tally.surplus(self.request, scene.place_of(self.answer))

    async def prepare(self, scene: Scene) -> Json:
        """Bring about what the request needs, such as a product in stock; returns the request, which is not sent yet."""
        raise NotImplementedError

    async def ask(self, scene: Scene, message: Json) -> None:
        """Make the request in its plain form."""
        await scene.send(self.request, message)

    async def ask_all(self, scene: Scene, messages: Sequence[Json]) -> None:
        """Make many requests at once."""
        await scene.send_all(self.request, messages)

    async def answered(self, scene: Scene, message: Json) -> list[Heard]:
        """Wait for the answer of a right service; returns it. Raises `Broken` where another one comes, or none. Here any record is right."""
        return (await scene.answers(self.answer, str(message["orderId"])))[:1]

    def essence(self, answer: Heard) -> object:
        """What a repeated answer must say again: here every field, in any order."""
        return sorted((answer.json or {}).items(), key=str)

    async def had_one_effect(self, scene: Scene, message: Json) -> None:
        """Raise `Broken` if a request that was sent more than once had more effect than one. Here its answer says all of it."""

    def different(self, answers: Sequence[Heard]) -> None:
        """Raise `Broken` if the answers to as many requests share what belongs to one of them. Here nothing does."""

    async def settled(self, scene: Scene, message: Json, count: int = 1) -> None:
        """After the answers, wait for further ones. Raises `Broken` unless all say the same as the first `count`."""
        first = await self.answered(scene, message)
        await scene.quiet()
        said = {repr(self.essence(each)) for each in scene.here(self.answer, str(message["orderId"]))}
        wanted = {repr(self.essence(each)) for each in first}
        if said != wanted:
            raise Broken(
                f"a repeat must be answered as the first time, or not at all; the answers on {self.answer} differ: {', '.join(sorted(said))}"
            )
