"""`dead-letters` and `parked` over the HTTP face of a running service: the same commands, with the rights of the caller."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest_asyncio
import uvicorn
from litestar import Litestar
from uuid_utils.compat import uuid7

from ordersaga.contracts import codec
from ordersaga.delivery import app
from ordersaga.devstack import DevStack
from ordersaga.settings import Settings
from tests.commands import Answer, type_command
from tests.integration.failing_depot import ask, break_down, delivered, failing_depot, given_up, mend, zipcode
from tests.integration.operations_face import OPERATING, READER, WHO
from tests.integration.operator_rig import OperatorRig, until


class Remote:
    """An operator who knows nothing but the service's address."""

    def __init__(self, url: str) -> None:
        self.url = url

    async def __call__(
        self, group: str, *command: object, headers: dict[str, str] = OPERATING, json: bool = True, code: int = 0
    ) -> Answer:
        said = [each for name, value in headers.items() for each in ("--header", f"{name}: {value}")]
        line = [group, "--via-http", self.url, *said, *map(str, command), *(["--json"] if json else [])]
        answer = await asyncio.to_thread(type_command, line, {})
        assert answer.code == code, answer
        return answer


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def depot(stack: DevStack) -> AsyncIterator[OperatorRig]:
    async with failing_depot(stack) as rig:
        yield rig


@contextlib.asynccontextmanager
async def on_a_port(
    rig: OperatorRig, create_app: Callable[[Settings], Litestar] = app.create_app
) -> AsyncIterator[Remote]:
    """The service's routes on a port."""
    server = uvicorn.Server(uvicorn.Config(create_app(rig.settings), port=0, log_config=None, lifespan="on"))
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]
    serving = asyncio.create_task(server.serve())
    await until(lambda: _started(server))
    try:
        yield Remote(f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}")
    finally:
        server.should_exit = True
        await serving


async def _started(server: uvicorn.Server) -> bool:
    return server.started


async def test_letters_are_listed_shown_edited_and_replayed(depot: OperatorRig) -> None:
    async with on_a_port(depot) as remote:
        bad, order_ids = await given_up(depot, 3)
        listed = (await remote("dead-letters", "list")).rows
        assert listed == (await depot("dead-letters", "list")).rows
        assert len(listed) == 3
        letter = listed[0]
        assert "3 " in (await remote("dead-letters", "list", "--by-cause", json=False)).out
        whole = (await remote("dead-letters", "show", letter["id"][:8])).row
        assert whole == (await depot("dead-letters", "show", letter["id"])).row

        refused = await remote("dead-letters", "edit", letter["id"], "--value", "{}", "--why", "x", code=2)
        assert "missing required field" in refused.err
        would = (await remote("dead-letters", "replay", "--all", "--dry-run")).rows
        assert {each["would"] for each in would} == {"fails again: RaiseError: the carrier is away"}
        order_id = letter["order_key"]
        message = codec.encode(ask(order_ids[[str(each) for each in order_ids].index(order_id)])).decode()
        copy = (await remote("dead-letters", "edit", letter["id"], "--value", message, "--why", "a wrong zipcode")).row
        replayed = (await remote("dead-letters", "replay", copy["id"], "--why", "edited")).row
        assert (replayed["result"], replayed["service"]) == ("resolved", "delivery")
        await mend(depot, bad)
        results = (await remote("dead-letters", "replay", "--all", "--why", "the carrier is back")).rows
        assert [each["result"] for each in results] == ["resolved", "resolved"]
        assert {await delivered(depot, each) for each in order_ids} == {"STARTED"}
        (act,) = await depot.acts(copy["id"])
        assert (act["who"], act["why"]) == (WHO, "edited")
        assert "no open letter fits" in (await remote("dead-letters", "replay", "--all", "--why", "x")).err


async def test_rights_and_addresses_are_told(depot: OperatorRig) -> None:
    async with on_a_port(depot) as remote:
        _, _ = await given_up(depot)
        (letter,) = (await remote("dead-letters", "list", headers=READER)).rows
        refused = await remote("dead-letters", "discard", letter["id"], "--why", "x", headers=READER, code=1)
        assert "403" in refused.err
        assert "MASTER, OPERATOR" in refused.err
        assert "401" in (await remote("dead-letters", "list", headers={}, code=1)).err
        assert (
            "--who" in (await remote("dead-letters", "discard", letter["id"], "--why", "x", "--who", "kim", code=2)).err
        )
        assert "is order" in (await remote("dead-letters", "list", "--service", "order", code=2)).err
        assert "--via-http" in (await Remote("http://127.0.0.1:9")("parked", "list", code=1)).err
        assert "leave --via-http out" in (await remote("dead-letters", "import", "order-created", code=2)).err
        assert (await remote("dead-letters", "discard", letter["id"], "--why", "x")).row["result"] == "discarded"
        again = await remote("dead-letters", "discard", letter["id"], "--why", "x", code=2)
        assert "is DISCARDED already" in again.err


async def test_parked_records_are_retried_and_discarded(stack: DevStack) -> None:
    async with failing_depot(stack, park_backoff_ms=60_000, park_attempts_max=4) as slow, on_a_port(slow) as remote:
        bad, order_id = zipcode(), uuid7()
        await break_down(slow, bad)
        await slow.send(ask(order_id, bad))
        await slow.parked(order_id, 1)
        (queue,) = (await remote("parked", "list")).rows
        assert (queue["order_key"], queue["attempts"], queue["service"]) == (str(order_id), 1, "delivery")
        assert "1 of 4" in (await remote("parked", "list", json=False)).out
        assert (await remote("parked", "retry", queue["record"], "--why", "now")).row["result"] == "due now"

        async def tried(attempts: int) -> bool:
            rows: list[dict[str, Any]] = (await remote("parked", "list")).rows
            return bool(rows[0]["attempts"] == attempts)

        await until(lambda: tried(2))
        said = (await remote("orders", "retry", order_id, "--why", "for the order", json=False)).out
        assert said.split() == ["delivery", queue["record"], "due", "now"]
        await until(lambda: tried(3))
        assert (await remote("parked", "discard", "--all", "--why", "a test")).row["result"] == "discarded"
        done = [(each["who"], each["why"]) for each in await slow.acts(queue["record"])]
        assert done == [(WHO, "now"), (WHO, "for the order"), (WHO, "a test")]
