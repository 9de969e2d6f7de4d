"""Finds out, when a process starts, what will not work until somebody changes a setting, a role or an ACL.

While the process runs, the same errors are retried, with an alarm: a password may be in the middle of being changed.
"""

import asyncio
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import asyncpg
from cryptography import x509

from ordersaga.contracts.topics import BY_NAME, Topic
from ordersaga.messaging.connections import AsyncpgConnection
from ordersaga.messaging.database import DATABASE_ERRORS
from ordersaga.messaging.errors import CannotStart
from ordersaga.messaging.kafka import Topics, why_not_made, why_refused
from ordersaga.messaging.servers import connect_alone
from ordersaga.settings import PREFIX, Settings

REFUSED: Final = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InsufficientPrivilegeError,
    asyncpg.exceptions.ClientConfigurationError,
    ssl.SSLError,
)
NO_TLS: Final = "rejected SSL upgrade"
# Somebody else's tables in the schema, such as those of an extension, have another owner than the table with the steps that `migrate` applied.
MISSING_RIGHTS: Final = """
    SELECT relname || ' (' || string_agg(privilege, ', ') || ')'
    FROM pg_class, unnest('{SELECT,INSERT,UPDATE,DELETE}'::text[]) AS privilege
    WHERE relnamespace = quote_ident(current_schema())::regnamespace AND relkind = 'r' AND relname !~ 'yoyo'
      AND relowner = (SELECT relowner FROM pg_class WHERE oid = to_regclass('_yoyo_migration'))
      AND NOT has_table_privilege(pg_class.oid, privilege)
    GROUP BY relname ORDER BY relname"""


class Admission:
    """Each question is answered with a sentence for the person who started the process; None: nothing is known to be wrong."""

    def __init__(self, settings: Settings, service: str, reads: Sequence[Topic]) -> None:
        self._settings: Final = settings
        self._service: Final = service
        self._reads: Final = reads

    def check_options(self) -> None:
        """Raise `CannotStart` if librdkafka does not take the settings: an unknown option, a wrong value, a key that does not fit; or if our
        certificate for Kafka has expired: the broker would not say why it refuses it."""
        if why := why_not_made(self._settings):
            raise CannotStart(f"Kafka's client does not take the settings {PREFIX}KAFKA_...: {why}")
        if (file := self._settings.kafka_ssl_certificate_location) is not None:
            _check_time(Path(file))

    async def refused_by_database(self) -> str | None:
        """Why the database will never let us in: password, role, certificate."""
        try:
            (await self._connected()).terminate()
        except DATABASE_ERRORS as error:
            if isinstance(error, REFUSED) or NO_TLS in str(error):
                said = " ".join(str(error).split())
                return f"the database of {self._service} refuses: {said}; check {self._variable}"
        return None

    async def refused_by_kafka(self) -> str | None:
        """Why Kafka will never let us in: password, mechanism, certificate."""
        why = await asyncio.to_thread(why_refused, self._settings)
        if why is None:
            return None
        servers = self._settings.kafka_bootstrap_servers
        return f"Kafka at {servers} refuses: {why}; check the settings {PREFIX}KAFKA_... with `ordersaga settings`"

    async def lacks_rights(self) -> str | None:
        """Which rights the service lacks on its tables, its group and its topics."""
        return await self._lacks_tables() or await self._lacks_acls()

    async def _lacks_tables(self) -> str | None:
        db = await self._connected()
        try:
            missing = [row[0] for row in await db.fetch(MISSING_RIGHTS)]
            user = await db.fetchval("SELECT current_user") if missing else ""
        finally:
            db.terminate()
        if not missing:
            return None
        return (
            f"the database of {self._service} does not let its role {user} use the tables {', '.join(missing)}; run `ordersaga migrate` "
            f"with {PREFIX}{self._service.upper()}_MIGRATING_URL, or check {self._variable}"
        )

    async def _lacks_acls(self) -> str | None:
        kafka, group = Topics(self._settings), self._settings.group(self._service)
        needed = {topic.name: "READ" for topic in self._reads} | {topic.dead_letters: "WRITE" for topic in self._reads}
        needed |= {topic.name: "WRITE" for topic in BY_NAME.values() if topic.producer == self._service}
        may = await kafka.access(list(needed))
        missing = [] if await kafka.may_join(group) else [f"Read on group {group}"]
        missing += [
            f"{operation.capitalize()} on topic {name}"
            for name, operation in needed.items()
            if name in may and not may[name].allows(operation)
        ]
        if not missing:
            return None
        user = self._settings.kafka_sasl_username or self._settings.kafka_oauth_client_id or "this user"
        return (
            f"Kafka's ACLs do not allow {user} what {self._service} needs: {', '.join(missing)}; add the ACLs "
            f"(deploy/kafka-acls.sh has those of each service), or check whose credentials {PREFIX}KAFKA_... are"
        )

    async def _connected(self) -> AsyncpgConnection:
        return await connect_alone(self._settings.database_url(self._service), "ordersaga start")

    @property
    def _variable(self) -> str:
        return f"{PREFIX}{self._service.upper()}_DATABASE_URL"


def _check_time(file: Path) -> None:
    try:
        own = x509.load_pem_x509_certificates(file.read_bytes())[0]
    except ValueError:  # librdkafka reads it, and it is less strict
        return
    if own.not_valid_after_utc < datetime.now(UTC):
        raise CannotStart(
            f"the certificate in {file} has expired at {own.not_valid_after_utc:%Y-%m-%d %H:%M} UTC: renew it, or correct "
            f"{PREFIX}KAFKA_SSL_CERTIFICATE_LOCATION"
        )
