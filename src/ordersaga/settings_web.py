"""Settings of the web process: where the services are, how people sign in, and how cookies are signed. Part of `Settings`."""

from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings

from ordersaga.settings_limits import HttpUrl


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
    web_sign_in: Literal["demo", "token"] = Field(
        default="token",
        description="demo: everybody may pick a customer, and a role of the console; token: a bearer token that the services accept, from the request or pasted",
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
