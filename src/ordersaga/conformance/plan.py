"""What a run of the kit is asked for."""

from collections.abc import Sequence

from msgspec import Struct

from ordersaga.conformance.roles import Part
from ordersaga.conformance.scene import Limits, Offers
from ordersaga.settings import Settings


class Plan(Struct, frozen=True):
    """What to run, against what."""

    part: Part
    settings: Settings
    hooks: dict[str, str]
    headers: dict[str, str] = {}
    restart: str | None = None
    limits: Limits = Limits()
    offers: Offers = Offers()
    only: Sequence[str] = ()
