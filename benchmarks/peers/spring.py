"""The Java peers: built by Maven, and started as one process for each service, or as one for all with a door over HTTP."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.flow import SERVICES
from benchmarks.peers import maven
from benchmarks.peers.contender import ROOT, PeerProcess
from benchmarks.peers.shop import Peer, Start
from ordersaga.devstack.server import Server

SOURCE: Final = Path(__file__).with_name("spring")
BUILD: Final = ROOT / "build" / "peers" / "spring"
JAR: Final = BUILD / "shop.jar"
HEAP: Final = ("-Xms512m", "-Xmx512m")
DOOR: Final = "spring"
"""The name of the one process."""


def build() -> None:
    """Build the jar where it is older than its sources. Raises RuntimeError."""
    maven.build(SOURCE, BUILD, [JAR])


def spring(style: str, *, concurrency: int, pool: int, poll_records: int, outbox_batch: int) -> Start:
    """The processes of `jpa`, `batch` or `jdbc`: consumers per listener, connections per process, records per poll and per outbox batch."""
    settings = {
        "SHOP_CONCURRENCY": concurrency,
        "SHOP_POOL": pool,
        "SHOP_POLL_RECORDS": poll_records,
        "SHOP_OUTBOX_BATCH": outbox_batch,
        "SHOP_OUTBOX_DELAY_MS": 20,
        "SHOP_OUTBOX_AT_COMMIT": "false",
        "SHOP_FETCH_WAIT_MS": 100,
    }

    def process(peer: Peer, service: str) -> Server:
        # The states of orders at rest say nothing about a burst; planned with them, an update over arrays goes through the whole table.
        options = "reWriteBatchedInserts=true&options=-c%20plan_cache_mode=force_generic_plan"
        return _process(peer, service, [style, service], HEAP, settings, options)

    return lambda peer: {service: process(peer, service) for service in SERVICES}


def one_jvm(*, concurrency: int, pool: int) -> Start:
    """All three services with JPA and the door over HTTP in one process, as a team starts that wants it small: what is committed is published at once, everything else is as Spring and Kafka have it by default."""
    settings = {
        "SHOP_CONCURRENCY": concurrency,
        "SHOP_POOL": pool,
        "SHOP_POLL_RECORDS": 500,
        "SHOP_OUTBOX_BATCH": 500,
        "SHOP_OUTBOX_DELAY_MS": 1000,
        "SHOP_OUTBOX_AT_COMMIT": "true",
        "SHOP_FETCH_WAIT_MS": 500,
    }
    profiles = ["jpa", *SERVICES, "door"]
    return lambda peer: {DOOR: _process(peer, SERVICES[0], profiles, HEAP[1:], settings, "", listens=True)}


def _process(
    peer: Peer,
    service: str,
    profiles: Sequence[str],
    heap: Sequence[str],
    settings: Mapping[str, Any],
    options: str,
    *,
    listens: bool = False,
) -> Server:
    address = peer.stack.database_url(peer.database(service)).replace("postgresql://postgres@", "jdbc:postgresql://")
    command = ["java", *heap, "-jar", str(JAR), f"--spring.profiles.active={','.join(profiles)}"]
    made = PeerProcess(peer.stack.folder, f"{peer.name}-{service}", command, {}, listens=listens)
    made.environment |= {
        "SHOP_DATABASE_URL": f"{address}&{options}",
        "SHOP_BOOTSTRAP_SERVERS": peer.stack.bootstrap_servers,
        "SHOP_TOPICS": peer.topics,
        "SHOP_GROUP": f"{peer.topics}{service}-group",
        "SHOP_PORT": str(made.port),
        **{name: str(value) for name, value in settings.items()},
    }
    return made
