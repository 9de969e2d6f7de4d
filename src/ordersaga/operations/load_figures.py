"""What a load generator may be told, and what it says of itself once a second.

For the command that is one, the pages that show and steer it, and the sandbox, which keeps it for all web processes.
"""

from typing import Annotated, Final

from msgspec import Meta, Struct

RATE_MAX: Final = 300.0
"""Orders a second, at most. Two cores that run the whole system handle fewer."""
RATE_FIRST: Final = 20.0
SECONDS_MAX: Final = 3_600
IN_FLIGHT_MAX: Final = 500


class Figures(Struct, rename="camel", frozen=True):
    """A load generator now. `rate`, `placed`, `completed_a_second`: orders a second: wanted, and of the last seconds.

    `in_flight`: orders that have not ended. `held_back`: orders that were not placed, because `IN_FLIGHT_MAX` were in flight. `p50_ms`, `p99_ms`:
    from placing to COMPLETED, of the last seconds; None: no order was completed. `failures`: how many orders failed, by reason. `left_s`:
    until the generator ends by itself; 0: no order is placed any more, and those in flight are waited for.
    """

    rate: float
    placed: float
    completed_a_second: float
    completed: int
    failed: int
    in_flight: int
    held_back: int
    p50_ms: float | None
    p99_ms: float | None
    failures: dict[str, int]
    left_s: float


class LoadNow(Struct, rename="camel", frozen=True):
    """The generator of a demonstration: whether it runs, the rate that is wanted, and what it said last, also after its end.

    `trouble`: why it could place no order at all, in its own words.
    """

    is_running: bool = False
    rate: float = RATE_FIRST
    figures: Figures | None = None
    trouble: str = ""


class Orders(Struct, rename="camel", frozen=True):
    """How a generator is to go on: at this rate, or not at all."""

    rate: float
    goes_on: bool


Rate = Annotated[float, Meta(ge=0, le=RATE_MAX)]


class BeginBody(Struct):
    """A generator begins at this rate."""

    rate: Rate


class SteerBody(Struct):
    """The rate from now on; None: no more orders are placed."""

    rate: Rate | None


class EndedBody(Struct):
    """A generator has ended; `trouble`: why it could place no order at all."""

    trouble: str


class AudienceBody(Struct):
    """Sessions that have asked for a page of the console since the last time, and those that have signed out."""

    seen: list[str]
    left: list[str]
