"""A simulated process of a service: the real runtime, handler and commands over a simulated Kafka, gateway and clock."""

import asyncio
from datetime import datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

from ordersaga.messaging.handler import Handler
from ordersaga.messaging.runtime import Ports, Runtime
from ordersaga.messaging.timers import Timers
from ordersaga.order.commands import Acting, Placing
from ordersaga.order.operators import Operating
from ordersaga.order.store import KnownOrders
from ordersaga.order.waking import Waking
from ordersaga.payment.app import parts
from ordersaga.payment.intents import Intents
from ordersaga.stock.commands import change
from tests.simulation.consumer import Consumer
from tests.simulation.database import Pool
from tests.simulation.kafka import Topics
from tests.simulation.producer import publisher_of
from tests.simulation.scheduler import Process

if TYPE_CHECKING:
    from tests.simulation.world import World

# Less often than in production: an idle look costs steps and finds nothing.
RECOVERY_EVERY_S: Final = 0.5
TIMERS_EVERY_S: Final = 1.0


class Instance:
    """One process of a service. It runs until it is killed or `stop` is set; then the world starts another under its name."""

    def __init__(self, world: "World", process: Process, service: Any, handler: Handler, known: KnownOrders) -> None:
        self._world: Final = world
        self.process: Final = process
        self.service: Final = service
        self.stop: Final = asyncio.Event()
        self.is_ready = False
        self.place: Any = None
        self.act: Any = None
        self.operate: Any = None
        self.change: Any = None
        self.payments: Any = None
        self._handler: Final = handler
        self._known: Final = known
        process.spawn(self._live())

    def _ports(self) -> Ports:
        world, process = self._world, self.process
        pool: Any = Pool(process, world.databases[self.service])

        async def connect(*_: Any) -> Any:
            return pool

        async def claim(_: str) -> Any:
            return SimpleNamespace(number=process.name, release=lambda: None)

        async def nothing() -> None:
            return None

        ports: dict[str, Any] = {
            "admission": lambda *_: SimpleNamespace(
                check_options=lambda: None, refused_by_database=nothing, refused_by_kafka=nothing, lacks_rights=nothing
            ),
            "connect": connect,
            "claim_instance": claim,
            "consumer": lambda *_: Consumer(process, world.log, world.groups[self.service]),
            "publisher": lambda settings: publisher_of(process, world.log, settings),
            "topics": lambda _: Topics(),
        }
        return Ports(**ports)

    async def _live(self) -> None:
        world = self._world
        try:
            settings = world.settings_of(self.service)

            def clock() -> datetime:
                return world.clock_of(self.process.name)

            runtime = Runtime(settings, self.service, self._handler, clock, world.new_id, self._ports())
            async with runtime:
                await self._serve(runtime)
        except Exception as error:
            world.complain(f"{self.process.name} ended with {type(error).__name__}: {error}")
        if self.process.alive:
            world.later(0.0, f"{self.process.name} is started in its new version", self._renew)

    async def _serve(self, runtime: Runtime) -> None:
        """What the service's `app.py` sets up."""
        world = self._world
        if self.service == "order":
            self.place = runtime.gather(Placing(world.settings, self._known), short=True)
            self.act = runtime.gather(Acting(world.settings))
            self.operate = runtime.gather(Operating(world.settings))
            runtime.every(TIMERS_EVERY_S, Timers(runtime, Waking(world.settings)).fire, "timers")
        if self.service == "stock":
            self.change = runtime.gather(change)
        intents: Intents | None = None
        if self.service == "payment":
            payment = parts(runtime, world.gateway, None)  # type: ignore[arg-type]
            payment.open(runtime)
            self.payments, intents, recovery = payment.payments, payment.intents, payment.recovery
            runtime.every(RECOVERY_EVERY_S, recovery.claim, "claiming due intents")
            runtime.every(RECOVERY_EVERY_S * 6, recovery.extend_leases, "extending leases of intents")
        self.is_ready = True
        await self.stop.wait()
        self.is_ready = False
        if self.process.requests:
            await asyncio.wait(self.process.requests)
        if intents is not None:
            await intents.close(5.0)

    async def _renew(self) -> None:
        self.process.at_death.pop("world")
        await self.process.scheduler.kill(self.process)
        self._world.start(self.service, self.process.name)
