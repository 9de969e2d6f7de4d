"""The jars of the broker: exactly those in jgo.lock.toml, by version and SHA-256.

jgo downloads them once into the local Maven repository (`M2_REPO`, else `~/.m2/repository`), without Maven and without Java. `make lock`
calls `lock`, which writes the lock file again from jgo.toml.
"""

import hashlib
import os
import ssl
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ordersaga.devstack.errors import DevStackError

if TYPE_CHECKING:  # the import takes a third of a second, and only a first start needs it
    from jgo.maven import MavenContext

SPEC = Path(__file__).with_name("jgo.toml")
LOCK = Path(__file__).with_name("jgo.lock.toml")


@dataclass(frozen=True)
class Jar:
    """One entry of the lock file."""

    group: str
    artifact: str
    version: str
    sha256: str

    def path_in(self, repository: Path) -> Path:
        return repository.joinpath(
            *self.group.split("."), self.artifact, self.version, f"{self.artifact}-{self.version}.jar"
        )


def classpath() -> list[Path]:
    """The verified jars in the lock file's order; missing ones are downloaded first.

    Takes some 50 ms and no network once the jars are downloaded. Raises DevStackError, which says what to check, if a jar cannot be
    downloaded or has another SHA-256 than the lock file.
    """
    return fetched(_locked())


def fetched(jars: list[Jar]) -> list[Path]:
    """The verified files of these jars; missing ones are downloaded first. Raises as `classpath`."""
    repository = _repository()
    missing = [jar for jar in jars if not jar.path_in(repository).exists()]
    if missing:
        _download(missing, repository)
    for jar in jars:
        _verify(jar, jar.path_in(repository))
    return [jar.path_in(repository) for jar in jars]


def _locked() -> list[Jar]:
    lock = tomllib.loads(LOCK.read_text())
    return [Jar(d["groupId"], d["artifactId"], d["version"], d["sha256"]) for d in lock["dependencies"]]


def lock() -> None:
    """Resolve jgo.toml and write the lock file.

    `jgo lock` is not used: it downloads a JDK to sort the jars by module kind, which a class path ignores.
    """
    from jgo.env import EnvironmentBuilder, EnvironmentSpec, LockFile, compute_spec_hash

    spec = EnvironmentSpec.load(SPEC)
    context = _maven(_repository())
    named, brought_along = context.resolver.resolve(EnvironmentBuilder(context).spec_to_dependencies(spec))
    needed = [*named, *(each for each in brought_along if each.scope in ("compile", "runtime"))]
    LockFile.from_resolved_dependencies(
        needed, environment_name=spec.name, spec_hash=compute_spec_hash(SPEC), entrypoints=spec.entrypoints
    ).save(LOCK)


def _repository() -> Path:
    return Path(os.environ.get("M2_REPO") or Path.home() / ".m2" / "repository")


def _maven(repository: Path) -> "MavenContext":
    from jgo.config import GlobalSettings
    from jgo.maven import MavenContext

    # jgo's HTTP client trusts only certifi's list. A proxy's certificate authority is usually in the system's list.
    system = ssl.get_default_verify_paths()
    if authorities := system.cafile or system.capath:
        os.environ.setdefault("REQUESTS_CA_BUNDLE", authorities)
    return MavenContext(repo_cache=repository, remote_repos=GlobalSettings.load().repositories or None, timeout=60)


def _download(jars: list[Jar], repository: Path) -> None:
    repository.mkdir(parents=True, exist_ok=True)
    # A jar is moved into the repository only when it is whole and verified: this process may be killed, or run twice at once.
    with tempfile.TemporaryDirectory(dir=repository, prefix=".ordersaga-") as arrivals:
        context = _maven(Path(arrivals))
        for jar in jars:
            artifact = context.project(jar.group, jar.artifact).at_version(jar.version).artifact("", "jar")
            try:
                context.resolver.download(artifact)
            except Exception as error:
                raise DevStackError(
                    f"{jar.artifact}-{jar.version}.jar cannot be downloaded: {error}\n"
                    "Check that Maven Central can be reached (HTTPS_PROXY, REQUESTS_CA_BUNDLE), or name a mirror as "
                    "`central` under [repositories] in ~/.config/jgo.conf. M2_REPO may name a repository that has the jars."
                ) from error
            arrived, place = jar.path_in(Path(arrivals)), jar.path_in(repository)
            _verify(jar, arrived)
            place.parent.mkdir(parents=True, exist_ok=True)
            arrived.replace(place)


def _verify(jar: Jar, path: Path) -> None:
    actual = hashlib.sha256(path.read_bytes()).hexdigest()
    if actual != jar.sha256:
        raise DevStackError(
            f"{path} is not the jar that was chosen: its SHA-256 is {actual}, expected {jar.sha256}.\n"
            "Delete it and start again; if it comes back like that, do not trust the repository it comes from."
        )
