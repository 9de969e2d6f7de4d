"""Acts over the operators' HTTP face: who may, what a stale one does (nothing), and what each leaves in the trail."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest_asyncio
from uuid_utils.compat import uuid7

from ordersaga.contracts import codec
from ordersaga.devstack import DevStack
from tests.integration.failing_depot import REQUESTS, ask, break_down, delivered, failing_depot, given_up, mend, zipcode
from tests.integration.operations_face import READER, WHO, act, caller, pages, show
from tests.integration.operator_rig import OperatorRig, until

WHY = {"reason": "the carrier is back", "version": "OPEN"}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def depot(stack: DevStack) -> AsyncIterator[OperatorRig]:
    async with failing_depot(stack) as rig:
        yield rig


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def slow(stack: DevStack) -> AsyncIterator[OperatorRig]:
    """A service that waits a minute before the next try."""
    async with failing_depot(stack, park_backoff_ms=60_000) as rig:
        yield rig


async def letter_of(rig: OperatorRig, order_id: UUID, status: str = "OPEN") -> dict[str, Any]:
    found = (await show(rig, "dead-letters", orderId=str(order_id), status=status))["items"]
    assert len(found) == 1, found
    letter: dict[str, Any] = found[0]
    return letter


async def trail(rig: OperatorRig, target: object) -> list[tuple[str, str, str]]:
    found = await pages(rig, "acts", target=str(target), limit=50)
    return [(each["what"], each["who"], each["why"]) for each in reversed(found)]


async def test_only_an_operator_acts_and_each_act_says_why(depot: OperatorRig) -> None:
    _, (order_id,) = await given_up(depot)
    letter = await letter_of(depot, order_id)
    paths = [f"dead-letters/{letter['id']}/{what}" for what in ("replay", "edit", "discard")]
    paths += [f"parked/{REQUESTS}/0/0/{what}" for what in ("retry", "discard")]
    paths += [f"partitions/{REQUESTS}/0/{what}" for what in ("pause", "resume", "accept")]
    paths += ["jobs", f"jobs/{uuid7()}/stop"]
    for path in paths:
        for role in ("READER", "CUSTOMER"):
            refused = await act(depot, path, WHY, 403, caller(role))
            assert "MASTER, OPERATOR" in refused["detail"]
        await act(depot, path, WHY, 401, {})
        nameless = await act(depot, path, {**WHY, "reason": "  "}, 400)
        assert "reason" in [each["field"] for each in nameless["errors"]]
    assert await trail(depot, letter["id"]) == []
    assert (await letter_of(depot, order_id))["status"] == "OPEN"


async def test_a_letter_is_rehearsed_and_replayed_and_a_second_replay_is_told_so(depot: OperatorRig) -> None:
    bad, (order_id,) = await given_up(depot)
    letter = await letter_of(depot, order_id)
    path = f"dead-letters/{letter['id']}/replay"
    told = await act(depot, path, {**WHY, "dryRun": True})
    assert "the carrier is away" in told["effect"]["problem"]
    await mend(depot, bad)
    told = await act(depot, path, {**WHY, "dryRun": True}, headers=caller("MASTER"))
    assert (told["effect"]["changes"], told["effect"]["sends"]) == ({"delivery": 1}, ["DeliveryStartMessage"])
    assert told["letter"]["status"] == "OPEN"
    assert (await act(depot, path, WHY))["letter"]["status"] in ("REPLAYED", "RESOLVED")
    stale = await act(depot, path, WHY, 409)
    assert (stale["title"], WHO in stale["detail"]) == ("Somebody else has acted", True)
    assert (await act(depot, path, {**WHY, "version": "REPLAYED"}, 409))["title"] == "Somebody else has acted"

    async def resolved() -> bool:
        whole = await show(depot, f"dead-letters/{letter['id']}")
        return bool(whole["replay"]["result"] == "resolved")

    await until(resolved)
    assert await delivered(depot, order_id) == "STARTED"
    assert await trail(depot, letter["id"]) == [("replay", WHO, "the carrier is back")]
    await act(depot, f"dead-letters/{uuid7()}/replay", WHY, 404)


async def test_an_edit_that_fits_no_schema_names_the_field(depot: OperatorRig) -> None:
    _, (order_id,) = await given_up(depot)
    letter = await letter_of(depot, order_id)
    path = f"dead-letters/{letter['id']}/edit"
    good = codec.encode(ask(order_id)).decode()
    for value, field in (
        (good.replace('"zipcode":"04524"', '"zipcode":["04524"]'), "value.zipcode"),
        (good.replace(str(order_id), "no id"), "value.orderId"),
        ("{}", "value.orderId"),
        ("not JSON", "value"),
    ):
        refused = await act(depot, path, {**WHY, "value": value}, 400)
        assert field in [each["field"] for each in refused["errors"]], refused
    shown = await act(depot, path, {**WHY, "value": good, "dryRun": True})
    assert shown["letter"] is None
    assert any(line.startswith("+") and "04524" in line for line in shown["diff"])
    assert await trail(depot, letter["id"]) == []
    copy = (await act(depot, path, {**WHY, "value": good}))["letter"]
    assert (copy["follows"], copy["status"]) == (letter["id"], "OPEN")
    await act(depot, path, {**WHY, "value": good}, 409)
    await act(depot, f"dead-letters/{copy['id']}/replay", WHY)
    await until(lambda: _delivered(depot, order_id))
    whole = await show(depot, f"dead-letters/{letter['id']}", READER)
    assert [each["status"] for each in whole["sameRecord"]] == ["SUPERSEDED", "RESOLVED"]
    assert [each["what"] for each in whole["acts"]] == ["edit", "replay"]
    assert not re.search(r"\b04524\b", str(whole)), "as a word: ids and times may have such digits, too"


async def _delivered(depot: OperatorRig, order_id: UUID) -> bool:
    return await delivered(depot, order_id) == "STARTED"


async def test_of_two_operators_who_decide_at_once_one_is_refused(depot: OperatorRig) -> None:
    _, (order_id,) = await given_up(depot)
    letter = await letter_of(depot, order_id)
    paths = [f"dead-letters/{letter['id']}/discard"] * 4 + [f"dead-letters/{letter['id']}/replay"] * 4
    answers = await asyncio.gather(
        *(depot.http.post(f"/api/v1/operations/{path}", headers=caller("OPERATOR"), json=WHY) for path in paths)
    )
    assert sorted(each.status_code for each in answers) == [200] + [409] * 7
    assert len(await trail(depot, letter["id"])) == 1


async def test_parked_records_are_retried_and_discarded_unless_they_changed(slow: OperatorRig) -> None:
    bad, order_id = zipcode(), uuid7()
    await break_down(slow, bad)
    await slow.send(ask(order_id, bad))
    await slow.parked(order_id, 1)
    await slow.send(ask(order_id, bad))
    await slow.parked(order_id, 2)

    async def queue() -> dict[str, Any]:
        (found,) = (await show(slow, "parked", orderId=str(order_id)))["items"]
        one: dict[str, Any] = found
        return one

    seen = await queue()
    path = f"parked/{seen['topic']}/{seen['partition']}/{seen['offset']}"
    retry = {"reason": "now", "version": seen["version"]}
    await act(slow, f"{path}/retry", retry)

    async def tried() -> bool:
        return bool((await queue())["attempts"] == 2)

    await until(tried)
    for what in ("retry", "discard"):
        assert (await act(slow, f"{path}/{what}", retry, 409))["title"] == "Somebody else has acted"
    now = await queue()
    assert (now["attempts"], now["records"]) == (2, 2)
    discard = {"reason": "a test order", "version": now["version"]}
    behind = f"parked/{seen['topic']}/{seen['partition']}/{seen['offset'] + 1}"
    assert "waits behind" in (await act(slow, f"{behind}/discard", discard, 409))["detail"]
    assert await act(slow, f"{path}/discard", discard) == {"waiting": 1}
    await act(slow, f"{path}/discard", discard, 404)
    assert (await letter_of(slow, order_id, "DISCARDED"))["attempts"] == 2
    record = f"{seen['topic']}/{seen['partition']}/{seen['offset']}"
    assert await trail(slow, record) == [("parked retry", WHO, "now"), ("parked discard", WHO, "a test order")]
    await act(slow, f"parked/{REQUESTS}/99999999999/0/retry", retry, 404)


async def test_the_trail_pages_through_all_acts_of_one_operator(depot: OperatorRig) -> None:
    _, order_ids = await given_up(depot, 3)
    for each in order_ids:
        letter = await letter_of(depot, each)
        await act(depot, f"dead-letters/{letter['id']}/discard", {**WHY, "reason": f"of {each}"})
    found = await pages(depot, "acts", who=WHO, limit=2)
    assert [each["why"] for each in found[:3]] == [f"of {each}" for each in reversed(order_ids)]
    assert found == await pages(depot, "acts", who=WHO, limit=200)
    assert (await show(depot, "acts", who="nobody"))["items"] == []
