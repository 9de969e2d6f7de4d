"""Ages and lengths of time as people read them: one number and its unit."""

from datetime import UTC, datetime
from typing import Final

from ordersaga.web.visit import Visit

UNITS: Final = (("d", 86_400), ("h", 3_600), ("m", 60))


def ago(visit: Visit, at: datetime | None) -> str:
    """How long ago, in the visitor's language."""
    return "" if at is None else duration(visit, (datetime.now(UTC) - at).total_seconds())


def duration(visit: Visit, seconds: float) -> str:
    """A time in its largest unit."""
    for name, unit in UNITS:
        if abs(seconds) >= unit:
            return visit.t(f"console.age.{name}", count=int(abs(seconds) // unit))
    return visit.t("console.age.s", count=int(abs(seconds)))
