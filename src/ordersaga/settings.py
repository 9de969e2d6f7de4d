"""Every setting, with its default and its unit. Values come from environment variables with the prefix `ORDERSAGA_`.

At start each value is checked by itself (`settings_limits`) and against the others (`settings_pairs`). A setting that cannot work is
refused with its name and a sentence. `ordersaga settings` prints all values. `ORDERSAGA_<NAME>_FILE` names a file with the value, for
secrets that are mounted as files.
"""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Final, Literal, Self
from urllib.parse import parse_qs, unquote, urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from ordersaga.contracts.topics import GROUPS
from ordersaga.masking import masked, names_a_secret
from ordersaga.settings_audit import AuditSettings
from ordersaga.settings_http import HttpSettings
from ordersaga.settings_identity import IdentitySettings
from ordersaga.settings_kafka import KafkaSettings
from ordersaga.settings_limits import (
    DAYS_MAX,
    MS_MAX,
    Group,
    Port,
    PostgresUrl,
    StartAt,
    TypeIds,
)
from ordersaga.settings_pairs import PREFIX as PREFIX
from ordersaga.settings_pairs import at_odds
from ordersaga.settings_runtime import RuntimeSettings
from ordersaga.settings_services import ServicesSettings
from ordersaga.settings_tracing import TracingSettings
from ordersaga.settings_web import WebSettings

ServiceName = Literal["order", "stock", "payment", "delivery"]
SERVICES: Final[tuple[ServiceName, ...]] = ("order", "stock", "payment", "delivery")
HTTP_PORTS: Final = {
    "order": 8081,
    "stock": 8082,
    "payment": 8083,
    "delivery": 8084,
    "sandbox": 8085,
    "web": 8086,
    "audit": 8087,
}

RETIRED: Final = {
    "PAYABLE_REQUIRED": """where another team runs Order, set ORDERSAGA_FOREIGN_PARTNERS='["order"]' instead""",
    "TRUST_CLIENT_TOTAL": """where another team runs Stock, set ORDERSAGA_FOREIGN_PARTNERS='["stock"]' instead""",
}
"""Variables that were settings in earlier versions. They are refused, since they would have no effect."""

_environment: ContextVar[Mapping[str, str] | None] = ContextVar("environment", default=None)


class WrongSettings(ValueError):
    """Settings that cannot work. The text names each variable and says what is wanted; it repeats no secret."""


class _Variables(EnvSettingsSource):
    """The variables of the process's environment, or of the mapping given to `Settings.of`. Invalid JSON is reported as its field's error."""

    def _load_env_vars(self) -> Mapping[str, str | None]:
        given = _environment.get()
        variables = {name.lower(): value for name, value in (os.environ if given is None else given).items()}
        for name, instead in RETIRED.items():
            if (PREFIX + name).lower() in variables:
                raise WrongSettings(f"{PREFIX}{name} is no setting any more: {instead}")
        for name in self.settings_cls.model_fields:
            variable = (PREFIX + name).lower()
            if path := variables.get(f"{variable}_file"):
                if variable in variables:
                    raise WrongSettings(f"{variable.upper()} and {variable.upper()}_FILE are both set; unset one")
                variables[variable] = _content(f"{variable.upper()}_FILE", path)
        return variables

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        with contextlib.suppress(ValueError):
            return json.loads(value)
        return value


def _content(variable: str, path: str) -> str:
    try:
        return Path(path).read_text().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise WrongSettings(f"{variable}: the file {path} cannot be read: {why}") from error


class Settings(
    KafkaSettings,
    RuntimeSettings,
    ServicesSettings,
    HttpSettings,
    IdentitySettings,
    WebSettings,
    AuditSettings,
    TracingSettings,
):
    """All settings of all services; each service reads those it needs."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", hide_input_in_errors=True, allow_inf_nan=False)

    # Topics and groups
    topic_partitions: int = Field(
        default=12,
        ge=1,
        le=10_000,
        description="partitions of topics that `topics create` makes: no more processes of a service share their records",
    )
    topic_replication_factor: int = Field(default=-1, ge=-1, le=100, description="-1: the broker's default")

    order_group: Group = Field(
        default=GROUPS["order"], description="Order's consumer group; no other service may have it"
    )
    stock_group: Group = Field(
        default=GROUPS["stock"], description="Stock's consumer group; no other service may have it"
    )
    payment_group: Group = Field(
        default=GROUPS["payment"], description="Payment's consumer group; no other service may have it"
    )
    delivery_group: Group = Field(
        default=GROUPS["delivery"], description="Delivery's consumer group; no other service may have it"
    )
    start_at: StartAt = Field(
        default="earliest",
        description="where a partition without a ledger row begins: earliest, latest, a timestamp (ISO 8601), or group:NAME",
    )
    type_ids: TypeIds = Field(default_factory=dict, description="`__TypeId__` to send, per topic; none by default")

    # PostgreSQL
    order_database_url: PostgresUrl = Field(
        default=SecretStr("postgresql://postgres@127.0.0.1:5432/ordersaga_order"),
        description="Order's database, with everything about TLS",
    )
    stock_database_url: PostgresUrl = Field(
        default=SecretStr("postgresql://postgres@127.0.0.1:5432/ordersaga_stock"),
        description="Stock's database, with everything about TLS",
    )
    payment_database_url: PostgresUrl = Field(
        default=SecretStr("postgresql://postgres@127.0.0.1:5432/ordersaga_payment"),
        description="Payment's database, with everything about TLS",
    )
    delivery_database_url: PostgresUrl = Field(
        default=SecretStr("postgresql://postgres@127.0.0.1:5432/ordersaga_delivery"),
        description="Delivery's database, with everything about TLS",
    )
    order_migrating_url: PostgresUrl | None = Field(
        default=None,
        description="for `migrate` alone: the same database as a user who owns the tables. Then ORDER_DATABASE_URL's user gets only the rights "
        "that a running service needs. None: `migrate` uses ORDER_DATABASE_URL",
    )
    stock_migrating_url: PostgresUrl | None = Field(default=None, description="for Stock, as ORDER_MIGRATING_URL")
    payment_migrating_url: PostgresUrl | None = Field(default=None, description="for Payment, as ORDER_MIGRATING_URL")
    delivery_migrating_url: PostgresUrl | None = Field(default=None, description="for Delivery, as ORDER_MIGRATING_URL")
    reading_roles: list[str] = Field(
        default=[], description="roles of PostgreSQL that `migrate` lets read every table, such as the audit's"
    )
    consumer_faults: bool = Field(
        default=False,
        description="development only: operators may make the consumer slow, and records fail, at the console's page of faults",
    )

    # HTTP
    http_host: str = Field(default="127.0.0.1", description="the address to listen on; 0.0.0.0: all of this machine")
    http_port: Port | None = Field(
        default=None,
        description="default: order 8081, stock 8082, payment 8083, delivery 8084, sandbox 8085, web 8086, audit 8087; of several services in one "
        "process the first has this port, and the others have the next ones",
    )
    request_timeout_ms: int = Field(
        default=5_000,
        ge=100,
        le=MS_MAX,
        description="a request is answered 503 if the database takes longer",
    )
    gather_waiting_max: int = Field(
        default=5_000, ge=1, description="waiting HTTP writes of one kind, at most; the next is answered 503 at once"
    )
    gather_max: int = Field(default=500, ge=1, description="HTTP writes in one transaction, at most")
    gather_transactions_max: int = Field(
        default=1,
        ge=1,
        description="open transactions of one kind of HTTP write, at most; with fewer each gathers more",
    )
    idempotency_key_kept_hours: int = Field(
        default=24,
        ge=1,
        le=24 * DAYS_MAX,
        description="how long a request with the same `Idempotency-Key` gets the first one's answer",
    )

    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="the least important lines that are written"
    )
    log_format: Literal["json", "console"] = Field(
        default="json", description="json: one object a line; console: lines for a person"
    )

    @field_validator("*", mode="before")
    @classmethod
    def _not_empty(cls, value: Any) -> Any:
        if value == "":
            raise ValueError("it is empty; give it a value, or unset it for the default")
        return value

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        wrong = [
            *at_odds({name: getattr(self, name) for name in type(self).model_fields}),
            *self._names_met_twice(),
            *self._kafka_in_part(),
            *self._migrating_elsewhere(),
            *self._http_at_odds(),
            *self._tokens_at_odds(),
            *self._trust_at_odds(),
            *self._for_development_alone(),
            *self._demo_beside_tokens(),
            *self._oidc_at_odds(),
        ]
        if wrong:
            raise ValueError("; ".join(wrong))
        return self

    def _names_met_twice(self) -> Iterator[str]:
        """A sentence for each two services with one group, which would take each other's partitions, or with one database."""
        for n, one in enumerate(SERVICES):
            for other in SERVICES[n + 1 :]:
                if self.group(one) == self.group(other):
                    yield f"{PREFIX}{one.upper()}_GROUP and {PREFIX}{other.upper()}_GROUP must be two groups"
                if _place_of(self.database_url(one)) == _place_of(self.database_url(other)):
                    yield f"{PREFIX}{one.upper()}_DATABASE_URL and {PREFIX}{other.upper()}_DATABASE_URL must be two databases"

    def _migrating_elsewhere(self) -> Iterator[str]:
        for service in SERVICES:
            migrating, running = self.migrating_url(service), self.database_url(service)
            variable = f"{PREFIX}{service.upper()}_DATABASE_URL"
            if migrating == running:
                continue
            if _database_of(migrating) != _database_of(running):
                yield f"{PREFIX}{service.upper()}_MIGRATING_URL and {variable} must lead to one database"
            if user_of(running) is None:
                yield f"{variable} must name its user, to whom `migrate` gives the rights on the tables"

    def _demo_beside_tokens(self) -> Iterator[str]:
        keys = [name for name in ("jwt_jwks_url", "jwt_key") if getattr(self, name) is not None]
        if self.web_sign_in == "demo" and keys:
            yield (
                f"{PREFIX}WEB_SIGN_IN is demo, with which everybody may act as any customer and as MASTER, and "
                f"{' and '.join(f'{PREFIX}{name.upper()}' for name in keys)} says that tokens are checked here: "
                "set the first to token; for a demo unset the other"
            )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, _Variables(settings_cls)

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Self:
        """The settings that these variables name, and no others. Raises `WrongSettings`."""
        token = _environment.set(environment)
        try:
            return cls()
        except ValidationError as error:
            raise WrongSettings("; ".join(_sentences(error))) from None
        finally:
            _environment.reset(token)

    def secrets(self) -> list[str]:
        """All values that may have a secret in them, for `masking.remember`."""
        values = [getattr(self, name) for name in type(self).model_fields]
        shown = [value.get_secret_value() if isinstance(value, SecretStr) else value for value in values]
        hidden = {value.get_secret_value() for value in values if isinstance(value, SecretStr)}
        found = [value for value in shown if isinstance(value, str) and (value in hidden or "://" in value)]
        options = self.kafka_options.items()
        return [*found, *(value.get_secret_value() for name, value in options if names_a_secret(name))]

    def database_url(self, service: str) -> str:
        """The service's own database, as a `postgresql://` URL with its secrets. A service of another system adds the setting in a subclass."""
        url: SecretStr = getattr(self, f"{service}_database_url")
        return url.get_secret_value()

    def migrating_url(self, service: str) -> str:
        """The service's database for `migrate`: as the user who owns the tables, where a setting names one."""
        url: SecretStr | None = getattr(self, f"{service}_migrating_url")
        return self.database_url(service) if url is None else url.get_secret_value()

    def group(self, service: str) -> str:
        """The service's consumer group."""
        group: str = getattr(self, f"{service}_group")
        return group

    def port(self, server: str, place: int = 0) -> int:
        """The port that a server listens on. `place`: how many servers were named before it for the same process."""
        return HTTP_PORTS[server] if self.http_port is None else _after(self.http_port, place)

    def operations_port_of(self, place: int) -> int | None:
        """The operators' port of the server at this place in its process."""
        return None if self.operations_port is None else _after(self.operations_port, place)


def _after(port: int, place: int) -> int:
    """The port so many places after one. 0 is any free port, in each place."""
    return port and port + place


def user_of(url: str) -> str | None:
    """The user of a database's URL."""
    parts = urlsplit(url)
    return unquote(parts.username) if parts.username else parse_qs(parts.query).get("user", [None])[0]


def _database_of(url: str) -> str:
    parts = urlsplit(url)
    return unquote(parts.path).strip("/") or parse_qs(parts.query)["dbname"][0]


def _place_of(url: str) -> tuple[str, str, str]:
    parts = urlsplit(url)
    return parts.netloc.rpartition("@")[2], parts.path, parts.query


def _sentences(error: ValidationError) -> Iterator[str]:
    """A sentence for each wrong setting, with the name of its variable."""
    for each in error.errors(include_url=False, include_input=False, include_context=False):
        name = f"{PREFIX}{str(each['loc'][0]).upper()}" if each["loc"] else ""
        what = masked(each["msg"].removeprefix("Value error, "))
        if each["type"] in ("list_type", "dict_type"):
            example = '["63", "69"]' if each["type"] == "list_type" else '{"order-created": "com.example.Request"}'
            what = f"write it as JSON, such as {example}"
        yield f"{name}: {what}" if name else what
