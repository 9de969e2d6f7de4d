"""Errors as pages for people, which say what happened and where to go on. The console has its own."""

from typing import Any, Final

import structlog
from litestar import Response
from litestar.exceptions import HTTPException

from ordersaga.http.limits import TooManyStreams
from ordersaga.http.problems import TooManyRequests
from ordersaga.http.requests import header
from ordersaga.web.console import staff
from ordersaga.web.desk import AnyRequest, Desk, Nothing, Page, SignInFirst, WrongForm
from ordersaga.web.failures import TooManyFailures
from ordersaga.web.services import Refused, SignInEnded, Unavailable
from ordersaga.web.signing_in import local_path
from ordersaga.web.visit import Visit

log: Final = structlog.get_logger()

AGAIN_S: Final = "2"


def handlers(desk: Desk) -> dict[Any, Any]:
    """The answer to each kind of error of a route, for Litestar."""
    pages = ErrorPages(desk)
    return {
        Nothing: lambda request, _: pages.page(request, "nothing", 404),
        SignInFirst: pages.sign_in,
        SignInEnded: pages.sign_in,
        staff.RoleNeeded: lambda request, error: pages.page(request, "role", 403, role=error.role),
        WrongForm: lambda request, _: pages.page(request, "old_form", 403),
        Unavailable: lambda request, error: pages.page(request, "away", 503, error.service),
        Refused: pages.refused,
        TooManyFailures: pages.too_often,
        TooManyRequests: pages.too_many,
        TooManyStreams: lambda _, error: Response(
            b"", status_code=429 if error.own else 503, headers={"Retry-After": AGAIN_S}
        ),
        HTTPException: pages.http,
        Exception: pages.unexpected,
    }


class ErrorPages:
    """Answers errors of shop and console."""

    def __init__(self, desk: Desk) -> None:
        self._desk: Final = desk

    def page(self, request: AnyRequest, kind: str, status: int, service: str | None = None, role: str = "") -> Page:
        """A page of an error. `kind`: the end of its texts' keys; `service`: which one is away; `role`: which one is needed."""
        visit = self._desk.visit(request)
        values = {
            "kind": kind,
            "service": service,
            "again": self._stands_at(request, visit),
            "role": role,
            "comes_back": kind == "away" and request.method == "GET",
            "acted": request.method == "POST",
        }
        template = "console/error.html" if _in_console(request) else "error.html"
        answer = self._desk.page(visit, template, values, status)
        if status == 503:
            answer.headers["Retry-After"] = AGAIN_S
        return answer

    def sign_in(self, request: AnyRequest, _: Exception) -> Page:
        """Lead to the sign-in, which leads back. What somebody has entered into a form stays until they have signed in in another window."""
        visit = self._desk.visit(request)
        kept = self._desk.kept_form(request, visit) if request.method == "POST" else None
        if kept is not None:
            home = staff.HOME if _in_console(request) else "/"
            begin = staff.sign_in_path(home) if _in_console(request) else self._desk.sign_in_path(home)
            values = {
                "fields": kept,
                "action": local_path(visit.path),
                "sign_in": begin,
                "in_console": _in_console(request),
            }
            return self._desk.page(visit, "sign_in_again.html", values, 403)
        path = self._stands_at(request, visit)
        to = staff.sign_in_path(path) if _in_console(request) else self._desk.sign_in_path(path)
        return self._desk.go(visit, to)

    def refused(self, request: AnyRequest, error: Refused) -> Page:
        """A service has refused a request of ours. 400 for a page: its address has something in it that no page of ours links to."""
        if error.status == 403 and _in_console(request):
            return self.page(request, "role", 403, role="OPERATOR" if request.method == "POST" else "READER")
        if error.status in (403, 404) or (error.status == 400 and request.method == "GET"):
            return self.page(request, "nothing", 404)
        log.warning("a service refused a request of ours", status=error.status, problem=str(error))
        return self.page(request, "ours", 500)

    def too_often(self, request: AnyRequest, error: TooManyFailures) -> Page:
        """Too many sign-ins have failed."""
        answer = self.page(request, "too_often", 429)
        answer.headers["Retry-After"] = str(error.wait_s)
        return answer

    def too_many(self, request: AnyRequest, error: TooManyRequests) -> Page:
        """Too many requests come from an address without a sign-in."""
        answer = self.page(request, "too_many", 429)
        answer.headers["Retry-After"] = error.retry_after
        return answer

    def unexpected(self, request: AnyRequest, error: Exception) -> Page:
        """A fault of ours, which is logged."""
        log.error("a page failed", path=request.scope["path"], exc_info=error)
        return self.page(request, "ours", 500)

    def http(self, request: AnyRequest, error: HTTPException) -> Page:
        """An error that Litestar raises. No route has counted the request."""
        if error.status_code >= 500:
            return self.unexpected(request, error)
        try:
            self._desk.callers.addresses.count(request.scope)
        except TooManyRequests as too_many:
            return self.too_many(request, too_many)
        return self.page(request, "nothing", 404 if error.status_code in (400, 404) else error.status_code)

    def _stands_at(self, request: AnyRequest, visit: Visit) -> str:
        """The page that was asked for; of a form the page that it stands on, since a form's own address may have none."""
        if request.method == "GET":
            return visit.path
        came_from, address = header(request, b"referer") or "", self._desk.address(request)
        if came_from.startswith(f"{address}/"):
            return local_path(came_from.removeprefix(address))
        return str(request.scope["path"]).rpartition("/")[0] or "/"


def _in_console(request: AnyRequest) -> bool:
    return str(request.scope["path"]).startswith(staff.HOME)
