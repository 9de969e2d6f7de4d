"""The audit over HTTP: run, watched, stopped, its results kept and listed, with the role that each needs."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
import uvicorn
from pydantic import SecretStr

from ordersaga.audit.app import create_app
from ordersaga.audit.finding import INVARIANTS
from ordersaga.audit.kept import CUT_OFF, Kept
from ordersaga.messaging.errors import CannotStart
from ordersaga.settings import SERVICES
from tests.commands import Answer, type_command
from tests.integration.audit_rig import Scene
from tests.integration.operations_face import FACE, OPERATING, READER, WHO, caller
from tests.integration.operator_rig import until
from tests.integration.service import running

AUDITS = f"{FACE}/audits"
AT_REST = {"unchangedForSeconds": 0}
ENDS_WITHIN_S = 60.0


@pytest.fixture
async def face(scene: Scene, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with _serving(scene, tmp_path) as client:
        yield client


def _serving(scene: Scene, folder: Path, **changes: Any) -> Any:
    about_callers = {
        "development": True,
        "trust_gateway_headers": True,
        "audit_runs_path": folder,
        "audit_runs_kept": 3,
    }
    return running(scene.settings.model_copy(update=about_callers | changes), create_app)


async def _start(face: httpx.AsyncClient, body: Any = AT_REST, code: int = 202) -> dict[str, Any]:
    answer = await face.post(AUDITS, json=body, headers=OPERATING)
    assert answer.status_code == code, answer.text
    return answer.json()


async def _ended(face: httpx.AsyncClient, run: dict[str, Any]) -> dict[str, Any]:
    async with asyncio.timeout(ENDS_WITHIN_S):
        while True:
            found = (await face.get(f"{AUDITS}/{run['id']}", headers=READER)).json()
            if found["run"]["endedAt"]:
                return found
            await asyncio.sleep(0.05)


async def test_a_run_over_sound_data_says_that_every_invariant_holds(face: httpx.AsyncClient) -> None:
    begun = await _start(face)
    assert (begun["state"], begun["who"], begun["invariants"]) == ("RUNNING", WHO, len(INVARIANTS))
    found = await _ended(face, begun)
    assert (found["run"]["state"], found["run"]["outcomes"]) == ("ENDED", {"holds": len(INVARIANTS)})
    assert [each["code"] for each in found["invariants"]] == list(INVARIANTS)
    status = (await face.get("/health/status")).json()
    assert (status["status"], status["alarms"]) == ("UP", [])


async def test_each_difference_of_a_broken_invariant_leads_to_what_it_is_about(
    face: httpx.AsyncClient, scene: Scene
) -> None:
    await scene.plant("delivery", "DELETE FROM delivery WHERE order_id = '$completed'")
    found = await _ended(face, await _start(face))
    broken = [each for each in found["invariants"] if each["outcome"] == "broken"]
    assert [each["code"] for each in broken] == ["completed"]
    (difference,) = broken[0]["differences"]
    assert (difference["kind"], difference["orderId"]) == ("BROKEN", str(scene.completed))
    assert "Delivery" in difference["text"]
    path = f"{AUDITS}/{found['run']['id']}/completed"
    assert (await face.get(path, headers=READER)).json() == {"items": [difference], "next": None}
    assert (await face.get(f"{path}?kind=IN_FLIGHT", headers=READER)).json()["items"] == []
    (alarm,) = (await face.get("/health/status")).json()["alarms"]
    assert alarm["what"].startswith("broken: a completed order")


async def test_many_differences_come_in_pages(face: httpx.AsyncClient, scene: Scene) -> None:
    await scene.db["stock"].execute(
        "INSERT INTO reservation SELECT gen_random_uuid(), 'REFUSED', '[]', now() FROM generate_series(1, 25)"
    )
    found = await _ended(face, await _start(face))
    (known,) = [each for each in found["invariants"] if each["outcome"] == "broken"]
    assert (known["broken"], len(known["differences"])) == (25, 20)
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        path = f"{AUDITS}/{found['run']['id']}/known"
        page = (await face.get(path, headers=READER, params={"limit": "10", **cursor})).json()
        seen += [each["orderId"] for each in page["items"]]
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
    assert len(seen) == len(set(seen)) == 25


async def test_one_run_goes_on_at_a_time_and_is_stopped(face: httpx.AsyncClient, scene: Scene) -> None:
    async with scene.db["order"].transaction():
        await scene.db["order"].execute("LOCK TABLE orders")
        begun = await _start(face)
        refused = await _start(face, code=409)
        assert refused["title"] == "The audit is running already"
        stop = f"{AUDITS}/{begun['id']}/stop"
        answer = await face.post(stop, json={"version": "RUNNING"}, headers=OPERATING)
        assert (answer.status_code, answer.json()["state"]) == (200, "STOPPING")
        found = await asyncio.wait_for(_ended(face, begun), 5.0)  # it does not wait for the lock
    assert (found["run"]["state"], found["run"]["stoppedBy"]) == ("STOPPED", WHO)
    again = await face.post(stop, json={"version": "RUNNING"}, headers=OPERATING)
    assert (again.status_code, again.json()["title"]) == (409, "Somebody else has acted")
    assert (await _ended(face, await _start(face)))["run"]["state"] == "ENDED"


async def test_the_last_runs_are_kept_over_a_restart(scene: Scene, tmp_path: Path) -> None:
    async with _serving(scene, tmp_path) as face:
        runs = [(await _ended(face, await _start(face)))["run"]["id"] for _ in range(4)]
    async with _serving(scene, tmp_path) as face:
        page = (await face.get(f"{AUDITS}?limit=2", headers=READER)).json()
        assert [each["id"] for each in page["items"]] == [runs[3], runs[2]]
        last = (await face.get(AUDITS, params={"cursor": page["next"]}, headers=READER)).json()
        assert ([each["id"] for each in last["items"]], last["next"]) == ([runs[1]], None)
        assert (await face.get(f"{AUDITS}/{runs[0]}", headers=READER)).status_code == 404
        assert len((await _ended(face, {"id": runs[3]}))["invariants"]) == len(INVARIANTS)


async def test_a_run_that_was_cut_off_is_told_as_such(scene: Scene, tmp_path: Path) -> None:
    async with _serving(scene, tmp_path) as face:
        run = (await _ended(face, await _start(face)))["run"]["id"]
    file = tmp_path / f"{run}.json"
    file.write_text(file.read_text().replace('"ENDED"', '"RUNNING"'))
    (tmp_path / "0-spoilt.json").write_bytes(b"\xff{")
    async with _serving(scene, tmp_path) as face:
        found = (await face.get(f"{AUDITS}/{run}", headers=READER)).json()
        assert (found["run"]["state"], found["run"]["failure"]) == ("FAILED", CUT_OFF)


def test_a_folder_that_cannot_be_written_is_told_at_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotStart, match="ORDERSAGA_AUDIT_RUNS_PATH"):
        Kept(tmp_path / "file", 3)


async def test_what_cannot_be_read_is_told_and_hides_nothing_else(scene: Scene, tmp_path: Path) -> None:
    away = SecretStr("postgresql://somebody:secret-word@127.0.0.1:1/stock")
    async with _serving(scene, tmp_path, stock_database_url=away) as face:
        found = await _ended(face, await _start(face))
    outcomes = {each["code"]: each["outcome"] for each in found["invariants"]}
    assert (outcomes["stock"], outcomes["books"]) == ("could not be judged", "holds")
    assert "stock's database" in str(found) and "secret-word" not in str(found)


async def test_the_role_of_another_team_is_left_out(scene: Scene, tmp_path: Path) -> None:
    async with _serving(scene, tmp_path, foreign_partners=["delivery"]) as face:
        about = (await face.get(FACE, headers=READER)).json()
        assert (about["services"], about["foreign"]) == (
            [each for each in SERVICES if each != "delivery"],
            ["delivery"],
        )
        found = await _ended(face, await _start(face))
    assert found["run"]["services"] == about["services"]
    assert any("without delivery" in note for each in found["invariants"] for note in each["notes"])
    assert "broken" not in found["run"]["outcomes"]


async def test_readers_see_and_only_operators_run(face: httpx.AsyncClient) -> None:
    run = uuid4()
    for path in (FACE, AUDITS):
        assert (await face.get(path)).status_code == 401
        assert (await face.get(path, headers=caller("CUSTOMER"))).status_code == 403
        assert (await face.get(path, headers=READER)).status_code == 200
    for path, body in ((AUDITS, AT_REST), (f"{AUDITS}/{run}/stop", {"version": "RUNNING"})):
        refused = await face.post(path, json=body, headers=READER)
        assert refused.status_code == 403 and "OPERATOR" in refused.json()["detail"]
    assert (await face.get(f"{AUDITS}/{run}", headers=READER)).json()["title"] == "There is no such run"
    assert (await face.post(f"{AUDITS}/{run}/stop", json={"version": "RUNNING"}, headers=OPERATING)).status_code == 404


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"unchangedForSeconds": -1}, "unchangedForSeconds"),
        ({"unchangedForSeconds": "soon"}, "unchangedForSeconds"),
        ({"services": []}, "services"),
        ({"services": ["warehouse"]}, "services[0]"),
        ({"everything": True}, "body"),
    ],
)
async def test_a_wrong_body_is_told_by_its_field(face: httpx.AsyncClient, body: Any, field: str) -> None:
    refused = await _start(face, body, 400)
    assert [each["field"] for each in refused["errors"]] == [field]
    assert (await face.get(AUDITS, headers=READER)).json()["items"] == []


async def test_odd_addresses_are_answered(face: httpx.AsyncClient) -> None:
    run = (await _ended(face, await _start(face)))["run"]["id"]
    for path, code in (
        (f"{AUDITS}/{run}/nothing", 404),
        (f"{AUDITS}/{run}/stock?kind=ODD", 400),
        (f"{AUDITS}/{run}/stock?cursor=x", 400),
        (f"{AUDITS}?cursor=x", 400),
        (f"{AUDITS}/not-an-id", 404),
    ):
        answer = await face.get(path, headers=READER)
        assert (answer.status_code, answer.headers["content-type"]) == (code, "application/problem+json"), path


@contextlib.asynccontextmanager
async def _on_a_port(scene: Scene) -> AsyncIterator[str]:
    settings = scene.settings.model_copy(update={"development": True, "trust_gateway_headers": True})
    server = uvicorn.Server(uvicorn.Config(create_app(settings), port=0, log_config=None, lifespan="on"))
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]
    serving = asyncio.create_task(server.serve())
    await until(lambda: _started(server))
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving


async def _started(server: uvicorn.Server) -> bool:
    return server.started


async def _verify(url: str, *more: str, headers: dict[str, str] = OPERATING) -> Answer:
    said = [each for name, value in headers.items() for each in ("--header", f"{name}: {value}")]
    return await asyncio.to_thread(type_command, ["verify", "--via-http", url, *said, "--live", "0", *more], {})


async def test_the_command_prints_what_the_audit_of_a_running_system_finds(scene: Scene) -> None:
    async with _on_a_port(scene) as url:
        answer = await _verify(url)
        assert answer.code == 0 and "stock is conserved" in answer.out
        await scene.db["stock"].execute(
            "INSERT INTO reservation SELECT gen_random_uuid(), 'REFUSED', '[]', now() FROM generate_series(1, 25)"
        )
        answer = await _verify(url, "--json")
        here = {each.code: each for each in await scene.findings()}
        there = {each["code"]: each for each in json.loads(answer.out)}
        assert answer.code == 1 and there.keys() == here.keys()
        for code, each in here.items():
            assert (there[code]["broken"], there[code]["outcome"]) == (each.broken, each.outcome)
        assert (await _verify(url, "--only", "order", "--json")).code == 0
        refused = await _verify(url, headers=READER)
        assert refused.code == 1 and "OPERATOR" in refused.err
        async with scene.db["order"].transaction():
            await scene.db["order"].execute("LOCK TABLE orders")
            waits = asyncio.create_task(_verify(url))
            await asyncio.sleep(2)
            busy = await _verify(url)
            assert busy.code == 2 and "wait until it has ended" in busy.err
        assert (await waits).code == 1
