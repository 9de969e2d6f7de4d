"""The checkout page, where a person picks a card, and `POST /sandbox/payments`, the same for scripts."""

import re
from collections.abc import Sequence
from typing import Annotated, Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import msgspec
from litestar import Request, Response, asgi, get, post
from litestar.enums import RequestEncodingType
from litestar.exceptions import MethodNotAllowedException
from litestar.params import Body
from litestar.response import Redirect
from litestar.types import ControllerRouterHandler, Receive, Scope, Send

from ordersaga.contracts.codec import NOT_JSON
from ordersaga.sandbox import faults, pages
from ordersaga.sandbox.books import Books, TossPayment
from ordersaga.sandbox.errors import message

ABORT: Final = "abort"
AMOUNT_MAX: Final = 2_147_483_647
ORDER_ID: Final = re.compile(r"[A-Za-z0-9_-]{6,64}")
CARDS: Final = (
    (faults.APPROVE, "Approve", "The payment goes through.", "정상 승인", "결제가 승인됩니다."),
    ("REJECT_CARD_COMPANY", "Refused by the card company", "", "카드사 승인 거절", ""),
    ("REJECT_CARD_PAYMENT", "Over the limit, or not enough money", "", "한도초과 · 잔액부족", ""),
    ("INVALID_STOPPED_CARD", "Stopped card", "", "정지된 카드", ""),
    ("INVALID_CARD_LOST_OR_STOLEN", "Lost or stolen card", "", "분실 · 도난 카드", ""),
    (
        faults.ANSWER_LOST,
        "Approved, but the answer is lost",
        "The money is taken; the connection is cut before the shop hears of it.",
        "승인되었으나 응답 유실",
        "결제는 승인되지만 응답 전에 연결이 끊어집니다.",
    ),
    (faults.SLOW, "Slow", "Approved after some seconds.", "느린 승인", "몇 초 뒤에 승인됩니다."),
    (
        "PROVIDER_ERROR",
        "Temporary error",
        "The first try fails, a later one is approved.",
        "일시적 오류",
        "첫 시도는 실패하고 다음 시도는 승인됩니다.",
    ),
    (
        ABORT,
        "Leave the checkout",
        "Back to the shop without paying.",
        "결제 취소",
        "결제하지 않고 상점으로 돌아갑니다.",
    ),
)
"""The page's choices in their order: outcome, then title and hint in English and Korean. A script may name any outcome of a confirm."""


class Checkout(msgspec.Struct, rename="camel"):
    """A shop's request, from the query or the page's form. Raises ValueError with a sentence if a value is not valid."""

    order_id: str
    amount: int
    success_url: str
    fail_url: str
    order_name: str = ""
    customer_key: str = ""
    lang: str = ""
    card: str = faults.APPROVE

    def __post_init__(self) -> None:
        _check(self.order_id, self.amount, self.card if self.card != ABORT else faults.APPROVE)
        for url in (self.success_url, self.fail_url):
            # A javascript: URL would run its code in the page that follows it.
            if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).netloc:
                raise ValueError("successUrl and failUrl must begin with http:// or https://")


class Opening(msgspec.Struct, rename="camel"):
    """The body of `POST /sandbox/payments`."""

    order_id: str
    amount: int
    order_name: str = ""
    card: str = faults.APPROVE

    def __post_init__(self) -> None:
        _check(self.order_id, self.amount, self.card)


class Opened(msgspec.Struct, rename="camel"):
    """The answer of `POST /sandbox/payments`: the parameters that a browser gets with the success URL."""

    payment_key: str
    order_id: str
    amount: int
    payment_type: str = "NORMAL"


def routes(books: Books) -> Sequence[ControllerRouterHandler]:
    """The handlers of the checkout page and of its script variant."""
    return [*_page(books), _script(books)]


def _page(books: Books) -> Sequence[ControllerRouterHandler]:
    @get("/checkout", media_type="text/html")
    async def show(request: Request[Any, Any, Any]) -> Response[str]:
        """The page. Korean unless the browser, or `lang=`, wants English."""
        try:
            checkout = msgspec.convert(dict(request.query_params), Checkout, strict=False)
        except ValueError as error:
            return Response(str(error), status_code=400, media_type="text/plain")
        korean = pages.wants_korean(checkout.lang, request.headers.get("accept-language", ""))
        cards = [(card, ko, ko_hint) if korean else (card, en, en_hint) for card, en, en_hint, ko, ko_hint in CARDS]
        other = urlencode({**request.query_params, "lang": "en" if korean else "ko"})
        entry = books.entry_of_order(checkout.order_id)
        paid = entry.payment if entry is not None and entry.payment.approved_at is not None else None
        values = {"checkout": checkout, "cards": cards, "other_language": other, "paid": paid}
        return pages.page("checkout.html", korean, values)

    @post("/checkout")
    async def pay(
        request: Request[Any, Any, Any],
        data: Annotated[dict[str, str], Body(media_type=RequestEncodingType.URL_ENCODED)],
    ) -> Response[Any]:
        """The customer's choice: redirect to the shop's success or fail URL."""
        try:
            checkout = msgspec.convert(data, Checkout, strict=False)
        except ValueError as error:
            return Response(str(error), status_code=400, media_type="text/plain")
        if checkout.card == ABORT:
            korean = pages.wants_korean(checkout.lang, request.headers.get("accept-language", ""))
            return Redirect(_fail_url(checkout, korean), status_code=303)
        payment = books.open(checkout.order_id, checkout.amount, checkout.order_name, checkout.card)
        return Redirect(_success_url(checkout, payment), status_code=303)

    return [show, pay]


def _fail_url(checkout: Checkout, korean: bool) -> str:
    code = "PAY_PROCESS_CANCELED"
    return _with(checkout.fail_url, code=code, message=message(code, korean), orderId=checkout.order_id)


def _success_url(checkout: Checkout, payment: TossPayment) -> str:
    return _with(
        checkout.success_url,
        paymentType=payment.type,
        orderId=payment.order_id,
        paymentKey=payment.payment_key,
        amount=str(payment.total_amount),
    )


def _script(books: Books) -> ControllerRouterHandler:
    decode = msgspec.json.Decoder(Opening).decode

    @asgi("/sandbox/payments", copy_scope=False)
    async def open_payment(scope: Scope, receive: Receive, send: Send) -> None:
        """A checkout by a script: `{orderId, amount, orderName?, card?}` -> `{paymentKey, ...}`. Bare ASGI, for benchmarks."""
        if scope["method"] != "POST":  # type: ignore[typeddict-item]
            raise MethodNotAllowedException
        received: Any = await receive()
        body: bytes = received.get("body", b"")
        while received.get("more_body"):
            received = await receive()
            body += received.get("body", b"")
        try:
            asked = decode(body)
        except NOT_JSON as error:
            status, answer = 400, msgspec.json.encode({"code": "INVALID_REQUEST", "message": str(error)})
        else:
            payment = books.open(asked.order_id, asked.amount, asked.order_name, asked.card)
            status, answer = 201, msgspec.json.encode(Opened(payment.payment_key, asked.order_id, asked.amount))
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": answer, "more_body": False})

    return open_payment


def _check(order_id: str, amount: int, card: str) -> None:
    if not ORDER_ID.fullmatch(order_id):
        raise ValueError("orderId must be 6 to 64 of A-Z a-z 0-9 _ -")
    if not 0 < amount <= AMOUNT_MAX:
        raise ValueError("amount must be won, above 0")
    if not faults.is_outcome(card, "confirm"):
        raise ValueError(f"{card!r} is no card of this sandbox")


def _with(url: str, **parameters: str) -> str:
    """The URL with these parameters added to its query."""
    parts = urlsplit(url)
    query = urlencode([*parse_qsl(parts.query, keep_blank_values=True), *parameters.items()])
    return urlunsplit(parts._replace(query=query))
