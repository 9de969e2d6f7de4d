"""Settings of who may call, and of what is for development alone. Part of `Settings`."""

from collections.abc import Iterator
from typing import Any, Final

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings

from ordersaga.settings_limits import Network, Networks, network
from ordersaga.settings_pairs import PREFIX

DEVELOPMENT: Final = f"{PREFIX}DEVELOPMENT"
TEST_KEY: Final = "test_"
"""How a key begins with which Toss moves no money."""


class IdentitySettings(BaseSettings):
    """Outside development nothing is taken for granted that a stranger could send."""

    development: bool = Field(
        default=False,
        description="allows what must never run in production: the sandbox, test keys and plain http to the gateway, sign-in as anybody, faults "
        "on purpose, and User-Id headers from any address. `up`, `demo` and compose.yaml set it",
    )
    trust_gateway_headers: bool = Field(
        default=False,
        description="take User-Id and User-Roles from an API gateway in front, known by its address or its secret; it must remove what clients "
        "send in these headers",
    )
    trust_gateway_addresses: Networks = Field(
        default=[], description="addresses of the gateway, such as 10.0.3.0/24; a request from elsewhere is 401"
    )
    trust_gateway_secret: SecretStr | None = Field(
        default=None, min_length=16, description="what the gateway sends in the header Gateway-Secret; another is 401"
    )

    @property
    def gateway_networks(self) -> tuple[Network, ...]:
        """The ranges of addresses from which User-Id headers are taken; none: the addresses do not matter."""
        return tuple(network(each) for each in self.trust_gateway_addresses)

    def _trust_at_odds(self) -> Iterator[str]:
        known = bool(self.trust_gateway_addresses) or self.trust_gateway_secret is not None
        if self.trust_gateway_headers and not known and not self.development:
            yield (
                f"{PREFIX}TRUST_GATEWAY_HEADERS is on, and everybody who reaches the service could name themselves MASTER: set "
                f"{PREFIX}TRUST_GATEWAY_ADDRESSES to the gateway's addresses, or {PREFIX}TRUST_GATEWAY_SECRET to what it sends in the header "
                f"Gateway-Secret; for a demo set {DEVELOPMENT}=true"
            )
        if known and not self.trust_gateway_headers:
            yield (
                f"{PREFIX}TRUST_GATEWAY_ADDRESSES and {PREFIX}TRUST_GATEWAY_SECRET have no effect without "
                f"{PREFIX}TRUST_GATEWAY_HEADERS=true: set it, or unset them"
            )

    def _for_development_alone(self) -> Iterator[str]:
        values: Any = self
        if values.web_sign_in == "demo" and not self.development:
            yield (
                f"{PREFIX}WEB_SIGN_IN is demo, with which everybody may act as any customer and as MASTER: set it to token; for a demo set "
                f"{DEVELOPMENT}=true"
            )
        if values.consumer_faults and not self.development:
            yield f"{PREFIX}CONSUMER_FAULTS is for development: unset it, or for a demo set {DEVELOPMENT}=true"

    def unsafe_to_serve(self, server: str) -> str | None:
        """Why this server must not start outside development, and what to do; None if it may."""
        if self.development:
            return None
        values: Any = self
        demo = f"for a demo set {DEVELOPMENT}=true"
        if server == "sandbox":
            return (
                f"the sandbox approves payments without money, so it does not start in production: leave it out; {demo}"
            )
        wrong = []
        if server == "payment" and values.gateway_secret_key.get_secret_value().startswith(TEST_KEY):
            wrong.append(
                f"{PREFIX}GATEWAY_SECRET_KEY is a test key ({TEST_KEY}...), with which no money moves: give the gateway's live key, best as a "
                f"file that {PREFIX}GATEWAY_SECRET_KEY_FILE names"
            )
        if server == "payment" and not values.gateway_url.lower().startswith("https://"):
            wrong.append(
                f"{PREFIX}GATEWAY_URL is {values.gateway_url}, which would send the secret key unencrypted: set an https:// address, such as "
                "https://api.tosspayments.com"
            )
        return "; ".join([*wrong, demo]) if wrong else None
