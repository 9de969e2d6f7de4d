"""Three Kafka brokers as operations teams run them: a KRaft quorum of three, each record on three brokers and acknowledged by two."""

import asyncio
import base64
import time
import uuid
from functools import partial
from types import TracebackType
from typing import Final, Self

from confluent_kafka.admin import AdminClient

from ordersaga.devstack.folder import StackFolder
from ordersaga.devstack.kafka import KafkaBroker
from ordersaga.devstack.side_by_side import side_by_side
from tests.chaos.in_sync import in_sync_counts
from tests.chaos.network import Network

BROKERS: Final = 3
WHOLE_LIMIT_S: Final = 60.0
CALL_S: Final = 10.0
MORE_PROPERTIES: Final = """\
node.id={node}
controller.quorum.bootstrap.servers={controllers}
default.replication.factor=3
min.insync.replicas=2
offsets.topic.replication.factor=3
transaction.state.log.replication.factor=3
transaction.state.log.min.isr=2
share.coordinator.state.topic.replication.factor=3
share.coordinator.state.topic.min.isr=2
# A broker without producer ids asks its controller for some. If the controller is cut off, it asks the next one after 30 s by default.
controller.socket.timeout.ms=3000
# The voters choose another controller after so long (by default 2 s). Only then does the time of the controller's own broker begin to run.
controller.quorum.fetch.timeout.ms=1000
# A broker that was cut off waits for the answers of before the cut, for 30 s by default, and follows nobody meanwhile.
replica.socket.timeout.ms=3000
# A broker that comes back leads nothing until the next look, after 5 minutes by default.
leader.imbalance.check.interval.seconds=5
"""


class Member(KafkaBroker):
    """One broker of a cluster, which is a voter of its quorum, too."""

    def __init__(self, folder: StackFolder, node: int, cluster: "Cluster") -> None:
        self.name = f"kafka-{node}"  # type: ignore[misc]  # here each object is a server of its own
        super().__init__(folder)
        self._controller_port = folder.port(f"{self.name}_controller")
        self.node: Final = node
        self._cluster: Final = cluster
        self._directory: Final = _id()

    @property
    def controller(self) -> str:
        """Where the other voters reach this one."""
        return f"{self.host}:{self._controller_port}"

    @property
    def voter(self) -> str:
        """This voter, as the tool that formats wants it."""
        return f"{self.node}@{self.controller}:{self._directory}"

    def _properties(self) -> str:
        return super()._properties() + MORE_PROPERTIES.format(node=self.node, controllers=self._cluster.controllers)

    def _founding(self) -> list[str]:
        return ["-t", self._cluster.id, "--initial-controllers", self._cluster.voters]


class Cluster:
    """Use with `with`: inside, all brokers run."""

    def __init__(self, network: Network | None = None) -> None:
        self.id: Final = _id()
        self._folder: Final = StackFolder(None)
        self.members: Final = [Member(self._folder, node, self) for node in range(1, BROKERS + 1)]
        if network is not None:
            for member in self.members:
                network.place(member)

    @property
    def bootstrap_servers(self) -> str:
        return ",".join(member.bootstrap_servers for member in self.members)

    @property
    def controllers(self) -> str:
        return ",".join(member.controller for member in self.members)

    @property
    def voters(self) -> str:
        return ",".join(member.voter for member in self.members)

    def __enter__(self) -> Self:
        try:
            side_by_side([partial(member.start) for member in self.members])
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def led_by(self, member: Member) -> int:
        """Of how many partitions this broker is the leader."""
        return sum(each == member.node for each, _ in self._partitions())

    def coordinator_of(self, group: str) -> int:
        """The number of the broker to which the members of a group report."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap_servers})
        [found] = admin.list_groups(
            group, timeout=CALL_S
        )  # its successor may end this process, see messaging/kafka/topics.py
        return int(found.broker.id)  # type: ignore[attr-defined]  # the stubs know no broker

    async def whole_again(self) -> None:
        """Wait until each partition is on all brokers again, as each broker knows it."""
        end = time.monotonic() + WHOLE_LIMIT_S
        while not await asyncio.to_thread(self._is_whole):
            if time.monotonic() > end:
                raise AssertionError(
                    f"after {WHOLE_LIMIT_S:.0f} s a partition is still on fewer than {BROKERS} brokers"
                )
            await asyncio.sleep(0.2)

    def _is_whole(self) -> bool:
        """A client would ask any broker, perhaps the one that is just back and believes that nothing has happened since."""
        try:
            return all(count == BROKERS for each in self.members for count in in_sync_counts(each.host, each.port))
        except OSError:
            return False

    def _partitions(self) -> list[tuple[int, int]]:
        """The leader of each partition, and the number of its replicas in sync."""
        topics = AdminClient({"bootstrap.servers": self.bootstrap_servers}).list_topics(timeout=CALL_S).topics
        return [(each.leader, len(each.isrs)) for topic in topics.values() for each in topic.partitions.values()]

    def _end(self) -> None:
        for member in self.members:
            member.abandon()
        self._folder.close()


def _id() -> str:
    """An id as Kafka writes it. Its tool takes one that begins with `-` for an option."""
    while (made := _any_id()).startswith("-"):
        pass
    return made


def _any_id() -> str:
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
