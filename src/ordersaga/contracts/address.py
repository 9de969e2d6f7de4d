"""The address fields of a `DeliveryRequestMessage`. Order stores them with an order, Delivery with a delivery."""

from typing import Final

from msgspec import Struct

HIDDEN: Final = "***"


class Address(Struct, frozen=True, rename="camel"):
    """The address and the recipient of a parcel. A field is None if another team's Order did not send it; our Order's API requires most
    fields."""

    address: str | None
    address_detail: str | None
    zipcode: str | None
    phone: str | None
    name: str | None
    delivery_memo: str | None

    def hidden(self) -> "Address":
        """The address without its content, for a caller who may not see personal data. None stays None."""
        shown = (self.address, self.address_detail, self.zipcode, self.phone, self.name, self.delivery_memo)
        return Address(*(None if each is None else HIDDEN for each in shown))
