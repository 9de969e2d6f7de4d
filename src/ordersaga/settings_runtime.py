"""Settings of the runtime: connections and limits of the database, turns, outbox, parking, and how long things are kept. Part of `Settings`."""

from pydantic import Field
from pydantic_settings import BaseSettings

from ordersaga.settings_limits import DAYS_MAX, MS_MAX, SECONDS_MAX


class RuntimeSettings(BaseSettings):
    """The same for every service."""

    database_connections_max: int = Field(
        default=8,
        ge=4,
        le=1_000,
        description="connections of one process to its database, at most; it holds two more beside them",
    )
    database_silence_ms: int = Field(
        default=3_000,
        ge=1_000,
        le=MS_MAX,
        description="a connection is given up if for so long nothing comes from its server's machine, not even its network's acknowledgement",
    )
    lock_timeout_ms: int = Field(
        default=5_000,
        ge=100,
        le=MS_MAX,
        description="a statement that waits longer for a lock fails, and is tried again",
    )
    idle_in_transaction_timeout_ms: int = Field(
        default=5_000,
        ge=100,
        le=MS_MAX,
        description="PostgreSQL ends a transaction whose client is silent for longer, so that a frozen process keeps no lock",
    )
    statement_timeout_ms: int = Field(
        default=30_000, ge=1_000, le=MS_MAX, description="PostgreSQL ends a statement that takes longer"
    )

    batch_max: int = Field(default=2_000, ge=1, le=100_000, description="records of one transaction, at most")
    turns_publishing_max: int = Field(
        default=4, ge=1, description="turns whose records Kafka has not acknowledged yet, at most; the next turn waits"
    )
    outbox_adopt_after_ms: int = Field(
        default=5_000,
        ge=500,
        le=MS_MAX,
        description="a committed record that its process has not published for so long is published by another process",
    )
    retry_backoff_ms_max: int = Field(
        default=5_000, ge=10, le=MS_MAX, description="wait before a turn that failed is tried again, at most"
    )

    outbox_lag_alarm_s: float = Field(
        default=60.0, gt=0, le=SECONDS_MAX, description="alarm when a committed record is unpublished for longer"
    )
    dead_letters_kept_days: int = Field(
        default=90,
        ge=1,
        le=DAYS_MAX,
        description="how long resolved and discarded dead letters are kept; open ones stay",
    )
    operator_acts_kept_days: int = Field(
        default=365, ge=1, le=DAYS_MAX, description="how long the trail of operators' acts is kept"
    )
    history_kept_days: int = Field(
        default=365,
        ge=1,
        le=DAYS_MAX,
        description="how long timelines of ended orders and stock movements are kept; then the last event and a balance stay",
    )
    personal_data_kept_days: int | None = Field(
        default=None,
        ge=1,
        le=DAYS_MAX,
        description="how long an order's name, address, phone and memo are kept after the last that happened to it, as `customers erase` erases "
        "them; none: until they are erased",
    )
    park_attempts_max: int = Field(
        default=5, ge=1, description="tries of a failing record before it becomes a dead letter"
    )
    park_backoff_ms: int = Field(
        default=4_000, ge=1, le=MS_MAX, description="wait after the first failure; twice as long after each further one"
    )
    stop_failures_min: int = Field(
        default=20, ge=2, description="fewer failed records never look like a bad deployment"
    )
    stop_share: float = Field(
        default=0.5, gt=0, lt=1, description="a larger share of failed records looks like a bad deployment"
    )
