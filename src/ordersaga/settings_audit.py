"""Settings of the audit's HTTP face. Part of `Settings`."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings

from ordersaga.settings_limits import HttpUrl


class AuditSettings(BaseSettings):
    """Where the audit is reached, and which of its results are kept."""

    audit_url: HttpUrl | None = Field(
        default=None,
        description="where the console reaches `serve audit`, its operators' port if it has one; none: the console has no audit",
    )
    audit_runs_path: Path | None = Field(
        default=None, description="the folder where the audit keeps its results between starts; none: in memory"
    )
    audit_runs_kept: int = Field(
        default=20, ge=1, le=1_000, description="results of the audit; older ones are forgotten"
    )
