"""How well the payment gateway answers, by what Payment has counted of its confirms in the last minutes. Pure."""

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from ordersaga.operations.flow_resources import FlowMoment
from ordersaga.web.console.rates import called

MINUTES: Final = 3
ASKED: Final = {"seconds": str(MINUTES * 60), "everySeconds": "5"}
"""The moments of Payment that are looked at."""
BAD_MIN: Final = 3
SHARE_MIN: Final = 0.05
"""So many confirms, and this share of all, are a trouble. Fewer happen to every gateway."""
UNCLEAR, SLOW = "gateway-unclear", "gateway-slow"
OUTCOMES: Final = ("gateway-approved", "gateway-declined", UNCLEAR)


class Answers(Struct, frozen=True):
    """The confirms of the last minutes that have ended: with no clear answer (an error, a time-out, a lost connection), or with a late one."""

    confirms: int
    unclear: int
    slow: int

    @property
    def are_poor(self) -> bool:
        bad = self.unclear + self.slow
        return bad >= BAD_MIN and bad >= SHARE_MIN * self.confirms

    def percent(self, count: int) -> int:
        """A count as a share of all confirms."""
        return round(100 * count / self.confirms) if self.confirms else 0


def answers(moments: Sequence[FlowMoment]) -> Answers:
    """What became of the confirms between the first and the last moment."""
    if not moments:
        return Answers(0, 0, 0)

    def since(*names: str) -> int:
        return sum(max(0, (called(each)(moments[-1]) or 0) - (called(each)(moments[0]) or 0)) for each in names)

    return Answers(since(*OUTCOMES), since(UNCLEAR), since(SLOW))
