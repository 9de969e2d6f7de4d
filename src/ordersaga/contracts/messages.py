"""Every message of the system: the guide's six under the guide's own class names, then ours.

Fields go on the wire in the guide's order, in camelCase. A field that a Java DTO may leave `null` has the default `None` and is written as
`null`. We ignore unknown fields, and a partner must ignore them too: the guide's six may grow at their end, by fields of ours with the default
`None`. Integers are Java's 32-bit `int` (a version: `long`); money and quantities are never negative.
"""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from msgspec import Meta, Struct

from ordersaga.contracts import limits
from ordersaga.contracts.limits import INT32_MAX, INT64_MAX
from ordersaga.contracts.status import ORDER_CODES, DeliveryStatus, PaymentStatus, StockStatus

Won = Annotated[int, Meta(ge=0, le=INT32_MAX, extra_json_schema={"format": "int32"})]
Moment = Annotated[datetime, Meta(tz=True)]
Version = Annotated[int, Meta(ge=1, le=INT64_MAX, extra_json_schema={"format": "int64"})]
RequestId = Annotated[str, Meta(max_length=200)]
Quantity = Annotated[int, Meta(ge=1, le=INT32_MAX, extra_json_schema={"format": "int32"})]

# The limits of these texts are for writers. They stand in the schema alone: a longer text of a partner is no reason for a dead letter.
PaymentKey = Annotated[str, Meta(extra_json_schema={"maxLength": limits.PAYMENT_KEY_CHARS_MAX})]
OrderName = Annotated[str, Meta(extra_json_schema={"maxLength": limits.ORDER_NAME_CHARS_MAX})]
Text = Annotated[str, Meta(extra_json_schema={"maxLength": limits.TEXT_CHARS_MAX})]
AddressLine = Annotated[str, Meta(extra_json_schema={"maxLength": limits.ADDRESS_CHARS_MAX})]
Zipcode = Annotated[str, Meta(extra_json_schema={"maxLength": limits.ZIPCODE_CHARS_MAX})]
Phone = Annotated[str, Meta(extra_json_schema={"maxLength": limits.PHONE_CHARS_MAX})]
Person = Annotated[str, Meta(extra_json_schema={"maxLength": limits.PERSON_CHARS_MAX})]
Memo = Annotated[str, Meta(extra_json_schema={"maxLength": limits.MEMO_CHARS_MAX})]
ProductName = Annotated[str, Meta(extra_json_schema={"maxLength": limits.PRODUCT_NAME_CHARS_MAX})]
StatusCode = Annotated[str, Meta(extra_json_schema={"examples": list(ORDER_CODES.values())})]


class Message(Struct, rename="camel", frozen=True, gc=False):
    """A value on a topic."""


# The guide's six ------------------------------------------------------------------------------------------------------


class OrderedProduct(Message, frozen=True, kw_only=True):
    """One line of an order: how many pieces of which product."""

    product_id: UUID
    quantity: Quantity


class StockDecreaseRequestMessage(Message, frozen=True, kw_only=True):
    """Order -> Stock, step 2: take these products from the stock, all or nothing."""

    order_id: UUID
    products: Annotated[tuple[OrderedProduct, ...], Meta(min_length=1)]


class StockResponseMessage(Message, frozen=True, kw_only=True):
    """Stock -> Order, step 3: the outcome for one product; without `productId` for the whole order."""

    order_id: UUID
    product_id: UUID | None = None
    status: StockStatus
    message: Text | None = None


class PaymentSuccessMessage(Message, frozen=True, kw_only=True):
    """Payment -> Order, step 8: the payment's outcome, failures included. Amounts in won."""

    order_id: UUID
    payment_key: PaymentKey | None = None
    amount: Won | None = None
    status: PaymentStatus


class DeliveryRequestMessage(Message, frozen=True, kw_only=True):
    """Order -> Delivery, step 9: deliver this order to this address."""

    order_id: UUID
    customer_id: UUID
    address: AddressLine | None = None
    address_detail: AddressLine | None = None
    zipcode: Zipcode | None = None
    phone: Phone | None = None
    name: Person | None = None
    delivery_memo: Memo | None = None


class DeliveryStartMessage(Message, frozen=True, kw_only=True):
    """Delivery -> Order, step 10: the delivery has started, or cannot be made."""

    order_id: UUID
    delivery_id: UUID | None = None
    status: DeliveryStatus


class OrderCompletedMessage(Message, frozen=True, kw_only=True):
    """Order -> Client, step 11. `status` is the order's code, `ORD0002`. Amounts in won."""

    order_id: UUID
    customer_id: UUID
    status: StatusCode
    total_amount: Won
    order_name: OrderName | None = None


# Compensation: the Java team's topics where they exist, otherwise our own --------------------------------------------------


class StockRollbackRequestedMessage(Message, frozen=True, kw_only=True):
    """Order -> Stock: release these reserved products of the order."""

    order_id: UUID
    items: tuple[OrderedProduct, ...]


class StockRollbackCompletedMessage(Message, frozen=True, kw_only=True):
    """Stock -> Order: the rollback in flight for this order is done."""

    order_id: UUID


class StockRollbackFailedMessage(Message, frozen=True, kw_only=True):
    """Stock -> Order: the rollback in flight for this order was refused."""

    order_id: UUID
    error_message: Text | None = None


class PaymentCancelRequestedMessage(Message, frozen=True, kw_only=True):
    """Order -> Payment: refund this much of this payment. Amounts in won.

    `requestId` names the refund. A second message with the same id is a repeat, one with another id asks for a further refund. Without ids,
    two messages with the same amount of one payment are the same refund.
    """

    order_id: UUID
    payment_key: PaymentKey
    amount: Won
    reason: Text | None = None
    request_id: RequestId | None = None


class PaymentCancelledMessage(Message, frozen=True, kw_only=True):
    """Payment -> Order: a refund's outcome, or money that went back although Order did not ask for it. Amounts in won.

    `balanceAmount` is what the gateway still holds of the payment. It only falls, so a repeat or a late message has no effect. `requestId` is
    copied from the request; null if Order made none.
    """

    order_id: UUID
    payment_key: PaymentKey
    amount: Won
    status: PaymentStatus
    message: Text | None = None
    balance_amount: Won | None = None
    request_id: RequestId | None = None


# State that another service copies -------------------------------------------------------------------------------


class OrderPayableMessage(Message, frozen=True, kw_only=True):
    """Order -> Payment: which customer may pay how much for the order, and until when. With a `status` other than `ORD0001` nobody may pay. Amounts in won."""

    order_id: UUID
    customer_id: UUID
    total_amount: Won
    pay_before: Moment
    status: StatusCode


class ProductPriceMessage(Message, frozen=True, kw_only=True):
    """Stock -> Order: what one piece of the product costs since `changedAt`, and whether Stock still sells it (`active` null: it does). Price in won.

    The record with the highest `version` counts, in whatever order records arrive. Any record with a version counts more than a record
    without one (from another team's Stock). Among records without a version, the latest `changedAt` counts.
    """

    product_id: UUID
    name: ProductName | None = None
    price: Won
    changed_at: Moment
    version: Version | None = None
    active: bool | None = None
