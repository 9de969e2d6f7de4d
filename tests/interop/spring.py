"""The Spring partners: one program, built against Spring Boot 3.5 and against Spring Boot 4, any roles in one process."""

from pathlib import Path
from typing import Final

from benchmarks.peers import maven
from benchmarks.peers.contender import ROOT
from ordersaga.devstack.folder import StackFolder
from ordersaga.settings import Settings
from tests.interop.partner import Kind, Partner

SOURCE: Final = Path(__file__).with_name("spring")
BUILD: Final = ROOT / "build" / "interop"
JARS: Final = {stack: BUILD / stack / "partner.jar" for stack in ("boot3", "boot4")}
QUICK_START: Final = ("-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto")


def build() -> None:
    """Build both jars where they are older than their sources. Raises RuntimeError."""
    maven.build(SOURCE, BUILD, list(JARS.values()))


def partner(folder: StackFolder, kind: Kind, settings: Settings) -> Partner:
    """The process, not started. The option `types` has it write and believe `__TypeId__`; the others are profiles of application.yml."""
    profiles = [*kind.roles, *(option for option in kind.options if option != "types")]
    command = ["java", *QUICK_START, "-jar", str(JARS[kind.stack]), f"--spring.profiles.active={','.join(profiles)}"]
    one = Partner(folder, kind, command, settings)
    one.environment |= {
        "SERVER_PORT": str(one.port),
        "SPRING_KAFKA_BOOTSTRAPSERVERS": settings.kafka_bootstrap_servers,
        "PARTNER_TYPEHEADERS": str("types" in kind.options).lower(),
    }
    return one
