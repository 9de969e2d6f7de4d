"""A URL with several servers: a silent one holds nobody up, and a standby is found as soon as it takes writes."""

import asyncio
from collections import Counter
from types import SimpleNamespace
from typing import Any

import asyncpg
import pytest

from ordersaga.messaging import servers
from ordersaga.messaging.errors import CannotStart
from ordersaga.messaging.servers import Servers

URL = "postgresql://user@primary:5432,standby:5433/shop"
NEXT_S = 0.01


class Machines:
    """What each server answers: an exception, `None` for nothing at all, or the text of its connection."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **answers: Any) -> None:
        self.answers = answers
        self.asked: Counter[str] = Counter()
        self.ports: dict[str, int] = {}
        self.has_asked = asyncio.Event()
        self.given_up: list[str] = []
        monkeypatch.setattr(servers, "NEXT_S", NEXT_S)
        monkeypatch.setattr(asyncpg, "connect", self._connect)

    async def asks(self, host: str, times: int) -> None:
        """Return when this server was asked so often."""
        while self.asked[host] < times:
            self.has_asked.clear()
            await self.has_asked.wait()

    async def _connect(self, url: str, *, host: str = "primary", port: int = 5432, **options: Any) -> Any:
        self.asked[host] += 1
        self.ports[host] = port
        self.has_asked.set()
        answer = self.answers[host]
        if answer is None:
            try:
                await asyncio.sleep(options["timeout"])
            except asyncio.CancelledError:
                self.given_up.append(host)
                raise
            raise TimeoutError
        if isinstance(answer, Exception):
            raise answer
        return SimpleNamespace(name=answer, _transport=SimpleNamespace(get_extra_info=lambda _: None))


NO_WRITES = asyncpg.TargetServerAttributeNotMatched("a standby")


async def test_the_next_server_is_asked_while_the_first_one_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    machines = Machines(monkeypatch, primary=None, standby="promoted")
    ours = Servers(URL)
    assert (await ours.connect(timeout=60)).name == "promoted"  # type: ignore[attr-defined]
    assert machines.given_up == ["primary"]
    await ours.connect(timeout=60)
    assert machines.asked == {"primary": 1, "standby": 2}  # the one that was found is asked first from now on


async def test_a_standby_is_asked_again_until_it_is_promoted(monkeypatch: pytest.MonkeyPatch) -> None:
    machines = Machines(monkeypatch, primary=None, standby=NO_WRITES)
    connecting = asyncio.create_task(Servers(URL).connect(timeout=60))
    await machines.asks("standby", 3)
    assert not connecting.done() and machines.asked["primary"] == 1
    machines.answers["standby"] = "promoted"
    assert (await connecting).name == "promoted"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("at", "ports"),
    [
        ("primary,standby/shop", (5432, 5432)),
        ("primary:5433,standby/shop", (5433, 5432)),
        ("primary,standby:5433/shop", (5432, 5433)),
        ("/shop?host=primary,standby&port=5433", (5433, 5433)),
    ],
)
async def test_a_host_without_a_port_has_the_usual_one(
    at: str, ports: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    machines = Machines(monkeypatch, primary=ConnectionRefusedError(), standby="promoted")
    await Servers(f"postgresql://user@{at}").connect(timeout=60)
    assert machines.ports == dict(zip(("primary", "standby"), ports, strict=True))


def test_hosts_and_ports_of_different_numbers_are_told_at_the_start() -> None:
    with pytest.raises(CannotStart, match="cannot be read"):
        Servers("postgresql://user@/shop?host=a,b,c&port=1,2")


async def test_servers_that_all_refuse_are_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    machines = Machines(monkeypatch, primary=ConnectionRefusedError(), standby=NO_WRITES)
    with pytest.raises(asyncpg.TargetServerAttributeNotMatched):
        await Servers(URL).connect(timeout=60)
    assert machines.asked == {"primary": 1, "standby": 1}


@pytest.mark.parametrize("url", [URL, "postgresql://user@primary:5432/shop"])
async def test_requests_that_wait_do_not_storm_servers_that_have_refused(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    machines = Machines(monkeypatch, primary=ConnectionRefusedError(), standby=ConnectionRefusedError())
    monkeypatch.setattr(servers, "AGAIN_S", 60.0)
    ours = Servers(url)
    for _ in range(50):
        with pytest.raises(ConnectionRefusedError):
            await ours.connect()
    assert machines.asked["primary"] == 1
    monkeypatch.setattr(servers, "AGAIN_S", 0.0)
    ours._refused_until_s = 0.0
    with pytest.raises(ConnectionRefusedError):
        await ours.connect()
    machines.answers["primary"] = "back"
    assert (await ours.connect()).name == "back"  # type: ignore[attr-defined]


async def test_a_silent_server_is_waited_for_until_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    machines = Machines(monkeypatch, primary=None, standby=ConnectionRefusedError())
    with pytest.raises(OSError):
        await Servers(URL).connect(timeout=10 * NEXT_S)
    assert machines.given_up == []


async def test_who_is_cancelled_leaves_no_question_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    machines = Machines(monkeypatch, primary=None, standby=None)
    connecting = asyncio.create_task(Servers(URL).connect(timeout=60))
    await machines.asks("standby", 1)
    connecting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await connecting
    assert sorted(machines.given_up) == ["primary", "standby"]


async def test_another_failure_is_not_hidden_by_the_next_server(monkeypatch: pytest.MonkeyPatch) -> None:
    machines = Machines(monkeypatch, primary=RuntimeError("a fault of ours"), standby="promoted")
    with pytest.raises(RuntimeError, match="a fault of ours"):
        await Servers(URL).connect()
    assert machines.asked == {"primary": 1}
