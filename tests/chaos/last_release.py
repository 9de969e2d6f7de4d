"""The system as the last release runs it: its databases and topics are made by that release, and its processes are that release's."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from ordersaga.devstack.errors import DevStackError
from ordersaga.devstack.system import System
from ordersaga.settings import PREFIX, ServiceName

ROOT: Final = Path(__file__).parents[2]
REVISION: Final = "a4413f075279"
"""The last release, as git names it. There is no tag yet, so it is what was last handed out; a release puts its tag here."""


class NoHistory(Exception):
    """This copy of the project does not have the revision."""


def unpack(revision: str, folder: Path) -> Path:
    """Write the package of a revision into a folder; returns what to put on Python's path. Raises `NoHistory`."""
    made = subprocess.run(["git", "archive", "--format=tar", revision, "src"], cwd=ROOT, capture_output=True)
    if made.returncode:
        raise NoHistory(
            f"{revision} is not in this copy of the project: {made.stderr.decode().strip()}; git fetch --unshallow brings it"
        )
    subprocess.run(["tar", "--extract", "--directory", folder], input=made.stdout, check=True)
    return folder / "src"


class LastRelease(System):
    """Use like `System`. `release`: the folder from `unpack`. The release needs no packages that are not installed here."""

    def __init__(self, release: Path, **more: Any) -> None:
        self._release: Final = release
        super().__init__(**more)
        self.environment["PYTHONPATH"] = str(release)

    def __enter__(self) -> "LastRelease":
        used = self._run("-c", "import ordersaga; print(ordersaga.__file__)")
        if not Path(used.strip()).is_relative_to(self._release):
            self.abandon()
            raise DevStackError(f"Python takes {used.strip()} instead of the last release in {self._release}.")
        super().__enter__()
        return self

    def _migrate(self, name: ServiceName) -> None:
        """Leave it to `_topics`: one process of the last release migrates all databases."""

    def _topics(self) -> None:
        self._run("-m", "ordersaga", "migrate")
        self._run("-m", "ordersaga", "topics", "create")

    def _run(self, *arguments: str) -> str:
        own = {name: value for name, value in os.environ.items() if not name.upper().startswith(PREFIX)}
        done = subprocess.run(
            [sys.executable, *arguments],
            env=own | self.environment,
            cwd=self.stack.folder.path,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise DevStackError(f"The last release cannot do {' '.join(arguments)}:\n{done.stdout}{done.stderr}")
        return done.stdout
