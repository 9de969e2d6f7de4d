"""The port to whoever carries the parcels, and the carrier that is built in."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Protocol, TypeAlias
from uuid import UUID

from msgspec import Struct

from ordersaga.delivery.model import Address

TRACKING_DIGITS: Final = 20
_zipcode: Final = re.compile(r"[0-9]{5}", re.ASCII)


class Parcel(Struct, frozen=True, gc=False):
    """What a carrier needs to know."""

    order_id: UUID
    address: Address


class Accepted(Struct, frozen=True, gc=False):
    """The parcel is on its way."""

    tracking_number: str


class Refused(Struct, frozen=True, gc=False):
    """The parcel cannot be delivered, and why."""

    reason: str


Verdict: TypeAlias = Accepted | Refused


class Carrier(Protocol):
    """Takes parcels.

    Promise needed: asked again about the same order it gives the same verdict, since a turn that a crash undid is taken
    again. It is asked inside the turn's transaction, so it must answer well within `idle_in_transaction_timeout_ms`;
    what it raises makes the turn be taken again.
    """

    async def hand_over(self, parcels: Sequence[Parcel]) -> Mapping[UUID, Verdict]:
        """A verdict for each parcel, by order id."""
        ...


class BuiltInCarrier:
    """Accepts every address with a five-digit zipcode, but for those that begin with an `undeliverable` prefix."""

    def __init__(self, undeliverable: Iterable[str]) -> None:
        self._undeliverable: Final = tuple(prefix for prefix in undeliverable if prefix)

    async def hand_over(self, parcels: Sequence[Parcel]) -> Mapping[UUID, Verdict]:
        return {parcel.order_id: self.verdict(parcel) for parcel in parcels}

    def verdict(self, parcel: Parcel) -> Verdict:
        """The tracking number is made from the order id, so it is the same however often it is asked for."""
        address, zipcode = parcel.address.address or "", parcel.address.zipcode or ""
        if not address.strip():
            return Refused("the address is missing")
        if not _zipcode.fullmatch(zipcode):
            return Refused("the zipcode is not five digits")
        if zipcode.startswith(self._undeliverable):
            return Refused(f"nothing is delivered to zipcode {zipcode}")
        return Accepted(f"OS{parcel.order_id.int % 10**TRACKING_DIGITS:0{TRACKING_DIGITS}d}")
