"""The FastStream peer: one process, or more, for each service."""

import sys

from benchmarks.flow import SERVICES
from benchmarks.peers.contender import PeerProcess
from benchmarks.peers.shop import Peer, Start
from ordersaga.devstack.server import Server


def faststream(*, concurrency: int, pool: int, outbox_batch: int, workers: int = 1) -> Start:
    """Its processes: consumers per subscriber, connections per process, records per outbox batch, processes per service."""

    def start(peer: Peer) -> dict[str, Server]:
        return {f"{service}_{n}": process(peer, service, n) for service in SERVICES for n in range(1, workers + 1)}

    def process(peer: Peer, service: str, number: int) -> Server:
        url = (
            peer.stack.database_url(peer.database(service))
            .replace("postgresql://", "postgresql+asyncpg://")
            .partition("?")[0]
        )
        environment = {
            "SHOP_DATABASE_URL": url,
            "SHOP_BOOTSTRAP_SERVERS": peer.stack.bootstrap_servers,
            "SHOP_TOPICS": peer.topics,
            "SHOP_GROUP": f"{peer.topics}{service}-group",
            "SHOP_CONCURRENCY": str(concurrency),
            "SHOP_POOL": str(pool),
            "SHOP_OUTBOX_BATCH": str(outbox_batch),
        }
        command = [sys.executable, "-m", "benchmarks.peers.faststream_shop", service]
        return PeerProcess(peer.stack.folder, f"{peer.name}-{service}-{number}", command, environment)

    return start
