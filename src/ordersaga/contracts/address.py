"""Where a parcel goes: the address fields of a `DeliveryRequestMessage`, as Order keeps them with an order and Delivery with a delivery."""

from msgspec import Struct


class Address(Struct, frozen=True, rename="camel"):
    """The address and the recipient of a parcel. A field may be missing in a record of another Order; our Order's API requires most."""

    address: str | None
    address_detail: str | None
    zipcode: str | None
    phone: str | None
    name: str | None
    delivery_memo: str | None
