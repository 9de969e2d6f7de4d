"""The jars of the broker: the ones that jgo.lock.toml names, by version and SHA-256, and no other.

They lie in the local Maven repository (`M2_REPO`, else `~/.m2/repository`), where jgo downloads them once, without Maven
and without Java. `lock` writes the lock file anew from jgo.toml; `make lock` calls it.
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

if TYPE_CHECKING:  # its import takes a third of a second, and only a first start needs it
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

    Costs some 50 ms and no network once they are there. Raises DevStackError, saying what to check, if a jar cannot be
    downloaded or is not the one that was locked.
    """
    repository = _repository()
    jars = _locked()
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

    Not by `jgo lock`: that downloads a whole JDK to sort the jars by a kind of module that a class path does not know.
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

    # jgo's client trusts certifi's list alone; a machine behind a proxy has the proxy's authority in the system's.
    system = ssl.get_default_verify_paths()
    if authorities := system.cafile or system.capath:
        os.environ.setdefault("REQUESTS_CA_BUNDLE", authorities)
    return MavenContext(repo_cache=repository, remote_repos=GlobalSettings.load().repositories or None, timeout=60)


def _download(jars: list[Jar], repository: Path) -> None:
    repository.mkdir(parents=True, exist_ok=True)
    # Into the repository goes only what is whole and verified, also when this process is killed or runs twice at once.
    with tempfile.TemporaryDirectory(dir=repository, prefix=".ordersaga-") as arrivals:
        context = _maven(Path(arrivals))
        for jar in jars:
            artifact = context.project(jar.group, jar.artifact).at_version(jar.version).artifact("", "jar")
            try:
                context.resolver.download(artifact)
            except Exception as error:
                raise DevStackError(
                    f"Kafka's {jar.artifact}-{jar.version}.jar cannot be downloaded: {error}\n"
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
            f"{path} is not the jar that {LOCK.name} names: its SHA-256 is {actual}, expected {jar.sha256}.\n"
            "Delete it and start again; if it comes back like that, do not trust the repository it comes from."
        )
