"""Ours and a partner on one Kafka: who plays which role, and what must hold when all orders have ended."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from ordersaga.cli.demo import SCENARIOS
from ordersaga.cli.shop import PRICE
from ordersaga.devstack.folder import StackFolder
from ordersaga.devstack.system import System
from ordersaga.messaging.kafka import Tap
from ordersaga.settings import SERVICES, Settings
from tests.commands import Answer, type_command
from tests.interop.customers import ORDERS, STOCK, SUCCEEDS, Customers, Ended
from tests.interop.partner import Kind, Partner

SETTLE_S: Final = 30.0
PATIENCE: Final = {f"ORDERSAGA_{name}_DEADLINE_S": "300" for name in ("STOCK", "DELIVERY", "COMPENSATION")}
"""Order asks no partner again: whatever a partner loses or gives up stays so until the test mends it."""
FEW_PARTITIONS: Final = {"ORDERSAGA_TOPIC_PARTITIONS": "4"}
"""Enough that both sides spread keys over them; each more costs a new broker CPU time."""

Make = Callable[[StackFolder, Kind, Settings], Partner]


class Pairing:
    """A running pairing. `customers` shop at whoever plays the roles."""

    def __init__(self, system: System, partner: Partner, customers: Customers) -> None:
        self.system: Final = system
        self.partner: Final = partner
        self.customers: Final = customers

    async def type(self, *arguments: str) -> Answer:
        """A command of ours, typed where this system's settings are."""
        return await asyncio.to_thread(type_command, arguments, self.system.environment)

    async def all_is_as_it_must_be(self, orders: list[Ended]) -> None:
        """Every order has ended as it must; stock, money and completion records agree with that; the audit of our roles holds."""
        wrong = [each for each in orders if each.end != each.scenario.expected]
        assert not wrong, wrong
        counts = Counter(each.scenario for each in orders)
        assert set(counts) == set(SCENARIOS) and len(orders) >= ORDERS
        completed = {each.order_id for each in orders if each.scenario is SUCCEEDS}
        expected = (
            STOCK - SUCCEEDS.quantity * len(completed),
            Counter({SUCCEEDS.quantity * PRICE: len(completed), 0: len(orders) - len(completed)}),
        )

        async def state() -> tuple[int, Counter[int]]:
            return await self.customers.pieces_left(), await self.customers.money(orders)

        await settled(state, expected)
        told = await self._completions()
        assert told == Counter(map(str, completed))
        await self.audit_holds()

    async def audit_holds(self) -> None:
        """`verify` of our roles, with everything at rest."""

        async def verdict() -> tuple[int, str]:
            answer = await self.type("verify", "--live", "0")
            return answer.code, "" if answer.code == 0 else f"{answer.out}\n{answer.err}"

        await settled(verdict, (0, ""))

    async def _completions(self) -> Counter[str]:
        """How often each order is on `order-completed-topic`."""
        tap = await Tap.open(self.system.settings, ["order-completed-topic"], from_beginning=True)
        try:
            found: Counter[str] = Counter()
            while not await tap.at_end():
                found.update((record.key or b"").decode() for record in await tap.fetch(1_000, 0.2))
            return found
        finally:
            tap.close()


async def settled(state: Callable[[], Any], expected: Any) -> None:
    """Wait until a state is as expected; fails after SETTLE_S."""
    end = time.monotonic() + SETTLE_S
    while True:
        found = await state()
        if found == expected:
            return
        assert time.monotonic() < end, f"after {SETTLE_S:.0f} s {found}, not {expected}"
        await asyncio.sleep(0.3)


@contextlib.asynccontextmanager
async def pairing(kind: Kind, make: Make) -> AsyncIterator[Pairing]:
    """The partner in its roles and ours in the others, on a new Kafka. The partner starts with the topics there, beside our services."""
    ours = [service for service in SERVICES if service not in kind.roles]
    with ThreadPoolExecutor(1) as beside, contextlib.ExitStack() as stack:
        starting = []

        def begin(system: System) -> None:
            partner = make(system.stack.folder, kind, system.settings)
            stack.callback(partner.kill)
            starting.append((partner, beside.submit(partner.start)))

        system = System(services=ours, extra=PATIENCE | FEW_PARTITIONS, addressed=begin)
        await asyncio.to_thread(stack.enter_context, system)
        ((partner, started),) = starting
        await asyncio.wrap_future(started)
        urls = system.urls | dict.fromkeys(kind.roles, partner.url)
        async with Customers(urls, system.settings.gateway_secret_key.get_secret_value()) as customers:
            yield Pairing(system, partner, customers)
