"""The file by which commands find an `up`: its owner's alone, and worth nothing once that `up` has ended."""

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ordersaga.cli import running
from tests.commands import type_command

pytestmark = pytest.mark.processes

VARIABLES = {
    "ORDERSAGA_DEVELOPMENT": "true",
    "ORDERSAGA_TRUST_GATEWAY_HEADERS": "true",
    "ORDERSAGA_STOCK_GROUP": "of-up",
    "ORDERSAGA_TYPE_IDS": '{"order-created": "it\'s ${HOME} $x"}',
    "ORDERSAGA_ORDER_DATABASE_URL": "postgresql://u:pa55word@127.0.0.1:1/orders",
}
UP = """
import sys, time
from ordersaga.cli import running
with running.owned():
    running.write(running.Running({"ORDERSAGA_STOCK_GROUP": "of-up", "ORDERSAGA_DEVELOPMENT": "true"}, ["stock"], []))
    print("written", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def up(folder: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen([sys.executable, "-c", UP], cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "written\n"
        yield process
        process.kill()


def test_the_file_is_its_owners_alone_and_goes_with_up(folder: Path) -> None:
    before = os.umask(0)
    try:
        with running.owned():
            running.write(running.Running(VARIABLES, ["stock"], ["kafka"]))
            modes = [stat.S_IMODE(path.stat().st_mode) for path in (running.FOLDER, *running.FOLDER.iterdir())]
            assert modes == [0o700, 0o600, 0o600]
    finally:
        os.umask(before)
    assert not running.SETTINGS_FILE.exists()


def test_what_up_was_started_with_comes_back_as_it_was(folder: Path) -> None:
    with running.owned():
        running.write(running.Running(VARIABLES, ["stock", "payment"], ["kafka"]))
        assert running.read() == running.Running(VARIABLES, ["stock", "payment"], ["kafka"])


def test_other_commands_share_the_settings_of_a_live_up(up: subprocess.Popen[str], folder: Path) -> None:
    said = type_command(["settings"], {"COLUMNS": "200"}, folder)
    assert said.code == 0 and "of-up" in said.out and ".ordersaga/settings.env" in said.out
    assert "mine" in type_command(["settings"], {"ORDERSAGA_STOCK_GROUP": "mine"}, folder).out


def test_a_file_left_by_a_killed_up_counts_for_nothing(up: subprocess.Popen[str], folder: Path) -> None:
    up.kill()
    up.wait()
    assert running.SETTINGS_FILE.exists()
    said = type_command(["settings"], {}, folder)
    assert said.code == 0 and "of-up" not in said.out and "no longer runs" in said.err
    with running.owned():
        assert not running.SETTINGS_FILE.exists()


def test_serve_takes_nothing_from_up_not_even_a_live_one(up: subprocess.Popen[str], folder: Path) -> None:
    # Two groups of one name are refused, and so is the short time-out, so that nothing begins to serve here.
    wrong = {"ORDERSAGA_ORDER_GROUP": "of-up", "ORDERSAGA_STATEMENT_TIMEOUT_MS": "5000"}
    assert "STOCK_GROUP" in type_command(["migrate"], wrong, folder).err, "the file is read by others"
    said = type_command(["serve", "order"], wrong, folder)
    assert said.code == 2 and "ORDERSAGA_STATEMENT_TIMEOUT_MS" in said.err
    assert "STOCK_GROUP" not in said.err and "takes nothing from .ordersaga/settings.env" in said.err


def test_a_folder_has_one_up(up: subprocess.Popen[str], folder: Path) -> None:
    with pytest.raises(running.AlreadyRunning, match=str(up.pid)), running.owned():
        pass
    assert running.read() is not None, "the first one's file stays"


def test_a_file_that_cannot_be_read_is_told_in_a_sentence(up: subprocess.Popen[str], folder: Path) -> None:
    running.SETTINGS_FILE.write_text("ORDERSAGA_STOCK_GROUP='of-up")
    said = type_command(["settings"], {}, folder)
    assert said.code == 1 and "settings.env cannot be read" in said.err and "Traceback" not in said.err
