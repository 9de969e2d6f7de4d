"""The HTTP face for operators, below `/api/v1/operations`: the same in every service, beside what one service alone has.

A READER may read, an OPERATOR or MASTER may also act. Who acts is the caller. Each act has a reason, and the version of the thing that the
operator saw: an act on a thing that has changed since is refused with 409, and nothing is done.
"""

from collections.abc import Callable, Sequence
from functools import partial

from litestar import Router, get
from litestar.types import ControllerRouterHandler

from ordersaga.http.caller import Callers
from ordersaga.messaging import calls
from ordersaga.messaging.acts import NotPossible
from ordersaga.messaging.backlog import outbox_by_topic
from ordersaga.messaging.kafka import KafkaUnavailable
from ordersaga.messaging.runtime import Runtime
from ordersaga.operations import (
    fault_routes,
    flow,
    flow_routes,
    job_routes,
    letter_routes,
    parked_routes,
    partition_routes,
    trail_routes,
)
from ordersaga.operations.desk import Desk
from ordersaga.operations.face import AnyRequest, Face, on_no_kafka, on_not_possible
from ordersaga.operations.job_worker import Worker
from ordersaga.operations.partition_resources import OutboxResource, OutboxTopicResource
from ordersaga.operations.partitions import REPORT_EVERY_S, Partitions, Reports
from ordersaga.operations.rehearsing import NO_HISTORY, History
from ordersaga.operations.resources import PATH, CallsResource, ServiceResource
from ordersaga.operations.retention import Ageing, Retention
from ordersaga.settings import ServiceName


def start(runtime: Runtime, service: ServiceName, history: History = NO_HISTORY, ageing: Ageing | None = None) -> None:
    """Start the loops that the operators' routes rely on, and the retention of personal data. The runtime must be running. `ageing`: what has
    addresses in this service."""
    runtime.every(REPORT_EVERY_S, Reports(runtime).write, "reporting partitions")
    runtime.every(calls.ADD_EVERY_S, partial(runtime.calls.add, runtime.pool), "counting calls")
    desk = Desk.of(runtime, service, history)
    runtime.every(flow.LOOK_EVERY_S, flow.Flow(desk, Partitions(desk, runtime.topics)).look, "looking at the flow")
    runtime.prune_after(flow.KEPT, "flow_moment", flow.prune)
    runtime.supervise("operators' jobs", Worker(desk).run)
    if (days := runtime.settings.personal_data_kept_days) is not None:
        runtime.supervise("retention of personal data", Retention(desk.pool, desk.clock, days, ageing).run)


def routes(
    runtime: Runtime,
    callers: Callers,
    service: ServiceName,
    history: History = NO_HISTORY,
    own: Callable[[Face], Sequence[ControllerRouterHandler]] = lambda _: (),
) -> ControllerRouterHandler:
    """The operators' routes of one service. `history`: for rehearsals, see `desk.py`. `own`: routes that this service alone has."""
    face = Face(runtime, callers, service, history)

    @get("/", operation_id="showService", summary="Which service this is")
    async def about(request: AnyRequest) -> ServiceResource:
        await face.reader(request)
        return ServiceResource(service=service, attempts_max=runtime.settings.park_attempts_max)

    @get(
        "/calls",
        operation_id="showCalls",
        summary="How many calls over HTTP there were, by name, and how many are in hand",
    )
    async def called(request: AnyRequest) -> CallsResource:
        await face.reader(request)
        async with runtime.reading() as db:
            return CallsResource(calls=await calls.counts(db, runtime.clock()))

    @get("/outbox", operation_id="showOutbox", summary="How many records wait to be published, and since when")
    async def outbox(request: AnyRequest) -> OutboxResource:
        await face.reader(request)
        async with runtime.reading() as db:
            topics = await outbox_by_topic(db, runtime.settings, runtime.clock())
        return OutboxResource(
            rows=sum(each.rows for each in topics),
            oldest_age_s=max((each.oldest_age_s for each in topics), default=0.0),
            topics=[
                OutboxTopicResource(topic=each.topic, rows=each.rows, oldest_age_s=each.oldest_age_s) for each in topics
            ],
        )

    return Router(
        PATH,
        route_handlers=[
            *letter_routes.routes(face),
            *parked_routes.routes(face),
            *partition_routes.routes(face),
            *job_routes.routes(face),
            *trail_routes.routes(face),
            *fault_routes.routes(face),
            *flow_routes.routes(face),
            *own(face),
            about,
            called,
            outbox,
        ],
        tags=["operations"],
        exception_handlers={NotPossible: on_not_possible, KafkaUnavailable: on_no_kafka},
    )
