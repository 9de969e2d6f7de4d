"""The routes of health and of the metrics, which every server has."""

from collections.abc import Sequence
from typing import Any, Final

from litestar import MediaType, Request, Response, get
from litestar.types import ControllerRouterHandler
from msgspec import structs
from prometheus_client import Gauge
from prometheus_client.exposition import choose_encoder

from ordersaga import __version__
from ordersaga.http.workers import alone
from ordersaga.masking import masked, masked_sayings
from ordersaga.messaging.health import Alarm, Reporter
from ordersaga.said import sayings_of
from ordersaga.service_context import metric

BUILD_INFO: Final = metric(Gauge, "ordersaga_build_info", "Always 1; the label is the version that runs", "version")


def health(service: str, reporter: Reporter) -> list[ControllerRouterHandler]:
    """The routes of health and `/metrics`.

    `/health/live`: 503 when only a restart helps. `/health/ready`: 503 when the process cannot answer HTTP. `/health/status`: always 200,
    with all problems and alarms.
    """
    BUILD_INFO.labels(__version__).set(1)

    @get("/health/live", include_in_schema=False)
    async def live() -> Response[dict[str, Any]]:
        dead = reporter.dead()
        return Response(
            {"status": "DOWN" if dead else "UP", "problems": _shown(dead)}, status_code=503 if dead else 200
        )

    @get("/health/ready", include_in_schema=False)
    async def ready() -> Response[dict[str, Any]]:
        found = await reporter.health()
        down = bool(found.problems)
        body = {
            "status": "DOWN" if down else "UP",
            "version": __version__,
            "problems": _shown(found.problems),
            "alarms": _alarms(found.alarms),
        }
        return Response(body, status_code=503 if down else 200)

    @get("/health/status", include_in_schema=False)
    async def status() -> dict[str, Any]:
        found = await reporter.health()
        return {
            "status": "DOWN" if found.problems else "DEGRADED" if found.alarms else "UP",
            "service": service,
            "version": __version__,
            "started": found.started,
            "problems": _shown(found.problems),
            "problemCodes": [masked_sayings(sayings_of(each)) for each in found.problems],
            "alarms": _alarms(found.alarms),
        }

    @get("/metrics", include_in_schema=False, media_type=MediaType.TEXT)
    async def metrics(request: Request[Any, Any, Any]) -> Response[bytes]:
        accept, worker = request.headers.get("accept", ""), request.app.state.get("worker")
        text = alone(accept) if worker is None else await worker.scrape(accept)
        content_type = choose_encoder(accept)[1]
        return Response(
            text, headers={"content-type": content_type}
        )  # as `media_type` Litestar would add a second charset

    return [live, ready, status, metrics]


def _shown(texts: Sequence[str]) -> list[str]:
    """The texts without secrets: a library's error may contain a URL with its password."""
    return [masked(str(text)) for text in texts]


def _alarms(alarms: Sequence[Alarm]) -> list[Alarm]:
    return [
        structs.replace(
            each,
            what=masked(each.what),
            todo=masked(each.todo),
            what_said=masked_sayings(each.what_said),
            todo_said=masked_sayings(each.todo_said),
        )
        for each in alarms
    ]
