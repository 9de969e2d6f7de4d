"""The gateway's dashboard for merchants: a payment's page, where people and scripts cancel it, and webhooks on demand."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final
from urllib.parse import parse_qsl

import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromPath
from litestar.response import Redirect
from litestar.types import ControllerRouterHandler

from ordersaga.contracts.codec import NOT_JSON
from ordersaga.sandbox import pages
from ordersaga.sandbox.books import Books, TossPayment
from ordersaga.sandbox.errors import message
from ordersaga.sandbox.webhooks import Kind, Webhooks, event

CANCELABLE: Final = ("DONE", "PARTIAL_CANCELED")


class DashboardCancel(msgspec.Struct):
    """A cancel at the dashboard; without an amount all that is held. Amounts in won."""

    amount: Annotated[int, msgspec.Meta(gt=0)] | None = None
    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=200)] = "cancelled at the dashboard"


class WantedEvent(msgspec.Struct, rename="camel"):
    """The body of `POST /sandbox/webhooks`. Fields of `data` replace those of the event."""

    event_type: Kind
    payment_key: str
    data: dict[str, Any] = {}


def routes(books: Books, webhooks: Webhooks, tell: Callable[[TossPayment], None]) -> Sequence[ControllerRouterHandler]:
    """The dashboard's handlers. `tell` sends the webhook of a changed payment."""
    return [*_payment(books, tell), _webhook(books, webhooks)]


def _payment(books: Books, tell: Callable[[TossPayment], None]) -> Sequence[ControllerRouterHandler]:
    def cancel(payment_key: str, asked: DashboardCancel) -> TossPayment | str:
        """The payment after the cancel, or an error code."""
        result = books.cancel(payment_key, asked.reason, asked.amount, None)
        if isinstance(result, TossPayment):
            books.record(result, None, 200, None)
            tell(result)
        return result

    @get("/sandbox/payments/{payment_key:str}", media_type="text/html")
    async def show(payment_key: FromPath[str], request: Request[Any, Any, Any]) -> Response[str]:
        """The payment's page."""
        return _page(books, payment_key, _wants_korean(request, request.query_params.get("lang", "")))

    @post("/sandbox/payments/{payment_key:str}/cancel", status_code=200)
    async def cancel_at_dashboard(payment_key: FromPath[str], request: Request[Any, Any, Any]) -> Response[Any]:
        """Cancel a payment: by the page's form, or with `{amount?, reason?}` by a script."""
        body = await request.body()
        if not request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
            try:
                result = cancel(payment_key, msgspec.json.decode(body or b"{}", type=DashboardCancel))
            except NOT_JSON as error:
                return _refused("INVALID_REQUEST", str(error))
            return _refused(result, message(result, False)) if isinstance(result, str) else Response(result)
        form = dict(parse_qsl(body.decode("utf-8", "replace")))
        korean = _wants_korean(request, form.pop("lang", ""))
        try:
            result = cancel(payment_key, msgspec.convert(form, DashboardCancel, strict=False))
        except ValueError as error:
            return _page(books, payment_key, korean, str(error))
        if isinstance(result, str):
            return _page(books, payment_key, korean, message(result, korean))
        return Redirect(f"/sandbox/payments/{payment_key}?lang={'ko' if korean else 'en'}", status_code=303)

    return [show, cancel_at_dashboard]


def _page(books: Books, payment_key: str, korean: bool, error: str = "") -> Response[str]:
    entry = books.entry(payment_key)
    if entry is None:
        return Response(message("NOT_FOUND_PAYMENT", korean), status_code=404, media_type="text/plain")
    cancelable = entry.payment.status in CANCELABLE
    values = {"payment": entry.payment, "cancelable": cancelable, "error": error}
    return pages.page("payment.html", korean, values, 400 if error else 200)


def _wants_korean(request: Request[Any, Any, Any], lang: str) -> bool:
    return pages.wants_korean(lang, request.headers.get("accept-language", ""))


def _webhook(books: Books, webhooks: Webhooks) -> ControllerRouterHandler:
    @post("/sandbox/webhooks", status_code=200)
    async def send_webhook(request: Request[Any, Any, Any]) -> Response[Any]:
        """Send one event about a payment, once. Answers `{status, event}`: the status of the shop's answer (null: none), and the event."""
        try:
            wanted = msgspec.json.decode(await request.body(), type=WantedEvent)
        except NOT_JSON as error:
            return _refused("INVALID_REQUEST", str(error))
        entry = books.entry(wanted.payment_key)
        if entry is None:
            return _refused("NOT_FOUND_PAYMENT", message("NOT_FOUND_PAYMENT", False))
        if webhooks.session is None:
            return _refused("INVALID_REQUEST", "ORDERSAGA_SANDBOX_WEBHOOK_URL is not set")
        body = event(wanted.event_type, entry.payment, wanted.data)
        return Response({"status": await webhooks.send(webhooks.session, body), "event": msgspec.Raw(body)})

    return send_webhook


def _refused(code: str, text: str) -> Response[Any]:
    return Response({"code": code, "message": text}, status_code=400)
