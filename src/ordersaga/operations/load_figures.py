"""What a load generator may be told, and what it says of itself once a second. For the command that is one and the page that shows it."""

from typing import Final

from msgspec import Struct

RATE_MAX: Final = 300.0
"""Orders a second, at most. Two cores that run the whole system handle fewer."""
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
