"""A payment service as its own process, with a database and a group of its own, beside the sandbox gateway: what its tests share."""

import asyncio
import os
import signal
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import asyncpg
import msgspec

import ordersaga.payment
from ordersaga.contracts import codec
from ordersaga.contracts.messages import (
    Message,
    OrderPayableMessage,
    PaymentCancelledMessage,
    PaymentCancelRequestedMessage,
    PaymentSuccessMessage,
)
from ordersaga.contracts.topics import BY_MESSAGE, key_of
from ordersaga.devstack import DevStack
from ordersaga.messaging.kafka import Publication, Publisher, Tap, Topics, create_missing_topics
from ordersaga.messaging.migrating import migrate
from ordersaga.sandbox.app import SandboxSettings, serving
from ordersaga.settings import Settings

STARTS_S = 60.0
HELD = ("DONE", "CANCELED", "PARTIAL_CANCELED")


async def until(found: Callable[[], Awaitable[Any]], seconds: float = 20.0) -> Any:
    """The first true result; raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while True:
            if result := await found():
                return result
            await asyncio.sleep(0.05)


class Checkout(msgspec.Struct):
    """An order whose customer has been at the checkout."""

    order_id: str
    payment_key: str
    amount: int
    customer_id: str

    @property
    def body(self) -> dict[str, Any]:
        return {"paymentKey": self.payment_key, "orderId": self.order_id, "amount": self.amount}

    @property
    def headers(self) -> dict[str, str]:
        return {"User-Id": self.customer_id, "User-Roles": "CUSTOMER"}


class PaymentRig:
    """Talks to the service by HTTP and Kafka, to the sandbox by HTTP, and looks into the service's database."""

    def __init__(self, settings: Settings, env: dict[str, str], url: str, sandbox: str) -> None:
        self.settings, self.env, self.url, self.sandbox = settings, env, url, sandbox
        self.processes: list[Process] = []
        self.seen: list[Message] = []
        self.http: aiohttp.ClientSession
        self.db: asyncpg.Pool[asyncpg.Record]
        self.publisher: Publisher
        self.tap: Tap

    async def start(self, ready: bool = True, **env: str) -> Process:
        """Start the service, with other settings if wanted; returns when it is ready."""
        command = [sys.executable, "-m", "ordersaga", "serve", "payment"]
        process = await asyncio.create_subprocess_exec(*command, env={**self.env, **env})
        self.processes.append(process)
        await until(self.ready if ready else self.live, STARTS_S)
        if ready:
            # Ready says nothing of partitions that the group has not given out yet; with `latest` a record before that is lost.
            await until(self.positioned, STARTS_S)
        return process

    async def kill(self, process: Process) -> None:
        """End it as a power cut would."""
        process.send_signal(signal.SIGKILL)
        await process.wait()

    async def ready(self) -> bool:
        """Whether it answers HTTP and has taken its partitions."""
        try:
            async with self.http.get(f"{self.url}/health/status") as response:
                said = await response.json()
        except aiohttp.ClientError:
            return False
        return bool(said["started"] and not said["problems"])

    async def positioned(self) -> bool:
        topics = [BY_MESSAGE[kind].name for kind in (OrderPayableMessage, PaymentCancelRequestedMessage)]
        counts = await Topics(self.settings).partition_counts(topics)
        return bool(await self.db.fetchval("SELECT count(*) FROM ledger") == sum(counts.values()))

    async def live(self) -> bool:
        return await self.answers(f"{self.url}/health/live")

    async def answers(self, url: str) -> bool:
        """Whether a GET is answered 200."""
        try:
            async with self.http.get(url) as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False

    async def checkout(
        self, card: str = "approve", amount: int = 12_000, order_id: str = "", customer_id: str = ""
    ) -> Checkout:
        """A payment that the customer has authorised."""
        order_id, customer_id = order_id or str(uuid4()), customer_id or str(uuid4())
        body = {"orderId": order_id, "amount": amount, "card": card}
        async with self.http.post(f"{self.sandbox}/sandbox/payments", json=body) as response:
            return Checkout(order_id, (await response.json())["paymentKey"], amount, customer_id)

    async def confirm(
        self, checkout: Checkout, prefer: str = "wait=10", url: str = "", **headers: str
    ) -> tuple[int, dict[str, Any]]:
        """Step 5: status and body. `url`: another process than the first."""
        sent = {**checkout.headers, "Prefer": prefer, **headers}
        async with self.http.post(
            f"{url or self.url}/api/v1/payments/confirm", json=checkout.body, headers=sent
        ) as response:
            return response.status, await response.json(content_type=None)

    async def get(self, path: str, headers: dict[str, str]) -> tuple[int, dict[str, Any]]:
        async with self.http.get(f"{self.url}{path}", headers=headers) as response:
            return response.status, await response.json(content_type=None)

    async def faults(self, **faults: Any) -> None:
        """What goes wrong at the gateway from here on."""
        async with self.http.put(f"{self.sandbox}/sandbox/faults", json=faults) as response:
            assert response.status == 200, await response.text()

    async def console_refund(self, payment_key: str, amount: int | None = None) -> None:
        """What a person does at the gateway's own console."""
        url = f"{self.sandbox}/sandbox/payments/{payment_key}/cancel"
        async with self.http.post(url, json={} if amount is None else {"amount": amount}) as response:
            assert response.status == 200, await response.text()

    async def confirm_elsewhere(self, checkout: Checkout) -> None:
        """Another system with our merchant's key confirms a payment."""
        auth = {"Authorization": aiohttp.encode_basic_auth("test_sk_sandbox", "")}
        url = f"{self.sandbox}/v1/payments/confirm"
        async with self.http.post(url, json=checkout.body, headers=auth) as response:
            assert response.status == 200, await response.text()

    async def publish(self, *messages: Message) -> None:
        """Put messages on their topics, as Order would."""
        rows = [
            Publication(n, BY_MESSAGE[type(each)].name, None, str(key_of(each)).encode(), codec.encode(each), [])
            for n, each in enumerate(messages)
        ]
        assert not await self.publisher.publish(rows)

    async def payable(self, checkout: Checkout, **changes: Any) -> None:
        """Order's word, and that it has arrived."""
        said = OrderPayableMessage(
            order_id=UUID(checkout.order_id),
            customer_id=UUID(checkout.customer_id),
            total_amount=checkout.amount,
            pay_before=datetime.now(UTC) + timedelta(minutes=10),
            status="ORD0001",
        )
        said = msgspec.structs.replace(said, **changes)
        await self.publish(said)
        query = "SELECT 1 FROM payable WHERE order_id = $1 AND status = $2 AND pay_before = $3"
        await until(lambda: self.db.fetchval(query, said.order_id, said.status, said.pay_before))

    async def told(self, payment_key: str, kind: type[Message], count: int = 1) -> list[Any]:
        """The messages of one kind about a payment, once there are so many."""

        def found() -> list[Message]:
            about = [each for each in self.seen if isinstance(each, kind)]
            mine = [each for each in about if getattr(each, "payment_key", None) == payment_key]
            return mine if len(mine) >= count else []

        async def fetched() -> list[Message]:
            for record in await self.tap.fetch(1_000, 0.05):
                self.seen.append(codec.decode(record.topic, record.value))
            return found()

        return found() or await until(fetched)

    async def at_gateway(self, order_id: str) -> list[dict[str, Any]]:
        """What the sandbox's books say about an order."""
        async with self.http.get(
            f"{self.sandbox}/sandbox/books", params={"orderId": order_id, "limit": 10_000}
        ) as response:
            found: list[dict[str, Any]] = (await response.json())["items"]
            return found

    async def captured(self, checkout: Checkout) -> bool:
        """Whether the gateway has taken the money of this payment."""
        entries = await self.at_gateway(checkout.order_id)
        return any(each["paymentKey"] == checkout.payment_key and each["status"] in HELD for each in entries)

    async def row(self, payment_key: str) -> dict[str, Any] | None:
        row = await self.db.fetchrow("SELECT * FROM payment WHERE payment_key = $1", payment_key)
        return None if row is None else dict(row)

    async def books_agree(self) -> int:
        """Wait until nothing is open, then compare the gateway's books with the table, to the won; returns how many payments."""
        await until(self.nothing_open, 40.0)
        ours = {row["payment_key"]: row for row in await self.db.fetch("SELECT * FROM payment")}
        async with self.http.get(f"{self.sandbox}/sandbox/books", params={"limit": 10_000}) as response:
            theirs = {each["paymentKey"]: each for each in (await response.json())["items"]}
        for key, entry in theirs.items():
            row = ours.get(key)
            held = entry["status"] in HELD and (row is None or str(row["order_id"]) == entry["orderId"])
            expected = (entry["totalAmount"], entry["totalAmount"] - entry["balanceAmount"]) if held else (0, 0)
            found = (row["captured"], row["refunded"]) if row else (0, 0)
            assert found == expected, (key, entry, row and dict(row))
        assert set(ours) <= set(theirs)
        return len(theirs)

    async def nothing_open(self) -> bool:
        return bool(await self.db.fetchval("SELECT count(*) = 0 FROM intent WHERE status = 'OPEN'"))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def payment_rig(stack: DevStack, webhooks: bool = False) -> AsyncIterator[PaymentRig]:
    """A rig with a new database, a new group and a new sandbox; no service runs yet."""
    name, port = f"payment_{uuid4().hex[:8]}", free_port()
    url = f"http://127.0.0.1:{port}"
    stack.create_databases([name])
    database_url = stack.database_url(name)
    sandbox = SandboxSettings(
        webhook_url=f"{url}/api/v1/payments/webhook" if webhooks else None, webhook_first_repeat_s=0.5
    )
    async with (
        serving(sandbox) as sandbox_url,
        aiohttp.ClientSession() as http,
        asyncpg.create_pool(database_url, min_size=1) as db,
    ):
        env = {
            "ORDERSAGA_KAFKA_BOOTSTRAP_SERVERS": stack.bootstrap_servers,
            "ORDERSAGA_PAYMENT_DATABASE_URL": database_url,
            "ORDERSAGA_PAYMENT_GROUP": name,
            "ORDERSAGA_START_AT": "latest",
            "ORDERSAGA_FOREIGN_PARTNERS": '["order"]',
            "ORDERSAGA_HTTP_PORT": str(port),
            "ORDERSAGA_DEVELOPMENT": "true",
            "ORDERSAGA_TRUST_GATEWAY_HEADERS": "true",
            "ORDERSAGA_GATEWAY_URL": sandbox_url,
            "ORDERSAGA_RECOVERY_AFTER_MS": "1500",
            "ORDERSAGA_OUTBOX_ADOPT_AFTER_MS": "1000",
        }
        settings = Settings(
            kafka_bootstrap_servers=stack.bootstrap_servers,
            topic_partitions=3,
            payment_database_url=database_url,  # type: ignore[arg-type]
        )
        await create_missing_topics(settings)
        await asyncio.to_thread(migrate, database_url, ordersaga.payment)
        rig = PaymentRig(settings, {**os.environ, **env}, url, sandbox_url)
        rig.http, rig.db, rig.publisher = http, db, Publisher(settings)
        rig.tap = Tap(settings, [BY_MESSAGE[PaymentSuccessMessage].name, BY_MESSAGE[PaymentCancelledMessage].name])
        try:
            yield rig
        finally:
            await _end(rig.processes)
            await rig.publisher.close()
            rig.tap.close()


async def _end(processes: Sequence[Process]) -> None:
    for process in processes:
        if process.returncode is None:
            process.kill()
            await process.wait()
