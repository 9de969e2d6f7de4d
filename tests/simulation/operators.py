"""An operator of a history: mends what made records unbearable, and has what was given up handled again, or throws it away."""

from typing import TYPE_CHECKING, Any, Final

from ordersaga.messaging.acts import NotPossible, Operator
from ordersaga.messaging.outbox import Outbox
from ordersaga.messaging.queues import Place, Queues
from ordersaga.messaging.redrive import Redrive, Wanted
from tests.simulation.database import Pool
from tests.simulation.kafka import Publisher
from tests.simulation.scheduler import Process

if TYPE_CHECKING:
    from tests.simulation.world import World

OPERATOR: Final = Operator("operator", "a simulated day")


async def mend(world: "World", service: Any, process: Process) -> None:
    """Mend every poisoned record of a service, try what is parked at once, and replay its dead letters. Runs in a process of its own."""
    pool: Any = Pool(process, world.databases[service])
    topics = {partition.topic for partition in world.groups[service].partitions}
    for place in world.troubles.poison:
        if place[0] in topics:
            world.troubles.poison[place] = 0
    queues = Queues(world.settings, service, pool, world.clock, world.new_id)
    for queue in await queues.find():
        await _try(world, process, f"retry {queue.place}", queues.retry(queue.place, OPERATOR))
    out = Outbox(world.settings, pool, lambda _: Publisher(process, world.log))  # type: ignore[arg-type, return-value]
    redrive = Redrive(world.settings, service, pool, out, world.clock, world.new_id)
    for letter in await redrive.find(Wanted(cause="Poisoned")):
        await _try(world, process, f"replay {letter.place}", redrive.replay(letter.id, OPERATOR))
    await out.close()


async def discard(world: "World", service: Any, process: Process) -> None:
    """Throw the first record of each queue away."""
    pool: Any = Pool(process, world.databases[service])
    queues = Queues(world.settings, service, pool, world.clock, world.new_id)
    for queue in await queues.find():
        place = Place(queue.topic, queue.partition, queue.offset)
        await _try(world, process, f"discard {place}", queues.discard(place, OPERATOR))


async def _try(world: "World", process: Process, what: str, act: Any) -> None:
    try:
        await act
        world.scheduler.say(process.name, what)
    except NotPossible as refusal:
        world.scheduler.say(process.name, what, f"not possible: {refusal}"[:120])
