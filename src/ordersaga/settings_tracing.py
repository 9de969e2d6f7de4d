"""Settings of the traces. Part of `Settings`."""

from pydantic import Field
from pydantic_settings import BaseSettings

from ordersaga.settings_limits import HttpUrl


class TracingSettings(BaseSettings):
    """Where spans are sent, and of how many traces. What else there is to say (headers, certificates, queue), the `OTEL_*` variables say."""

    traces_url: HttpUrl | None = Field(
        default=None,
        description="where spans are sent by OTLP over HTTP, such as http://collector:4318/v1/traces; none: nowhere",
    )
    traces_ratio: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="of the traces that begin here so many are sampled, 1 is all; a trace that a caller began is sampled if the caller says so",
    )
