"""The four services and the audit as this process sees them: over HTTP, in a user's name, within a bounded time."""

import asyncio
import math
from collections.abc import Awaitable, Mapping
from contextvars import ContextVar
from typing import Any, Final, Literal, Self, TypeAlias, TypeVar

import aiohttp
import msgspec
from msgspec import Struct

from ordersaga.contracts.codec import NOT_JSON
from ordersaga.said import Saying
from ordersaga.settings import SERVICES, ServiceName, Settings
from ordersaga.web.accounts import User, credentials

T = TypeVar("T")
Backend: TypeAlias = ServiceName | Literal["audit"]
CONNECTIONS_MAX: Final = 200
ANSWER_BYTES_MAX: Final = 16_000_000
FOR_OPERATORS: Final = ("/api/v1/operations/", "/health/")
"""Paths that a service with an operators' port has on that port."""


asked_from: Final[ContextVar[str | None]] = ContextVar("asked_from", default=None)
"""The address of the visitor for whom a service is asked, which the service counts if it lists this process as a proxy."""


class Unavailable(Exception):
    """A service did not answer in time, or answered that it cannot now. A command may have been carried out all the same."""

    def __init__(self, service: Backend) -> None:
        super().__init__(f"{service} does not answer")
        self.service: Final[Backend] = service


class Refused(Exception):
    """A service refused a request: problem+json."""

    def __init__(self, status: int, problem: "ProblemAnswer") -> None:
        super().__init__(problem.detail or problem.title)
        self.status: Final = status
        self.problem: Final = problem


class SignInEnded(Exception):
    """A service does not accept the user's token any more: it has run out, or was taken back. No refusal of what was asked, which nobody has looked at."""


class WrongField(Struct):
    """One field that a service did not accept."""

    field: str
    message: str = ""
    code: str = "invalid"


class ProblemAnswer(Struct):
    """The body of a refusal: problem+json (RFC 9457)."""

    title: str = ""
    detail: str = ""
    errors: list[WrongField] = []
    said: list[Saying] = []


class Services:
    """The HTTP client of the services. Use with `async with`. Its methods raise `Unavailable`, `Refused` and `SignInEnded`."""

    def __init__(self, settings: Settings) -> None:
        self._urls: Final[dict[str, str]] = {
            name: str(getattr(settings, f"{name}_url")).rstrip("/") for name in SERVICES
        }
        if settings.audit_url is not None:
            self._urls["audit"] = settings.audit_url.rstrip("/")
        operating = {name: url.rstrip("/") for name, url in settings.web_operations_urls.items()}
        self._operations_urls: Final[dict[str, str]] = self._urls | operating
        self._command_s: Final = settings.web_service_timeout_s
        self._read_s: Final = settings.web_read_timeout_s
        self._http: aiohttp.ClientSession

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, limit_per_host=CONNECTIONS_MAX),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=self._command_s),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.close()

    async def get(
        self,
        service: Backend,
        path: str,
        kind: type[T],
        user: User | None = None,
        query: Mapping[str, str] | None = None,
        within_s: float | None = None,
    ) -> T | None:
        """Read a resource. None if the service answers 404, as it does for another user's resource, too.

        `within_s`: a shorter limit than the usual one of a read.
        """
        patience_s = min(self._read_s, within_s or self._read_s)
        try:
            return await self._call("GET", service, path, kind, user, patience_s, query=query)
        except Refused as refused:
            if refused.status == 404:
                return None
            raise

    async def post(
        self,
        service: Backend,
        path: str,
        kind: type[T],
        user: User,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        wait_s: float = 0.0,
        within_s: float = math.inf,
    ) -> T:
        """Send a command. `wait_s`: for how many seconds more than usual the service may wait for the command's outcome. `within_s`: a shorter limit
        for its answer."""
        patience_s = min(self._command_s + wait_s, within_s)
        return await self._call("POST", service, path, kind, user, patience_s, body, headers, wait_s=wait_s)

    async def _call(
        self,
        method: str,
        service: Backend,
        path: str,
        kind: type[T],
        user: User | None,
        patience_s: float,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        wait_s: float = 0.0,
    ) -> T:
        urls = self._operations_urls if path.startswith(FOR_OPERATORS) else self._urls
        sent = credentials(user) if user else {}
        sent |= {"Content-Type": "application/json"} if body is not None else {}
        if address := asked_from.get():
            sent["X-Forwarded-For"] = address
        if wait_s:
            sent["Prefer"] = f"wait={wait_s:.0f}"
        try:
            async with self._http.request(
                method,
                urls[service] + path,
                params=query,
                data=None if body is None else msgspec.json.encode(body),
                headers={**sent, **(headers or {})},
                timeout=aiohttp.ClientTimeout(total=patience_s),
                allow_redirects=False,
            ) as response:
                said, status = b"", response.status
                # `read(n)` would return after the first part of the body.
                async for part in response.content.iter_any():
                    said += part
                    if len(said) > ANSWER_BYTES_MAX:
                        raise Unavailable(service)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unavailable(service) from error
        if status >= 500 or status == 429:
            raise Unavailable(service)
        if status == 401 and user is not None:
            raise SignInEnded(f"{service} does not accept the token of {user.user_id}")
        try:
            if status >= 400:
                raise Refused(status, msgspec.json.decode(said, type=ProblemAnswer))
            return msgspec.json.decode(said, type=kind)
        except NOT_JSON as error:
            raise Unavailable(service) from error


async def unless_away(reading: Awaitable[T]) -> T | None:
    """What was read; None if the service does not answer. Used for a part of a page that may be missing."""
    try:
        return await reading
    except Unavailable:
        return None


async def side_by_side(*readings: Awaitable[Any]) -> list[Any]:
    """Read all at the same time. Raises the first error."""
    return list(await asyncio.gather(*readings))
