"""Hooks of `ordersaga conform`: their forms, what they are given, what they answer, and those that do not end."""

import asyncio
import json
from pathlib import Path

import psutil
import pytest

from ordersaga.conformance import WrongHook
from ordersaga.conformance import hooks as hooks_module
from ordersaga.conformance.hooks import Answer, Hook, HookFailed, Hooks, _literal
from tests.unit.test_conform import ORDER


@pytest.mark.parametrize(
    "text", ["", "POST", "http://host/path", "mysql://host/db SELECT 1", "FETCH http://host", "PUT shelf"]
)
def test_a_hook_of_no_form_is_refused_with_the_three_forms(text: str) -> None:
    with pytest.raises(WrongHook, match="'run command arguments'"):
        Hook("seed", text)


def test_a_value_is_found_anywhere_in_a_hooks_answer() -> None:
    answer = Answer(200, {"result": {"data": [{"x": 1}, {"orderId": ORDER}]}, "id": 5})
    assert answer.find("orderId", "id") == ORDER
    assert answer.find("productId") is None


async def test_a_command_hook_gets_its_values_quoted_and_may_leave_processes_behind(tmp_path: Path) -> None:
    async with Hooks({"seed": f"run sleep 60 & printf '%s' $name > {tmp_path}/said"}, {}, None) as hooks:
        async with asyncio.timeout(10):
            await hooks.call("seed", {"name": "two words; $(rm -r /nowhere)"})
    assert (tmp_path / "said").read_text() == "two words; $(rm -r /nowhere)"


async def test_a_command_hook_gets_a_list_as_json(tmp_path: Path) -> None:
    async with Hooks({"place": f"run printf '%s' $items > {tmp_path}/said"}, {}, None) as hooks:
        await hooks.call("place", {"items": [{"productId": "키보드's", "quantity": 2}]})
    assert json.loads((tmp_path / "said").read_text()) == [{"productId": "키보드's", "quantity": 2}]


def test_an_sql_hook_gets_a_list_as_a_literal_with_json() -> None:
    assert _literal([{"productId": "it's"}]) == "'[{\"productId\": \"it''s\"}]'"
    assert (_literal(5), _literal("it's")) == ("5", "'it''s'")


async def test_a_hook_or_a_restart_command_that_does_not_end_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks_module, "HOOK_S", 0.05)
    async with Hooks({"seed": "run exec sleep 5"}, {}, "exec sleep 5") as hooks:
        with pytest.raises(HookFailed, match=r"the hook seed did not end within 0\.05 s"):
            await hooks.call("seed", {})
        with pytest.raises(HookFailed, match=r"the restart command did not end within 0\.05 s"):
            await hooks.run_restart()


async def test_a_hook_that_does_not_end_ends_with_all_that_it_has_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hooks_module, "HOOK_S", 0.5)
    async with Hooks({"seed": f"run (sleep 60 & echo $! > {tmp_path}/pid; wait); true"}, {}, None) as hooks:
        with pytest.raises(HookFailed, match="did not end"):
            await hooks.call("seed", {})
    started = int((tmp_path / "pid").read_text())
    for _ in range(100):
        if not psutil.pid_exists(started) or psutil.Process(started).status() == psutil.STATUS_ZOMBIE:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"process {started} still runs")


async def test_a_hook_that_fails_says_what_came_back() -> None:
    async with Hooks(
        {"seed": "run echo no such shelf; exit 3", "pay": "GET http://127.0.0.1:1/$nothing"}, {}, None
    ) as hooks:
        with pytest.raises(HookFailed, match=r"the hook seed failed: .*exit code 3: no such shelf"):
            await hooks.call("seed", {})
        with pytest.raises(HookFailed, match=r"there is no value \$nothing"):
            await hooks.call("pay", {"orderId": ORDER})
