"""The operator of a history: mends poisoned records, retries parked ones and replays dead letters, or discards parked records."""

from typing import TYPE_CHECKING, Any, Final

from ordersaga.messaging.acts import NotPossible, Operator
from ordersaga.messaging.handler import Coordinates
from ordersaga.messaging.letters import LetterFilter
from ordersaga.messaging.outbox import Outbox
from ordersaga.messaging.queues import Queues
from ordersaga.messaging.redrive import Redrive
from tests.simulation.database import Pool
from tests.simulation.producer import publisher_of
from tests.simulation.scheduler import Process

if TYPE_CHECKING:
    from tests.simulation.world import World

OPERATOR: Final = Operator("operator", "a simulated day")


async def mend(world: "World", service: Any, process: Process) -> None:
    """Mend every poisoned record of a service, retry its parked records now, and replay its dead letters. Runs in the operator's process."""
    pool: Any = Pool(process, world.databases[service])
    topics = {partition.topic for partition in world.groups[service].partitions}
    for place in world.faults.poison:
        if place[0] in topics:
            world.faults.poison[place] = 0
    queues = Queues(world.settings, service, pool, world.clock, world.new_id)
    for queue in await queues.find():
        await _try(world, process, f"retry {queue.first}", queues.retry(queue.first, OPERATOR))
    out = Outbox(world.settings, pool, lambda settings: publisher_of(process, world.log, settings))
    redrive = Redrive(world.settings, service, pool, out, world.clock, world.new_id)
    for letter in await redrive.find(LetterFilter(cause="Poisoned")):
        await _try(world, process, f"replay {letter.coordinates}", redrive.replay(letter.id, OPERATOR))
    await out.close()


async def discard(world: "World", service: Any, process: Process) -> None:
    """Discard the first parked record of each key."""
    pool: Any = Pool(process, world.databases[service])
    queues = Queues(world.settings, service, pool, world.clock, world.new_id)
    for queue in await queues.find():
        place = Coordinates(queue.topic, queue.partition, queue.offset)
        await _try(world, process, f"discard {place}", queues.discard(place, OPERATOR))


async def _try(world: "World", process: Process, what: str, act: Any) -> None:
    try:
        await act
        world.scheduler.say(process.name, what)
    except NotPossible as refusal:
        world.scheduler.say(process.name, what, f"not possible: {refusal}"[:120])
