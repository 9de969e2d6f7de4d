"""Whatever a command is given, and whatever is away, it ends with a sentence and 1 or 2, never with a traceback."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ordersaga.cli.supervisor import CANNOT_START
from ordersaga.messaging.backlog import replay_command
from tests.commands import type_command

pytestmark = pytest.mark.processes

NOWHERE = "127.0.0.1:1"
AWAY = {"ORDERSAGA_KAFKA_BOOTSTRAP_SERVERS": NOWHERE} | {
    f"ORDERSAGA_{service}_DATABASE_URL": f"postgresql://u:pa55word@{NOWHERE}/{service.lower()}"
    for service in ("ORDER", "STOCK", "PAYMENT", "DELIVERY")
}
ID = "00000000-0000-4000-8000-000000000001"
WHY = ("--why", "a test")
ASKING = [
    ["migrate"],
    ["topics", "create"],
    ["topics", "check"],
    ["topics", "accept", "order-created"],
    ["orders", "show", ID],
    ["verify"],
    ["dead-letters", "list"],
    ["dead-letters", "show", ID],
    ["dead-letters", "replay", "--all", *WHY],
    ["dead-letters", "replay", "--all", "--dry-run"],
    ["dead-letters", "edit", ID, "--value", "{}", *WHY],
    ["dead-letters", "discard", "--all", *WHY],
    ["dead-letters", "import", "order-created", *WHY],
    ["parked", "list"],
    ["parked", "retry", "--all", *WHY],
    ["parked", "discard", "--all", *WHY],
]
ALL = [*ASKING, ["settings"], ["openapi", "order"], ["serve", "order"], ["serve", "stock", "--workers", "2"]]
MISUSED = [
    ["serve", "nobody"],
    ["serve", "order", "order"],
    ["serve", "order", "web"],
    ["openapi", "nobody"],
    ["migrate", "--only", "nobody"],
    ["migrate", "--only", ""],
    ["up", "--only", "nobody"],
    ["up", "--only", ","],
    ["up", "--first-port", "70000"],
    ["up", "--bootstrap", "kafka"],
    ["up", "--bootstrap", "kafka:x"],
    ["up", "--bootstrap", NOWHERE],
    ["up", "--database-url", "jdbc:postgresql://u:pa55word@db/x"],
    ["up", "--database-url", "mysql://u:pa55word@db/x"],
    ["up", "--database-url", "db"],
    ["up", "--data", "/dev/null/data"],
    ["demo", "--data", "/dev/null/data"],
    ["demo", "--rounds", "0"],
    ["topics", "accept", "no-such-topic"],
    ["topics", "accept", "order-created", "--at", "nonsense"],
    ["topics", "accept", "order-created", "--partition", "x"],
    ["orders", "show", "no-id"],
    ["verify", "--live", "-1"],
    ["dead-letters", "list", "--service", "nobody"],
    ["dead-letters", "list", "--status", "NONE"],
    ["dead-letters", "list", "--before", "yesterday"],
    ["dead-letters", "list", "--limit", "0"],
    ["dead-letters", "show", "x"],
    ["dead-letters", "replay", *WHY],
    ["dead-letters", "replay", "--all"],
    ["dead-letters", "replay", "--all", "--rate", "0", *WHY],
    ["dead-letters", "edit", ID, "--value-file", "/no/such/file", *WHY],
    ["dead-letters", "edit", ID, "--value-file", "/", *WHY],
    ["dead-letters", "import", "no-such-topic", *WHY],
    ["dead-letters", "import", "order-created", "--service", "nobody", *WHY],
    ["parked", "retry", "x", *WHY],
    ["parked", "discard", "a/b/c"],
    ["no-such-command"],
]


def ended_well(arguments: list[str], environment: dict[str, str], folder: Path) -> str:
    said = type_command(arguments, environment, folder)
    assert said.code in (1, 2), said
    assert said.err.strip() and "Traceback" not in said.err + said.out, said
    assert "pa55word" not in said.err + said.out, said
    assert "is not foreseen" not in said.err, said
    return said.err


def test_the_command_that_the_alarm_on_refused_records_names_is_whole(tmp_path: Path) -> None:
    said = type_command(replay_command("order-created").split()[1:], AWAY, tmp_path)
    assert said.code == 1 and "does not answer" in said.err, said  # 2 would be for the command itself


@pytest.mark.parametrize("arguments", ASKING, ids=" ".join)
def test_a_command_says_what_is_away(arguments: list[str], tmp_path: Path) -> None:
    said = ended_well(arguments, AWAY, tmp_path)
    assert NOWHERE in said or "('127.0.0.1', 1)" in said or "ORDERSAGA_" in said


@pytest.mark.parametrize("arguments", ALL, ids=" ".join)
def test_a_command_names_the_setting_that_is_wrong(arguments: list[str], tmp_path: Path) -> None:
    wrong = AWAY | {
        "ORDERSAGA_TYPE_IDS": "nonsense",
        "ORDERSAGA_STOCK_DATABASE_URL": "jdbc:postgresql://u:pa55word@db/x",
    }
    said = ended_well(arguments, wrong, tmp_path)
    assert "ORDERSAGA_TYPE_IDS" in said and "ORDERSAGA_STOCK_DATABASE_URL" in said and "postgresql://" in said


@pytest.mark.parametrize("arguments", MISUSED, ids=" ".join)
def test_a_command_that_is_misused_says_how_it_is_meant(arguments: list[str], tmp_path: Path) -> None:
    ended_well(arguments, AWAY, tmp_path)


@pytest.mark.parametrize(("server", "said"), [("sandbox", "leave it out"), ("payment", "GATEWAY_SECRET_KEY_FILE")])
def test_serve_refuses_what_is_for_development(server: str, said: str, tmp_path: Path) -> None:
    answer = type_command(["serve", server], AWAY, tmp_path)
    assert answer.code == CANNOT_START and said in answer.err and "ORDERSAGA_DEVELOPMENT=true" in answer.err


@pytest.mark.parametrize("workers", ["1", "2"])
def test_services_of_one_process_take_all_of_their_ports_or_none(workers: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ports = {"ORDERSAGA_HTTP_PORT": str(port - 1)}
        answer = type_command(["serve", "stock", "delivery", "--workers", workers], AWAY | ports, tmp_path)
    assert answer.code == CANNOT_START and f"cannot listen on 127.0.0.1:{port}" in answer.err, answer


def test_a_name_that_is_no_setting_is_told_with_the_nearest(tmp_path: Path) -> None:
    said = type_command(["settings"], {"ORDERSAGA_KAFKA_BOOTSTRAP_SERVER": "kafka:9092"}, tmp_path)
    assert said.code == 0 and "is ORDERSAGA_KAFKA_BOOTSTRAP_SERVERS meant?" in said.err


def test_ctrl_c_ends_a_command_at_once_whatever_it_waits_for(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # connections are made, and nothing is ever answered
        port = silent.getsockname()[1]
        url = f"postgresql://u:pa55word@127.0.0.1:{port}/stock"
        with subprocess.Popen(
            [sys.executable, "-m", "ordersaga", "dead-letters", "list", "--service", "stock"],
            cwd=tmp_path,
            env=os.environ | {"ORDERSAGA_STOCK_DATABASE_URL": url},
            stderr=subprocess.PIPE,
            text=True,
        ) as command:
            connection, _ = silent.accept()
            command.send_signal(signal.SIGINT)
            _, said = command.communicate(timeout=30)
            connection.close()
    assert command.returncode == 1 and said == "stopped\n"
