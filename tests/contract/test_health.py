"""What a process says of itself: ready means that it answers HTTP, all else is an alarm, and no loop beside the turns fails unseen."""

import asyncio
from typing import Any
from unittest.mock import Mock
from uuid import uuid4

import httpx
import pytest
from litestar import Litestar

from ordersaga.devstack import DevStack
from ordersaga.http.health import health
from ordersaga.messaging import loops
from ordersaga.messaging.database import Connection
from ordersaga.messaging.handler import Batch
from ordersaga.messaging.loops import Beat
from ordersaga.messaging.runtime import Runtime
from tests.contract.rig import Rig, alarm, told, until, well


async def asked(runtime: Runtime, path: str) -> tuple[int, dict[str, Any]]:
    """What a process says over HTTP."""
    transport = httpx.ASGITransport(Litestar(health("delivery", runtime), openapi_config=None, logging_config=None))  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        answer = await client.get(f"/health/{path}")
        return answer.status_code, answer.json()


async def test_a_process_without_kafka_is_ready_and_not_started_and_says_what_it_waits_for(service: Rig) -> None:
    async with service.instance_unready(kafka_bootstrap_servers="127.0.0.1:9") as runtime:
        await until(lambda: alarm(runtime, "waiting"))
        code, said = await asked(runtime, "ready")
        assert (code, said["status"], said["problems"]) == (200, "UP", [])
        assert "127.0.0.1:9" in said["alarms"][0]["what"]
        code, said = await asked(runtime, "status")
        assert (code, said["status"], said["started"], said["service"]) == (200, "DEGRADED", False, "delivery")
        assert (await asked(runtime, "live"))[0] == 200


async def test_records_that_were_set_aside_are_an_alarm_with_their_age_and_what_to_do(service: Rig) -> None:
    async def fail(batch: Batch, _: Connection) -> None:
        raise ValueError("poison")

    service.intervene = fail
    async with service.instance(park_backoff_ms=60_000) as runtime:
        service.send(told(uuid4()), b"no message")
        await until(lambda: alarm(runtime, "parked"))
        await until(lambda: alarm(runtime, "dead letters"))
        await service.db.execute("UPDATE parked SET parked_at = parked_at - interval '1 hour'")

        async def is_old() -> bool:
            return (await alarm(runtime, "parked"))[0].age_s >= 3_600

        await until(is_old)
        code, said = await asked(runtime, "ready")
        assert (code, said["problems"]) == (200, [])
        assert {each["alarm"] for each in said["alarms"]} == {"parked", "dead letters"}
        assert all("ordersaga" in each["todo"] for each in said["alarms"])


@pytest.mark.parametrize("way", ["raises", "ends"])
async def test_a_loop_that_fails_or_ends_is_seen_and_begun_again(
    service: Rig, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setattr(loops, "log", logged := Mock())
    times = 0
    mended = asyncio.Event()

    async def work(beat: Beat) -> None:
        nonlocal times
        times += 1
        while mended.is_set():
            beat()
            await asyncio.sleep(0.01)
        if way == "raises":
            raise LookupError("broken")

    async with service.instance() as runtime:
        runtime.supervise("a loop", work, needed_for_http=True)

        async def begun_again() -> bool:
            return times > 2

        await until(begun_again)
        code, said = await asked(runtime, "ready")
        assert (code, said["status"]) == (503, "DOWN")
        assert "a loop" in said["problems"][0]
        assert (await asked(runtime, "live"))[0] == 200
        assert [each.where for each in await alarm(runtime, "loop")] == ["a loop"]
        assert logged.error.call_count == 1, "said once, not at each of its failures"
        mended.set()
        await until(lambda: well(runtime))
        assert logged.info.call_count == 1
        assert (await asked(runtime, "ready"))[0] == 200


async def test_a_loop_that_hangs_is_begun_again_and_one_that_does_not_even_end_makes_the_process_not_live(
    service: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loops, "CHECK_EVERY_S", 0.05)
    monkeypatch.setattr(loops, "ENDS_WITHIN_S", 0.3)
    begun: list[str] = []
    over = asyncio.Event()

    async def hangs() -> None:
        begun.append("hangs")
        await asyncio.sleep(1_000 if len(begun) < 3 else 0)

    async def hangs_for_good() -> None:
        while not over.is_set():
            try:
                await over.wait()
            except asyncio.CancelledError:
                continue

    async with service.instance() as runtime:
        runtime.every(0.05, hangs, "one that hangs", limit_s=0.2)

        async def hung() -> bool:
            return any("no round of the loop ended" in each.what for each in await alarm(runtime, "loop"))

        await until(hung)
        await until(lambda: well(runtime))
        assert len(begun) > 2
        assert (await asked(runtime, "live"))[0] == 200
        runtime.every(0.05, hangs_for_good, "one that hangs for good", limit_s=0.2)

        async def is_dead() -> bool:
            return (await asked(runtime, "live"))[0] == 503

        await until(is_dead)
        assert (await asked(runtime, "live"))[1]["problems"] == ["one that hangs for good is dead"]
        over.set()


async def test_a_database_that_is_away_fails_every_loop_and_is_said_once(
    service: Rig, stack: DevStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loops, "log", logged := Mock())
    async with service.instance() as runtime:

        async def away() -> None:
            raise ConnectionRefusedError("nobody listens")

        for name in ("one", "two", "three"):
            runtime.every(0.05, away, name)

        async def all_fail() -> bool:
            return len(await alarm(runtime, "loop")) == 3

        await until(all_fail)
        assert logged.warning.call_count == 1
        assert (await asked(runtime, "ready"))[0] == 200
