"""Settings of the HTTP servers: limits on what clients may send and how slowly, and how tokens are checked. Part of `Settings`."""

from collections.abc import Iterator
from typing import Final

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings

from ordersaga.settings_limits import HttpUrl, JwtAlgorithms, Network, Networks, Port, network

SECRET_ALGORITHMS: Final = ("HS256", "HS384", "HS512")


class HttpSettings(BaseSettings):
    """Bytes and seconds; each of `*_connections_max`, `*_requests_max` and `*_streams_max` counts for one process."""

    operations_port: Port | None = Field(
        default=None,
        description="port of /metrics, /schema and the reasons in /health; http_port then says only UP or DOWN. None: all on http_port. Several services in one process have this port and the next ones",
    )
    http_head_bytes_max: int = Field(
        default=16_384,
        ge=1_024,
        le=262_144,
        description="a longer head is 414 or 431; the web process takes 32,768 at least",
    )
    http_headers_max: int = Field(default=100, ge=10, le=10_000, description="more headers are 431")
    http_body_bytes_max: int = Field(default=65_536, ge=16_384, le=16_777_216, description="a longer body is 413")
    http_edit_bytes_max: int = Field(
        default=4_194_304,
        ge=65_536,
        le=16_777_216,
        description="for an edit of a dead letter, whose value may be as large as Kafka takes: a form has three bytes for some of its bytes",
    )
    http_head_s: float = Field(default=10.0, gt=0, le=3_600, description="time for a request's head to come")
    http_body_s: float = Field(default=30.0, gt=0, le=3_600, description="time for its body to come")
    http_body_bytes_per_s_min: int = Field(
        default=500, ge=1, description="a body that comes more slowly is refused after 5 s"
    )
    http_answer_s: float = Field(
        default=30.0, gt=0, le=3_600, description="time for a client to go on reading an answer or a stream"
    )
    http_keep_alive_s: int = Field(
        default=75,
        ge=1,
        le=3_600,
        description="an idle connection is closed after this time; a proxy in front must close its own sooner (60 s is usual)",
    )
    http_pipelined_max: int = Field(default=16, ge=1, le=1_000, description="requests that wait on one connection")
    http_connections_max: int = Field(default=4_000, ge=16, description="open connections; beyond it 503")
    http_requests_max: int = Field(
        default=2_000, ge=1, description="requests under way; beyond it 503, but not for /health"
    )
    http_caller_requests_per_s: float | None = Field(
        default=None,
        gt=0,
        le=100_000,
        description="requests of one customer to one process, on average; ten seconds' worth may come at once, beyond it 429; none: any number",
    )
    http_address_requests_per_s: float = Field(
        default=100.0,
        ge=0,
        le=100_000,
        description="requests of one address to one process whose caller is not known (the catalogue, webhooks, refused tokens, pages before the sign-in; "
        "not /health), on average; ten seconds' worth may come at once, beyond it 429; 0: any number",
    )
    http_proxy_addresses: Networks = Field(
        default=[],
        description="addresses of proxies in front, such as 10.0.3.0/24, the web process's among them: a request from one counts for the client that its "
        "X-Forwarded-For names; TRUST_GATEWAY_ADDRESSES count as such, too",
    )
    http_streams_max: int = Field(
        default=1_000, ge=1, description="event streams; they do not count as requests under way"
    )
    http_streams_per_caller_max: int = Field(
        default=20, ge=1, description="event streams of one caller; beyond it 429 or 503"
    )

    jwt_jwks_url: HttpUrl | None = Field(
        default=None, description="where the identity provider's public keys are; none: tokens are checked with jwt_key"
    )
    jwt_jwks_timeout_s: float = Field(
        default=3.0, gt=0, le=60, description="wait for the identity provider; then a request is 503"
    )
    jwt_key: SecretStr | None = Field(
        default=None, description="one key that tokens are checked with: a public key in PEM, or a shared secret"
    )
    jwt_algorithms: JwtAlgorithms = Field(default=["RS256"], description="how tokens may be signed")
    jwt_issuer: str | None = Field(default=None, description="what `iss` must be; none: anything")
    jwt_audience: str | None = Field(default=None, description="what must be in `aud`; none: anything")
    jwt_leeway_s: float = Field(default=0.0, ge=0, le=300, description="how far clocks may differ for `exp` and `nbf`")
    jwt_role_claim: str | None = Field(
        default=None,
        description="claim with the roles, by its name or a path such as `realm_access.roles`; none: `roles`, else `role`",
    )

    @property
    def proxy_networks(self) -> tuple[Network, ...]:
        """The ranges of addresses whose `X-Forwarded-For` is believed."""
        return tuple(network(each) for each in self.http_proxy_addresses)

    def _http_at_odds(self) -> Iterator[str]:
        if self.http_streams_per_caller_max > self.http_streams_max:
            yield "ORDERSAGA_HTTP_STREAMS_PER_CALLER_MAX must not be larger than ORDERSAGA_HTTP_STREAMS_MAX"
        if self.http_streams_max >= self.http_connections_max:
            yield "ORDERSAGA_HTTP_STREAMS_MAX must be smaller than ORDERSAGA_HTTP_CONNECTIONS_MAX: otherwise streams may take every connection"
        if self.http_requests_max > self.http_connections_max:
            yield "ORDERSAGA_HTTP_REQUESTS_MAX must not be larger than ORDERSAGA_HTTP_CONNECTIONS_MAX"
        if self.http_body_bytes_per_s_min * self.http_body_s > self.http_body_bytes_max:
            yield (
                "ORDERSAGA_HTTP_BODY_BYTES_PER_S_MIN times ORDERSAGA_HTTP_BODY_S must not be more than "
                "ORDERSAGA_HTTP_BODY_BYTES_MAX: otherwise no body may take ORDERSAGA_HTTP_BODY_S"
            )

    def _tokens_at_odds(self) -> Iterator[str]:
        secret = [each in SECRET_ALGORITHMS for each in self.jwt_algorithms]
        if any(secret) and not all(secret):
            # A public key that is used as a shared secret lets everybody sign tokens.
            yield "ORDERSAGA_JWT_ALGORITHMS must be of one kind: with a public key, or with a shared secret (HS256, HS384, HS512)"
        if any(secret) and self.jwt_jwks_url is not None:
            yield "ORDERSAGA_JWT_ALGORITHMS names a shared secret, and ORDERSAGA_JWT_JWKS_URL has public keys"
