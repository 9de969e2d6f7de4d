"""How often the kit has asked for each order, and how often it was answered: over all cases, until the end of a run."""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final

from msgspec import Struct

from ordersaga.conformance.wire import Heard, Sent

ORDERS_MAX: Final = 20_000
"""Of how many orders the requests and answers are kept. Those of further orders are not counted."""


class Surplus(Struct, frozen=True):
    """An order with more answers than it was asked for. `product`: the one that they name; empty: none."""

    order: str
    product: str
    asked: int
    sent: Sequence[Sent]
    answers: Sequence[Heard]

    def __str__(self) -> str:
        about = f"product {self.product} of order {self.order}" if self.product else f"order {self.order}"
        after_s = self.answers[-1].at_s - self.answers[0].at_s
        return (
            f"{about} was asked for {_times(self.asked)} and answered {_times(len(self.answers))}, "
            f"the last time {after_s:.1f} s after the first"
        )


class Tally:
    """The requests and the answers of all orders. `until_s`: what comes after this time of the event loop is not counted, since the service
    was killed then and may answer again."""

    def __init__(self) -> None:
        self.until_s = math.inf
        self._asked: Final[dict[str, list[tuple[str, Sent | None]]]] = defaultdict(list)
        self._answers: Final[dict[str, list[Heard]]] = {}

    def ask(self, topic: str, order: str, sent: Sent | None = None) -> None:
        """Count a request. It came over a hook where there is no record."""
        if order.lower() in self._asked or len(self._asked) < ORDERS_MAX:
            self._asked[order.lower()].append((topic, sent))

    def note(self, heard: Heard) -> None:
        """Count a record under the order that it names."""
        order = heard.field("orderId")
        if isinstance(order, str) and (order.lower() in self._answers or len(self._answers) < ORDERS_MAX):
            self._answers.setdefault(order.lower(), []).append(heard)

    def surplus(self, request: str, answer: str, since_s: float = -math.inf) -> Surplus | None:
        """An order that was answered on a topic more often than it was asked for on another one, the last time after a time; None: there is
        none. A request that names a product in several lines may be answered for each."""
        for order, heard in self._answers.items():
            asked = [sent for topic, sent in self._asked.get(order, []) if topic == request]
            in_time = [each for each in heard if each.topic == answer and each.at_s < self.until_s]
            if not asked or len(in_time) <= len(asked):
                continue
            for product, answers in _by_product(in_time):
                allowed = sum(_lines(each, product) for each in asked)
                if len(answers) > allowed and answers[-1].at_s > since_s:
                    return Surplus(order, product, allowed, [each for each in asked if each is not None], answers)
        return None

    def of_strangers(self, answer: str, since_s: float = -math.inf) -> list[Heard]:
        """What came on a topic after a time for orders that nobody has asked for."""
        strangers = [heard for order, heard in self._answers.items() if order not in self._asked]
        return [each for heard in strangers for each in heard if each.topic == answer and each.at_s > since_s]

    def first_answered_s(self, answer: str) -> list[float]:
        """When each order was first answered on a topic, the earliest first."""
        times = [[each.at_s for each in heard if each.topic == answer] for heard in self._answers.values()]
        return sorted(each[0] for each in times if each)

    def answered_again(self, answer: str, before_s: float, since_s: float) -> tuple[int, int]:
        """Of the orders that were answered on a topic before a time, how many were answered again since another one; and how many there are."""
        times = [[each.at_s for each in heard if each.topic == answer] for heard in self._answers.values()]
        known = [each for each in times if each and each[0] < before_s]
        return sum(each[-1] > since_s for each in known), len(known)


def _by_product(answers: Sequence[Heard]) -> Iterator[tuple[str, list[Heard]]]:
    products: dict[str, list[Heard]] = defaultdict(list)
    for each in answers:
        products[str(each.field("productId") or "").lower()].append(each)
    yield from products.items()


def _lines(sent: Sent | None, product: str) -> int:
    """In how many lines a request names a product, and at least one: an answer may also name none."""
    if sent is None or not product:
        return 1
    return max(1, (sent.value or b"").lower().count(product.encode()))


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")
