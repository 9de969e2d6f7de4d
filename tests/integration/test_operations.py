"""The operators' HTTP face of a running Delivery service: what it shows, and to whom."""

import base64
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest_asyncio
from uuid_utils.compat import uuid7

from ordersaga.contracts import codec
from ordersaga.devstack import DevStack
from tests.integration.failing_depot import REQUESTS, ask, break_down, failing_depot, given_up, zipcode
from tests.integration.operations_face import caller, pages, show
from tests.integration.operator_rig import OperatorRig, until

READS = ["dead-letters", "dead-letters/causes", "parked", "partitions", "outbox", "acts"]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def depot(stack: DevStack) -> AsyncIterator[OperatorRig]:
    async with failing_depot(stack) as rig:
        yield rig


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def slow(stack: DevStack) -> AsyncIterator[OperatorRig]:
    """A service that waits a minute before the next try."""
    async with failing_depot(stack, park_backoff_ms=60_000) as rig:
        yield rig


async def test_each_role_sees_what_it_may(depot: OperatorRig) -> None:
    for path in READS:
        for role in ("READER", "OPERATOR", "MASTER"):
            await show(depot, path, caller(role))
        refused = await show(depot, path, caller("CUSTOMER"), code=403)
        assert "READER" in refused["detail"]
        await show(depot, path, {}, code=401)


async def test_dead_letters_are_found_grouped_and_shown(depot: OperatorRig) -> None:
    _, order_ids = await given_up(depot, 3)
    listed = await pages(depot, "dead-letters", limit=2)
    assert sum(UUID(each["orderId"]) in order_ids for each in listed) == 3
    assert len({each["id"] for each in listed}) == len(listed)
    (one,) = (await show(depot, "dead-letters", orderId=str(order_ids[0])))["items"]
    assert (one["topic"], one["cause"], one["reason"], one["attempts"]) == (
        REQUESTS,
        "RaiseError",
        "the carrier is away",
        3,
    )
    assert (await show(depot, "dead-letters", orderId=str(order_ids[0]), status="RESOLVED"))["items"] == []
    groups = (await show(depot, "dead-letters/causes", topic=REQUESTS))["items"]
    assert [(each["cause"], each["letters"] >= 3) for each in groups] == [("RaiseError", True)]

    whole = await show(depot, f"dead-letters/{one['id']}", caller("OPERATOR"))
    value = base64.b64decode(whole["content"]["value"]["base64"])
    assert codec.decode(REQUESTS, value).order_id == order_ids[0]  # type: ignore[attr-defined]
    assert "김주문" in whole["content"]["value"]["text"]
    hidden = await show(depot, f"dead-letters/{one['id']}")
    assert hidden["content"]["value"]["base64"] is None
    assert "김주문" not in str(hidden)
    assert str(order_ids[0]) in hidden["content"]["value"]["text"]
    assert (await show(depot, f"dead-letters/{uuid7()}", code=404))["status"] == 404


async def test_parked_records_are_listed_and_shown(slow: OperatorRig) -> None:
    bad, order_ids = zipcode(), [uuid7() for _ in range(3)]
    await break_down(slow, bad)
    await slow.send(*(ask(each, bad) for each in order_ids))
    for each in order_ids:
        await slow.parked(each, 1)
    await slow.send(ask(order_ids[0]))
    await slow.parked(order_ids[0], 2)
    listed = await pages(slow, "parked", limit=2, cause="raiseerror")
    assert {UUID(each["orderId"]) for each in listed} == set(order_ids)
    assert len(listed) == 3
    (queue,) = (await show(slow, "parked", orderId=str(order_ids[0])))["items"]
    assert (queue["attempts"], queue["attemptsMax"], queue["records"]) == (1, 3, 2)
    at = f"parked/{queue['topic']}/{queue['partition']}/{queue['offset']}"
    whole = await show(slow, at, caller("MASTER"))
    assert (whole["ahead"], whole["behind"], whole["version"]) == (0, 1, queue["version"])
    assert str(order_ids[0]) in whole["content"]["value"]["text"]
    await show(slow, f"parked/{queue['topic']}/{queue['partition']}/999999", code=404)


async def test_partitions_tell_position_owner_and_lag(depot: OperatorRig) -> None:
    async def reported() -> list[dict[str, Any]]:
        found = await pages(depot, "partitions", limit=2)
        return found if all(each["state"] == "READING" and each["lag"] == 0 for each in found) else []

    found = await until(reported)
    assert [(each["topic"], each["partition"]) for each in found] == [(REQUESTS, n) for n in range(3)]
    assert all(each["owner"] and each["end"] == each["position"] for each in found)


async def test_the_outbox_is_empty_or_tells_its_age(depot: OperatorRig) -> None:
    found = await show(depot, "outbox")
    assert found["rows"] == 0 or found["oldestAgeS"] >= 0
