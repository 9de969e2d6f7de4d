"""The trail of operators' acts over HTTP."""

from typing import Annotated, Final
from uuid import UUID

from litestar import get
from litestar.params import QueryParameter
from litestar.types import ControllerRouterHandler

from ordersaga.http.pages import LIMIT_DEFAULT, NO_NUL, Cursor, Cursors, KeyNumber, Limit, Page
from ordersaga.messaging import acts
from ordersaga.operations.face import AnyRequest, Face
from ordersaga.operations.resources import ActResource, act_resource

Target = Annotated[
    str | None,
    QueryParameter(
        name="target",
        description="On this letter, record, partition, order or job; as an act shows it.",
        pattern=NO_NUL,
    ),
]
Who = Annotated[str | None, QueryParameter(name="who", description="By this operator.", pattern=NO_NUL)]

OrderId = Annotated[
    UUID | None,
    QueryParameter(name="orderId", description="About this order: on itself, its dead letters and its parked records."),
]
JobId = Annotated[UUID | None, QueryParameter(name="jobId", description="Carried out by this bulk job.")]
ByJobs = Annotated[
    bool,
    QueryParameter(
        name="byJobs", description="False: without the acts on single letters that bulk jobs have carried out."
    ),
]

_cursors: Final[Cursors[int]] = Cursors("acts", KeyNumber)


def routes(face: Face) -> list[ControllerRouterHandler]:
    """The routes of the trail."""

    @get("/acts", operation_id="listActs", summary="What operators did, the latest first: who, when, what and why")
    async def find(
        request: AnyRequest,
        target: Target = None,
        who: Who = None,
        order_id: OrderId = None,
        job_id: JobId = None,
        by_jobs: ByJobs = True,
        cursor: Cursor = None,
        limit: Limit = LIMIT_DEFAULT,
    ) -> Page[ActResource]:
        caller = await face.reader(request)
        async with face.runtime.searching() as db:
            found = await acts.page(db, target, who, _cursors.key(cursor), limit + 1, order_id, job_id, by_jobs)
        shown, following = _cursors.cut(found, limit, lambda each: each[0])
        return Page([act_resource(act, caller) for _, act in shown], following)

    return [find]
