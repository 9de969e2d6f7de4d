"""Every setting, its default and its unit. From the environment, prefix `ORDERSAGA_`; `ordersaga settings` prints them.

Limits are checked against each other at start, so that a pair which cannot work is refused with a sentence, not found in production.
"""

from pathlib import Path
from typing import Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

ServiceName = Literal["order", "stock", "payment", "delivery"]
SERVICES: Final[tuple[ServiceName, ...]] = ("order", "stock", "payment", "delivery")
SETTINGS_FILE: Final = Path(".ordersaga/settings.env")
"""What `ordersaga up` writes, so that other commands in the same folder find the running system; the environment goes before it."""

HTTP_PORTS: Final = {"order": 8081, "stock": 8082, "payment": 8083, "delivery": 8084, "sandbox": 8085}


class Settings(BaseSettings):
    """All settings of all services; each service reads those it needs."""

    model_config = SettingsConfigDict(env_prefix="ORDERSAGA_", env_file=SETTINGS_FILE, extra="ignore")

    # Kafka
    kafka_bootstrap_servers: str = "127.0.0.1:9092"
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    kafka_sasl_mechanism: str | None = None
    kafka_sasl_username: str | None = None
    kafka_sasl_password: SecretStr | None = None
    kafka_ssl_ca_location: str | None = None
    kafka_compression: Literal["none", "gzip", "snappy", "lz4", "zstd"] = "zstd"
    kafka_session_timeout_ms: int = Field(default=8_000, ge=6_000)
    topic_partitions: int = Field(default=12, ge=1)
    topic_replication_factor: int = Field(default=-1, description="-1: the broker's default")

    order_group: str = "ordersaga-order"
    stock_group: str = "ordersaga-stock"
    payment_group: str = "ordersaga-payment"
    delivery_group: str = "ordersaga-delivery"
    start_at: str = Field(
        default="earliest",
        description="where a partition begins with no ledger row: earliest, latest, a timestamp (ISO 8601), or group:NAME",
    )
    type_ids: dict[str, str] = Field(
        default_factory=dict, description="`__TypeId__` to send, per topic; none by default"
    )

    # PostgreSQL
    order_database_url: SecretStr = SecretStr("postgresql://postgres@127.0.0.1:5432/ordersaga_order")
    stock_database_url: SecretStr = SecretStr("postgresql://postgres@127.0.0.1:5432/ordersaga_stock")
    payment_database_url: SecretStr = SecretStr("postgresql://postgres@127.0.0.1:5432/ordersaga_payment")
    delivery_database_url: SecretStr = SecretStr("postgresql://postgres@127.0.0.1:5432/ordersaga_delivery")
    database_connections_max: int = Field(default=8, ge=4)
    lock_timeout_ms: int = Field(default=5_000, ge=100)
    idle_in_transaction_timeout_ms: int = Field(default=5_000, ge=100)
    statement_timeout_ms: int = Field(default=30_000, ge=1_000)

    # The runtime
    batch_max: int = Field(default=2_000, ge=1, le=100_000)
    turns_publishing_max: int = Field(default=4, ge=1)
    outbox_adopt_after_ms: int = Field(default=5_000, ge=500)
    retry_backoff_ms_max: int = Field(default=5_000, ge=10)

    outbox_lag_alarm_s: float = Field(
        default=60.0, gt=0, description="committed records that wait longer raise an alarm"
    )
    dead_letters_kept_days: int = Field(
        default=90, ge=1, description="how long resolved and discarded ones are kept; open ones stay"
    )
    operator_acts_kept_days: int = Field(default=365, ge=1)
    history_kept_days: int = Field(
        default=365,
        ge=1,
        description="timelines of ended orders, of which the end stays, and movements of stock, of which a balance stays",
    )
    park_attempts_max: int = Field(
        default=5, ge=1, description="tries of a failing record before it becomes a dead letter"
    )
    park_backoff_ms: int = Field(
        default=4_000, ge=1, description="wait after the first failure; twice as long after each further one"
    )
    stop_failures_min: int = Field(
        default=20, ge=2, description="fewer failed records never look like a bad deployment"
    )
    stop_share: float = Field(
        default=0.5, gt=0, lt=1, description="a larger share of failed records looks like a bad deployment"
    )

    # HTTP
    http_host: str = "127.0.0.1"
    http_port: int | None = Field(
        default=None, description="default: order 8081, stock 8082, payment 8083, delivery 8084, sandbox 8085"
    )
    request_timeout_ms: int = Field(
        default=5_000,
        ge=100,
        description="what the database does not answer a request within this time is answered 503",
    )
    gather_waiting_max: int = Field(
        default=5_000, ge=1, description="HTTP writes of one kind that wait, at most; the next is answered 503 at once"
    )
    gather_max: int = Field(default=500, ge=1, description="HTTP writes in one transaction, at most")
    gather_transactions_max: int = Field(
        default=1, ge=1, description="transactions of one kind of HTTP write that are open at once; fewer gather more"
    )
    trust_gateway_headers: bool = False
    jwt_jwks_url: str | None = None
    jwt_key: SecretStr | None = None
    jwt_algorithms: list[str] = ["RS256"]
    idempotency_key_kept_hours: int = Field(default=24, ge=1)

    # The services
    trust_client_total: bool = Field(
        default=False, description="take the client's total where a foreign Stock publishes no prices"
    )
    payment_deadline_s: int = Field(default=1_800, ge=1)
    stock_deadline_s: float = Field(
        default=10.0,
        gt=0,
        description="wait for stock's answer before it is asked again; then twice as long, and so on",
    )
    stock_asks_max: int = Field(default=5, ge=1, description="asks after which an order fails with STOCK_TIMEOUT")
    delivery_deadline_s: float = Field(default=30.0, gt=0)
    compensation_deadline_s: float = Field(default=15.0, gt=0, description="wait for the answer to a release or refund")
    asks_max: int = Field(
        default=5, ge=1, description="asks for delivery, release or refund after which an order is flagged"
    )
    idempotent_partners: list[str] = Field(
        default=["stock", "payment", "delivery"], description="partners that may be asked the same again; ours may"
    )
    payable_required: bool = Field(
        default=False,
        description="confirm only what our own Order has said is payable; leave off beside a foreign Order",
    )
    gateway_url: str = "http://127.0.0.1:8085"
    gateway_secret_key: SecretStr = SecretStr("test_sk_sandbox")
    gateway_calls_max: int = Field(default=1_000, ge=1)
    gateway_timeout_s: float = Field(default=30.0, gt=0)
    recovery_after_ms: int = Field(
        default=10_000, ge=100, description="an open intent older than this is taken up by recovery"
    )
    undeliverable_zipcodes: list[str] = Field(
        default=["63", "69"], description="zipcode prefixes that the built-in carrier refuses"
    )

    # The sandbox gateway
    sandbox_journal_path: Path | None = Field(
        default=None, description="where the sandbox keeps its books between starts; none: in memory"
    )
    sandbox_session_s: float = Field(default=600.0, gt=0)
    sandbox_webhook_url: str | None = None
    sandbox_webhook_first_repeat_s: float = Field(default=60.0, gt=0)

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "console"] = "json"

    @model_validator(mode="after")
    def _limits_fit_together(self) -> Self:
        if self.lock_timeout_ms >= self.statement_timeout_ms:
            raise ValueError("lock_timeout_ms must be shorter than statement_timeout_ms")
        for name in SERVICES:
            if urlsplit(self.database_url(name)).scheme not in ("postgresql", "postgres"):
                raise ValueError(f"{name}_database_url must begin with postgresql://")
        return self

    def database_url(self, service: ServiceName) -> str:
        """The service's own database, as a `postgresql://` URL with its secrets."""
        url: SecretStr = getattr(self, f"{service}_database_url")
        return url.get_secret_value()

    def group(self, service: ServiceName) -> str:
        """The service's consumer group."""
        group: str = getattr(self, f"{service}_group")
        return group

    def port(self, server: str) -> int:
        """The port that a server listens on."""
        return HTTP_PORTS[server] if self.http_port is None else self.http_port
