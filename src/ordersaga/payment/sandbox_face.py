"""The gateway's sandbox in Payment's operators' face: its faults and the load generator that it keeps, each change with its line in the trail.

For development: where the gateway is no sandbox, every change is refused. The sandbox is no part of the database, so it is changed in the
transaction that writes the line: a change that it refuses leaves none. One operator changes it at a time.
"""

import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any, Final, Literal

import msgspec
from litestar import get, post
from litestar.types import ControllerRouterHandler
from msgspec import Meta, Struct

from ordersaga.http.requests import json_body
from ordersaga.messaging import acts, consumer_faults
from ordersaga.messaging.acts import STALE, NotPossible
from ordersaga.messaging.database import Connection
from ordersaga.messaging.refusal import FieldError
from ordersaga.operations.face import ActBody, AnyRequest, Face, Reason
from ordersaga.operations.load_figures import SECONDS_MAX, LoadNow, Rate
from ordersaga.operations.sandbox import Sandbox, version_of
from ordersaga.said import say

NO_SANDBOX: Final = say("refused.no_sandbox", "there is no sandbox at the gateway's address, or it does not answer")
GATEWAY: Final = "gateway"
LOAD: Final = "load"

Amount = Annotated[float, Meta(ge=0)]


class GatewayFaults(Struct, rename="camel", kw_only=True):
    """The sandbox's faults. `percent`: of the calls `confirm`, `get` and `cancel`, the share that has each outcome, such as `slow` or `dropped`.

    `slowMs`: how long a slow answer takes. The sandbox knows which of them can happen.
    """

    latency_ms: Amount = 0.0
    jitter_ms: Amount = 0.0
    slow_ms: Amount = 8_000.0
    percent: dict[str, dict[str, Amount]] = {}
    duplicate_webhook_percent: Amount = 0.0


class _AllFaults(GatewayFaults, rename="camel", kw_only=True):
    """As the sandbox has them."""

    seed: int | None = None
    orders: dict[str, Any] = {}


class GatewayFaultsBody(ActBody, rename="camel", kw_only=True):
    """The body of `POST /api/v1/operations/gateway/faults`: all faults from now on. Those of single orders stay; null for `faults` ends them, too."""

    faults: GatewayFaults | None


class GatewayFaultsResource(Struct, rename="camel", kw_only=True):
    """The faults in force. `orders`: how many orders have faults of their own."""

    version: str
    faults: GatewayFaults
    orders: int


class LoadBody(Struct, rename="camel", kw_only=True):
    """The body of `POST /api/v1/operations/gateway/load`. `rate`: orders a second; not needed to stop. `seconds`: for how long a generator begins."""

    reason: Reason
    act: Literal["begin", "steer", "stop"]
    rate: Rate | None = None
    seconds: Annotated[int, Meta(ge=1, le=SECONDS_MAX)] | None = None


_faults_body: Final = msgspec.json.Decoder(GatewayFaultsBody)
_load_body: Final = msgspec.json.Decoder(LoadBody)


def routes(face: Face) -> list[ControllerRouterHandler]:
    """The routes."""
    return [*_faults(face), _load(face)]


def _faults(face: Face) -> list[ControllerRouterHandler]:
    sandbox = Sandbox(face.runtime.settings.gateway_url)

    @get(
        "/gateway/faults",
        operation_id="showGatewayFaults",
        summary="What goes wrong on purpose at the gateway's sandbox (development)",
    )
    async def show(request: AnyRequest) -> GatewayFaultsResource:
        await face.reader(request)
        return _resource(_there(await sandbox.faults()))

    @post(
        "/gateway/faults",
        status_code=200,
        operation_id="setGatewayFaults",
        operation_class=json_body(GatewayFaultsBody),
        summary="Let calls of the gateway's sandbox be slow or fail, or end that (development)",
    )
    async def change(request: AnyRequest) -> GatewayFaultsResource:
        operator, body = await face.act(request, _faults_body)
        async with _alone(face) as db:
            before = _there(await sandbox.faults())
            if body.version != version_of(before):
                raise NotPossible("the gateway's faults are others now; look at them again", title=STALE)
            wanted = {} if body.faults is None else before | msgspec.to_builtins(body.faults)
            if not await sandbox.set(wanted):
                wrong = "the sandbox does not take these values"
                raise NotPossible(wrong, "INVALID", errors=[FieldError("faults", wrong, "invalid")])
            after = _there(await sandbox.faults())
            await acts.add(db, operator, "set gateway faults", GATEWAY, *_told(before, after), face.desk.clock())
        return _resource(after)

    return [show, change]


def _load(face: Face) -> ControllerRouterHandler:
    sandbox = Sandbox(face.runtime.settings.gateway_url)

    @post(
        "/gateway/load",
        status_code=200,
        operation_id="steerLoad",
        operation_class=json_body(LoadBody),
        summary="Announce a load generator, set its rate or stop it (development)",
    )
    async def steer(request: AnyRequest) -> LoadNow:
        operator, body = await face.act(request, _load_body)
        if body.rate is None and body.act != "stop":
            wrong = "is needed unless the generator is to stop"
            raise NotPossible(f"rate: {wrong}", "INVALID", errors=[FieldError("rate", wrong, "missing")])
        async with _alone(face) as db:
            _there(await sandbox.faults())
            before = await sandbox.load()
            if body.act == "begin":
                done = await sandbox.begin(body.rate or 0.0)
            else:
                done = await sandbox.steer(None if body.act == "stop" else body.rate)
            if not done:
                raise NotPossible(
                    "a generator is running already" if body.act == "begin" else "no generator is running"
                )
            old = {"ordersPerSecond": before.rate if before.is_running else 0.0}
            new = {"ordersPerSecond": 0.0 if body.act == "stop" else body.rate}
            if body.act == "begin" and body.seconds is not None:
                new["seconds"] = body.seconds
            await acts.add(db, operator, f"{body.act} load", LOAD, old, new, face.desk.clock())
        return await sandbox.load()

    return steer


def _there(faults: dict[str, Any] | None) -> dict[str, Any]:
    """The sandbox's faults. Raises `NotPossible` if there is no sandbox."""
    try:
        msgspec.convert(faults, _AllFaults)
    except msgspec.ValidationError as error:
        raise NotPossible(NO_SANDBOX) from error
    return faults or {}


@contextlib.asynccontextmanager
async def _alone(face: Face) -> AsyncIterator[Connection]:
    """The transaction of a change. The row of the consumer's faults is locked in it, so that no other process changes the sandbox meanwhile."""
    async with face.desk.pool.acquire() as db, db.transaction():
        await consumer_faults.in_force(db, lock=True)
        yield db


def _resource(faults: Mapping[str, Any]) -> GatewayFaultsResource:
    return GatewayFaultsResource(
        version=version_of(faults),
        faults=msgspec.convert(faults, GatewayFaults),
        orders=len(faults.get("orders", {})),
    )


def _told(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The values of both by name, as the trail has them: `confirm.slow` is a share of the confirms, `orders` counts orders with faults of their own."""
    flat = [_flat(before), _flat(after)]
    names = list(flat[0] | flat[1])
    old, new = ({name: each.get(name, 0) for name in names} for each in flat)
    return old, new


def _flat(faults: Mapping[str, Any]) -> dict[str, Any]:
    values = {name: value for name, value in faults.items() if isinstance(value, int | float)}
    shares = {
        f"{call}.{outcome}": share
        for call, outcomes in faults.get("percent", {}).items()
        for outcome, share in outcomes.items()
    }
    return values | shares | {"orders": len(faults.get("orders", {}))}
