"""Partners in other languages: Stock in Node with kafkajs, Delivery in Go with franz-go. Their clients' versions and hashes are in their lock files."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.peers import maven
from benchmarks.peers.contender import ROOT
from ordersaga.devstack.folder import StackFolder
from ordersaga.settings import Settings
from tests.interop.partner import Kind, Partner

SOURCES: Final = Path(__file__).parent
BUILD: Final = ROOT / "build" / "interop"
NODE: Final = Kind("node", ("stock",))
GO: Final = Kind("go", ("delivery",))
NEEDS: Final = {NODE: ("node", "npm"), GO: ("go",)}


def missing(kind: Kind) -> str | None:
    """What this machine lacks to build and run the partner; None: nothing."""
    absent = [command for command in NEEDS[kind] if shutil.which(command) is None]
    return f"{' and '.join(absent)} not found" if absent else None


def build(kind: Kind) -> None:
    """Install or compile what the partner needs, from its lock file. Raises RuntimeError."""
    source, target = SOURCES / kind.stack, BUILD / kind.stack
    with maven.alone(target):
        if kind is GO:
            _run(["go", "build", "-o", str(target / "delivery"), "."], source)
            return
        shutil.copytree(source, target, dirs_exist_ok=True)
        installed = target / "node_modules" / ".package-lock.json"
        if not installed.exists() or installed.stat().st_mtime < (source / "package-lock.json").stat().st_mtime:
            _run(["npm", "ci", "--prefer-offline", "--no-audit", "--no-fund"], target)


def partner(folder: StackFolder, kind: Kind, settings: Settings) -> Partner:
    """The process, not started."""
    command = [str(BUILD / "go" / "delivery")] if kind is GO else ["node", str(BUILD / "node" / "stock.js")]
    return Partner(folder, kind, command, settings)


def _run(command: Sequence[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} in {folder}:\n{done.stdout}{done.stderr}")
