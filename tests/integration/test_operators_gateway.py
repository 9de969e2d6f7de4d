"""The gateway's sandbox in Payment's operators' face: its faults and the load generator, each change with its line in the trail."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from ordersaga.devstack import DevStack
from tests.integration.operations_face import FACE, OPERATING, READER, WHO
from tests.integration.payment_rig import PaymentRig, payment_rig


@pytest.fixture
async def rig(stack: DevStack) -> AsyncIterator[PaymentRig]:
    async with payment_rig(stack) as one:
        yield one


async def post(rig: PaymentRig, path: str, headers: dict[str, str] = OPERATING, **body: Any) -> tuple[int, Any]:
    sent = {"reason": "a rehearsal", **body}
    async with rig.http.post(f"{rig.url}{FACE}/gateway/{path}", json=sent, headers=headers) as response:
        return response.status, await response.json()


async def trail(rig: PaymentRig, target: str) -> list[tuple[Any, ...]]:
    """What was done, by whom, why, and the values before and after that differ, the latest first."""
    _, page = await rig.get(f"{FACE}/acts?target={target}", READER)
    found = []
    for act in page["items"]:
        before, after = act["before"], act["after"]
        names = [each for each in before | after if before.get(each) != after.get(each)]
        values = [{name: each[name] for name in names if name in each} for each in (before, after)]
        found.append((act["what"], act["who"], act["why"], *values))
    return found


async def test_faults_are_set_with_a_line_in_the_trail_and_by_one_of_two_operators_who_saw_the_same(
    rig: PaymentRig,
) -> None:
    await rig.start()
    await rig.faults(latencyMs=1e9, duplicateWebhookPercent=200, seed=7)  # more than the face itself would set
    assert (await rig.get(f"{FACE}/gateway/faults", READER))[0] == 200
    await rig.faults(orders={"one": {"confirm": {"outcome": "slow"}}})
    _, seen = await rig.get(f"{FACE}/gateway/faults", READER)
    assert seen["faults"]["percent"] == {} and seen["orders"] == 1
    wanted = {"latencyMs": 30, "percent": {"confirm": {"slow": 20}, "cancel": {"dropped": 2.5}}}
    assert (await post(rig, "faults", READER, version=seen["version"], faults=wanted))[0] == 403
    status, now = await post(rig, "faults", version=seen["version"], faults=wanted)
    assert (status, now["faults"]["percent"], now["orders"]) == (200, wanted["percent"], 1)
    status, problem = await post(rig, "faults", version=seen["version"], faults=None)
    assert (status, problem["title"]) == (409, "Somebody else has acted")
    for wrong in ({"percent": {"confirm": {"slow": 60, "dropped": 60}}}, {"percent": {"confirm": {"asleep": 1}}}):
        status, problem = await post(rig, "faults", version=now["version"], faults=wrong)
        assert (status, problem["errors"][0]["field"]) == (400, "faults")
    assert (await rig.get(f"{FACE}/gateway/faults", READER))[1] == now
    status, ended = await post(rig, "faults", version=now["version"], faults=None)
    assert (status, ended["faults"]["percent"], ended["orders"]) == (200, {}, 0)
    on = {"latencyMs": 30, "confirm.slow": 20, "cancel.dropped": 2.5}
    assert await trail(rig, "gateway") == [
        ("set gateway faults", WHO, "a rehearsal", on | {"orders": 1}, dict.fromkeys(on, 0) | {"orders": 0}),
        ("set gateway faults", WHO, "a rehearsal", dict.fromkeys(on, 0), on),
    ]


async def test_of_operators_who_act_at_once_one_is_heard(rig: PaymentRig) -> None:
    await rig.start()
    _, seen = await rig.get(f"{FACE}/gateway/faults", READER)
    wanted = [{"latencyMs": n} for n in range(1, 5)]
    told = await asyncio.gather(*(post(rig, "faults", version=seen["version"], faults=each) for each in wanted))
    assert sorted(status for status, _ in told) == [200, 409, 409, 409]
    [(_, _, _, _, after)] = await trail(rig, "gateway")
    _, now = await rig.get(f"{FACE}/gateway/faults", READER)
    assert now["faults"]["latencyMs"] == after["latencyMs"]
    begun = await asyncio.gather(*(post(rig, "load", act="begin", rate=rate) for rate in (5, 6, 7)))
    assert sorted(status for status, _ in begun) == [200, 409, 409]
    assert len(await trail(rig, "load")) == 1


async def test_a_load_generator_is_announced_steered_and_stopped_with_lines_in_the_trail(rig: PaymentRig) -> None:
    await rig.start()
    assert (await post(rig, "load", act="steer", rate=5))[0] == 409
    assert (await post(rig, "load", act="begin"))[1]["errors"][0]["field"] == "rate"
    assert (await post(rig, "load", READER, act="begin", rate=5))[0] == 403
    status, now = await post(rig, "load", act="begin", rate=5, seconds=60)
    assert (status, now["isRunning"], now["rate"]) == (200, True, 5)
    assert (await post(rig, "load", act="begin", rate=9))[0] == 409
    assert (await post(rig, "load", act="steer", rate=8))[0] == 200
    assert (await post(rig, "load", act="stop"))[0] == 200
    rate = "ordersPerSecond"
    assert await trail(rig, "load") == [
        ("stop load", WHO, "a rehearsal", {rate: 8}, {rate: 0}),
        ("steer load", WHO, "a rehearsal", {rate: 5}, {rate: 8}),
        ("begin load", WHO, "a rehearsal", {rate: 0}, {rate: 5, "seconds": 60}),
    ]


async def test_where_the_gateway_is_no_sandbox_nothing_is_set(rig: PaymentRig) -> None:
    await rig.start(ORDERSAGA_GATEWAY_URL=f"{rig.url}/elsewhere")
    assert (await rig.get(f"{FACE}/gateway/faults", READER))[0] == 409
    for path, body in (("faults", {"version": "x", "faults": {}}), ("load", {"act": "begin", "rate": 5})):
        status, problem = await post(rig, path, **body)
        assert status == 409 and "no sandbox" in problem["detail"]
    assert await trail(rig, "gateway") == await trail(rig, "load") == []
