"""A PostgreSQL as operations teams run it: it takes nobody without TLS and a password. The embedded one is built without TLS, so this is another build."""

import os
import platform
import shutil
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import Final

import platformdirs
import psycopg
from psycopg import sql

from ordersaga.devstack.folder import StackFolder
from ordersaga.devstack.jars import Jar, fetched
from ordersaga.devstack.postgres import PostgresServer
from tests.certificates import Authority

GROUP: Final = "io.zonky.test.postgres"
VERSION: Final = "18.1.0"
BUILDS: Final = {
    ("linux", "x86_64"): ("linux-amd64", "65d0723e0274ad3ec6230dcbdfe034af6ee096fce15a77b0f9b8be71d2702934"),
}
HBA: Final = """\
host    all postgres 127.0.0.1/32 trust
hostssl all all      127.0.0.1/32 scram-sha-256
"""
"""The superuser is the operators', who come without TLS. Everybody else needs TLS and a password."""


class SecurePostgres(PostgresServer):
    """PostgreSQL with TLS. Its certificate, signed by `ca`, is for 127.0.0.1."""

    def __init__(self, folder: StackFolder) -> None:
        super().__init__(folder)
        self._home = _unpacked()
        self.ca: Final = self.path / "ca.pem"

    def url(self, user: str, password: str, database: str, **parameters: str) -> str:
        """A URL as an operations team gives it out; `parameters` replace its own."""
        parameters = {"sslmode": "verify-full", "sslrootcert": str(self.ca)} | parameters
        asked = "&".join(f"{name}={value}" for name, value in parameters.items() if name != "host")
        return f"postgresql://{user}:{password}@{parameters.get('host', '127.0.0.1')}:{self.port}/{database}?{asked}"

    def _prepare(self) -> None:
        super()._prepare()
        authority = Authority(self.ca)
        key = self.path / "server.pem"
        key.write_bytes(authority.sign("a database", addresses=["127.0.0.1"]))
        (self.path / "hba").write_text(HBA)
        owner = self._data.stat()
        for file in (key, self.path / "hba"):
            os.chown(file, owner.st_uid, owner.st_gid)
        key.chmod(0o600)

    def _command(self) -> list[str]:
        files = {"ssl_cert_file": "server.pem", "ssl_key_file": "server.pem", "hba_file": "hba"}
        options = {"ssl": "on"} | {name: str(self.path / file) for name, file in files.items()}
        return [*super()._command(), *(word for name, value in options.items() for word in ("-c", f"{name}={value}"))]

    def run(self, script: str) -> None:
        """Run a file of statements as the superuser, one by one as psql does."""
        text = "\n".join(line for line in script.splitlines() if not line.startswith("--"))
        with psycopg.connect(self.database_url("postgres"), autocommit=True) as db:
            for statement in filter(None, map(str.strip, text.split(";"))):
                db.execute(statement.encode())

    def give_password(self, role: str, password: str) -> None:
        """Let a role sign in."""
        with psycopg.connect(self.database_url("postgres"), autocommit=True) as db:
            db.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(role), sql.Literal(password)))


def _unpacked() -> Path:
    """The folder of the build for this machine; downloaded and unpacked once."""
    name, sha256 = BUILDS[sys.platform, platform.machine()]
    home = platformdirs.user_cache_path("ordersaga") / f"postgres-tls-{VERSION}"
    if home.exists():
        return home
    (jar,) = fetched([Jar(GROUP, f"embedded-postgres-binaries-{name}", VERSION, sha256)])
    home.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home.parent) as unfinished:
        with zipfile.ZipFile(jar) as archive:
            (packed,) = (each for each in archive.namelist() if each.endswith(".txz"))
            archive.extract(packed, unfinished)
        with tarfile.open(Path(unfinished) / packed) as files:
            files.extractall(Path(unfinished) / "home")  # its SHA-256 is known
        shutil.rmtree(home, ignore_errors=True)
        try:
            (Path(unfinished) / "home").rename(home)
        except OSError:  # another worker has unpacked it meanwhile
            if not home.exists():
                raise
    return home
