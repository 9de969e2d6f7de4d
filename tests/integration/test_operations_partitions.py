"""Pause, resume and accept over the operators' HTTP face: a paused partition stays paused for whichever process has it."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio
from uuid_utils.compat import uuid7

from ordersaga.contracts import codec
from ordersaga.delivery import app
from ordersaga.devstack import DevStack
from ordersaga.messaging.kafka import Partition, PartitionConsumer
from ordersaga.operations.flow import KEPT, prune
from tests.integration.failing_depot import REQUESTS, ask, delivered, failing_depot
from tests.integration.operations_face import FACE, READER, WHO, act, pages, show
from tests.integration.operator_rig import OperatorRig, until
from tests.integration.service import running

PAUSED = 1
AFTER_ONE = {"handled": 1, "written": 1, "lag": 0}


@pytest_asyncio.fixture(loop_scope="session")
async def depot(stack: DevStack) -> AsyncIterator[OperatorRig]:
    async with failing_depot(stack) as rig:
        yield rig


async def partition(rig: OperatorRig, number: int = PAUSED) -> dict[str, Any]:
    found = await pages(rig, "partitions", limit=2)
    one: dict[str, Any] = next(each for each in found if each["partition"] == number)
    return one


async def in_state(rig: OperatorRig, state: str, number: int = PAUSED) -> None:
    async def there() -> bool:
        now = await partition(rig, number)
        return bool(now["state"] == state and now["owner"])

    await until(there)


async def alarms(rig: OperatorRig, alarm: str) -> list[str]:
    found = (await rig.http.get("/health/status")).json()["alarms"]
    return [f"{each['where']}: {each['what']}" for each in found if each["alarm"] == alarm]


async def send(rig: OperatorRig, number: int) -> Any:
    """An order whose request is on this partition."""
    order_id = uuid7()
    await rig.send_raw(REQUESTS, order_id, codec.encode(ask(order_id)), partition=number)
    return order_id


async def arrives(rig: OperatorRig, order_id: Any) -> None:
    async def there() -> bool:
        return await delivered(rig, order_id) == "STARTED"

    await until(there)


async def test_a_paused_partition_stays_paused_for_the_next_process_until_it_is_resumed(depot: OperatorRig) -> None:
    await in_state(depot, "READING")
    path, seen = f"partitions/{REQUESTS}/{PAUSED}", await partition(depot)
    pause = {"reason": "a bad batch", "version": seen["version"]}
    paused = await act(depot, f"{path}/pause", pause)
    assert (paused["state"], paused["pausedBy"], paused["pauseReason"]) == ("PAUSED", WHO, "a bad batch")
    assert (await act(depot, f"{path}/pause", pause, 409))["title"] == "Somebody else has acted"

    async def stopped() -> bool:
        return bool(await alarms(depot, "partition paused"))

    await until(stopped)
    (alarm,) = await alarms(depot, "partition paused")
    assert alarm.startswith(f"{REQUESTS}/{PAUSED}: {WHO} has paused the partition")
    assert await alarms(depot, "partition stopped") == []
    waits, goes = await send(depot, PAUSED), await send(depot, 0)
    await arrives(depot, goes)
    assert await delivered(depot, waits) is None

    async with running(depot.settings, app.create_app) as other:  # a rebalance: two processes share the partitions
        more = [await send(depot, n) for n in (0, 2)]
        for each in more:
            await arrives(depot, each)
        assert await delivered(depot, waits) is None

        async def told_with_lag() -> Any:
            """What the other process tells of the partitions. It does not wait long for Kafka, so a lag may be unknown at first."""
            told = (await other.get(f"{FACE}/partitions", headers=READER)).json()["items"]
            return told if all(each["lag"] is not None for each in told) else None

        told = await until(told_with_lag)
        assert [each["state"] for each in told] == ["READING", "PAUSED", "READING"]
        assert (told[PAUSED]["lag"], told[PAUSED]["version"]) == (1, paused["version"])
    await arrives(depot, await send(depot, 0))  # and back: the other process has ended
    assert await delivered(depot, waits) is None

    await act(depot, f"{path}/resume", pause, 409)
    resumed = await act(depot, f"{path}/resume", {"reason": "mended", "version": paused["version"]})
    assert resumed["pausedBy"] is None
    await arrives(depot, waits)
    await in_state(depot, "READING")
    assert await alarms(depot, "partition paused") == []
    found = (await show(depot, "acts", target=f"{REQUESTS}/{PAUSED}"))["items"]
    assert [(each["what"], each["why"]) for each in found] == [("resume", "mended"), ("pause", "a bad batch")]


async def test_a_stopped_partition_goes_on_where_an_operator_says(depot: OperatorRig) -> None:
    await in_state(depot, "READING")
    await send(depot, PAUSED)
    # As after records were removed: the ledger stands where the log has nothing.
    await depot.pool.execute(
        "UPDATE ledger SET next_offset = 1000000, epoch = epoch + 1 WHERE topic = $1 AND partition = $2",
        REQUESTS,
        PAUSED,
    )
    waits = await send(depot, PAUSED)
    await in_state(depot, "STOPPED")
    stopped = await partition(depot)
    assert "the ledger stands at offset 1000000" in stopped["problem"]
    path, body = f"partitions/{REQUESTS}/{PAUSED}/accept", {"reason": "lost", "position": 1_000_000}
    assert (await act(depot, path, {**body, "position": 5}, 409))["title"] == "Somebody else has acted"
    assert [each["field"] for each in (await act(depot, path, {**body, "at": "-1"}, 400))["errors"]] == ["at"]
    await act(depot, f"partitions/{REQUESTS}/77/accept", body, 404)
    await act(depot, "partitions/no-topic/0/accept", body, 404)
    assert await act(depot, path, body) == {"topic": REQUESTS, "partition": PAUSED}
    await arrives(depot, waits)
    await act(depot, path, body, 409)
    (found,) = [each for each in (await show(depot, "acts"))["items"] if each["what"] == "accept"]
    assert (found["who"], found["why"], found["before"]) == (WHO, "lost", {"position": 1_000_000})
    await act(depot, "partitions/no-topic/0/pause", {"reason": "x", "version": "running"}, 404)


async def test_a_partition_without_a_leader_is_told_and_holds_no_other_up(
    depot: OperatorRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask_kafka, leaderless = PartitionConsumer.log_bounds, {Partition(REQUESTS, PAUSED)}

    async def told(consumer: PartitionConsumer, asked: Sequence[Partition]) -> dict[Partition, tuple[int, int]]:
        return {each: bounds for each, bounds in (await ask_kafka(consumer, asked)).items() if each not in leaderless}

    await in_state(depot, "READING")
    monkeypatch.setattr(PartitionConsumer, "log_bounds", told)
    await depot.pool.execute("UPDATE ledger SET epoch = epoch + 1 WHERE topic = $1", REQUESTS)  # all are taken again
    waits, goes = await send(depot, PAUSED), await send(depot, 0)
    await arrives(depot, goes)
    assert await delivered(depot, waits) is None
    assert await alarms(depot, "partition stopped") == [
        f"{REQUESTS}/{PAUSED}: no broker leads the partition, or its leader does not answer"
    ]
    leaderless.clear()
    await arrives(depot, waits)
    assert await alarms(depot, "partition stopped") == []


async def test_a_partition_is_paused_and_resumed_by_command(depot: OperatorRig) -> None:
    await in_state(depot, "READING", 2)
    paused = ("topics", "pause", REQUESTS, "--partition", "2")
    assert "--why is required" in (await depot(*paused, json=False, whole=True, code=2)).err
    await depot(*paused, "--why", "a bad batch", "--who", "kim", json=False, whole=True)
    assert (await partition(depot, 2))["pausedBy"] == "kim"
    again = await depot(*paused, "--why", "a bad batch", json=False, whole=True, code=2)
    assert "is paused already by kim: a bad batch" in again.err
    await depot("topics", "resume", REQUESTS, "--partition", "2", "--who", "kim", json=False, whole=True)
    assert (await partition(depot, 2))["pausedBy"] is None
    await arrives(depot, await send(depot, 2))


async def test_every_partition_of_a_topic_is_paused_and_resumed_at_once(depot: OperatorRig) -> None:
    await in_state(depot, "READING")
    version = (await partition(depot))["version"]
    await act(depot, f"partitions/{REQUESTS}/{PAUSED}/pause", {"reason": "a bad batch", "version": version})
    changed = await act(depot, f"partitions/{REQUESTS}/pause", {"reason": "the carrier moves"})
    states = await pages(depot, "partitions", topic=REQUESTS, limit=200)
    assert {each["state"] for each in states} == {"PAUSED"}
    assert len(changed["partitions"]) == len(states) - 1
    assert {each["partition"]: each["pauseReason"] for each in states} == {
        each["partition"]: "a bad batch" if each["partition"] == PAUSED else "the carrier moves" for each in states
    }
    assert "is paused already" in (await act(depot, f"partitions/{REQUESTS}/pause", {"reason": "x"}, 409))["detail"]
    (told,) = (await show(depot, "acts", target=REQUESTS))["items"]
    assert (told["what"], told["why"], told["before"]) == ("pause topic", "the carrier moves", {"paused": 1})
    waits = await send(depot, PAUSED)

    said = await depot("topics", "resume", REQUESTS, "--why", "moved", json=False, whole=True)
    assert f"reads {len(states)} partitions of {REQUESTS} again" in said.out
    await arrives(depot, waits)
    assert "none is paused" in (await act(depot, f"partitions/{REQUESTS}/resume", {"reason": "x"}, 409))["detail"]
    said = await depot("topics", "pause", REQUESTS, "--why", "again", json=False, whole=True)
    assert f"stops reading {len(states)} partitions" in said.out
    await act(depot, f"partitions/{REQUESTS}/resume", {"reason": "mended"})
    await act(depot, "partitions/no-topic/pause", {"reason": "x"}, 404)
    await act(depot, f"partitions/{REQUESTS}/pause", {}, 400)


async def test_where_the_service_stood_is_kept_and_told_by_whichever_process_is_asked(depot: OperatorRig) -> None:
    await in_state(depot, "READING")
    before = (await show(depot, "flow"))["moments"][-1]["topics"][REQUESTS]
    assert before["lag"] == before["written"] - before["handled"]
    await arrives(depot, await send(depot, 0))

    async def told() -> list[dict[str, Any]]:
        moments: list[dict[str, Any]] = (await show(depot, "flow", seconds=600))["moments"]
        return moments if moments[-1]["topics"][REQUESTS]["handled"] > before["handled"] else []

    moments = await until(told)
    assert moments[-1]["topics"][REQUESTS] == {name: before[name] + more for name, more in AFTER_ONE.items()}
    single = (await show(depot, "flow", seconds=600, topic=REQUESTS))["moments"][-1]["partitions"]
    assert sum(each["handled"] for each in single.values()) == moments[-1]["topics"][REQUESTS]["handled"]
    assert moments[-1]["partitions"] == {}, "only those of a topic that was asked for"
    letters = f"{REQUESTS}-dlt"
    ends = (await show(depot, "flow", seconds=600, topic=letters))["moments"][-1]
    assert ends["topics"][letters]["written"] == sum(each["written"] for each in ends["partitions"].values())
    assert ends["topics"][letters]["handled"] is None, "nobody reads them"
    assert before in [each["topics"].get(REQUESTS) for each in moments]
    assert [each["at"] for each in moments] == sorted(each["at"] for each in moments)

    async with running(depot.settings, app.create_app) as other:
        answer = await other.get(f"{FACE}/flow", headers=READER, params={"seconds": 600})
        assert all(each in answer.json()["moments"] for each in moments)


async def test_one_moment_of_each_stretch_is_told_and_old_ones_are_deleted(depot: OperatorRig) -> None:
    await in_state(depot, "READING")
    await show(depot, "flow")
    await depot.pool.execute(
        "INSERT INTO flow_moment SELECT now() - n * interval '1 minute', '{}', '{}' FROM generate_series(1, 400) AS n"
    )
    few = (await show(depot, "flow", seconds=7200, everySeconds=3600))["moments"]
    assert 2 <= len(few) <= 3
    assert 115 <= len((await show(depot, "flow", seconds=7200, everySeconds=1))["moments"]) <= 125
    async with depot.pool.acquire() as db:
        before = datetime.now(UTC) - KEPT
        assert 210 <= await prune(db, before=before, rows_max=5_000) <= 225
    for wrong in ({"seconds": 0}, {"seconds": 10_801}, {"everySeconds": 0}, {"seconds": "x"}):
        await show(depot, "flow", code=400, **wrong)
