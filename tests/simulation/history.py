"""Runs one history and judges it."""

import asyncio
import hashlib
import time
from collections.abc import MutableMapping
from typing import Any, Final

import structlog
from msgspec import Struct

from tests.simulation.database import Database
from tests.simulation.judge import judge
from tests.simulation.plan import Plan
from tests.simulation.scheduler import CURRENT, Violation
from tests.simulation.world import World

ALARM: Final = 40
REFUSED: Final = "Kafka refuses a record for good; the record is a dead letter now"
LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}


class History(Struct):
    """The result of a plan: the broken promises, and a line for each step."""

    plan: Plan
    broken: list[str]
    lines: list[tuple[int, float, str, str, str]]
    digest: str
    steps: int
    seconds: float

    @property
    def length(self) -> int:
        return len(self.lines)


async def run(plan: Plan, databases: dict[str, Database]) -> History:
    """Empty the databases, run the plan, and judge the result."""
    began = time.perf_counter()
    await asyncio.gather(*(databases[service].empty() for service in plan.instances))
    world = World(plan, databases)
    _listen(world)
    broken = []
    try:
        await world.run()
        broken = await judge(world)
    except Violation as violation:
        broken = [*world.complaints, str(violation)]
    finally:
        await world.end()
    lines = world.scheduler.trace
    digest = hashlib.sha1(repr(lines).encode(), usedforsecurity=False).hexdigest()[:12]
    return History(plan, broken, lines, digest, world.scheduler.step, time.perf_counter() - began)


def _listen(world: World) -> None:
    """Add the log lines of the processes to the history. A line of level error or above is a broken promise."""

    def listen(_: Any, level: str, event: MutableMapping[str, Any]) -> Any:
        process = CURRENT.get()
        text = str(event.pop("event"))
        trouble = event.pop("exc_info", None)
        detail = " ".join(f"{name}={value}" for name, value in event.items())
        if process is not None and process.alive:
            world.scheduler.say(process.name, f"log: {text}", detail[:300])
            is_due = text == REFUSED and event["message_id"] in world.log.refused
            if LEVELS.get(level, 0) >= ALARM and not is_due:
                world.complain(f"{process.name} gives an alarm: {text} {detail} {trouble or ''}")
        raise structlog.DropEvent

    structlog.configure(processors=[listen], cache_logger_on_first_use=False)


def loop_factory() -> asyncio.AbstractEventLoop:
    """For `asyncio.Runner`."""
    from tests.simulation.scheduler import Loop

    return Loop()
