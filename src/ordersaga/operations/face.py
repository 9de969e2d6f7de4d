"""What all routes of the HTTP face share: the service's desk, the caller's role, an act's body, and the refusals of acts as problems."""

from functools import cached_property
from typing import Annotated, Any, Final, TypeVar
from uuid import UUID

import msgspec
from litestar import Request, Response
from litestar.params import QueryParameter
from msgspec import Meta, Struct

from ordersaga.contracts.limits import INT32_MAX
from ordersaga.http.caller import Caller, Callers
from ordersaga.http.pages import NO_NUL
from ordersaga.http.problems import Problem, on_problem, problem_of
from ordersaga.http.requests import body_of
from ordersaga.messaging.acts import NotPossible, Operator
from ordersaga.messaging.kafka import KafkaUnavailable, Topics
from ordersaga.messaging.refusal import Refusal
from ordersaga.messaging.runtime import Runtime
from ordersaga.operations.desk import Desk
from ordersaga.operations.flow import Flow
from ordersaga.operations.partitions import Partitions
from ordersaga.operations.rehearsing import History
from ordersaga.settings import ServiceName

AnyRequest = Request[Any, Any, Any]
REASON_CHARS_MAX: Final = 500

Reason = Annotated[str, Meta(min_length=1, max_length=REASON_CHARS_MAX, pattern=r"\S")]
TypeId = Annotated[str, Meta(min_length=1, max_length=300, pattern=r"^[\x21-\x7e]+$")]
PartitionNumber = Annotated[int, Meta(ge=0, le=INT32_MAX)]
Version = Annotated[str, Meta(min_length=1, max_length=100)]


class ActBody(Struct, rename="camel", kw_only=True):
    """The body of an act. `version`: that of the thing when the operator saw it; the act is refused if the thing has changed since."""

    reason: Reason
    version: Version


Body = TypeVar("Body", bound=Struct)


class Face:
    """One service as its operators' routes see it. The runtime must be running when a request comes."""

    def __init__(self, runtime: Runtime, callers: Callers, service: ServiceName, history: History) -> None:
        self.runtime: Final = runtime
        self._callers: Final = callers
        self._service: Final = service
        self._history: Final = history

    @cached_property
    def desk(self) -> Desk:
        """The service's own database and outbox."""
        return Desk.of(self.runtime, self._service, self._history)

    @cached_property
    def partitions(self) -> Partitions:
        """The service's partitions."""
        return Partitions(self.desk, Topics(self.runtime.settings))

    @cached_property
    def flow(self) -> Flow:
        """How far the service was in the last hours."""
        return Flow(self.desk, self.partitions)

    async def reader(self, request: AnyRequest) -> Caller:
        """The caller, who may read. Raises `Problem` 401 or 403."""
        return await self._callers.reader(request)

    async def act(self, request: AnyRequest, decoder: "msgspec.json.Decoder[Body]") -> tuple[Operator, Body]:
        """The operator of an act, from the caller and the reason in the body, and the body. Raises `Problem` 400, 401, 403, 415."""
        caller = await self._callers.operator(request)
        body, _ = await body_of(request, decoder)
        reason: Any = body
        return Operator(str(caller.user_id), reason.reason), body


def on_not_possible(request: AnyRequest, error: NotPossible) -> Response[bytes]:
    """A refused act as a problem: 404, 400 with the wrong fields, or 409."""
    return on_problem(request, problem_of(Refusal(error.kind, error.title, str(error), error.errors)))


def on_no_kafka(request: AnyRequest, error: KafkaUnavailable) -> Response[bytes]:
    """503 for an act that needs Kafka while Kafka does not answer."""
    return on_problem(request, Problem(503, "Kafka does not answer", str(error)))


OrderId = Annotated[
    UUID | None, QueryParameter(name="orderId", description="Of this order; for prices: of this product.")
]
Topic = Annotated[
    str | None, QueryParameter(name="topic", description="Of this topic, by its own name.", pattern=NO_NUL)
]
Cause = Annotated[
    str | None,
    QueryParameter(
        name="cause",
        description="With this cause; for a Java exception its class name without the package is enough.",
        pattern=NO_NUL,
    ),
]
