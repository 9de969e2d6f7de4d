"""The port to the carrier, and the built-in carrier."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Protocol, TypeAlias
from uuid import UUID

from msgspec import Struct

from ordersaga.contracts.address import Address
from ordersaga.said import Sentence

TRACKING_DIGITS: Final = 20
NO_ADDRESS: Final = Sentence("refusal.no_address", "the address is missing")
NO_ZIPCODE: Final = Sentence("refusal.no_zipcode", "the zipcode is not five digits")
NOT_SERVED: Final = Sentence("refusal.not_served", "nothing is delivered to zipcode {zipcode}")
REFUSALS: Final = (NO_ADDRESS, NO_ZIPCODE, NOT_SERVED)
_zipcode: Final = re.compile(r"[0-9]{5}", re.ASCII)


class Parcel(Struct, frozen=True, gc=False):
    """One order's parcel. A carrier tells parcels apart by the order id."""

    order_id: UUID
    address: Address


class Accepted(Struct, frozen=True, gc=False):
    """The carrier takes the parcel."""

    tracking_number: str


class Refused(Struct, frozen=True, gc=False):
    """The carrier does not take the parcel. `GET /api/v1/deliveries` shows `reason`; Order learns only that the delivery failed."""

    reason: str


Verdict: TypeAlias = Accepted | Refused


class Carrier(Protocol):
    """Decides which parcels are taken.

    `hand_over` is called inside a turn's transaction, so it must not call another system: if the turn is rolled back afterwards, no row
    knows of that call. A carrier with an interface of its own needs an intent, as Payment's gateway has: the turn commits a row that says
    what is due, and a loop calls after the commit (`payment/intents.py`).

    `is_local`: whether the verdicts are computed in this process alone, without any effect. A dry run asks no other carrier.
    """

    @property
    def is_local(self) -> bool: ...

    async def hand_over(self, parcels: Sequence[Parcel]) -> Mapping[UUID, Verdict]:
        """A verdict for each parcel, by order id, within `idle_in_transaction_timeout_ms`.

        A call has the parcels of one batch whose orders have no delivery yet, 1 to `batch_max`. The verdict that is committed with the delivery
        is final: that order is never asked about again. Until then its parcel may come again, with fewer others or alone: a turn that is
        rolled back is repeated, and a failing batch is handled in halves. So a carrier gives the same verdict again for as long as its
        settings stay the same.

        A transient error (`OSError`, `TimeoutError`, or of the database) repeats the turn until it succeeds; meanwhile the partitions wait. After
        any other error the records that fail alone are parked; after `park_attempts_max` tries they become dead letters.
        """
        ...


def undeliverable(address: Address) -> Refused | None:
    """Why no carrier can deliver to this address; None: it is complete."""
    if not (address.address or "").strip():
        return Refused(NO_ADDRESS())
    if not _zipcode.fullmatch(address.zipcode or ""):
        return Refused(NO_ZIPCODE())
    return None


class BuiltInCarrier:
    """Accepts each address with a five-digit zipcode, unless the zipcode begins with one of `refused_prefixes`."""

    is_local: Final = True

    def __init__(self, refused_prefixes: Iterable[str]) -> None:
        self._refused_prefixes: Final = tuple(prefix for prefix in refused_prefixes if prefix)

    async def hand_over(self, parcels: Sequence[Parcel]) -> Mapping[UUID, Verdict]:
        return {parcel.order_id: self.verdict(parcel) for parcel in parcels}

    def verdict(self, parcel: Parcel) -> Verdict:
        """The tracking number is computed from the order id: the same order has the same number in a repeated turn."""
        refused = undeliverable(parcel.address)
        if refused is not None:
            return refused
        zipcode = parcel.address.zipcode or ""
        if zipcode.startswith(self._refused_prefixes):
            return Refused(NOT_SERVED(zipcode=zipcode))
        return Accepted(f"OS{parcel.order_id.int % 10**TRACKING_DIGITS:0{TRACKING_DIGITS}d}")
