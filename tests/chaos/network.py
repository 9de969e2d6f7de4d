"""A network in which a server can be cut off: each server has a network namespace and an address of its own. Linux only, and as root."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from typing import Final

from ordersaga.devstack.server import Server

MARK: Final = "CHAOS_OWN_NETWORK"
PROGRAMS: Final = ("ip", "mount", "nsenter", "unshare")
BRIDGE: Final = "machines"
NETWORK: Final = "10.77.0"
NAMESPACES: Final = "/run/netns"
OWN: Final = 254
NOWHERE: Final = "02:00:00:00:00:00"
"""The hardware address of nobody. What is sent there is lost, and nobody is told."""


def is_possible() -> bool:
    """Whether this user may make networks here."""
    return sys.platform == "linux" and os.geteuid() == 0 and all(shutil.which(each) for each in PROGRAMS)


def enter(module: str, arguments: Sequence[str]) -> None:
    """Start this program again in a network of its own, which ends with it. Returns only inside of that network."""
    if MARK not in os.environ:
        os.environ[MARK] = "yes"
        os.execvp("unshare", ["unshare", "--net", "--mount", sys.executable, "-m", module, *arguments])


class Network:
    """A bridge to which the servers' namespaces are connected. This process is at its own address."""

    def __init__(self) -> None:
        os.makedirs(NAMESPACES, exist_ok=True)  # noqa: PTH103  # beside the commands that use it
        _run("mount", "-t", "tmpfs", "none", NAMESPACES)
        _run("ip", "link", "set", "lo", "up")
        _run("ip", "link", "add", BRIDGE, "type", "bridge")
        _run("ip", "address", "add", f"{NETWORK}.{OWN}/24", "dev", BRIDGE)
        _run("ip", "link", "set", BRIDGE, "up")
        self._used = 0

    @property
    def addresses(self) -> str:
        """All addresses of this network, as `pg_hba.conf` has them."""
        return f"{NETWORK}.0/24"

    def place(self, server: Server) -> None:
        """Give a server that has not been started a namespace and an address."""
        self._used += 1
        name = server.name
        _run("ip", "netns", "add", name)
        _run("ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
        _run("ip", "link", "set", name, "master", BRIDGE)
        _run("ip", "-netns", name, "address", "add", f"{NETWORK}.{self._used}/24", "dev", "eth0")
        for link in ("lo", "eth0"):
            _run("ip", "-netns", name, "link", "set", link, "up")
        self.join(server)
        server.host = f"{NETWORK}.{self._used}"
        server.before = ("nsenter", f"--net={NAMESPACES}/{name}")

    def cut_off(self, server: Server) -> None:
        """From now on no packet reaches the server or comes from it, and nobody is told."""
        _run("ip", "link", "set", server.name, "down")

    def join(self, server: Server) -> None:
        """Let packets through again."""
        _run("ip", "link", "set", server.name, "up")

    def part(self, one: Server, others: Iterable[Server]) -> None:
        """From now on no packet passes between a server and these others, and nobody is told. All else goes on."""
        for here, there in _both_ways(one, others):
            _neighbour(here, "replace", there.host, "lladdr", NOWHERE, "nud", "permanent")

    def reunite(self, one: Server, others: Iterable[Server]) -> None:
        """Let packets pass between them again."""
        for here, there in _both_ways(one, others):
            _neighbour(here, "delete", there.host)


def _both_ways(one: Server, others: Iterable[Server]) -> list[tuple[Server, Server]]:
    return [pair for other in others for pair in ((one, other), (other, one))]


def _neighbour(here: Server, *what: str) -> None:
    _run("ip", "-netns", here.name, "neighbour", *what, "dev", "eth0")


def _run(*command: str) -> None:
    subprocess.run(command, check=True)
