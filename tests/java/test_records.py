"""The Java records: javac takes them, and Jackson reads and writes with them what our services write, byte for byte."""

import shutil
import subprocess
from pathlib import Path

import pytest

from ordersaga.contracts.codec import encode
from ordersaga.contracts.examples import EXAMPLES
from ordersaga.contracts.messages import DeliveryRequestMessage, Message, OrderPayableMessage, ProductPriceMessage
from ordersaga.devstack import jars
from tests.commands import type_command

pytestmark = pytest.mark.processes

PACKAGE = "com.example.orders"
WITH_A_TIME = (OrderPayableMessage, ProductPriceMessage)  # need a module of Jackson's that Kafka's jars do not have
LIMIT_S = 120


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the compiled records."""
    javac = shutil.which("javac")
    if javac is None:
        pytest.skip("there is no JDK here: javac is not installed")
    folder = tmp_path_factory.mktemp("java")
    said = type_command(["contracts", "java", "--out", str(folder), "--package", PACKAGE], {})
    assert said.code == 0, said
    sources = [*map(str, folder.glob("*.java")), str(Path(__file__).with_name("RoundTrip.java"))]
    assert len(sources) == len(EXAMPLES) + 2
    command = [javac, "-Xlint:all", "-Werror", "-cp", _jackson(), "-d", str(folder), *sources]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_jackson_reads_every_message_and_writes_it_byte_for_byte(classes: Path) -> None:
    kinds = [kind for kind in EXAMPLES if kind not in WITH_A_TIME]
    for kind in kinds:
        (classes / f"{kind.__name__}.json").write_bytes(encode(EXAMPLES[kind]))
    _round_trip(classes, kinds)
    for kind in kinds:
        assert (classes / f"{kind.__name__}.written").read_bytes() == encode(EXAMPLES[kind])


def test_jackson_ignores_a_field_that_a_later_version_adds(classes: Path) -> None:
    as_now = encode(EXAMPLES[DeliveryRequestMessage])
    (classes / "DeliveryRequestMessage.json").write_bytes(as_now[:-1] + b',"giftMessage":{"text":"!"}}')
    _round_trip(classes, [DeliveryRequestMessage])
    assert (classes / "DeliveryRequestMessage.written").read_bytes() == as_now


@pytest.mark.parametrize("package", ["", "1a", "a..b", "a;b", "a b"])
def test_what_names_no_package_is_refused(package: str, tmp_path: Path) -> None:
    said = type_command(["contracts", "java", "--out", str(tmp_path / "out"), "--package", package], {})
    assert said.code == 2 and "no name of a Java package" in said.err
    assert not (tmp_path / "out").exists()


def _jackson() -> str:
    return ":".join(str(jar) for jar in jars.classpath() if jar.name.startswith("jackson-"))


def _round_trip(folder: Path, kinds: list[type[Message]]) -> None:
    java = Path(str(shutil.which("javac"))).with_name("java")
    names = [kind.__name__ for kind in kinds]
    command = [str(java), "-cp", f"{_jackson()}:{folder}", "RoundTrip", str(folder), PACKAGE, *names]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
