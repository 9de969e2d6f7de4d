"""`make upgrade`: customers shop while the last release is replaced by the present code, is brought back, and is replaced again. Then the audit.

The databases are migrated while the last release runs. Of each service a new process starts beside the old one, and the old one ends when
the new one is ready. Exits with 1 if anything is lost or done twice, and if a customer heard of an error: only 503 with `Retry-After` is none.
"""

import argparse
import asyncio
import importlib
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import httpx
from confluent_kafka import Producer
from rich.console import Console

from ordersaga.cli.verify import print_findings
from ordersaga.devstack.side_by_side import side_by_side
from ordersaga.devstack.system import ServiceProcess, System
from ordersaga.messaging.kafka import create_missing_topics
from ordersaga.messaging.migrating import migrate
from ordersaga.settings import PREFIX, SERVICES
from tests.chaos.crowd import OPERATOR, Crowd
from tests.chaos.ending import settled, wrong
from tests.chaos.last_release import REVISION, LastRelease, NoHistory, unpack
from tests.chaos.ledgers import watch_ledgers
from tests.chaos.run import EXTRA

Say = Callable[[str], None]

FACE: Final = "/api/v1/operations"
REQUESTS: Final = "delivery-request-topic"
PAUSED: Final = 0
LIMIT_S: Final = 180.0
LOOK_S: Final = 0.1
FINE: Final = frozenset({"order: 503", "stock: 503", "payment: 503", "payment: 404"})
"""What a customer may hear besides answers. 404: Payment has not heard of the order yet."""
console = Console(highlight=False, soft_wrap=True)


class Instance(ServiceProcess):
    """One more process of a service, beside the others. `path`: where its Python finds the package; None: as here."""

    def __init__(self, system: System, service: str, number: int, path: Path | None) -> None:
        super().__init__(system.stack.folder, f"{service}-{number}", None)
        self._service: Final = service
        own = {name: value for name, value in system.environment.items() if name != "PYTHONPATH"}
        self.environment |= own | {f"{PREFIX}HTTP_PORT": str(self.port)}
        if path is not None:
            self.environment["PYTHONPATH"] = str(path)

    def _command(self) -> list[str]:
        return [self._service if word == self.name else word for word in super()._command()]


class Upgrade:
    """Customers, and the processes that serve them. Use with `async with`."""

    def __init__(self, system: LastRelease, seed: int, orders_per_s: float, say: Say) -> None:
        self._system: Final = system
        self._orders_per_s: Final = orders_per_s
        self._say: Final = say
        self._addresses: Final = {name: [url] for name, url in system.urls.items()}
        self._running: Final[dict[str, ServiceProcess]] = {name: system.processes[name] for name in SERVICES}
        self._number = 1
        self.started: Final[list[ServiceProcess]] = []
        self.crowd: Final = Crowd(self._addresses, seed)
        self._closing: Final = asyncio.Event()
        self._shopping: asyncio.Task[None]

    async def __aenter__(self) -> "Upgrade":
        await self.crowd.__aenter__()
        await self.crowd.open()
        await watch_ledgers(self._system.settings)
        self._shopping = asyncio.create_task(self.crowd.shop(self._orders_per_s, self._closing))
        return self

    async def __aexit__(self, *error: Any) -> None:
        self._shopping.cancel()
        await self.crowd.__aexit__(*error)
        await asyncio.to_thread(side_by_side, [each.stop for each in self.started])

    async def migrate(self) -> list[str]:
        """Make the present release's tables and topics, while the last release runs. Returns the steps that were applied."""
        steps = []
        for name in SERVICES:
            url, service = self._system.settings.database_url(name), importlib.import_module(f"ordersaga.{name}")
            steps += [f"{name} {step}" for step in await asyncio.to_thread(migrate, url, service)]
        await create_missing_topics(self._system.settings)
        self._say(f"migrated under load: {', '.join(steps) or 'nothing to do'}")
        return steps

    async def replace(self, path: Path | None, what: str, between: int) -> None:
        """Start a process of each service beside the present ones, then end those one by one. So many orders end after each step."""
        self._number += 1
        new = {name: Instance(self._system, name, self._number, path) for name in SERVICES}
        self.started.extend(new.values())
        await asyncio.to_thread(side_by_side, [each.start for each in new.values()])
        for name, instance in new.items():
            self._addresses[name].append(instance.url)
        await self.more_end(between)
        for name, instance in new.items():
            old = self._running[name]
            self._addresses[name].remove(old.url)  # as a load balancer does, before the process is told to end
            await asyncio.to_thread(old.stop)
            self._running[name] = instance
            await self.more_end(between)
        self._say(f"{what}: {self.crowd.ended:,} orders ended so far")

    async def more_end(self, count: int) -> None:
        """Wait until so many more orders have ended."""
        wanted, end = self.crowd.ended + count, time.monotonic() + LIMIT_S
        while self.crowd.ended < wanted:
            assert time.monotonic() < end, f"{self.crowd.ended} of {wanted} orders ended within {LIMIT_S:.0f} s"
            await asyncio.sleep(LOOK_S)

    async def pause(self) -> None:
        """As an operator: pause a partition of Delivery's."""
        await self._act(f"partitions/{REQUESTS}/{PAUSED}/pause", (await self._partition())["version"])

    async def resume(self) -> None:
        """The partition must be paused still; let it go on."""
        seen = await self._partition()
        assert seen["state"] == "PAUSED", seen
        await self._act(f"partitions/{REQUESTS}/{PAUSED}/resume", seen["version"])

    async def spoil(self) -> None:
        """Send Delivery a record that becomes a dead letter."""
        producer = Producer({"bootstrap.servers": self._system.settings.kafka_bootstrap_servers})
        producer.produce(REQUESTS, b"{", str(uuid4()).encode(), partition=PAUSED + 1)
        assert await asyncio.to_thread(producer.flush, LIMIT_S) == 0
        await self._letter()

    async def discard(self) -> None:
        """As an operator: decide about the dead letter."""
        letter = await self._letter()
        await self._act(f"dead-letters/{letter['id']}/discard", letter["status"])

    async def end(self) -> list[str]:
        """Let no more customers in, wait until all have been served, and audit. Returns all that is wrong."""
        self._closing.set()
        await self._shopping
        await self.crowd.leave(LIMIT_S)
        findings = await settled(self._system.settings)
        print_findings(findings)
        found = await wrong(self._system.settings, self.crowd, findings)
        return found + [
            f"{answer}, {count} times" for answer, count in self.crowd.answers.items() if answer not in FINE
        ]

    async def _partition(self) -> Any:
        return await self._seen("partitions", lambda each: each["topic"] == REQUESTS and each["partition"] == PAUSED)

    async def _letter(self) -> Any:
        return await self._seen("dead-letters", lambda each: each["topic"] == REQUESTS)

    async def _seen(self, path: str, is_meant: Callable[[Any], bool]) -> Any:
        """What the process that was started last shows, as soon as it is there."""
        end = time.monotonic() + LIMIT_S
        async with httpx.AsyncClient(base_url=self._addresses["delivery"][-1], headers=OPERATOR) as http:
            while True:
                said = (await http.get(f"{FACE}/{path}")).raise_for_status().json()
                if found := [each for each in said["items"] if is_meant(each)]:
                    return found[0]
                assert time.monotonic() < end, said
                await asyncio.sleep(LOOK_S)

    async def _act(self, path: str, version: str) -> None:
        async with httpx.AsyncClient(base_url=self._addresses["delivery"][-1], headers=OPERATOR) as http:
            answer = await http.post(f"{FACE}/{path}", json={"reason": "an upgrade", "version": version})
            assert answer.status_code == 200, answer.text


async def upgraded(system: LastRelease, release: Path, given: argparse.Namespace) -> tuple[int, list[str]]:
    """Forward, back and forward. Returns how many orders were placed, and what is wrong."""
    async with Upgrade(system, given.seed, given.orders_per_s, console.print) as run:
        await run.more_end(given.between)
        await run.pause()
        await run.spoil()
        await run.migrate()
        await run.replace(None, "the present release runs", given.between)
        await run.resume()
        await run.replace(release, "the last release runs again, on the present tables", given.between)
        await run.discard()
        await run.replace(None, "the present release runs again", given.between)
        await run.replace(None, "restarted, each process by another of the same release", given.between)
        found = await run.end()
        heard = ", ".join(f"{answer} {count:,}" for answer, count in sorted(run.crowd.answers.items()))
        console.print(f"what customers heard besides answers, and asked again: {heard or 'nothing'}")
        if found:
            for server in run.started:
                console.print(server.log_tail(40), markup=False)
        return run.crowd.placed, found


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="make upgrade", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--from", dest="revision", default=REVISION, help=f"the last release, as git names it; default {REVISION}"
    )
    parser.add_argument("--between", type=int, default=100, help="orders that end between two steps; default 100")
    parser.add_argument("--orders-per-s", type=float, default=10.0, help="customers that come each second; default 10")
    parser.add_argument("--seed", type=int, default=random.randrange(100_000), help="default: random; it is printed")
    given = parser.parse_args(arguments)
    console.print(f"seed {given.seed}; from {given.revision}; {given.orders_per_s:.0f} orders/s")
    console.print(f"load of this machine before the start: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        try:
            release = unpack(given.revision, Path(folder))
        except NoHistory as error:
            console.print(str(error))
            return 2
        with LastRelease(release, extra=EXTRA, say=lambda step: console.print(f"{step} ...")) as system:
            placed, found = asyncio.run(upgraded(system, release, given))
    for what in found:
        console.print(f"[red]wrong[/]  {what}")
    if found:
        return 1
    console.print(f"[bold green]{placed:,} orders, nothing lost, nothing twice[/]")
    return 0


if __name__ == "__main__":
    sys.exit(main())
