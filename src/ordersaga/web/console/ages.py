"""Ages and lengths of time as people read them: one number and its unit."""

import math
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


def time_left(visit: Visit, seconds: float) -> str:
    """A time that is still to come, in its largest unit and rounded up: of two minutes that have just begun two are left."""
    unit = next((unit for _, unit in UNITS if seconds > unit), 1)
    return duration(visit, math.ceil(seconds / unit) * unit)


def gap(visit: Visit, seconds: float) -> str:
    """How much later something happened: to the millisecond below a second, and to a tenth below ten."""
    if seconds < 0.9995:
        return visit.t("console.load.ms", count=f"{seconds * 1_000:.0f}")
    return visit.t("console.age.s", count=f"{seconds:.1f}") if seconds < 10 else duration(visit, seconds)
