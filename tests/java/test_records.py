"""The Java records: javac takes them, and Jackson 2 and 3 read and write with them what our services write, byte for byte."""

import shutil
import subprocess
from pathlib import Path

import pytest

from benchmarks.peers import maven
from ordersaga.contracts.codec import encode
from ordersaga.contracts.examples import EXAMPLES
from ordersaga.contracts.messages import DeliveryRequestMessage, Message
from tests.commands import type_command

pytestmark = pytest.mark.processes

HERE = Path(__file__).parent
PACKAGE = "com.example.orders"
CLASSPATH = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:build-classpath"
MAVEN_S = 300
LIMIT_S = 120


class Records:
    """The compiled records in a folder, with a Jackson."""

    def __init__(self, folder: Path, jackson: str) -> None:
        self.folder = folder
        self.classpath = f"{jackson}:{folder}"

    def round_trip(self, values: dict[type[Message], bytes]) -> dict[type[Message], bytes]:
        """What Jackson makes of each value, read as its record and written again."""
        for kind, value in values.items():
            (self.folder / f"{kind.__name__}.json").write_bytes(value)
        names = [kind.__name__ for kind in values]
        run("java", "-cp", self.classpath, "RoundTrip", str(self.folder), PACKAGE, *names)
        return {kind: (self.folder / f"{kind.__name__}.written").read_bytes() for kind in values}


@pytest.fixture(scope="module", params=["jackson2", "jackson3"])
def records(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Records:
    for tool in ("javac", "mvn"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed here, so the Java records are not compiled")
    folder = tmp_path_factory.mktemp("java")
    said = type_command(["contracts", "java", "--out", str(folder), "--package", PACKAGE], {})
    assert said.code == 0, said
    jars = folder / "classpath"
    profile, pom = str(request.param), str(HERE / "pom.xml")
    run("mvn", "-B", "-q", "-f", pom, "-P", profile, CLASSPATH, f"-Dmdep.outputFile={jars}", limit_s=MAVEN_S)
    source = (HERE / "RoundTrip.java").read_text()
    if profile == "jackson3":
        source = source.replace("com.fasterxml.jackson.databind", "tools.jackson.databind")
    (folder / "RoundTrip.java").write_text(source)
    sources = list(map(str, folder.glob("*.java")))
    assert len(sources) == len(EXAMPLES) + 2
    run("javac", "-Xlint:all", "-Werror", "-cp", jars.read_text(), "-d", str(folder), *sources)
    return Records(folder, jars.read_text())


@pytest.mark.timeout(MAVEN_S + LIMIT_S)
def test_jackson_reads_every_message_and_writes_it_byte_for_byte(records: Records) -> None:
    written = {kind: encode(message) for kind, message in EXAMPLES.items()}
    assert records.round_trip(written) == written


@pytest.mark.timeout(MAVEN_S + LIMIT_S)
def test_jackson_ignores_a_field_that_a_later_version_adds(records: Records) -> None:
    as_now = encode(EXAMPLES[DeliveryRequestMessage])
    newer = as_now[:-1] + b',"giftMessage":{"text":"!"}}'
    assert records.round_trip({DeliveryRequestMessage: newer}) == {DeliveryRequestMessage: as_now}


@pytest.mark.parametrize("package", ["", "1a", "a..b", "a;b", "a b"])
def test_what_names_no_package_is_refused(package: str, tmp_path: Path) -> None:
    said = type_command(["contracts", "java", "--out", str(tmp_path / "out"), "--package", package], {})
    assert said.code == 2 and "not the name of a Java package" in said.err
    assert not (tmp_path / "out").exists()


def run(*command: str, limit_s: float = LIMIT_S) -> None:
    done = subprocess.run(command, env=maven.ENVIRONMENT, capture_output=True, text=True, timeout=limit_s, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
