"""What the next page says of the act that led to it."""

from typing import Final

from msgspec import Struct

from ordersaga.said import Saying
from ordersaga.web.visit import Visit

NOT_DONE: Final = frozenset(
    {
        *(
            "cart_full",
            "checkout_again",
            "prices_changed",
            "not_payable",
            "not_confirmed",
            "not_cancelled",
            "not_returned",
        ),
        *(
            "console.wrong",
            "console.reason_missing",
            "console.stale",
            "console.gone",
            "console.order_refused",
            "console.refused",
        ),
        "console.none_chosen",
        *(
            "console.faults_wrong",
            "console.audit_busy",
            "console.load.none",
            "console.load.running",
            "console.load.no_sandbox",
        ),
    }
)
"""The notices of acts that were not done."""
WHY_CHARS_MAX: Final = 600
"""A cookie has 4,096 bytes."""


class Told(Struct, frozen=True):
    """A notice on its way: its name, the end of a key `notice.…`, and why the act was refused, in a service's words and by their codes."""

    name: str
    why: str = ""
    said: list[Saying] = []


class Notice(Struct, frozen=True):
    """What a page says. `is_warning`: the act was not done, or not as it was meant."""

    text: str
    is_warning: bool
    why: str = ""
    said: list[Saying] = []


def refused_as(name: str, why: str, said: list[Saying]) -> Told:
    """The notice of a refused act, short enough for a cookie."""
    values = sum(len(value) for each in said for value in each.values.values())
    return Told(name, why[:WHY_CHARS_MAX], said if values < WHY_CHARS_MAX else [])


def notice_of(visit: Visit, told: Told) -> Notice | None:
    """The notice as the page shows it."""
    key = f"notice.{told.name}"
    return Notice(visit.t(key), told.name in NOT_DONE, told.why, told.said) if visit.has(key) else None
