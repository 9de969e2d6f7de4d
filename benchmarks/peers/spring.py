"""The Java peers: built by Maven where Java and Maven are there, and started as one process for each service."""

import shutil
import subprocess
from pathlib import Path
from typing import Final

from benchmarks.flow import SERVICES
from benchmarks.peers.contender import ROOT, PeerProcess
from benchmarks.peers.shop import Peer, Start
from ordersaga.devstack.server import Server

SOURCE: Final = Path(__file__).with_name("spring")
BUILD: Final = ROOT / "build" / "peers" / "spring"
JAR: Final = BUILD / "shop.jar"
HEAP: Final = ("-Xms512m", "-Xmx512m")


def missing() -> str | None:
    """What this machine lacks to build and run Java; None: nothing."""
    absent = [command for command in ("java", "mvn") if shutil.which(command) is None]
    return f"{' and '.join(absent)} not found" if absent else None


def build() -> None:
    """Build the jar unless it is newer than all sources. Needs no network when Maven has what it needs. Raises RuntimeError."""
    sources = [path for path in SOURCE.rglob("*") if path.is_file()]
    if JAR.exists() and JAR.stat().st_mtime > max(path.stat().st_mtime for path in sources):
        return
    command = ["mvn", "--batch-mode", "--quiet", f"-Dbuild.folder={BUILD}", "package"]
    for extra in (["--offline"], []):
        done = subprocess.run([*command, *extra], cwd=SOURCE, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return
    raise RuntimeError(f"Maven cannot build {SOURCE}:\n{done.stdout}{done.stderr}")


def spring(style: str, *, concurrency: int, pool: int, poll_records: int, outbox_batch: int) -> Start:
    """The processes of `jpa`, `batch` or `jdbc`: consumers per listener, connections per process, records per poll and per outbox batch."""

    def start(peer: Peer) -> dict[str, Server]:
        return {service: process(peer, service) for service in SERVICES}

    def process(peer: Peer, service: str) -> Server:
        profiles = f"--spring.profiles.active={style},{service}"
        url = peer.stack.database_url(peer.database(service)).replace("postgresql://postgres@", "jdbc:postgresql://")
        environment = {
            # The states of orders at rest say nothing about a burst; planned with them, an update over arrays goes through the whole table.
            "SHOP_DATABASE_URL": f"{url}?reWriteBatchedInserts=true&options=-c%20plan_cache_mode=force_generic_plan",
            "SHOP_BOOTSTRAP_SERVERS": peer.stack.bootstrap_servers,
            "SHOP_TOPICS": peer.topics,
            "SHOP_GROUP": f"{peer.topics}{service}-group",
            "SHOP_CONCURRENCY": str(concurrency),
            "SHOP_POOL": str(pool),
            "SHOP_POLL_RECORDS": str(poll_records),
            "SHOP_OUTBOX_BATCH": str(outbox_batch),
        }
        command = ["java", *HEAP, "-jar", str(JAR), profiles]
        return PeerProcess(peer.stack.folder, f"{peer.name}-{service}", command, environment)

    return start
