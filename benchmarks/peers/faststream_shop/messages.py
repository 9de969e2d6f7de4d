"""The six messages of the contract."""

from uuid import UUID

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class Message(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class OrderedProduct(Message):
    product_id: UUID
    quantity: int


class StockDecreaseRequestMessage(Message):
    order_id: UUID
    products: list[OrderedProduct]


class StockResponseMessage(Message):
    order_id: UUID
    product_id: UUID | None
    status: str
    message: str | None


class PaymentSuccessMessage(Message):
    order_id: UUID
    payment_key: str | None
    amount: int | None
    status: str


class DeliveryRequestMessage(Message):
    order_id: UUID
    customer_id: UUID
    address: str | None
    address_detail: str | None
    zipcode: str | None
    phone: str | None
    name: str | None
    delivery_memo: str | None


class DeliveryStartMessage(Message):
    order_id: UUID
    delivery_id: UUID | None
    status: str


class OrderCompletedMessage(Message):
    order_id: UUID
    customer_id: UUID
    status: str
    total_amount: int
    order_name: str | None
