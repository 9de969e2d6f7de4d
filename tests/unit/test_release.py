"""A release: what the wheel has in it, and where a person reads which version runs."""

import stat
import subprocess
import zipfile
from pathlib import Path

import prometheus_client
import pytest
from hatchling.builders.wheel import WheelBuilder
from litestar import Litestar
from litestar.testing import AsyncTestClient
from typer.testing import CliRunner

from ordersaga import __version__
from ordersaga.cli.main import commands
from ordersaga.http.health import health
from ordersaga.messaging.health import Health

ROOT = Path(__file__).parents[2]


class Well:
    """A process without troubles."""

    async def health(self) -> Health:
        return Health()

    def dead(self) -> list[str]:
        return []


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    [made] = WheelBuilder(str(ROOT)).build(directory=str(tmp_path_factory.mktemp("dist")), versions=["standard"])
    return zipfile.ZipFile(made)


def test_the_wheel_has_every_file_of_the_package(wheel: zipfile.ZipFile) -> None:
    """Also those that are no Python: migrations, queries, templates, texts, styles."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "src/ordersaga"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    wanted = {each.removeprefix("src/") for each in listed if (ROOT / each).exists()}
    assert len({Path(each).suffix for each in wanted}) > 5
    assert wanted == {each for each in wheel.namelist() if each.startswith("ordersaga/")}


def test_the_user_of_the_image_may_read_every_file_of_the_wheel(wheel: zipfile.ZipFile) -> None:
    """pip keeps the modes, root owns the files, and the image runs as another user."""
    modes = {each.filename: each.external_attr >> 16 for each in wheel.infolist()}
    assert not [name for name, mode in modes.items() if not mode & stat.S_IROTH or mode & stat.S_IWOTH]


def test_the_wheel_has_the_version_that_the_command_prints(wheel: zipfile.ZipFile) -> None:
    said = CliRunner().invoke(commands(), ["--version"])
    assert (said.exit_code, said.output) == (0, f"ordersaga {__version__}\n")
    assert wheel.filename is not None and f"ordersaga-{__version__}-" in wheel.filename


async def test_health_and_metrics_tell_the_version() -> None:
    async with AsyncTestClient(Litestar(health("order", Well()), logging_config=None)) as client:
        for path in ("/health/ready", "/health/status"):
            assert (await client.get(path)).json()["version"] == __version__
    assert f'ordersaga_build_info{{version="{__version__}"}} 1.0' in prometheus_client.generate_latest().decode()
