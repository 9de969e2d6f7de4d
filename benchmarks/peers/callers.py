"""A loading process of customers where nothing goes over Kafka: they name the order, tell of its payment, and ask for its end, all over HTTP.

An order is completed when the request that waits for its end is answered. Load and times are those of `benchmarks.customers`.
"""

import time
from functools import partial
from uuid import uuid4

import msgspec

from benchmarks.customers import ORDER, CustomerPlan, Customers, prepared
from benchmarks.process import obey


class Callers(Customers):
    """All customers of one run. `paths` of the plan: the POST of an order, the POST of its payment's result, the GET of its end, each with
    {} where the order's id stands."""

    async def _customer(self, n: int, intended: float) -> None:
        order_id, host, plan = str(uuid4()), self._hosts["order"], self._plan
        order, payment, end = (path.format(order_id) for path in plan.paths)
        items = [{"productId": plan.shelf[n % len(plan.shelf)], "quantity": 1}]
        await self._ask(
            host.post(order, "", _json(ORDER, totalAmount=plan.price, customerId=str(uuid4()), items=items))
        )
        self._answered_ms.append((time.perf_counter() - intended) * 1000)
        await self._ask(host.post(payment, "", _json({}, paymentKey=f"key-{order_id}", amount=plan.price)))
        await self._ask(host.get(end))
        self._completed_ms.append((time.perf_counter() - intended) * 1000)

    async def _ask(self, request: bytes) -> None:
        status, answer = await self._hosts["order"].ask(request)
        if not 200 <= status < 300:
            raise ConnectionError(f"{request[:80]!r} is answered {status}: {answer!r}")


def _json(fields: dict[str, str], **more: object) -> bytes:
    return msgspec.json.encode({**fields, **more})


if __name__ == "__main__":
    obey(CustomerPlan, partial(prepared, Callers))
