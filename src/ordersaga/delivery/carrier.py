"""The port to the carrier, and the built-in carrier."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Protocol, TypeAlias
from uuid import UUID

from msgspec import Struct

from ordersaga.contracts.address import Address

TRACKING_DIGITS: Final = 20
_zipcode: Final = re.compile(r"[0-9]{5}", re.ASCII)


class Parcel(Struct, frozen=True, gc=False):
    """One order's parcel. A carrier tells parcels apart by the order id."""

    order_id: UUID
    address: Address


class Accepted(Struct, frozen=True, gc=False):
    """The carrier takes the parcel."""

    tracking_number: str


class Refused(Struct, frozen=True, gc=False):
    """The carrier does not take the parcel. `reason` is shown to the customer."""

    reason: str


Verdict: TypeAlias = Accepted | Refused


class Carrier(Protocol):
    """Takes parcels.

    A carrier must keep two promises. A carrier gives the same verdict about the same order again, since a turn that crashed is repeated. A
    carrier answers well within `idle_in_transaction_timeout_ms`, since it is called inside the turn's transaction. An error rolls the turn
    back, and the turn is repeated.
    """

    async def hand_over(self, parcels: Sequence[Parcel]) -> Mapping[UUID, Verdict]:
        """A verdict for each parcel, by order id."""
        ...


class BuiltInCarrier:
    """Accepts each address with a five-digit zipcode, unless the zipcode begins with one of the `undeliverable` prefixes."""

    def __init__(self, undeliverable: Iterable[str]) -> None:
        self._undeliverable: Final = tuple(prefix for prefix in undeliverable if prefix)

    async def hand_over(self, parcels: Sequence[Parcel]) -> Mapping[UUID, Verdict]:
        return {parcel.order_id: self.verdict(parcel) for parcel in parcels}

    def verdict(self, parcel: Parcel) -> Verdict:
        """The tracking number is computed from the order id: the same order has the same number in a repeated turn."""
        address, zipcode = parcel.address.address or "", parcel.address.zipcode or ""
        if not address.strip():
            return Refused("the address is missing")
        if not _zipcode.fullmatch(zipcode):
            return Refused("the zipcode is not five digits")
        if zipcode.startswith(self._undeliverable):
            return Refused(f"nothing is delivered to zipcode {zipcode}")
        return Accepted(f"OS{parcel.order_id.int % 10**TRACKING_DIGITS:0{TRACKING_DIGITS}d}")
