"""The address fields of a `DeliveryRequestMessage`. Order stores them with an order, Delivery with a delivery."""

from operator import attrgetter
from typing import Final

from msgspec import Struct

HIDDEN: Final = "***"


class Address(Struct, frozen=True, rename="camel"):
    """The address and the recipient of a parcel. None: the customer left the field out, or another team's Order did not send it.

    Order stores an address as JSON (`orders.recipient`). A field that is added needs a default: the stored orders do not have it.
    """

    address: str | None
    address_detail: str | None
    zipcode: str | None
    phone: str | None
    name: str | None
    delivery_memo: str | None

    def hidden(self) -> "Address":
        """The address without its content, for a caller who may not see personal data. None stays None."""
        return Address(*(None if each is None else HIDDEN for each in address_fields(self)))


address_fields: Final = attrgetter(*Address.__struct_fields__)
"""The values of all address fields, of a body or a message that has them under the same names: `Address(*address_fields(body))`."""
