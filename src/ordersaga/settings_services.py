"""Settings of Order, Stock, Payment, Delivery and the sandbox: partners, deadlines, the gateway. Part of `Settings`."""

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings

from ordersaga.settings_limits import MS_MAX, SECONDS_MAX, HttpUrl, Partners, Services, ZipcodePrefixes


class ServicesSettings(BaseSettings):
    """How the order process goes, and where its gateway is."""

    foreign_partners: Services = Field(
        default=[],
        description="services that other teams run: beside a foreign Order, Payment confirms every request, since nobody publishes what may be "
        "paid; beside a foreign Stock, Order takes the client's total, since nobody publishes prices",
    )
    payment_deadline_s: int = Field(
        default=1_800, ge=1, le=SECONDS_MAX, description="how long an order may be paid; then it ends"
    )
    stock_deadline_s: float = Field(
        default=10.0,
        gt=0,
        le=SECONDS_MAX,
        description="wait for Stock's answer before the next ask; doubled with each ask",
    )
    stock_asks_max: int = Field(default=5, ge=1, description="asks after which an order fails with STOCK_TIMEOUT")
    delivery_deadline_s: float = Field(
        default=30.0, gt=0, le=SECONDS_MAX, description="wait for Delivery's answer before the next ask"
    )
    compensation_deadline_s: float = Field(
        default=15.0, gt=0, le=SECONDS_MAX, description="wait for the answer to a release or refund"
    )
    asks_max: int = Field(
        default=5, ge=1, description="asks for delivery, release or refund, after which an order is flagged"
    )
    return_needs_receipt: bool = Field(
        default=False,
        description="a return waits until an operator confirms that the goods have arrived; off: money and stock go back at once",
    )
    idempotent_partners: Partners = Field(
        default=["stock", "payment", "delivery"],
        description="partners to which a request may be sent again without a second effect; all of ours",
    )
    gateway_url: HttpUrl = Field(
        default="http://127.0.0.1:8085",
        description="Toss Payments, or whatever speaks its protocol; the default is the sandbox",
    )
    gateway_books: bool = Field(
        default=True,
        description="the gateway shows its books to `verify`, as the sandbox does; off for any other gateway",
    )
    gateway_secret_key: SecretStr = Field(
        default=SecretStr("test_sk_sandbox"), description="the key that the gateway has given the shop"
    )
    gateway_calls_max: int = Field(
        default=1_000, ge=1, description="calls to the gateway at once, at most; further ones wait"
    )
    gateway_traceparent: bool = Field(
        default=False,
        description="send the header `traceparent` to the gateway: for one of your own, whose spans then go on below ours",
    )
    gateway_timeout_s: float = Field(
        default=30.0,
        gt=0,
        le=3_600,
        description="wait for the gateway's answer; afterwards Payment asks what became of the call",
    )
    recovery_after_ms: int = Field(
        default=10_000, ge=100, le=MS_MAX, description="recovery claims an open intent that is older"
    )
    undeliverable_zipcodes: ZipcodePrefixes = Field(
        default=["63", "69"], description="prefixes of zipcodes that the built-in carrier refuses"
    )

    sandbox_journal_path: Path | None = Field(
        default=None, description="where the sandbox keeps its books between starts; none: in memory"
    )
    sandbox_session_s: float = Field(
        default=600.0, gt=0, le=SECONDS_MAX, description="how long a payment at the sandbox may be confirmed"
    )
    sandbox_webhook_url: HttpUrl | None = Field(
        default=None, description="where the sandbox sends its webhooks; none: nowhere"
    )
    sandbox_webhook_first_repeat_s: float = Field(
        default=60.0, gt=0, le=SECONDS_MAX, description="wait before a webhook that was not answered is sent again"
    )

    @property
    def payable_required(self) -> bool:
        """Whether Payment confirms only orders for which Order has published an `OrderPayableMessage`."""
        return "order" not in self.foreign_partners

    @property
    def trust_client_total(self) -> bool:
        """Whether Order accepts the client's total without comparing it with prices."""
        return "stock" in self.foreign_partners
