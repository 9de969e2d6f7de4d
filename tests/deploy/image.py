"""The image without Docker: what its Dockerfile puts where, laid out in a folder, and its processes as Docker would start them.

A process has the image's environment and user and nothing else of this machine's, no capability, and a file system that it cannot write to but for
`/tmp`. Linux's mount namespaces do that, which need root. The system's own Python stands in for that of the base image.
"""

import importlib.metadata
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml
from hatchling.builders.wheel import WheelBuilder

ROOT: Final = Path(__file__).parents[2]
HOME: Final = "/opt/ordersaga"
"""Where the Dockerfile copies the program to."""
LIMIT_S: Final = 60.0
CONTAINER: Final = """
set -eu
program=$1 user=$2 group=$3 folder=$4 volume=$5
shift 5
mount --make-rprivate /
mount -t tmpfs -o mode=755 image /opt
mkdir /opt/ordersaga
mount --bind "$program" /opt/ordersaga
mount -t tmpfs -o mode=755 image /var/lib
install -d -o "$user" -g "$group" "$folder"
test "$volume" = writable || mount -o remount,ro /var/lib
mount -o remount,ro /opt
mount -o remount,bind,ro /opt/ordersaga
mount -t tmpfs -o mode=1777 image /tmp
mount -o remount,bind,ro /
cd "$folder"
exec setpriv --reuid "$user" --regid "$group" --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all env -i "$@"
"""


def why_not_here() -> str | None:
    """Why no process of the image can be started on this machine, or None."""
    if not sys.platform.startswith("linux") or shutil.which("unshare") is None or shutil.which("setpriv") is None:
        return "the image's file system is made of Linux's mount namespaces, with unshare and setpriv"
    tried = subprocess.run(["unshare", "--mount", "true"], capture_output=True, text=True, check=False)
    return f"no mount namespace can be made: {tried.stderr.strip()}" if tried.returncode else None


class Image:
    """The last stage of the Dockerfile."""

    def __init__(self, folder: Path) -> None:
        text = (ROOT / "deploy" / "Dockerfile").read_text().replace("\\\n", " ").rpartition("\nFROM ")[2]
        said = dict(re.findall(r"^([A-Z]+) (.*)$", text, re.MULTILINE))
        self._program: Final = folder
        self._user, self._group = said["USER"].split(":")
        self._folder: Final = said["WORKDIR"]
        self._entrypoint: Final[list[str]] = json.loads(said["ENTRYPOINT"])
        path: dict[str, str] = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
        given = {name: value for name, _, value in (each.partition("=") for each in shlex.split(said["ENV"]))}
        self.environment: Final = path | {name: value.replace("$PATH", path["PATH"]) for name, value in given.items()}
        _lay_out(folder)

    def command(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        *,
        entrypoint: Sequence[str] | None = None,
        writable: bool = False,
    ) -> list[str]:
        """What starts a process of the image. `writable`: its home is a volume."""
        variables = [f"{name}={value}" for name, value in (self.environment | dict(environment)).items()]
        return [
            "unshare", "--mount", "sh", "-c", CONTAINER, "sh", str(self._program), self._user, self._group, self._folder,
            "writable" if writable else "read-only", *variables,
            *(self._entrypoint if entrypoint is None else entrypoint), *arguments,
        ]  # fmt: skip

    def run(
        self, *arguments: str, environment: Mapping[str, str], entrypoint: Sequence[str] | None = None
    ) -> "subprocess.CompletedProcess[str]":
        """Run a process of the image to its end."""
        command = self.command(arguments, environment, entrypoint=entrypoint)
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=LIMIT_S)


def _lay_out(folder: Path) -> None:
    """What `requirements/runtime.txt` pins, as it is installed here, and our wheel: no package besides."""
    folder.chmod(0o755)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    [packages] = folder.glob("lib/python3*/site-packages")
    for name in re.findall(r"^([\w.-]+)==", (ROOT / "requirements" / "runtime.txt").read_text(), re.MULTILINE):
        try:
            files = importlib.metadata.distribution(name).files or []
        except importlib.metadata.PackageNotFoundError:
            continue  # for another system
        for file in files:
            source = Path(str(file.locate()))
            if ".." in file.parts or not source.exists():
                continue  # a script, which we do not call
            (packages / file).parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(source, packages / file)
            except OSError:
                shutil.copy2(source, packages / file)
    [wheel] = WheelBuilder(str(ROOT)).build(directory=str(folder / "dist"), versions=["standard"])
    python = folder / "bin" / "python"
    options = [
        "--quiet",
        "--no-index",
        "--no-deps",
        "--compile",
        "--no-warn-script-location",
        "--disable-pip-version-check",
    ]
    subprocess.run([sys.executable, "-m", "pip", "--python", python, "install", *options, wheel], check=True)
    script = folder / "bin" / "ordersaga"
    script.write_text(script.read_text().replace(str(python), f"{HOME}/bin/python", 1))


def compose() -> dict[str, Any]:
    """The services of `compose.yaml`, with the defaults of its variables."""
    text = re.sub(r"\$\{\w+:-(\w+)\}", r"\1", (ROOT / "compose.yaml").read_text())
    services: dict[str, Any] = yaml.safe_load(text)["services"]
    return services
