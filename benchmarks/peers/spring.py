"""The Java peers: built by Maven, and started as one process for each service."""

from pathlib import Path
from typing import Final

from benchmarks.flow import SERVICES
from benchmarks.peers import maven
from benchmarks.peers.contender import ROOT, PeerProcess
from benchmarks.peers.shop import Peer, Start
from ordersaga.devstack.server import Server

SOURCE: Final = Path(__file__).with_name("spring")
BUILD: Final = ROOT / "build" / "peers" / "spring"
JAR: Final = BUILD / "shop.jar"
HEAP: Final = ("-Xms512m", "-Xmx512m")


def build() -> None:
    """Build the jar where it is older than its sources. Raises RuntimeError."""
    maven.build(SOURCE, BUILD, [JAR])


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
