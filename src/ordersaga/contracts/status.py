"""Status strings and codes on the wire. Source: the integration guide, and the Java services' own codes."""

from typing import Annotated, Final, Literal

from msgspec import Meta

TEXT: Final = {"type": "string"}
StockStatus = Annotated[Literal["SUCCESS", "FAILED"], Meta(title="StockStatus", extra_json_schema=TEXT)]
PaymentStatus = Annotated[Literal["SUCCESS", "FAILED"], Meta(title="PaymentStatus", extra_json_schema=TEXT)]
DeliveryStatus = Annotated[Literal["STARTED", "FAILED"], Meta(title="DeliveryStatus", extra_json_schema=TEXT)]

SUCCESS: Final = "SUCCESS"
FAILED: Final = "FAILED"
STARTED: Final = "STARTED"

OrderStatus = Literal["PENDING", "COMPLETED", "CANCELLED", "FAILED"]

ORDER_CODES: Final[dict[OrderStatus, str]] = {
    "PENDING": "ORD0001",
    "COMPLETED": "ORD0002",
    "CANCELLED": "ORD0003",
    "FAILED": "ORD0004",
}
"""The code of each order status in `OrderCompletedMessage.status` and `OrderPayableMessage.status`."""

PAYMENT_CODES: Final[dict[str, str]] = {
    "PENDING": "PAY0000",
    "APPROVED": "PAY0001",
    "FAILED": "PAY0002",
    "CANCEL_PENDING": "PAY0003",
    "CANCELLED": "PAY0004",
    "PARTLY_CANCELLED": "PAY0005",
}
"""The Java payment service's own codes, used in our payment API."""
