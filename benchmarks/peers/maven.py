"""Builds Java programs with Maven, where Java and Maven are there."""

import contextlib
import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

ENVIRONMENT: Final = {"MAVEN_OPTS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"} | os.environ
"""A build of some seconds spends more on optimising Maven's code than it gains: 4.5 CPU seconds instead of 10.3."""


def missing() -> str | None:
    """What this machine lacks to build and run Java; None: nothing."""
    absent = [command for command in ("java", "mvn") if shutil.which(command) is None]
    return f"{' and '.join(absent)} not found" if absent else None


def build(source: Path, folder: Path, jars: Sequence[Path]) -> None:
    """Build the jars into the folder unless they are newer than all sources. Needs no network when Maven has what it needs. Raises RuntimeError."""
    newest = max(path.stat().st_mtime for path in source.rglob("*") if path.is_file())
    with alone(folder):
        if all(jar.exists() and jar.stat().st_mtime > newest for jar in jars):
            return
        command = ["mvn", "--batch-mode", "--quiet", f"-Dbuild.folder={folder}", "package"]
        for extra in (["--offline"], []):
            done = subprocess.run(
                [*command, *extra], cwd=source, env=ENVIRONMENT, capture_output=True, text=True, check=False
            )
            if done.returncode == 0:
                return
    raise RuntimeError(f"Maven cannot build {source}:\n{done.stdout}{done.stderr}")


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Wait until no other process builds into the folder: two workers of the tests may begin with the same partner."""
    folder.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
