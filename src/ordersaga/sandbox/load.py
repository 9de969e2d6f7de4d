"""The load generator of a demonstration, as every web process shows and steers it. The generator itself runs beside one of them.

The sandbox keeps this, since it is there wherever orders may be placed on purpose, and is one process. It is in memory: after a restart of
the sandbox the generator that goes on tells of itself again.
"""

import time
from typing import Any, Final

import msgspec
from litestar import Request, Response, get, post, put
from litestar.types import ControllerRouterHandler

from ordersaga.contracts.codec import NOT_JSON
from ordersaga.http.problems import Problem
from ordersaga.operations.load_figures import (
    RATE_FIRST,
    AudienceBody,
    BeginBody,
    EndedBody,
    Figures,
    LoadNow,
    Orders,
    SteerBody,
)
from ordersaga.operations.moments import LookBody, Looked, Past

AWAY_S: Final = 60.0
"""A session that asks for no page for so long is gone: the browser is closed, or its tab is not seen."""
SILENT_S: Final = 6.0
"""A generator that says nothing for so long has ended with its web process."""


class Audience:
    """The sessions before the console, over all web processes."""

    def __init__(self) -> None:
        self._began_at_s: Final = time.monotonic()
        self._seen_at_s: Final[dict[str, float]] = {}
        self._left = False

    def note(self, seen: list[str], left: list[str]) -> None:
        """Sessions that have asked for a page, and that have signed out."""
        self._seen_at_s.update(dict.fromkeys(seen, time.monotonic()))
        for each in left:
            self._left |= self._seen_at_s.pop(each, None) is not None

    @property
    def is_gone(self) -> bool:
        """Whether nobody is there any more. Right after the start it is not known yet who is there."""
        now = time.monotonic()
        for each in [name for name, at in self._seen_at_s.items() if now - at > AWAY_S]:
            del self._seen_at_s[each]
        return not self._seen_at_s and (self._left or now - self._began_at_s > AWAY_S)


class Load:
    """At most one generator. `rate`: the one that is wanted now."""

    def __init__(self) -> None:
        self.audience: Final = Audience()
        self._heard_at_s: float | None = None
        self._rate = RATE_FIRST
        self._stopped = False
        self._figures: Figures | None = None
        self._trouble = ""

    @property
    def _is_running(self) -> bool:
        return self._heard_at_s is not None and time.monotonic() - self._heard_at_s < SILENT_S

    @property
    def now(self) -> LoadNow:
        """What a page shows."""
        return LoadNow(self._is_running, self._rate, self._figures, self._trouble)

    def begin(self, rate: float) -> bool:
        """A web process is about to start a generator. False: one is running."""
        if self._is_running:
            return False
        self._heard_at_s, self._rate, self._stopped = time.monotonic(), rate, False
        self._figures, self._trouble = None, ""
        return True

    def steer(self, rate: float | None) -> bool:
        """Have orders placed at another rate; None: no more orders. False: no generator is running."""
        if not self._is_running:
            return False
        self._rate, self._stopped = (self._rate, True) if rate is None else (rate, self._stopped)
        return True

    def tell(self, figures: Figures) -> Orders:
        """The generator tells of itself, and is told how to go on."""
        if not self._is_running and self._figures is None:
            self._rate = figures.rate
        self._heard_at_s, self._figures = time.monotonic(), figures
        return Orders(self._rate, not self._stopped and not self.audience.is_gone)

    def end(self, trouble: str) -> None:
        """The generator has ended. `trouble`: why it could place no order at all."""
        self._heard_at_s, self._trouble = None, trouble


def routes() -> list[ControllerRouterHandler]:
    """The routes, for web processes alone: they have checked who asks."""
    load, past = Load(), Past()

    @get("/sandbox/load")
    async def show() -> LoadNow:
        """The generator now."""
        return load.now

    @post("/sandbox/load", status_code=200)
    async def begin(request: Request[Any, Any, Any]) -> Response[Any]:
        """Announce a generator; 409: one is running."""
        return _done(load.begin((await _body(request, BeginBody)).rate))

    @put("/sandbox/load")
    async def steer(request: Request[Any, Any, Any]) -> Response[Any]:
        """Another rate, or no more orders; 409: no generator is running."""
        return _done(load.steer((await _body(request, SteerBody)).rate))

    @post("/sandbox/load/looks", status_code=200)
    async def look(request: Request[Any, Any, Any]) -> Looked:
        """What a web process has found of the services; the answer is what all of them show."""
        return past.look((await _body(request, LookBody)).lags, load.now)

    @post("/sandbox/load/figures", status_code=200)
    async def tell(request: Request[Any, Any, Any]) -> Orders:
        """What the generator says; the answer is how it is to go on."""
        return load.tell(await _body(request, Figures))

    @post("/sandbox/load/ended", status_code=200)
    async def end(request: Request[Any, Any, Any]) -> Response[Any]:
        """The generator has ended."""
        load.end((await _body(request, EndedBody)).trouble)
        return _done(True)

    @post("/sandbox/load/audience", status_code=200)
    async def note(request: Request[Any, Any, Any]) -> Response[Any]:
        """Who has looked at the console since, and who has signed out."""
        body = await _body(request, AudienceBody)
        load.audience.note(body.seen, body.left)
        return _done(True)

    return [show, begin, steer, look, tell, end, note]


async def _body(request: Request[Any, Any, Any], kind: type[Any]) -> Any:
    try:
        return msgspec.json.decode(await request.body(), type=kind)
    except NOT_JSON as error:
        raise Problem(400, "The body is not understood", str(error)) from error


def _done(done: bool) -> Response[Any]:
    return Response({"done": done}, status_code=200 if done else 409)
