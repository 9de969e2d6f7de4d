"""The peers on DBOS and Restate: installed from their lock files into `build/peers`, and started."""

import http.client
import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.peers.contender import ROOT, PeerProcess
from benchmarks.peers.shop import Peer
from ordersaga.devstack.server import Server
from ordersaga.devstack.system import System

DBOS, RESTATE = "dbos", "restate"
SHOP: Final = "shop"
SOURCE: Final = Path(__file__).with_name("engines")
REQUIREMENTS: Final = ROOT / "requirements" / "engines.txt"
BUILD: Final = ROOT / "build" / "peers"
PYTHON: Final = BUILD / "engines" / "bin" / "python"
SERVER: Final = BUILD / "restate"
POOL: Final = 10
REGISTER_S: Final = 30.0
ARCHITECTURES: Final = {"x86_64": "x64", "AMD64": "x64", "aarch64": "arm64"}


class EngineShop(Peer):
    """A shop on an engine. `door` is the process at which orders are placed, `paths` as in `benchmarks.peers.callers`."""

    def __init__(self, name: str, system: System, door: str, paths: tuple[str, str, str]) -> None:
        super().__init__(name, system, lambda _: {}, one_database=True, kafka=False)
        self.door: Final = door
        self.paths: Final = paths

    def processes(self) -> dict[str, Server]:
        url = self.stack.database_url(self.database("order")).partition("?")[0]
        program = [str(PYTHON), str(SOURCE / f"{self.name}_shop.py")]
        shop = PeerProcess(self.stack.folder, f"{self.name}-{SHOP}", program, {}, listens=True)
        shop.environment |= {
            "SHOP_DATABASE_URL": url.replace("postgresql://", "postgresql+asyncpg://"),
            "SHOP_PORT": str(shop.port),
            "SHOP_POOL": str(POOL),
        }
        return {SHOP: shop}


class RestateShop(EngineShop):
    """The shop on Restate, behind Restate's server, which is told of it once."""

    def processes(self) -> dict[str, Server]:
        """The server with its data in a folder of its own, then the shop."""
        folder = self.stack.folder
        architecture = ARCHITECTURES.get(platform.machine(), platform.machine())
        package = f"@restatedev/restate-server-{platform.system().lower()}-{architecture}"
        program = str(SERVER / "node_modules" / package / "bin" / "restate-server")
        server = PeerProcess(folder, RESTATE, [program, "--no-logo", "--listen-mode", "tcp"], {}, listens=True)
        self._admin_port = folder.port("restate_admin")
        server.environment |= {
            "RESTATE_BASE_DIR": str(server.path / "data"),
            "RESTATE_BIND_ADDRESS": f"127.0.0.1:{folder.port('restate_node')}",
            "RESTATE_INGRESS__BIND_ADDRESS": f"127.0.0.1:{server.port}",
            "RESTATE_ADMIN__BIND_ADDRESS": f"127.0.0.1:{self._admin_port}",
            "RESTATE_DISABLE_TELEMETRY": "true",
            "RESTATE_LOG_FILTER": "warn",
        }
        return {RESTATE: server} | super().processes()

    def wake(self) -> None:
        is_new = not self.started
        super().wake()
        if is_new:
            self._register()

    def _register(self) -> None:
        """Tell the server where the shop is. Raises RuntimeError."""
        connection = http.client.HTTPConnection("127.0.0.1", self._admin_port, timeout=REGISTER_S)
        body = json.dumps({"uri": f"http://127.0.0.1:{self.started[SHOP].port}"})
        connection.request("POST", "/deployments", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        if answer.status >= 300:
            raise RuntimeError(f"Restate does not take the shop: {answer.status} {answer.read()!r}")
        connection.close()


def make(name: str, system: System) -> EngineShop:
    """The shop on one engine."""
    if name == DBOS:
        return EngineShop(name, system, SHOP, ("/orders/{}", "/orders/{}/payment", "/orders/{}/completed"))
    return RestateShop(
        name, system, RESTATE, ("/orders/{}/place/send", "/orders/{}/pay", "/restate/workflow/orders/{}/attach")
    )


def install(name: str) -> str | None:
    """Install what the shop needs unless it is installed; what stands against it, None: nothing."""
    try:
        _install_python()
        if name == RESTATE:
            _install_server()
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", None) or str(error)
        return f"its packages cannot be installed: {said.strip().splitlines()[-1]}"
    return None


def _install_python() -> None:
    if _is_newer(PYTHON.parent.parent / "installed", REQUIREMENTS):
        return
    folder = PYTHON.parent.parent
    _run([sys.executable, "-m", "venv", "--clear", str(folder)], ROOT)
    pip = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([*pip, "--require-hashes", "-r", str(REQUIREMENTS)], ROOT)
    (folder / "installed").touch()


def _install_server() -> None:
    if _is_newer(SERVER / "node_modules" / ".package-lock.json", SOURCE / "package-lock.json"):
        return
    SERVER.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(SOURCE / name, SERVER)
    _run(["npm", "ci", "--prefer-offline", "--no-audit", "--no-fund", "--ignore-scripts"], SERVER)


def _is_newer(made: Path, source: Path) -> bool:
    return made.exists() and made.stat().st_mtime > source.stat().st_mtime


def _run(command: Sequence[str], folder: Path) -> None:
    subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
