"""What the audit says about one invariant."""

from typing import Final

from msgspec import Struct, field

NAMED_MAX: Final = 1_000


class Finding(Struct):
    """An invariant, what was counted for it, what breaks it and what is still under way. At most `NAMED_MAX` rows are named."""

    invariant: str
    count: int = 0
    unit: str = "orders"
    broken: list[str] = field(default_factory=list)
    in_flight: list[str] = field(default_factory=list)
    broken_count: int = 0
    in_flight_count: int = 0

    @property
    def holds(self) -> bool:
        return not self.broken_count

    @property
    def counted(self) -> str:
        waiting = f", {self.in_flight_count} in flight" if self.in_flight_count else ""
        return f"{self.count:,} {self.unit}{waiting}"

    def breaks(self, what: str) -> None:
        """Name what breaks the invariant."""
        self.broken_count += 1
        if len(self.broken) < NAMED_MAX:
            self.broken.append(what)

    def waits(self, what: str) -> None:
        """Name what cannot be judged yet."""
        self.in_flight_count += 1
        if len(self.in_flight) < NAMED_MAX:
            self.in_flight.append(what)
