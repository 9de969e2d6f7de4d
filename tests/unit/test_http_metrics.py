"""Which series a request makes: a client cannot make new ones, and what is sampled leads to its trace."""

import asyncio
from typing import Any

import pytest
from prometheus_client import REGISTRY

from ordersaga.http.observed import ANSWER_SECONDS, observed

TRACE = "0af7651916cd43dd8448eb211c80319c"
REQUESTS = "ordersaga_http_requests_total"


def answered(method: str, route: str | None, status: int = 200, path: str = "/x", traceparent: str = "") -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if route:
            scope["path_template"] = route
        await send({"type": "http.response.start", "status": status})
        await send({"type": "http.response.body"})

    async def sent(message: Any) -> None:
        pass

    scope = {"method": method, "path": path, "scheme": "http", "headers": [(b"traceparent", traceparent.encode())]}
    asyncio.run(observed(app, scope, None, sent))


def count(method: str, route: str, status: int = 200) -> float:
    return REGISTRY.get_sample_value(REQUESTS, {"method": method, "route": route, "status": str(status)}) or 0.0


@pytest.mark.parametrize(
    ("method", "route", "counted"),
    [
        ("GET", "/a/{id}", ("GET", "/a/{id}")),
        ("GET", None, ("GET", "other")),
        ("BREW", "/a/{id}", ("other", "/a/{id}")),
    ],
)
def test_a_request_counts_for_its_route_and_what_is_none_for_other(
    method: str, route: str | None, counted: tuple[str, str]
) -> None:
    before = count(*counted)
    answered(method, route, path="/a/1")
    assert count(*counted) == before + 1


def test_what_machines_ask_every_few_seconds_is_not_counted() -> None:
    for path in ("/health/live", "/metrics"):
        answered("GET", path, path=path)
        assert count("GET", path) == 0


def test_the_exemplar_of_an_answers_time_is_its_trace_if_that_is_sampled() -> None:
    def exemplars(route: str) -> list[str]:
        found = [each for family in ANSWER_SECONDS.labels("GET", route).collect() for each in family.samples]
        return [each.exemplar.labels["trace_id"] for each in found if each.exemplar]

    answered("GET", "/sampled", traceparent=f"00-{TRACE}-b7ad6b7169203331-01")
    answered("GET", "/unsampled", traceparent=f"00-{TRACE}-b7ad6b7169203331-00")
    assert exemplars("/sampled") == [TRACE]
    assert exemplars("/unsampled") == []
