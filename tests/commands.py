"""Commands as a person types them, each as its own process, forked from one that has imported the libraries: else their import would be
most of each test."""

import json
import multiprocessing
import multiprocessing.connection
import os
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ordersaga.cli.main import COMMANDS, commands

# `start` also reads the exit codes of other processes that have ended. Two threads that read one get the code and 255.
_one_at_a_time = threading.Lock()
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(
    [__name__, *(f"ordersaga.cli.{each.partition('.')[0]}" for each in COMMANDS.values()), "pytest"]
)


class Answer:
    """What a command said."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def row(self) -> dict[str, Any]:
        (row,) = self.rows
        return row

    def __repr__(self) -> str:
        return f"exit code {self.code}\n{self.out}\n{self.err}"


def type_command(arguments: Sequence[str], environment: Mapping[str, str], folder: Path | None = None) -> Answer:
    """Type a command in a folder, here by default, with these variables beside our own, and wait for its end."""
    with tempfile.TemporaryDirectory() as heard:
        out, err = Path(heard) / "out", Path(heard) / "err"
        process = _processes.Process(target=_type, args=(arguments, environment, folder or Path.cwd(), out, err))
        with _one_at_a_time:
            process.start()
        multiprocessing.connection.wait([process.sentinel])
        with _one_at_a_time:
            process.join()
        return Answer(process.exitcode or 0, out.read_text(), err.read_text())


def _type(arguments: Sequence[str], environment: Mapping[str, str], folder: Path, out: Path, err: Path) -> None:
    for descriptor, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), descriptor)
    os.chdir(folder)
    os.environ.update(environment)
    commands(arguments)(list(arguments), prog_name="ordersaga")
