"""The services as the web process sees them: credentials that they accept, bounded times, and no answer that is taken for another."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any, cast
from uuid import UUID

import pytest
from litestar import Request

from ordersaga.http.caller import Callers
from ordersaga.http.pages import Page
from ordersaga.settings import Settings
from ordersaga.web.accounts import User, credentials
from ordersaga.web.console.model import Outbox
from ordersaga.web.services import Refused, Services, Unavailable, unless_away
from ordersaga.web.shop.model import Delivery, Event, Product
from ordersaga.web.shop.orders import Orders
from tests.unit.test_web_progress import NOW, order

USER = User(UUID(int=5))


def asked(headers: dict[str, str]) -> Request[Any, Any, Any]:
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "GET", "path": "/", "headers": raw, "query_string": b""})  # type: ignore[arg-type]


async def test_a_service_of_the_demo_knows_the_user_by_the_headers_of_a_gateway() -> None:
    caller = await Callers(Settings(development=True, trust_gateway_headers=True)).of(asked(credentials(USER)))
    assert caller.user_id == USER.user_id and not caller.is_operator


def test_the_users_own_token_is_passed_on_alone() -> None:
    assert credentials(User(UUID(int=5), token="theirs")) == {"Authorization": "Bearer theirs"}


@contextlib.asynccontextmanager
async def port(answer: bytes | None, *later: bytes) -> AsyncIterator[str]:
    """The address of a server that says these bytes to each connection, some of them later; None: it accepts and says nothing."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if answer is None:
            await asyncio.sleep(60)
        else:
            writer.write(answer)
        for part in later:
            await writer.drain()
            await asyncio.sleep(0.02)
            writer.write(part)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()


@contextlib.asynccontextmanager
async def stock(answer: bytes | None) -> AsyncIterator[Services]:
    """The services, with a Stock that says these bytes."""
    async with (
        port(answer) as url,
        Services(Settings(stock_url=url, web_read_timeout_s=0.3, web_service_timeout_s=30)) as services,
    ):
        yield services


def said(status: str, body: bytes) -> bytes:
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status.encode(), len(body), body)


@pytest.mark.parametrize(
    "answer",
    [
        None,
        b"",
        b"rubbish\r\n\r\n",
        said("503 Busy", b"{}"),
        said("429 Busy", b"{}"),
        said("200 OK", b"<html>"),
        said("200 OK", b"{}"),
        said("400 Bad", b"?"),
        said("200 OK", b'{"x":' + b"[" * 5_000),
        said("200 OK", b'{"name":"\xff"}'),
    ],
)
async def test_a_service_that_says_nothing_of_use_is_away_within_its_time(answer: bytes | None) -> None:
    async with stock(answer) as services:
        began = time.monotonic()
        with pytest.raises(Unavailable) as raised:
            await services.get("stock", "/api/v1/products/1", Product)
        assert raised.value.service == "stock" and time.monotonic() - began < 10
        assert await unless_away(services.get("stock", "/api/v1/products/1", Product)) is None


async def test_an_answer_that_comes_in_parts_is_read_to_its_end() -> None:
    """As a long one does, and over a network a short one, too."""
    answer = said("200 OK", b'{"rows":3,"oldestAgeS":1}')
    async with (
        port(answer[:-20], answer[-20:-4], answer[-4:]) as url,
        Services(Settings(stock_url=url)) as services,
    ):
        assert await services.get("stock", "/outbox", Outbox) == Outbox(3, 1.0)


async def test_a_refusal_and_a_missing_thing_are_told_apart() -> None:
    async with stock(said("404 Not Found", b'{"title":"There is no such product"}')) as services:
        assert await services.get("stock", "/api/v1/products/1", Product) is None
    async with stock(said("409 Conflict", b'{"title":"No","detail":"it is too late"}')) as services:
        with pytest.raises(Refused, match="it is too late"):
            await services.post("stock", "/x", Product, USER)


async def test_what_is_for_operators_is_asked_at_the_operators_port() -> None:
    outbox = said("200 OK", b'{"rows":3,"oldestAgeS":1}')
    async with port(said("404 Not Found", b"{}")) as public, port(outbox) as own:
        settings = Settings(stock_url=public, web_operations_urls={"stock": own}, web_service_timeout_s=2)
        async with Services(settings) as services:
            found = await services.get("stock", "/api/v1/operations/outbox", Outbox, USER)
            assert found is not None and found.rows == 3
            assert await services.get("stock", "/api/v1/products/x", Product) is None


async def test_the_shop_lists_the_orders_of_its_user_alone_whatever_else_the_token_may_see() -> None:
    """To an operator Order shows every order; the shop's page says `your orders`."""
    asked: list[dict[str, str]] = []

    class Order:
        async def get(self, service: str, path: str, kind: Any, user: User, query: dict[str, str]) -> None:
            asked.append(query)

    orders = Orders(cast(Any, Order()))
    await orders.page(User(UUID(int=5), ("OPERATOR",), token="theirs"), "")
    await orders.page(USER, "further")
    assert [each["customerId"] for each in asked] == [str(USER.user_id)] * 2
    assert asked[1]["cursor"] == "further"


async def test_the_tracking_number_comes_once_delivery_answers_and_another_teams_delivery_is_not_asked() -> None:
    started = order(customer_id=USER.user_id, status="COMPLETED", delivery="STARTED")
    parcel = Delivery(UUID(int=7), "STARTED", "OS1")

    class Shop:
        delivery_answers = False

        async def get(self, service: str, path: str, kind: Any, *_: Any, **__: Any) -> Any:
            if service == "delivery":
                if not self.delivery_answers:
                    raise Unavailable("delivery")
                return parcel
            return Page([Event(NOW, "Placed", (), "COMPLETED")], None) if path.endswith("/timeline") else started

    shop = Shop()
    orders = Orders(cast(Any, shop))
    shown = await orders.find(started.order_id, USER)
    assert shown is not None and (shown.delivery, shown.delivery_away) == (None, True)
    shop.delivery_answers = True
    shown = await orders.read_again(started.order_id, USER, shown)
    assert shown is not None and (shown.delivery, shown.delivery_away) == (parcel, False)
    shop.delivery_answers = False
    assert await orders.read_again(started.order_id, USER, shown) == shown, "what is known is not asked again"
    foreign = await Orders(cast(Any, shop), has_delivery=False).find(started.order_id, USER)
    assert foreign is not None and not foreign.delivery_away
