"""The sandbox's server: `create_app(Settings()) -> Litestar`, served by one uvicorn process.

One process, because the books are in its memory. Uvicorn, because a fault that cuts a connection needs uvicorn's transport. `serving`
starts the server inside a running loop, for tests and benchmarks.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import structlog
import uvicorn
from litestar import Litestar, Request, Response, asgi, get, put
from litestar.exceptions import HTTPException
from litestar.params import QueryParameter
from litestar.types import ControllerRouterHandler, Receive, Scope, Send

from ordersaga.contracts.codec import NOT_JSON
from ordersaga.http.health import health
from ordersaga.http.pages import Cursor, Cursors, Page
from ordersaga.http.problems import Problem, on_http, on_problem
from ordersaga.messaging.health import Health
from ordersaga.sandbox import checkout, dashboard, load
from ordersaga.sandbox.books import Books, TossPayment, Totals
from ordersaga.sandbox.faults import FaultPlan, Faults
from ordersaga.sandbox.toss_api import TossApi
from ordersaga.sandbox.webhooks import Webhooks
from ordersaga.settings import Settings

log: Final = structlog.get_logger()

PAGE_MAX: Final = 10_000
KEEP_ALIVE_S: Final = 75
"""Longer than clients keep an idle connection: one that is closed while a request is on its way fails that request."""
_cursors: Final[Cursors[int]] = Cursors("books", Annotated[int, msgspec.Meta(ge=0)])


@dataclass(frozen=True)
class SandboxSettings:
    """The sandbox's settings. Without `journal_path` the books are lost when the process ends. `session_s`: the time from checkout to
    confirm."""

    secret_key: str = field(default="test_sk_sandbox", repr=False)
    journal_path: Path | None = None
    session_s: float = 600.0
    webhook_url: str | None = None
    webhook_first_repeat_s: float = 60.0
    faults: Faults = field(default_factory=Faults)


class BookEntry(msgspec.Struct, rename="camel"):
    """One payment of `GET /sandbox/books`. Amounts in won."""

    payment_key: str
    order_id: str
    status: str
    total_amount: int
    balance_amount: int
    approved_at: str | None
    requested_at: str
    changed_at: str


class BookPage(Page[BookEntry]):
    """A page of the books. Only the first page has `totals`: they are counted over all payments."""

    totals: Totals | None


def create_app(settings: Settings) -> Litestar:
    """The app of `ordersaga serve sandbox`, with the secret key that Payment is set to use."""
    return application(
        SandboxSettings(
            secret_key=settings.gateway_secret_key.get_secret_value(),
            journal_path=settings.sandbox_journal_path,
            session_s=settings.sandbox_session_s,
            webhook_url=settings.sandbox_webhook_url,
            webhook_first_repeat_s=settings.sandbox_webhook_first_repeat_s,
        )
    )


def application(settings: SandboxSettings) -> Litestar:
    """The sandbox as an ASGI app. Raises BlockingIOError if another sandbox has the journal open."""
    books = Books(settings.journal_path, settings.session_s)
    webhooks = Webhooks(settings.webhook_url, settings.webhook_first_repeat_s)

    def tell(payment: TossPayment) -> None:
        webhooks.tell(payment, api.plan.duplicates_webhook(payment.order_id))

    api = TossApi(books, FaultPlan(settings.faults), settings.secret_key, tell)

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        await webhooks.start()
        try:
            yield
        finally:
            await webhooks.stop()
            books.close()

    return Litestar(
        [
            _toss_protocol(api),
            *_faults(api),
            _books(books),
            *health("sandbox", _Reporter()),
            *checkout.routes(books),
            *dashboard.routes(books, webhooks, tell),
            *load.routes(),
        ],
        lifespan=[lifespan],
        openapi_config=None,
        logging_config=None,
        after_exception=[_log_unexpected],
        exception_handlers={Problem: on_problem, HTTPException: on_http},
    )


def _toss_protocol(api: TossApi) -> ControllerRouterHandler:
    @asgi("/v1/payments", is_mount=True, copy_scope=False)
    async def payments(scope: Scope, receive: Receive, send: Send) -> None:
        """Toss's protocol."""
        await api(scope, receive, send)

    return payments


def _faults(api: TossApi) -> list[ControllerRouterHandler]:
    @get("/sandbox/faults")
    async def read_faults() -> Faults:
        """The faults in force."""
        return api.plan.faults

    @put("/sandbox/faults")
    async def put_faults(request: Request[Any, Any, Any]) -> Response[Any]:
        """Replace all faults; `{}` ends them."""
        try:
            api.plan = FaultPlan(msgspec.json.decode(await request.body(), type=Faults))
        except NOT_JSON as error:
            return Response({"code": "INVALID_REQUEST", "message": str(error)}, status_code=400)
        return Response(api.plan.faults)

    @get("/sandbox/calls")
    async def read_calls() -> dict[str, dict[str, int]]:
        """How many calls of each kind had each outcome since the faults were last set."""
        return {call: dict(counts) for call, counts in api.plan.drawn.items()}

    return [read_faults, put_faults, read_calls]


def _books(books: Books) -> ControllerRouterHandler:
    @get("/sandbox/books")
    async def read_books(
        cursor: Cursor = None,
        limit: Annotated[int, QueryParameter(ge=1, le=PAGE_MAX)] = 1_000,
        status: Annotated[str | None, QueryParameter()] = None,
        order_id: Annotated[str | None, QueryParameter(name="orderId")] = None,
    ) -> BookPage:
        """A page of payments in the order of their checkout. A filter thins pages out: read on until `next` is null."""
        after = _cursors.key(cursor) or 0
        found = list(books.page(after, limit))
        wanted = [
            _entry(payment)
            for _, payment in found
            if (status is None or payment.status == status) and (order_id is None or payment.order_id == order_id)
        ]
        following = _cursors.of(found[-1][0]) if len(found) == limit else None
        return BookPage(wanted, following, None if cursor else books.totals())

    return read_books


async def _log_unexpected(error: Exception, scope: Scope) -> None:
    if not isinstance(error, HTTPException):
        log.error("a request failed", path=scope["path"], exc_info=error)


class _Reporter:
    """Health of the sandbox: ready as soon as it answers, since the journal is read before."""

    async def health(self) -> Health:
        return Health()

    def dead(self) -> list[str]:
        return []


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Do nothing: the surrounding process handles signals."""
        yield


@asynccontextmanager
async def serving(settings: SandboxSettings, port: int = 0) -> AsyncIterator[str]:
    """Serve the sandbox on 127.0.0.1 in this loop, on a free port unless one is given. Yields its base URL."""
    # asyncio sets TCP_NODELAY only on a socket with an explicit protocol; without it each answer takes 40 ms.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", port))
        config = uvicorn.Config(
            application(settings),
            log_config=None,
            log_level="warning",
            access_log=False,
            http="httptools",
            timeout_graceful_shutdown=1,
            timeout_keep_alive=KEEP_ALIVE_S,
        )
        server = _Server(config)
        task = asyncio.create_task(server.serve(sockets=[listening]))
        while not server.started:
            if task.done():
                task.result()
                raise RuntimeError("the sandbox did not start; its log says why")
            await asyncio.sleep(0.001)
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            await task


def _entry(payment: TossPayment) -> BookEntry:
    return BookEntry(
        payment.payment_key,
        payment.order_id,
        payment.status,
        payment.total_amount,
        payment.balance_amount,
        payment.approved_at,
        payment.requested_at,
        payment.cancels[-1].canceled_at if payment.cancels else payment.approved_at or payment.requested_at,
    )
