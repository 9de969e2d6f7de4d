"""What tests of an operator's commands share: a service that fails when told to, and the commands as a person types them."""

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from types import ModuleType
from typing import Any
from uuid import UUID

import httpx
from confluent_kafka import Producer
from litestar import Litestar

from ordersaga.audit import records as audit
from ordersaga.audit.finding import Finding, Moment
from ordersaga.contracts import codec
from ordersaga.contracts.messages import Message
from ordersaga.contracts.topics import BY_MESSAGE, key_of
from ordersaga.devstack import DevStack
from ordersaga.messaging.handler import Handler
from ordersaga.messaging.kafka import Topics, create_missing_topics
from ordersaga.settings import ServiceName, Settings
from tests.commands import Answer, type_command
from tests.integration.service import Bench, bench, running

LIMIT_S = 30.0
WHY = ("--why", "the carrier is back")


async def until(found: Callable[[], Awaitable[Any]], seconds: float = LIMIT_S) -> Any:
    """The first true result; raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while True:
            if result := await found():
                return result
            await asyncio.sleep(0.05)


class OperatorRig:
    """One service with its database, and an operator before it."""

    def __init__(self, service: ServiceName, bench: Bench) -> None:
        self.service = service
        self.bench = bench
        self.settings = bench.settings
        self.pool = bench.pool
        self.http: httpx.AsyncClient
        self._producer = Producer({"bootstrap.servers": self.settings.kafka_bootstrap_servers})

    async def __call__(
        self, *arguments: object, json: bool = True, code: int = 0, whole: bool = False, **environment: str
    ) -> Answer:
        """Type a command; it must end with this code. `whole`: for all four services, not for this one alone."""
        settings = self.settings
        env = {
            "ORDERSAGA_KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
            f"ORDERSAGA_{self.service.upper()}_DATABASE_URL": settings.database_url(self.service),
            f"ORDERSAGA_{self.service.upper()}_GROUP": settings.group(self.service),
            "ORDERSAGA_PARK_ATTEMPTS_MAX": str(settings.park_attempts_max),
            **{f"ORDERSAGA_{name.upper()}": value for name, value in environment.items()},
        }
        command = [*map(str, arguments), *([] if whole else ["--service", self.service]), *(["--json"] if json else [])]
        answer = await asyncio.to_thread(type_command, command, env)
        assert answer.code == code, answer
        return answer

    async def send(self, *messages: Message) -> None:
        """Publish messages, keyed as Java does."""
        for each in messages:
            await self.send_raw(BY_MESSAGE[type(each)].name, key_of(each), codec.encode(each))

    async def send_raw(
        self,
        topic: str,
        key: UUID | None,
        value: bytes | None,
        headers: list[tuple[str, bytes | None]] | None = None,
        partition: int = -1,
    ) -> None:
        """Publish any bytes."""
        self._producer.produce(
            topic, value, None if key is None else str(key), headers=list(headers or ()), partition=partition
        )
        assert await asyncio.to_thread(self._producer.flush, LIMIT_S) == 0

    async def letters(self, order: UUID, count: int = 1) -> list[dict[str, Any]]:
        """The letters of an order, the oldest first, once there are so many."""

        async def there() -> list[dict[str, Any]]:
            query = "SELECT * FROM dead_letter WHERE order_key = $1 ORDER BY at, attempts"
            found = [dict(row) for row in await self.pool.fetch(query, order)]
            return found if len(found) >= count else []

        found: list[dict[str, Any]] = await until(there)
        return found

    async def parked(self, order: UUID, count: int) -> None:
        """Wait until so many records of an order are parked."""

        async def there() -> bool:
            return bool(await self.pool.fetchval("SELECT count(*) = $2 FROM parked WHERE order_key = $1", order, count))

        await until(there)

    async def acts(self, target: object) -> list[dict[str, Any]]:
        """What was done to a target."""
        rows = await self.pool.fetch("SELECT * FROM operator_act WHERE target = $1 ORDER BY id", str(target))
        return [{**row, "before": json.loads(row["before"]), "after": json.loads(row["after"])} for row in rows]

    async def positioned(self) -> bool:
        """Whether the service has taken all its partitions; with `latest`, a record before that is lost."""
        counts = await Topics(self.settings).partition_counts([topic.name for topic in self.bench.handler.topics])
        return bool(await self.pool.fetchval("SELECT count(*) FROM ledger") == sum(counts.values()))


async def accounted_for(rig: OperatorRig) -> None:
    """What the audit says of this service's letters and parked records."""
    found, parked = Finding("letters", "letters"), Finding("parked", "parked")
    async with rig.pool.acquire() as db, db.transaction():
        await audit.judge_letters(rig.service, db, found, Counter())
        await audit.judge_queues(rig.service, db, parked, timedelta(hours=1), Moment(datetime.now(UTC), 0))
    assert found.holds, found.broken
    assert parked.holds, parked.broken


@contextlib.asynccontextmanager
async def operator_rig(
    stack: DevStack,
    service: ServiceName,
    package: ModuleType,
    handler: Callable[[Settings], Handler],
    create_app: Callable[[Settings], Litestar],
    **changes: Any,
) -> AsyncIterator[OperatorRig]:
    """A running service that sees only what is sent from here on, and gives up after three quick tries."""
    async with bench(stack, service, package, handler) as one:
        quick = {
            "start_at": "latest",
            "park_attempts_max": 3,
            "park_backoff_ms": 100,
            "outbox_adopt_after_ms": 1_000,
            "stop_failures_min": 10_000,
        }
        one.settings = one.settings.model_copy(update=quick | changes)
        await create_missing_topics(one.settings)
        rig = OperatorRig(service, one)
        async with running(one.settings, create_app) as rig.http:
            await until(rig.positioned)
            yield rig
