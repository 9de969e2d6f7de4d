"""Starts a small service of another team as a process, and types `ordersaga conform` against it."""

import asyncio
import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Self
from uuid import uuid4
from xml.etree import ElementTree

import psutil

from ordersaga.devstack import DevStack
from ordersaga.messaging.kafka import create_missing_topics
from ordersaga.settings import Settings
from tests.commands import Answer, type_command

ROOT = Path(__file__).parents[2]
READY_S = 30.0
QUICK = ("--answer-within", "4", "--quiet-for", "0.7", "--load", "40")


class Verdict(NamedTuple):
    """What the kit said."""

    answer: Answer
    failed: set[str]
    not_judged: set[str]
    skipped: set[str]
    passed: set[str]


class RunningPartner:
    """Use with `with`: inside, the partner runs and has its partitions."""

    def __init__(self, folder: Path, stack: DevStack, role: str, manner: str, slow_s: float = 0.0) -> None:
        self.role = role
        self.bootstrap = stack.bootstrap_servers
        self.group = f"partner-{uuid4().hex[:8]}"
        asyncio.run(create_missing_topics(Settings.of(settings_of(self.bootstrap))))
        self._folder = folder
        self._ready = folder / "ready"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        options = ["--bootstrap", self.bootstrap, "--group", self.group, "--ready", str(self._ready)]
        self.command = [sys.executable, "-m", "tests.conformance.partner", role, *options, "--manner", manner]
        self.command += ["--port", str(self.port), "--slow", str(slow_s)]

    def __enter__(self) -> Self:
        self._log = (self._folder / "log").open("a")
        started = subprocess.Popen(self.command, cwd=ROOT, stdout=self._log, stderr=self._log)
        end = time.monotonic() + READY_S
        while not self._ready.exists():
            assert started.poll() is None and time.monotonic() < end, (self._folder / "log").read_text()
            time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(FileNotFoundError, psutil.NoSuchProcess):
            process = psutil.Process(int(self._ready.read_text()))
            if self.group in process.cmdline():  # the partner may have died, and another process have its number
                process.kill()
        self._log.close()

    @property
    def restart(self) -> str:
        """The command that kills the partner and starts it again."""
        command = " ".join(self.command)
        return f"kill -9 $(cat {self._ready}); rm {self._ready}; cd {ROOT}; {command} >> {self._folder}/log 2>&1 &"

    def conform(self, *arguments: str, restart: bool = True) -> Verdict:
        """Type the command. A restart takes seconds, so most of the tests do without."""
        restarting = ("--restart-command", self.restart) if restart else ("--without", "restart")
        return conform(self._folder, self.bootstrap, self.role, *restarting, *QUICK, *arguments)


def settings_of(bootstrap: str) -> dict[str, str]:
    """The environment of the kit, and of the topics that it needs."""
    return {"ORDERSAGA_KAFKA_BOOTSTRAP_SERVERS": bootstrap, "ORDERSAGA_TOPIC_PARTITIONS": "3"}


def conform(
    folder: Path, bootstrap: str, role: str, *arguments: str, environment: Mapping[str, str] | None = None
) -> Verdict:
    """Type `ordersaga conform` and read its JUnit XML."""
    file = folder / "junit.xml"
    file.unlink(missing_ok=True)
    answer = type_command(
        ["conform", role, "--junit", str(file), *arguments], {**settings_of(bootstrap), **(environment or {})}, folder
    )
    outcomes: dict[str, set[str]] = {"failure": set(), "error": set(), "skipped": set(), "passed": set()}
    if file.exists():
        for case in ElementTree.parse(file).iter("testcase"):
            kind = next((each.tag for each in case if each.tag in outcomes), "passed")
            outcomes[kind].add(case.attrib["name"])
    return Verdict(answer, outcomes["failure"], outcomes["error"], outcomes["skipped"], outcomes["passed"])
