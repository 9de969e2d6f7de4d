"""Settings of the web process: where the services are, how people sign in, and how cookies are signed. Part of `Settings`."""

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings

from ordersaga.settings_limits import HttpUrl
from ordersaga.settings_pairs import PREFIX


class WebSettings(BaseSettings):
    """Addresses are as the web process reaches them, but for `web_checkout_url`, which browsers follow."""

    order_url: HttpUrl = Field(default="http://127.0.0.1:8081", description="Order, as the web process reaches it")
    stock_url: HttpUrl = Field(default="http://127.0.0.1:8082", description="Stock, as the web process reaches it")
    payment_url: HttpUrl = Field(default="http://127.0.0.1:8083", description="Payment, as the web process reaches it")
    delivery_url: HttpUrl = Field(
        default="http://127.0.0.1:8084", description="Delivery, as the web process reaches it"
    )
    web_operations_urls: dict[Literal["order", "stock", "payment", "delivery"], HttpUrl] = Field(
        default={},
        description="the addresses of services' operators' ports, by service, where OPERATIONS_PORT gives them one; "
        "the console uses the services' own addresses otherwise",
    )
    web_service_timeout_s: float = Field(
        default=3.0,
        gt=0,
        le=60,
        description="a command that a service answers later may or may not have been carried out",
    )
    web_read_timeout_s: float = Field(
        default=2.0, gt=0, le=60, description="a service that answers a page's question later is told as not answering"
    )
    web_sign_in: Literal["demo", "token", "oidc"] = Field(
        default="token",
        description="demo: everybody may pick a customer, and a role of the console; token: a bearer token that the services accept, from the request or "
        "pasted; oidc: at the identity provider of OIDC_ISSUER",
    )
    oidc_issuer: HttpUrl | None = Field(
        default=None, description="the provider's issuer, exactly as its tokens say it; its discovery document is below"
    )
    oidc_client_id: str | None = Field(default=None, description="the name by which the provider knows the web process")
    oidc_client_secret: SecretStr | None = Field(default=None, description="none: a public client, with PKCE alone")
    oidc_scopes: str = Field(default="openid", description="what is asked for, with blanks between")
    oidc_token: Literal["access", "id"] = Field(
        default="access",
        description="which of the provider's tokens the services are sent, a JWT that they accept; id: where the access token is none",
    )
    oidc_timeout_s: float = Field(
        default=5.0, gt=0, le=60, description="a provider that answers later is told as not answering"
    )
    web_session_secret: SecretStr | None = Field(
        default=None,
        min_length=16,
        description="signs cookies; none: made at each start, which signs everybody out and allows one worker",
    )
    web_url: HttpUrl | None = Field(
        default=None,
        description="the shop's address in a browser, behind a proxy; none: http:// and the request's Host",
    )
    web_checkout_url: HttpUrl | None = Field(
        default=None, description="the gateway's address in a browser; none: gateway_url"
    )

    def _oidc_at_odds(self) -> Iterator[str]:
        values: Any = self
        if self.web_sign_in != "oidc":
            if self.oidc_issuer is not None or self.oidc_client_id is not None:
                yield f"{PREFIX}OIDC_ISSUER and {PREFIX}OIDC_CLIENT_ID have no effect without {PREFIX}WEB_SIGN_IN=oidc: set it, or unset them"
            return
        for name in ("oidc_issuer", "oidc_client_id", "web_url"):
            if getattr(self, name) is None:
                yield f"{PREFIX}WEB_SIGN_IN is oidc, and {PREFIX}{name.upper()} is not set: set it"
        if "openid" not in self.oidc_scopes.split():
            yield f"{PREFIX}OIDC_SCOPES must name openid, without which the provider sends no ID token; add it"
        for name in ("oidc_issuer", "web_url"):
            url = getattr(self, name)
            if url is not None and not url.lower().startswith("https://") and not values.development:
                yield (
                    f"{PREFIX}{name.upper()} is {url}, by which everybody between could sign in as somebody else: give its https:// address; "
                    f"for a demo set {PREFIX}DEVELOPMENT=true"
                )
