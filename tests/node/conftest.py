"""Node and the tools of `package-lock.json`, installed once for each lock file."""

import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import platformdirs
import pytest

HERE = Path(__file__).parent
INSTALL_S = 300
RUN_S = 60

Node = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def tools() -> Path:
    """The folder with the tools' `node_modules`."""
    for command in ("node", "npm"):
        if shutil.which(command) is None:
            pytest.skip(f"{command} is not installed here")
    lock = HERE / "package-lock.json"
    folder = platformdirs.user_cache_path("ordersaga") / f"node-{hashlib.sha256(lock.read_bytes()).hexdigest()[:16]}"
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as made:
            for name in ("package.json", lock.name):
                shutil.copy(HERE / name, made)
            install = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", made]
            done = subprocess.run(install, cwd=made, capture_output=True, text=True, timeout=INSTALL_S, check=False)
            assert done.returncode == 0, done.stdout + done.stderr
            if not folder.exists():  # the other process of the tests may have been faster
                Path(made).rename(folder)
                Path(made).mkdir()
    return folder


@pytest.fixture(scope="session")
def node(tools: Path) -> Node:
    """Runs a script of this folder, or a tool, with the tools at hand."""

    def run(*arguments: object, cwd: Path = tools) -> "subprocess.CompletedProcess[str]":
        command = ["node", *map(str, arguments)]
        return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=RUN_S, check=False)

    for script in HERE.glob("*.mjs"):
        shutil.copy(script, tools)  # a module finds its imports beside itself
    return run
