"""Faults of a consumer on purpose, over the operators' HTTP face of a running Delivery service."""

import copy
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import httpx
import pytest_asyncio
from uuid_utils.compat import uuid7

from ordersaga.delivery import app
from ordersaga.devstack import DevStack
from ordersaga.messaging.consumer_faults import ON_PURPOSE
from tests.integration.failing_depot import ask, delivered, failing_depot
from tests.integration.operations_face import OPERATING, READER, WHO, act, caller, pages, show
from tests.integration.operator_rig import OperatorRig, until
from tests.integration.service import running

NONE = {"turnDelayMs": 0, "turnRecordsMax": None, "passingPercent": 0, "lastingPercent": 0}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def depot(stack: DevStack) -> AsyncIterator[OperatorRig]:
    async with failing_depot(stack, development=True, consumer_faults=True) as rig:
        yield rig


async def spoil(rig: OperatorRig, **faults: Any) -> dict[str, Any]:
    """Set these faults, and no others."""
    version = (await show(rig, "faults"))["version"]
    done: dict[str, Any] = await act(rig, "faults", {"reason": "a rehearsal", "version": version, **faults})
    return done


def beside(rig: OperatorRig, http: httpx.AsyncClient) -> OperatorRig:
    """Another process of the same service."""
    other = copy.copy(rig)
    other.http = http
    return other


async def order(rig: OperatorRig, count: int = 1) -> list[UUID]:
    order_ids = [uuid7() for _ in range(count)]
    await rig.send(*(ask(each) for each in order_ids))
    return order_ids


async def all_delivered(rig: OperatorRig, order_ids: list[UUID]) -> None:
    async def there() -> bool:
        return all([await delivered(rig, each) == "STARTED" for each in order_ids])

    await until(there)


async def alarms(rig: OperatorRig) -> list[str]:
    found = (await rig.http.get("/health/status")).json()["alarms"]
    return [each["what"] for each in found if each["alarm"] == ON_PURPOSE]


async def lag(rig: OperatorRig) -> int:
    return sum(each["lag"] or 0 for each in await pages(rig, "partitions", limit=50))


async def test_a_slow_consumer_falls_behind_and_catches_up_once_the_fault_is_over(depot: OperatorRig) -> None:
    shown = await spoil(depot, turnDelayMs=300, turnRecordsMax=1)
    assert (shown["allowed"], shown["turnDelayMs"], shown["turnRecordsMax"]) == (True, 300, 1)
    assert "each turn begins 300 ms late" in (await alarms(depot))[0]
    order_ids = await order(depot, 30)

    async def behind() -> bool:
        return await lag(depot) >= 15

    await until(behind)
    await spoil(depot)
    assert await alarms(depot) == []
    await all_delivered(depot, order_ids)
    assert await lag(depot) == 0


async def test_records_fail_for_a_passing_reason_are_parked_and_succeed_in_the_end(depot: OperatorRig) -> None:
    await spoil(depot, passingPercent=100)
    (order_id,) = await order(depot)
    await depot.parked(order_id, 1)
    await spoil(depot)
    await all_delivered(depot, [order_id])
    assert await depot.pool.fetchval("SELECT count(*) FROM dead_letter WHERE order_key = $1", order_id) == 0


async def test_records_fail_for_a_lasting_reason_and_are_replayed_once_it_is_over(depot: OperatorRig) -> None:
    await spoil(depot, lastingPercent=100)
    (order_id,) = await order(depot)
    (letter,) = await depot.letters(order_id)
    assert "fails on purpose" in letter["reason"]
    # A dry run says what would happen without the faults.
    body = {"reason": "try", "version": "OPEN"}
    rehearsed = await act(depot, f"dead-letters/{letter['id']}/replay", body | {"dryRun": True})
    assert rehearsed["effect"]["problem"] is None
    await spoil(depot)
    await act(depot, f"dead-letters/{letter['id']}/replay", body)
    await all_delivered(depot, [order_id])


async def test_setting_faults_is_an_act_of_an_operator_on_what_was_seen(depot: OperatorRig) -> None:
    seen = await show(depot, "faults")
    assert {name: seen[name] for name in NONE} == NONE
    body = {"reason": "a rehearsal", "version": seen["version"], "turnDelayMs": 10}
    refused = await act(depot, "faults", body, 403, READER)
    assert "OPERATOR" in refused["detail"]
    await act(depot, "faults", body, 403, caller("CUSTOMER"))
    assert (await act(depot, "faults", body | {"version": "0"}, 409))["title"] == "Somebody else has acted"
    for wrong in ({"turnDelayMs": 60_000}, {"turnRecordsMax": 0}, {"passingPercent": -1}, {"passingPercent": "many"}):
        problem = await act(depot, "faults", body | wrong, 400)
        assert [each["field"] for each in problem["errors"]] == list(wrong)
    problem = await act(depot, "faults", body | {"passingPercent": 60, "lastingPercent": 60}, 400)
    assert [each["field"] for each in problem["errors"]] == ["lastingPercent"]
    await act(depot, "faults", body)
    (last, *_) = (await show(depot, "acts", target="delivery"))["items"]
    assert (last["who"], last["what"], last["why"]) == (WHO, "set faults", "a rehearsal")
    assert (last["before"]["turnDelayMs"], last["after"]["turnDelayMs"]) == (0, 10)
    await spoil(depot)


async def test_the_faults_of_one_process_are_those_of_all_and_hold_after_a_restart_until_they_are_ended(
    stack: DevStack,
) -> None:
    async with failing_depot(stack, development=True, consumer_faults=True) as rig:
        await spoil(rig, turnDelayMs=10)
        for _ in range(2):  # beside the first process, and again after the second one has ended
            async with running(rig.settings, app.create_app) as http:
                other = beside(rig, http)
                assert (await show(other, "faults"))["turnDelayMs"] == 10

                async def told(by: OperatorRig = other) -> bool:
                    return ["each turn begins 10 ms late" in each for each in await alarms(by)] == [True]

                await until(told)
        async with running(rig.settings, app.create_app) as http:
            await spoil(beside(rig, http))

            async def over() -> bool:
                return await alarms(rig) == []

            await until(over)
            assert {name: (await show(rig, "faults"))[name] for name in NONE} == NONE


async def test_faults_are_refused_and_ignored_where_they_are_not_allowed(stack: DevStack) -> None:
    async with failing_depot(stack, development=True, consumer_faults=True) as before:
        await spoil(before, turnDelayMs=5_000)
        settings = before.settings.model_copy(update={"consumer_faults": False})
        async with running(settings, app.create_app) as http:
            rig = beside(before, http)
            seen = await show(rig, "faults")
            assert (seen["allowed"], seen["turnDelayMs"]) == (False, 0)
            body = {"reason": "a rehearsal", "version": seen["version"], "turnDelayMs": 10}
            refused = await act(rig, "faults", body, 409, OPERATING)
            assert "ORDERSAGA_CONSUMER_FAULTS" in refused["detail"]
            assert await alarms(rig) == []
        await spoil(before)
