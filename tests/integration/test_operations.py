"""The operators' HTTP face of a running Delivery service: what it shows, and to whom."""

import base64
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from uuid_utils.compat import uuid7

from ordersaga.contracts import codec
from ordersaga.devstack import DevStack
from tests.integration.failing_depot import REQUESTS, ask, break_down, failing_depot, given_up, zipcode
from tests.integration.operations_face import READER, act, caller, pages, show
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


async def test_what_fails_again_for_one_order_is_listed_once_with_how_often_and_since_when(depot: OperatorRig) -> None:
    bad, (often, once) = await given_up(depot, 2)
    await depot.send(*(ask(often, bad) for _ in range(3)))
    await until(lambda: _has_letters(depot, often, 4))
    letters = (await show(depot, "dead-letters", orderId=str(often)))["items"]
    assert [each["repeats"] for each in letters] == [None] * 4, "each letter is listed where nobody asks for the latest"

    listed = await pages(depot, "dead-letters", limit=2, latestOfOrder="true")
    ours = {UUID(each["orderId"]): each for each in listed if UUID(each["orderId"]) in (often, once)}
    assert len(listed) == len({each["orderId"] for each in listed})
    assert ours[often]["id"] == letters[0]["id"]
    assert ours[often]["repeats"] == {"letters": 4, "firstAt": letters[-1]["at"]}
    assert ours[once]["repeats"]["letters"] == 1

    body = {"reason": "a test", "version": "OPEN"}
    await act(depot, f"dead-letters/{letters[0]['id']}/discard", body)
    listed = await pages(depot, "dead-letters", limit=2, latestOfOrder="true", topic=REQUESTS, cause="RaiseError")
    (next_one,) = [each for each in listed if each["orderId"] == str(often)]
    assert (next_one["id"], next_one["repeats"]["letters"]) == (letters[1]["id"], 4), "of the open ones the latest"


async def _has_letters(depot: OperatorRig, order_id: UUID, count: int) -> bool:
    return len((await show(depot, "dead-letters", orderId=str(order_id)))["items"]) == count


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


@pytest.mark.parametrize("path", ["dead-letters", "dead-letters/causes", "parked", "partitions", "acts"])
async def test_a_search_for_nul_is_refused(depot: OperatorRig, path: str) -> None:
    """PostgreSQL has no such text; the answer names the parameter."""
    for name in ("target", "who") if path == "acts" else ("topic",) if path == "partitions" else ("topic", "cause"):
        refused = await show(depot, path, READER, 400, **{name: "a\0b"})
        assert [each["field"] for each in refused["errors"]] == [name]


async def test_a_time_without_a_zone_is_refused(depot: OperatorRig) -> None:
    for path in ("dead-letters", "dead-letters/causes"):
        refused = await show(depot, path, code=400, before="2026-01-01T00:00:00")
        assert [each["field"] for each in refused["errors"]] == ["before"]
        await show(depot, path, before="2026-01-01T00:00:00Z")
    job = {"act": "discard", "reason": "old", "selection": {"before": "2026-01-01T00:00:00"}}
    refused = await act(depot, "jobs", job, 400)
    assert [each["field"] for each in refused["errors"]] == ["selection.before"]


async def test_a_name_that_no_topic_can_have_is_of_no_topic(depot: OperatorRig) -> None:
    body = {"reason": "mistyped", "position": 0}
    assert "no topic" in (await act(depot, "partitions/주문/0/accept", body, 404))["detail"]


async def test_a_letter_with_half_of_a_character_is_shown_and_edited(depot: OperatorRig) -> None:
    """A text that was cut in the middle of an emoji, in a record that fits no schema: no text that can be sent as UTF-8."""
    order_id, said = uuid7(), {"customerId": "nobody", "name": "김주문 \ud83d", "more": "\ud83d"}
    value = json.dumps({"orderId": str(order_id), **said})
    await depot.send_raw(REQUESTS, order_id, value.encode(), [("note", '{"name":"김주문"}'.encode())])
    (letter,) = await depot.letters(order_id)
    hidden = await show(depot, f"dead-letters/{letter['id']}")
    assert '"name":"***"' in hidden["content"]["value"]["text"]
    assert "김주문" not in str(hidden) and hidden["content"]["headers"][0]["value"]["base64"] is None
    mended = value.replace(r"\ud83d", "").replace("nobody", str(UUID(int=5)))
    edit = {"reason": "cut off", "version": "OPEN", "value": mended, "dryRun": True}
    shown = await act(depot, f"dead-letters/{letter['id']}/edit", edit)
    assert any(r"\ud83d" in line for line in shown["diff"])
