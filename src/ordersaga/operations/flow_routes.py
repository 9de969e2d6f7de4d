"""How far the service was in the last hours, over HTTP."""

from typing import Annotated, Final

from litestar import get
from litestar.params import QueryParameter
from litestar.types import ControllerRouterHandler

from ordersaga.http.pages import NO_NUL
from ordersaga.operations.face import AnyRequest, Face
from ordersaga.operations.flow import KEPT
from ordersaga.operations.flow_resources import FlowResource

SECONDS_MAX: Final = int(KEPT.total_seconds())

Seconds = Annotated[
    int, QueryParameter(name="seconds", description="How many seconds back from now.", ge=1, le=SECONDS_MAX)
]
Every = Annotated[
    int,
    QueryParameter(
        name="everySeconds",
        description="One moment for this many seconds: the latest of each such stretch.",
        ge=1,
        le=SECONDS_MAX,
    ),
]

OfTopic = Annotated[
    str | None,
    QueryParameter(
        name="topic", description="With the single partitions of this topic, by its own name.", pattern=NO_NUL
    ),
]


def routes(face: Face) -> list[ControllerRouterHandler]:
    """The route of the flow."""

    @get(
        "/flow",
        operation_id="showFlow",
        summary="Positions, ends and lag of each topic, and the number of calls, over the last seconds",
    )
    async def flow(
        request: AnyRequest, seconds: Seconds = 60, every_s: Every = 1, topic: OfTopic = None
    ) -> FlowResource:
        await face.reader(request)
        return FlowResource(moments=await face.flow.moments(seconds, every_s, topic))

    return [flow]
