"""Tells somebody unknown that they are unknown, before anything is said about their request; where there is no route, counts the address.

Litestar reads a route's parameters before the route runs, and so before it looks for its caller. Only a request with a wrong parameter comes here; the
others pay nothing for it.
"""

from collections.abc import Callable
from typing import Any, Final

from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler

from ordersaga.http.caller import Callers
from ordersaga.http.documents import said_of
from ordersaga.http.problems import Problem, TooManyRequests, on_http, on_problem

AnyRequest = Request[Any, Any, Any]


def after_caller(callers: Callers) -> Callable[[AnyRequest, HTTPException], Response[bytes]]:
    """`on_http` for a service: a route that is not for anybody finds its caller before it refuses a parameter."""

    def on_http_after_caller(request: AnyRequest, error: HTTPException) -> Response[bytes]:
        if error.status_code in (404, 405):
            try:
                callers.addresses.count(request.scope)
            except TooManyRequests as too_many:
                return on_problem(request, too_many)
        answer, handler = on_http(request, error), request.scope.get("route_handler")
        is_for_anybody = not isinstance(handler, HTTPRouteHandler) or said_of(handler).access == "anybody"
        return answer if error.status_code != 400 or is_for_anybody else _AfterCaller(answer, callers)

    return on_http_after_caller


class _AfterCaller(Response[bytes]):
    """A refusal, or another one where the caller is not known."""

    def __init__(self, refusal: Response[bytes], callers: Callers) -> None:
        super().__init__(refusal.content, status_code=refusal.status_code)
        self._refusal: Final = refusal
        self._callers: Final = callers

    def to_asgi_response(self, *_: Any, request: AnyRequest, **__: Any) -> Any:  # type: ignore[override]  # Litestar gives more by name
        async def answer(scope: Any, receive: Any, send: Any) -> None:
            try:
                await self._callers.of(request)
                told = self._refusal
            except Problem as problem:
                told = on_problem(request, problem)
            await told.to_asgi_response(app=None, request=request)(scope, receive, send)

        return answer
