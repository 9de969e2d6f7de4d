"""Faults of the consumer on purpose over HTTP: development only, where `ORDERSAGA_CONSUMER_FAULTS` allows them.

They are those of the service, however many processes it has: the others use them within a second.
"""

from typing import Annotated, Final

import msgspec
from litestar import get, post
from litestar.types import ControllerRouterHandler
from msgspec import Meta, Struct
from msgspec.structs import asdict

from ordersaga.http.requests import json_body
from ordersaga.messaging import acts, consumer_faults
from ordersaga.messaging.acts import STALE, NotPossible
from ordersaga.messaging.consumer_faults import Faults
from ordersaga.messaging.refusal import FieldError
from ordersaga.operations.face import ActBody, AnyRequest, Face
from ordersaga.said import say

DELAY_MS_MAX: Final = 5_000
RECORDS_MAX: Final = 100_000
NOT_ALLOWED: Final = say(
    "refused.no_faults",
    "faults of the consumer are for development; ORDERSAGA_CONSUMER_FAULTS=true allows them when the service starts",
)

Percent = Annotated[float, Meta(ge=0, le=100)]


class FaultsBody(ActBody, rename="camel", kw_only=True):
    """The body of `POST /api/v1/operations/faults`: all faults from now on. What is left out is no fault."""

    turn_delay_ms: Annotated[int, Meta(ge=0, le=DELAY_MS_MAX)] = 0
    turn_records_max: Annotated[int, Meta(ge=1, le=RECORDS_MAX)] | None = None
    passing_percent: Percent = 0.0
    lasting_percent: Percent = 0.0


class FaultsResource(Struct, rename="camel", kw_only=True):
    """The faults in force in the service. `allowed` false: the service was started without `ORDERSAGA_CONSUMER_FAULTS`, and has none."""

    allowed: bool
    version: str
    turn_delay_ms: int
    turn_records_max: int | None
    passing_percent: float
    lasting_percent: float


_body: Final = msgspec.json.Decoder(FaultsBody)


def routes(face: Face) -> list[ControllerRouterHandler]:
    """The routes of faults."""

    @get("/faults", operation_id="showFaults", summary="What goes wrong on purpose in this service (development)")
    async def show(request: AnyRequest) -> FaultsResource:
        await face.reader(request)
        if face.runtime.faults is None:
            return _resource(Faults(), allowed=False)
        async with face.runtime.reading() as db:
            return _resource((await consumer_faults.in_force(db)).faults)

    @post(
        "/faults",
        status_code=200,
        operation_id="setFaults",
        operation_class=json_body(FaultsBody),
        summary="Make the consumer slow, or records fail, or end that (development)",
    )
    async def change(request: AnyRequest) -> FaultsResource:
        operator, body = await face.act(request, _body)
        if body.passing_percent + body.lasting_percent > 100:
            wrong = "must be at most 100 together with passingPercent"
            raise NotPossible(
                f"lastingPercent: {wrong}", "INVALID", errors=[FieldError("lastingPercent", wrong, "out_of_range")]
            )
        faults = face.runtime.faults
        if faults is None:
            raise NotPossible(NOT_ALLOWED)
        wanted = Faults(body.turn_delay_ms, body.turn_records_max, body.passing_percent, body.lasting_percent)
        desk = face.desk
        async with desk.pool.acquire() as db, db.transaction():
            before = (await consumer_faults.in_force(db, lock=True)).faults
            if body.version != _version(before):
                raise NotPossible("the faults are others now; look at them again", title=STALE)
            changed = await consumer_faults.put(db, wanted, operator.who, desk.clock())
            states = msgspec.to_builtins(before), msgspec.to_builtins(wanted)
            await acts.add(db, operator, "set faults", desk.service, *states, desk.clock())
        faults.use(changed)
        return _resource(wanted)

    return [show, change]


def _resource(now: Faults, allowed: bool = True) -> FaultsResource:
    return FaultsResource(allowed=allowed, version=_version(now), **asdict(now))


def _version(faults: Faults) -> str:
    """Changes with the faults."""
    return "-".join(f"{each or 0:g}" for each in asdict(faults).values())
