"""A loading process that plays customers: each places an order over HTTP and pays it, in one of three ways.

Closed loop: `at_once` customers, each the next one as soon as one is done. Open loop: `rate` orders a second at times that are fixed
beforehand, whatever the answers do; every latency counts from that intended time, so a server that stalls cannot hide it (no
coordinated omission). An order is completed when a consumer in this process has its completion record, on the same clock.
"""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any, Literal
from uuid import UUID, uuid4

import msgspec
import uvloop
from confluent_kafka import Consumer, Producer, TopicPartition
from msgspec import Struct

from benchmarks.http_client import Host
from benchmarks.process import obey
from benchmarks.records import PRODUCER
from ordersaga.contracts.messages import OrderCompletedMessage, PaymentSuccessMessage
from ordersaga.contracts.topics import BY_MESSAGE

PAID = BY_MESSAGE[PaymentSuccessMessage].name
COMPLETED = BY_MESSAGE[OrderCompletedMessage].name
CLIENT_ID = "customers"
"""How the broker knows these clients from those of what is measured."""
CONNECTIONS_MAX = 2_000
COMPLETED_LIMIT_S = 600.0
CONFIRM_TRIES_MAX = 20
CONFIRM_AGAIN_S = 0.5
ORDER = {
    "orderName": "keyboard",
    "address": "1 Sejong-daero, Jung-gu",
    "addressDetail": "12F",
    "zipcode": "04524",
    "phone": "010-0000-0000",
    "name": "김하나",
    "deliveryMemo": "문 앞에 두세요",
}


class CustomerPlan(Struct, kw_only=True):
    """How orders are placed, paid and followed.

    `pay`: not at all; by a record on Payment's topic as soon as the order is placed; or at the sandbox's checkout and with an HTTP
    confirm. `placed`: pairs of order and customer that are there already and are checked out before the start, so that only the
    confirm is left. `prefer`: the Prefer header; empty, the default wait. `completed`: wait for the completion record of each. `topics` stands
    before the names of both topics. `paths`: for `benchmarks.peers.callers`.
    """

    urls: dict[str, str]
    bootstrap_servers: str
    shelf: list[UUID]
    price: int
    orders: int
    placed: list[tuple[UUID, UUID]] = []
    at_once: int = 64
    rate: float = 0.0
    pay: Literal["no", "record", "confirm"] = "no"
    prefer: str = "respond-async"
    completed: bool = False
    topics: str = ""
    paths: tuple[str, str, str] = ("", "", "")


class CustomerResult(Struct):
    """`seconds` from the first request to the last answer, or completion where that is waited for. Milliseconds from the intended
    time until the POST (of the order, or of the confirm where that is all) was answered, and until the order was completed."""

    seconds: float
    answered_ms: list[float]
    completed_ms: list[float]
    confirms_repeated: int


class Customers:
    """All customers of one run."""

    def __init__(self, plan: CustomerPlan) -> None:
        self._plan = plan
        self._hosts = {name: Host(url, CONNECTIONS_MAX) for name, url in plan.urls.items()}
        self._bodies = [_body(product, plan.price) for product in plan.shelf]
        servers = {"bootstrap.servers": plan.bootstrap_servers, "client.id": CLIENT_ID}
        self._producer = Producer({**servers, "linger.ms": 0, **PRODUCER})
        self._completions = Completions(servers, plan.topics + COMPLETED) if plan.completed else None
        self._confirms: list[bytes] = []
        self._intended: dict[bytes, float] = {}
        self._answered_ms: list[float] = []
        self._completed_ms: list[float] = []
        self._confirms_repeated = 0

    async def connect(self) -> None:
        """Open the connections that a closed loop needs, a few for an open one."""
        for name, host in self._hosts.items():
            if name == "order" or self._plan.pay == "confirm":
                await host.connect(min(self._plan.at_once, 64))
        self._producer.list_topics(timeout=10)
        self._confirms = [await self._check_out(str(order_id), str(user)) for order_id, user in self._plan.placed]

    async def go(self) -> CustomerResult:
        """All orders; the result when the last one has its end."""
        began = time.perf_counter()
        await (self._open_loop(began) if self._plan.rate else self._closed_loop())
        self._producer.flush(30)
        ended = time.perf_counter()
        if self._completions is not None:
            seen = await self._completions.of(list(self._intended), COMPLETED_LIMIT_S)
            self._completed_ms = [(at - self._intended[order_id]) * 1000 for order_id, at in seen.items()]
            ended = max(seen.values())
        for host in self._hosts.values():
            host.close()
        return CustomerResult(ended - began, self._answered_ms, self._completed_ms, self._confirms_repeated)

    async def _closed_loop(self) -> None:
        numbers = iter(range(self._plan.orders))

        async def one_after_the_other(numbers: Iterator[int]) -> None:
            for n in numbers:
                await self._customer(n, time.perf_counter())

        await asyncio.gather(*(one_after_the_other(numbers) for _ in range(self._plan.at_once)))

    async def _open_loop(self, began: float) -> None:
        """A thread keeps the times, since the event loop's own timers are a millisecond late."""
        loop, tasks, over = asyncio.get_running_loop(), [], asyncio.Event()

        def begin(n: int, intended: float) -> None:
            tasks.append(loop.create_task(self._customer(n, intended)))

        def keep_time() -> None:
            for n in range(self._plan.orders):
                intended = began + n / self._plan.rate
                time.sleep(max(0.0, intended - time.perf_counter()))
                loop.call_soon_threadsafe(begin, n, intended)
            loop.call_soon_threadsafe(over.set)

        threading.Thread(target=keep_time, daemon=True).start()
        await over.wait()
        await asyncio.gather(*tasks)

    async def _customer(self, n: int, intended: float) -> None:
        """One customer with one order. Raises ConnectionError for an answer that is not what it should be: nothing is measured then."""
        if self._confirms:
            await self._confirm(self._confirms[n])
            self._answered_ms.append((time.perf_counter() - intended) * 1000)
            return
        user = str(uuid4())
        host = self._hosts["order"]
        body = self._bodies[n % len(self._bodies)]
        status, answer = await host.ask(host.post("/api/v1/orders", self._headers(user), body))
        if status not in (201, 202):
            raise ConnectionError(f"an order is answered {status}: {answer!r}")
        self._answered_ms.append((time.perf_counter() - intended) * 1000)
        at = answer.index(b'"orderId":"') + 11
        order_id = answer[at : at + 36]
        self._intended[order_id] = intended
        if self._plan.pay == "record":
            self._tell_paid(order_id)
        elif self._plan.pay == "confirm":
            await self._confirm(await self._check_out(order_id.decode(), user))

    def _headers(self, user: str) -> str:
        return f"User-Id: {user}\r\n" + (f"Prefer: {self._plan.prefer}\r\n" if self._plan.prefer else "")

    def _tell_paid(self, order_id: bytes) -> None:
        value = b'{"orderId":"%b","paymentKey":"key-%b","amount":%d,"status":"SUCCESS"}'
        self._producer.produce(self._plan.topics + PAID, value % (order_id, order_id, self._plan.price), order_id)
        self._producer.poll(0)

    async def _check_out(self, order_id: str, user: str) -> bytes:
        """What the customer does at the gateway's page; returns the request that confirms it. Raises ConnectionError."""
        sandbox, payment = self._hosts["sandbox"], self._hosts["payment"]
        body = {"orderId": order_id, "amount": self._plan.price}
        status, answer = await sandbox.ask(sandbox.post("/sandbox/payments", "", msgspec.json.encode(body)))
        if status != 201:
            raise ConnectionError(f"the sandbox answers {status}: {answer!r}")
        body["paymentKey"] = msgspec.json.decode(answer)["paymentKey"]
        return payment.post("/api/v1/payments/confirm", self._headers(user), msgspec.json.encode(body))

    async def _confirm(self, request: bytes) -> None:
        """Confirm; again after a while where Payment has not heard of the order yet."""
        for _ in range(CONFIRM_TRIES_MAX):
            status, answer = await self._hosts["payment"].ask(request)
            if status in (200, 202):
                return
            self._confirms_repeated += 1
            await asyncio.sleep(CONFIRM_AGAIN_S)
        raise ConnectionError(f"a confirm is answered {status}: {answer!r}")


class Completions:
    """When each order's completion record came to a consumer outside of the system."""

    def __init__(self, servers: dict[str, str], topic: str) -> None:
        self._seen: dict[bytes, float] = {}
        self._consumer = Consumer({**servers, "group.id": "bench", "fetch.queue.backoff.ms": 1, "log_level": 2})
        places = [
            TopicPartition(topic, partition)
            for partition in self._consumer.list_topics(topic, 10).topics[topic].partitions
        ]
        for place in places:
            place.offset = self._consumer.get_watermark_offsets(place, 10)[1]
        self._consumer.assign(places)
        self._thread = threading.Thread(target=self._consume, daemon=True)
        self._over = False
        self._thread.start()

    def _consume(self) -> None:
        while not self._over:
            first = self._consumer.poll(0.1)
            records = [first, *self._consumer.consume(1_000, 0)] if first is not None else []
            now = time.perf_counter()
            for record in records:
                self._seen.setdefault(record.key() or b"", now)

    async def of(self, order_ids: list[bytes], limit_s: float) -> dict[bytes, float]:
        """The times of these orders, once all are there. Raises TimeoutError."""
        end = time.perf_counter() + limit_s
        while missing := sum(order_id not in self._seen for order_id in order_ids):
            if time.perf_counter() > end:
                raise TimeoutError(f"{missing} of {len(order_ids)} orders were not completed within {limit_s:.0f} s")
            await asyncio.sleep(0.1)
        self._over = True
        self._thread.join()
        self._consumer.close()
        return {order_id: self._seen[order_id] for order_id in order_ids}


def _body(product: UUID, price: int) -> bytes:
    return msgspec.json.encode({**ORDER, "totalAmount": price, "items": [{"productId": product, "quantity": 1}]})


def prepared(kind: type[Customers], plan: CustomerPlan) -> Callable[[], CustomerResult]:
    """Connected customers of a kind."""
    loop: Any = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)

    async def made() -> Customers:
        customers = kind(plan)
        await customers.connect()
        return customers

    def run(work: Awaitable[Any]) -> Any:
        return loop.run_until_complete(work)

    customers = run(made())
    return lambda: run(customers.go())


if __name__ == "__main__":
    obey(CustomerPlan, partial(prepared, Customers))
