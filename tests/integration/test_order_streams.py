"""Streams and waiting requests share one query over an order's events: what one client sends must not hurt another's."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from ordersaga import order
from ordersaga.cli.serve import application
from ordersaga.devstack import DevStack
from ordersaga.order import store
from ordersaga.order.handlers import handler
from ordersaga.order.watch import UNREAD_EVENTS_MAX, Watcher
from tests.integration.order_rig import ORDERS, PRICE, PRODUCT, WHO, body, place, reserved
from tests.integration.service import Bench, Wire, bench, customer, running

SOON_S = 10.0


@pytest.fixture(scope="module")
async def shop(stack: DevStack) -> AsyncIterator[Bench]:
    async with bench(stack, "order", order, handler) as one:
        one.settings = one.settings.model_copy(update={"http_streams_max": 3, "http_streams_per_caller_max": 2})
        await one.pool.execute(
            "INSERT INTO price (product_id, name, price, changed_at) VALUES ($1, 'keyboard', $2, '2026-01-01')",
            PRODUCT,
            PRICE,
        )
        yield one


class Stream:
    """An event stream over the application, which httpx's own transport would wait for the end of."""

    def __init__(self, app: Any, order_id: str, headers: dict[str, str]) -> None:
        self._app, self._order_id, self._headers = app, order_id, headers
        self._said = asyncio.Queue[bytes]()
        self._gone = asyncio.Event()
        self.status = 0

    async def __aenter__(self) -> "Stream":
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._gone.set()
        await self._task

    async def _run(self) -> None:
        path = f"{ORDERS}/{self._order_id}/events"
        scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "scheme": "http",
            "method": "GET",
        }
        scope |= {"path": path, "raw_path": path.encode(), "root_path": "", "query_string": b"", "state": {}}
        scope |= {"headers": [(name.lower().encode(), value.encode()) for name, value in self._headers.items()]}

        async def receive() -> dict[str, Any]:
            await self._gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            self.status = message.get("status", self.status)
            self._said.put_nowait(message.get("body", b""))

        await self._app(scope | {"client": ("a", 1), "server": ("a", 80)}, receive, send)

    async def says(self, what: bytes) -> bytes:
        said = b""
        async with asyncio.timeout(SOON_S):
            while what not in said:
                said += await self._said.get()
        return said


@pytest.fixture(scope="module")
async def app(shop: Bench) -> AsyncIterator[Any]:
    made = application(shop.service)(shop.settings)
    async with running(shop.settings, lambda _: made) as client:
        made.state.client = client
        yield made


@pytest.fixture
def client(app: Any) -> httpx.AsyncClient:
    found: httpx.AsyncClient = app.state.client
    return found


@pytest.mark.parametrize("last", ["9223372036854775808", "9" * 100, "-1", "²", "1.5", "x", "0x1", "1 1"])
async def test_an_event_id_that_is_none_is_refused(client: httpx.AsyncClient, last: str) -> None:
    placed = await place(client)
    headers = [(b"user-id", WHO["User-Id"].encode()), (b"last-event-id", last.encode("latin-1"))]
    refused = await client.get(f"{ORDERS}/{placed['orderId']}/events", headers=headers)
    assert refused.status_code == 400
    assert refused.json()["errors"][0]["field"] == "Last-Event-ID"


async def test_one_order_whose_events_cannot_be_read_blinds_nobody_else(
    app: Any, client: httpx.AsyncClient, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = (await place(client))["orderId"], (await place(client))["orderId"]
    read = store.events_after

    async def failing(db: Any, seen: dict[UUID, int], *rest: Any) -> Any:
        if UUID(bad) in seen:
            raise ValueError("no such value can be asked for")
        return await read(db, seen, *rest)

    async with Stream(app, good, WHO) as stream:
        await stream.says(b"Placed")
        monkeypatch.setattr(store, "events_after", failing)
        async with Stream(app, bad, WHO):
            await wire.send(reserved(good))
            await stream.says(b"StockResponseMessage")
        waiting = await client.post(ORDERS, json=body(), headers=WHO | {"Prefer": "wait=1"})
        assert waiting.status_code == 201


async def test_a_long_timeline_is_told_whole_and_in_parts(app: Any, client: httpx.AsyncClient, shop: Bench) -> None:
    order_id = (await place(client))["orderId"]
    await shop.pool.execute(
        "INSERT INTO order_event (order_id, at, came_in, went_out, status, stock_known)"
        " SELECT $1, now(), 'event ' || n, '{}', 'PENDING', false FROM generate_series(1, $2) n",
        UUID(order_id),
        UNREAD_EVENTS_MAX * 3,
    )
    async with Stream(app, order_id, WHO) as stream:
        said = await stream.says(b'event %d"' % (UNREAD_EVENTS_MAX * 3))
    assert [said.count(b'"event %d"' % n) for n in range(1, UNREAD_EVENTS_MAX * 3 + 1)] == [1] * UNREAD_EVENTS_MAX * 3


async def test_streams_are_only_so_many_and_fewer_of_one_caller(app: Any, client: httpx.AsyncClient) -> None:
    order_id = (await place(client))["orderId"]
    other = customer(uuid4())
    theirs = (await place(client, who=other))["orderId"]
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(2):
            await (await stack.enter_async_context(Stream(app, order_id, WHO))).says(b"Placed")
        own = await client.get(f"{ORDERS}/{order_id}/events", headers=WHO)
        assert (own.status_code, own.headers["retry-after"]) == (429, "1")
        await (await stack.enter_async_context(Stream(app, theirs, other))).says(b"Placed")
        full = await client.get(f"{ORDERS}/{theirs}/events", headers=other)
        assert (full.status_code, full.headers["retry-after"]) == (503, "1")
    async with Stream(app, order_id, WHO) as stream:
        await stream.says(b"Placed")


@pytest.mark.parametrize("prefer", ["wait=²", "wait=-1", "wait=" + "9" * 400, "wait", "=", ";;,,"])
async def test_a_preference_nobody_understands_costs_no_order(client: httpx.AsyncClient, prefer: str) -> None:
    headers = [(b"user-id", WHO["User-Id"].encode()), (b"prefer", prefer.encode("latin-1"))]
    async with asyncio.timeout(40):
        task = asyncio.create_task(client.post(ORDERS, json=body(), headers=headers))
        if "9" in prefer:  # thirty seconds of waiting tell nothing more
            await asyncio.sleep(1)
            task.cancel()
            return
        assert (await task).status_code == 201


async def test_an_order_is_answered_though_the_wait_for_its_stock_fails(
    client: httpx.AsyncClient, shop: Bench, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def failing(*_: Any) -> Any:
        raise ConnectionResetError("the database is away")

    monkeypatch.setattr(Watcher, "give_order", lambda *_: None)  # as if another process took the turn
    monkeypatch.setattr(store, "find", failing)
    task = asyncio.create_task(
        client.post(ORDERS, json=body(orderName="its wait fails"), headers=WHO | {"Prefer": "wait=10"})
    )
    await wire.send(reserved(await placed_as(shop, "its wait fails")))
    answer = await task
    assert (answer.status_code, answer.json()["status"]) == (201, "PENDING")


async def test_a_request_learns_from_a_turn_of_its_own_process_without_a_query(
    client: httpx.AsyncClient, shop: Bench, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(*_: Any) -> list[Any]:
        return []

    monkeypatch.setattr(store, "events_after", nothing)
    task = asyncio.create_task(
        client.post(ORDERS, json=body(orderName="of its own"), headers=WHO | {"Prefer": "wait=30"})
    )
    order_id = await placed_as(shop, "of its own")
    await wire.send(reserved(order_id))
    answer = (await task).json()
    assert (answer["orderId"], answer["items"][0]["stock"]) == (order_id, "RESERVED")


async def placed_as(shop: Bench, name: str) -> str:
    for _ in range(600):
        if found := await shop.pool.fetchval("SELECT order_id FROM orders WHERE order_name = $1", name):
            return str(found)
        await asyncio.sleep(0.05)
    raise AssertionError("no order was placed")
