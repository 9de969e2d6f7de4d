"""Bulk jobs over the operators' HTTP face: a frozen selection, a pace, stops, the result of each letter, and another process that goes on."""

from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from uuid_utils.compat import uuid7

from ordersaga.delivery import app
from ordersaga.devstack import DevStack
from ordersaga.operations import job_worker
from tests.integration.failing_depot import REQUESTS, delivered, failing_depot, given_up, mend
from tests.integration.operations_face import OPERATING, READER, WHO, act, pages, show
from tests.integration.operator_rig import OperatorRig, until
from tests.integration.service import running

ALL: dict[str, Any] = {"act": "replay", "reason": "the carrier is back", "selection": {"topic": REQUESTS}}


@pytest_asyncio.fixture(loop_scope="session")
async def depot(stack: DevStack) -> AsyncIterator[OperatorRig]:
    async with failing_depot(stack) as rig:
        yield rig


async def ended(rig: OperatorRig, job: dict[str, Any]) -> dict[str, Any]:
    async def done() -> dict[str, Any] | None:
        now: dict[str, Any] = await show(rig, f"jobs/{job['id']}")
        return now if now["state"] == "ENDED" else None

    found: dict[str, Any] = await until(done)
    return found


async def results(rig: OperatorRig, job: dict[str, Any]) -> Counter[str]:
    items = await pages(rig, f"jobs/{job['id']}/items", limit=3)
    assert [each["number"] for each in items] == list(range(1, len(items) + 1))
    return Counter(each["result"] for each in items)


async def test_many_letters_are_rehearsed_then_replayed_each_with_its_result(depot: OperatorRig) -> None:
    bad, order_ids = await given_up(depot, 7)
    await mend(depot, bad)
    job = await act(depot, "jobs", {**ALL, "dryRun": True}, 202)
    assert (job["letters"], job["who"], job["state"]) == (7, WHO, "RUNNING")
    assert (await ended(depot, job))["counts"] == {"would": 7}
    items = await pages(depot, f"jobs/{job['id']}/items", limit=3)
    assert {each["detail"] for each in items} == {"changes delivery (1), sends DeliveryStartMessage"}
    assert await delivered(depot, order_ids[0]) is None

    job = await act(depot, "jobs", {**ALL, "lettersPerSecond": 1000}, 202)
    await given_up(depot)  # after the selection was frozen
    assert (await ended(depot, job))["counts"] == {"resolved": 7}
    assert await results(depot, job) == {"resolved": 7}
    assert {await delivered(depot, each) for each in order_ids} == {"STARTED"}
    assert len((await show(depot, "dead-letters"))["items"]) == 1
    acts = (await show(depot, "acts", target=job["id"]))["items"]
    assert [(each["what"], each["after"]["letters"]) for each in acts] == [("begin job", 7)]
    acts = (await show(depot, "acts", jobId=job["id"]))["items"]
    assert [(each["what"], each["jobId"], each["who"]) for each in acts] == [("replay", job["id"], WHO)] * 7
    alone = (await show(depot, "acts", byJobs="false"))["items"]
    assert {each["what"] for each in alone} == {"begin job"} and alone[0]["target"] == job["id"]

    discard = {**ALL, "act": "discard", "selection": {"all": True}}
    assert (await ended(depot, await act(depot, "jobs", discard, 202)))["counts"] == {"discarded": 1}
    assert (await act(depot, "jobs", discard, 400))["detail"] == "no open letter fits"
    assert [each["act"] for each in await pages(depot, "jobs", limit=1)] == ["discard", "replay", "replay"]


async def test_a_job_stops_after_so_many_failures(depot: OperatorRig) -> None:
    await given_up(depot, 6)
    job = await act(depot, "jobs", {**ALL, "stopAfter": 2, "lettersPerSecond": 1000}, 202)
    assert (await ended(depot, job))["counts"] == {"failed again": 2, "not replayed": 4}
    refused = await act(depot, "jobs", {**ALL, "stopAfter": 10_000}, 400)
    assert [each["field"] for each in refused["errors"]] == ["stopAfter"]
    await act(depot, "jobs", {**ALL, "selection": {}}, 400)


async def test_a_job_is_stopped_in_the_middle_once(depot: OperatorRig) -> None:
    bad, order_ids = await given_up(depot, 8)
    await mend(depot, bad)
    job = await act(depot, "jobs", {**ALL, "lettersPerSecond": 2}, 202)

    async def began() -> bool:
        return bool((await show(depot, f"jobs/{job['id']}"))["counts"].get("resolved", 0) >= 2)

    await until(began)
    stop = {"reason": "enough", "version": "RUNNING"}
    stopped = await act(depot, f"jobs/{job['id']}/stop", stop)
    assert (stopped["stoppedBy"], stopped["stopReason"]) == (WHO, "enough")
    assert (await act(depot, f"jobs/{job['id']}/stop", stop, 409))["title"] == "Somebody else has acted"
    counts = (await ended(depot, job))["counts"]
    assert counts["resolved"] + counts["not replayed"] == 8
    assert 2 <= counts["resolved"] < 8
    assert sum([await delivered(depot, each) == "STARTED" for each in order_ids]) == counts["resolved"]
    await act(depot, f"jobs/{job['id']}/stop", {**stop, "version": "ENDED"}, 409)
    await act(depot, f"jobs/{uuid7()}/stop", stop, 404)


async def test_a_job_that_waits_for_another_names_it_and_is_stopped_at_once(depot: OperatorRig) -> None:
    _, order_ids = await given_up(depot, 3)
    letters = [str((await depot.letters(each))[0]["id"]) for each in order_ids]
    slow = {**of(letters[:2]), "lettersPerSecond": 0.01}
    first = await act(depot, "jobs", slow, 202)

    async def works() -> bool:
        return bool((await show(depot, f"jobs/{first['id']}"))["counts"].get("discarded"))

    await until(works)
    second = await act(depot, "jobs", of(letters[2:]), 202)
    third = await act(depot, "jobs", {**of(letters[2:]), "dryRun": True}, 202)
    assert (await show(depot, f"jobs/{first['id']}"))["waitsFor"] is None
    assert (second["state"], second["waitsFor"]) == ("RUNNING", [first["id"]])
    assert third["waitsFor"] == [first["id"], second["id"]]

    stop = {"reason": "not needed", "version": second["version"]}
    stopped = await act(depot, f"jobs/{second['id']}/stop", stop)
    assert (stopped["state"], stopped["counts"]) == ("ENDED", {"not discarded": 1})
    (item,) = await pages(depot, f"jobs/{second['id']}/items", limit=3)
    assert (item["detail"], item["status"]) == ("the letter stays open", "OPEN")
    assert (await show(depot, f"jobs/{third['id']}"))["waitsFor"] == [first["id"]]
    assert (await act(depot, f"jobs/{third['id']}/stop", stop))["counts"] == {"not rehearsed": 1}
    assert (await act(depot, f"jobs/{first['id']}/stop", stop))["state"] == "STOPPING"
    assert (await ended(depot, first))["counts"] == {"discarded": 1, "not discarded": 1}


async def test_another_process_goes_on_with_the_job_of_one_that_died(depot: OperatorRig) -> None:
    """The dead process had begun with three letters: one not replayed yet, one replayed, one with its result known."""
    bad, order_ids = await given_up(depot, 5)
    await mend(depot, bad)
    job_id, dead = uuid7(), uuid7()
    letters = [UUID(each["id"]) for each in (await show(depot, "dead-letters"))["items"]]
    assert len(letters) == len(order_ids)
    await depot.pool.execute(
        "INSERT INTO operator_job VALUES ($1, 'replay', false, 'kim', 'mended', 100, 5, 30, NULL, now(), NULL, NULL, NULL, $2,"
        " now() + interval '3 s')",
        job_id,
        dead,
    )
    rows = [(job_id, n, each, n <= 3, "resolved" if n == 3 else None) for n, each in enumerate(letters, 1)]
    insert = "INSERT INTO operator_job_item VALUES ($1, $2, $3, CASE WHEN $4 THEN now() END, $5, NULL)"
    await depot.pool.executemany(insert, rows)
    for each in letters[1:3]:
        await act(depot, f"dead-letters/{each}/replay", {"reason": "mended", "version": "OPEN"})
    async with running(
        depot.settings, app.create_app
    ):  # another process of the service, which may take the job as well
        done = await ended(depot, {"id": str(job_id)})
    assert done["counts"] == {"resolved": 5}
    assert {await delivered(depot, each) for each in order_ids} == {"STARTED"}
    for each in letters:
        assert [one["what"] for one in (await show(depot, "acts", target=str(each)))["items"]] == ["replay"]


async def test_a_job_that_has_just_ended_is_not_taken_for_a_lost_one(depot: OperatorRig) -> None:
    """The lease may be renewed between the job's end and the worker's next round; a lost lease cancels the worker."""
    await given_up(depot)
    job = await act(depot, "jobs", {**ALL, "act": "discard"}, 202)
    await ended(depot, job)
    worker = await depot.pool.fetchval("SELECT leased_by FROM operator_job WHERE id = $1", UUID(job["id"]))
    async with depot.pool.acquire() as db:
        renewed = {"id": UUID(job["id"]), "until": datetime.now(UTC)}
        assert await job_worker.sql.renew_lease(db, worker=worker, **renewed) is not None
        assert await job_worker.sql.renew_lease(db, worker=uuid7(), **renewed) is None


POISON = """
CREATE TABLE IF NOT EXISTS poison (id uuid PRIMARY KEY);
CREATE OR REPLACE FUNCTION poisoned() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF EXISTS (SELECT FROM poison p WHERE p.id = NEW.id) THEN RAISE EXCEPTION 'this row cannot be written, address=1 Sejong-daero'; END IF;
    RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER poisoned BEFORE UPDATE ON dead_letter FOR EACH ROW EXECUTE FUNCTION poisoned();
"""


async def poisoned(depot: OperatorRig, count: int) -> list[str]:
    """So many letters, of which the first to be acted on fails for a reason that is no refusal."""
    await depot.pool.execute(POISON)
    _, order_ids = await given_up(depot, count)
    letters = [str((await depot.letters(each))[0]["id"]) for each in order_ids]
    await depot.pool.execute("INSERT INTO poison VALUES ($1)", UUID(letters[0]))
    return letters


async def postponed(depot: OperatorRig, job: dict[str, Any]) -> bool:
    return (await show(depot, f"jobs/{job['id']}"))["problem"] is not None


def of(letters: list[str]) -> dict[str, Any]:
    return {**ALL, "act": "discard", "selection": {"ids": letters}}


async def test_a_job_whose_work_keeps_failing_does_not_hold_up_later_jobs(
    depot: OperatorRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_worker, "RETRY_AFTER_MAX", timedelta(seconds=2))
    letters = await poisoned(depot, 3)
    failing = await act(depot, "jobs", of(letters[:2]), 202)
    later = await act(depot, "jobs", of(letters[2:]), 202)
    assert (await ended(depot, later))["counts"] == {"discarded": 1}
    now = await show(depot, f"jobs/{failing['id']}", OPERATING)
    assert (now["state"], now["counts"]) == ("RUNNING", {"in flight": 1, "waiting": 1})
    assert "this row cannot be written" in now["problem"]
    assert "Sejong" not in (await show(depot, f"jobs/{failing['id']}", READER))["problem"]
    await depot.pool.execute("DELETE FROM poison")
    done = await ended(depot, failing)
    assert (done["counts"], done["problem"]) == ({"discarded": 2}, None)


async def test_a_job_whose_work_fails_again_and_again_is_given_up(
    depot: OperatorRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_worker, "RETRY_AFTER_MAX", timedelta(seconds=0.1))
    monkeypatch.setattr(job_worker, "TRIES_MAX", 3)
    letters = await poisoned(depot, 2)
    done = await ended(depot, await act(depot, "jobs", of(letters), 202))
    assert done["counts"] == {"refused": 1, "not discarded": 1}
    assert "this row cannot be written" in done["problem"]
    first, second = await pages(depot, f"jobs/{done['id']}/items", limit=3)
    assert (first["letterId"], first["result"], second["status"]) == (letters[0], "refused", "OPEN")
    await depot.pool.execute("DELETE FROM poison")


async def test_a_process_need_not_look_for_jobs_that_were_added_or_postponed_in_it(
    depot: OperatorRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_worker, "POLL_EVERY_S", 3600.0)
    monkeypatch.setattr(job_worker, "RETRY_AFTER_MAX", timedelta(seconds=0.5))
    bad, good = await poisoned(depot, 2)
    failing = await act(depot, "jobs", of([bad]), 202)
    await until(lambda: postponed(depot, failing))
    await depot.pool.execute("DELETE FROM poison")
    assert (await ended(depot, failing))["counts"] == {"discarded": 1}
    assert (await ended(depot, await act(depot, "jobs", of([good]), 202)))["counts"] == {"discarded": 1}


async def test_a_postponed_job_that_is_stopped_ends_at_once(
    depot: OperatorRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_worker, "RETRY_AFTER", timedelta(hours=1))
    monkeypatch.setattr(job_worker, "RETRY_AFTER_MAX", timedelta(hours=1))
    letters = await poisoned(depot, 2)
    job = await act(depot, "jobs", of(letters), 202)
    await until(lambda: postponed(depot, job))
    await act(depot, f"jobs/{job['id']}/stop", {"reason": "enough", "version": "RUNNING"})
    assert (await ended(depot, job))["counts"] == {"not discarded": 2}
    await depot.pool.execute("DELETE FROM poison")


FUSE = """
CREATE TABLE fuse (n int);
INSERT INTO fuse VALUES (1);
CREATE FUNCTION blown() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF EXISTS (SELECT FROM fuse) THEN RAISE EXCEPTION 'no result is written'; END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER blown BEFORE UPDATE ON operator_job_item FOR EACH ROW WHEN (NEW.result IS NOT NULL) EXECUTE FUNCTION blown();
"""


async def test_a_discard_and_its_result_are_one_so_whoever_goes_on_does_not_read_refused(
    depot: OperatorRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The work ends between the discard and its result, as it does when the process dies there."""
    monkeypatch.setattr(job_worker, "RETRY_AFTER_MAX", timedelta(seconds=1))
    _, [order_id] = await given_up(depot)
    await depot.pool.execute(FUSE)
    letter = str((await depot.letters(order_id))[0]["id"])
    job = await act(depot, "jobs", of([letter]), 202)
    await until(lambda: postponed(depot, job))
    assert (await show(depot, f"dead-letters/{letter}"))["letter"]["status"] == "OPEN"
    await depot.pool.execute("DELETE FROM fuse")
    assert (await ended(depot, job))["counts"] == {"discarded": 1}
    assert [one["what"] for one in (await show(depot, "acts", target=letter))["items"]] == ["discard"]
