"""The address fields of a `DeliveryRequestMessage`. Order stores them with an order, Delivery with a delivery."""

from msgspec import Struct


class Address(Struct, frozen=True, rename="camel"):
    """The address and the recipient of a parcel. A field is None if another team's Order did not send it; our Order's API requires most
    fields."""

    address: str | None
    address_detail: str | None
    zipcode: str | None
    phone: str | None
    name: str | None
    delivery_memo: str | None
