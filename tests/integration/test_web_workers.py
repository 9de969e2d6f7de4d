"""The shop as two workers beside services that check tokens of an identity provider: sign-in, streams of both workers, and Kafka's death."""

import contextlib
import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID, uuid4

import httpx
import psutil
import pytest

from ordersaga.devstack.system import System
from ordersaga.http.jwks import AGAIN_S
from ordersaga.web.desk import CART
from ordersaga.web.signing import Signer
from ordersaga.web.visit import Cart
from tests.integration.known_prices import until_order_knows_the_price
from tests.unit.identity_provider import Provider, serving

SECRET = "a secret that signs the cookies of all workers"
OWN_STREAMS_MAX = 5
STREAMS_MAX = 8
LIMIT_S = 60.0
ADDRESS = {"name": "Hana Kim", "phone": "010-0000-0000", "zipcode": "04524", "address": "1 Sejong-daero"}


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with serving() as one:
        one.new_key("rsa")
        one.new_key("curve", "ES256")
        yield one


@pytest.fixture(scope="module")
def system(provider: Provider) -> Iterator[System]:
    extra = {
        "ORDERSAGA_TRUST_GATEWAY_HEADERS": "false",
        "ORDERSAGA_JWT_JWKS_URL": provider.url,
        "ORDERSAGA_JWT_ALGORITHMS": '["RS256", "ES256"]',
        "ORDERSAGA_WEB_SESSION_SECRET": SECRET,
        "ORDERSAGA_HTTP_STREAMS_PER_CALLER_MAX": str(OWN_STREAMS_MAX),
        "ORDERSAGA_HTTP_STREAMS_MAX": str(STREAMS_MAX),
    }
    with System(services=["order", "stock"], web=True, workers=2, extra=extra) as running:
        yield running


class Shopper:
    """A browser of one user, with a connection of its own for each request, so that requests reach both workers."""

    def __init__(self, system: System, provider: Provider, kid: str, user_id: UUID | None = None) -> None:
        self.user_id = user_id or uuid4()
        self.token = provider.token(kid, sub=str(self.user_id), roles=["CUSTOMER"])
        self._url = system.urls["web"]
        self.cookies = httpx.Cookies()

    def __call__(self, method: str, path: str, **form: str) -> httpx.Response:
        """The answer to one request."""
        limits = httpx.Limits(max_keepalive_connections=0)
        with httpx.Client(base_url=self._url, cookies=self.cookies, limits=limits) as client:
            answer = client.request(method, path, data=form or None)
            self.cookies = client.cookies
        return answer

    def send(self, page: str, to: str, **form: str) -> httpx.Response:
        """Send a form with the token of a page."""
        return self("POST", to, csrf=self.field(page, "csrf"), **form)

    def field(self, page: str, name: str) -> str:
        found = re.search(rf'name="{name}" value="([^"]+)"', self("GET", page).text)
        assert found, page
        return found[1]

    def sign_in(self) -> "Shopper":
        assert self.send("/sign-in", "/sign-in", then="/orders", token=self.token).status_code == 303
        return self

    def order(self, product: str) -> str:
        """Order a product; returns the path of the order's page."""
        self.send(f"/products/{product}", "/cart/add", product=product, pieces="1")
        return self.checkout().headers["location"]

    def checkout(self) -> httpx.Response:
        answer = self(
            "POST", "/checkout", csrf=self.field("/checkout", "csrf"), draft=self.field("/checkout", "draft"), **ADDRESS
        )
        assert answer.status_code == 303, answer.text
        return answer

    @contextlib.contextmanager
    def stream(self, order: str) -> Iterator[httpx.Response]:
        """An open stream of an order, on a connection of its own."""
        with (
            httpx.Client(base_url=self._url, cookies=self.cookies, timeout=LIMIT_S) as client,
            client.stream("GET", f"{order}/stream") as answer,
        ):
            yield answer


@pytest.fixture(scope="module")
def product(system: System, provider: Provider) -> str:
    headers = {"Authorization": f"Bearer {provider.token('rsa', roles=['OPERATOR'])}"}
    body = {"name": "a cup", "price": 5_000, "quantity": 1_000}
    added = httpx.post(f"{system.urls['stock']}/api/v1/products", json=body, headers=headers)
    assert added.status_code == 201, added.text
    product_id = str(added.json()["productId"])
    until_order_knows_the_price(system, product_id)
    return product_id


@pytest.fixture
def shopper(system: System, provider: Provider) -> Callable[..., Shopper]:
    def made(kid: str = "rsa") -> Shopper:
        return Shopper(system, provider, kid).sign_in()

    return made


@pytest.mark.parametrize("kid", ["rsa", "curve"])
def test_a_token_of_the_identity_provider_signs_in_at_every_worker(shopper: Callable[..., Shopper], kid: str) -> None:
    one = shopper(kid)
    assert {one("GET", "/orders").status_code for _ in range(12)} == {200}


def test_a_token_of_no_key_of_the_provider_does_not_sign_in(system: System, provider: Provider) -> None:
    with serving() as stranger:
        stranger.new_key("rsa")
        one = Shopper(system, stranger, "rsa")
        assert one.send("/sign-in", "/sign-in", then="/orders", token=one.token).status_code == 400
        provider.new_key("later")
        time.sleep(AGAIN_S)  # the keys were fetched for the token before, and are not fetched twice in this time
        assert Shopper(system, provider, "later").sign_in()("GET", "/orders").status_code == 200


def test_streams_of_both_workers_tell_what_happens(
    system: System, shopper: Callable[..., Shopper], product: str
) -> None:
    one = shopper()
    order = one.order(product)
    with contextlib.ExitStack() as open_streams:
        streams = [open_streams.enter_context(one.stream(order)) for _ in range(OWN_STREAMS_MAX)]
        opened = [each for each in streams if each.status_code == 200]
        # Five connections are at one worker once in sixteen times; then the rest is opened until the other one has some, too.
        for _ in range(40):
            if len(_workers_with_streams(system)) == 2:
                break
            with contextlib.suppress(httpx.HTTPError):
                another = open_streams.enter_context(one.stream(order))
                opened += [another] if another.status_code == 200 else []
        assert len(_workers_with_streams(system)) == 2
        told: list[str] = []
        reading = [threading.Thread(target=lambda each=each: told.append(_until_end(each))) for each in opened]
        for each in reading:
            each.start()
        assert one.send(order, f"{order}/cancel").status_code == 303
        for each in reading:
            each.join(LIMIT_S)
        assert len(told) == len(opened) and all("This order is cancelled" in each for each in told)


def test_too_many_streams_of_one_user_are_429_and_of_all_users_503(
    system: System, shopper: Callable[..., Shopper], product: str
) -> None:
    one, other = shopper(), shopper()
    orders = one.order(product), other.order(product)
    with contextlib.ExitStack() as open_streams:
        own = [open_streams.enter_context(one.stream(orders[0])) for _ in range(2 * OWN_STREAMS_MAX + 1)]
        refused = [each for each in own if each.status_code != 200]
        assert refused and {each.status_code for each in refused} == {429}
        assert all(int(each.headers["retry-after"]) > 0 for each in refused)
        codes = {open_streams.enter_context(other.stream(orders[1])).status_code for _ in range(2 * STREAMS_MAX)}
        assert codes == {200, 429, 503} or codes == {200, 503}


def test_a_cart_that_may_have_been_ordered_long_ago_is_not_ordered_again_unasked(
    shopper: Callable[..., Shopper], product: str
) -> None:
    """The answer to its order was lost: the browser has the cart still, and the key of that order is forgotten."""
    one = shopper()
    order = one.order(product)
    left = Cart(pieces={UUID(product): 1}, offered_at=int(time.time()) - 13 * 3_600)

    def leave() -> None:
        one.cookies.set(CART, Signer(SECRET.encode()).sign(CART, left), domain="127.0.0.1")

    leave()
    asked = one("GET", "/checkout").text
    assert "Did you order this already?" in asked and order in asked and 'name="draft"' not in asked
    assert one.send("/checkout", "/checkout/again", again="no").headers["location"] == "/orders"
    assert one("GET", "/orders").text.count("/orders/0") == 1 and not one.cookies.get(CART)
    leave()
    assert one.send("/checkout", "/checkout/again", again="yes").headers["location"] == "/checkout"
    assert one.checkout().headers["location"] != order


def test_a_cart_that_nothing_was_ordered_since_is_ordered_after_days(
    shopper: Callable[..., Shopper], product: str
) -> None:
    one = shopper()
    left = Cart(pieces={UUID(product): 1}, offered_at=int(time.time()) - 50 * 3_600)
    one.cookies.set(CART, Signer(SECRET.encode()).sign(CART, left), domain="127.0.0.1")
    assert one.checkout().headers["location"].startswith("/orders/")


def test_an_open_page_is_told_soon_though_kafka_has_died_and_come_back(
    system: System, shopper: Callable[..., Shopper], product: str
) -> None:
    one = shopper()
    first, second = one.order(product), one.order(product)
    with one.stream(first) as at_once, one.stream(second) as later:
        told: list[str] = []
        texts: list[str] = []

        def read(name: str, stream: httpx.Response) -> None:
            texts.append(_until_end(stream))
            told.append(name)

        reading = [threading.Thread(target=read, args=each) for each in (("first", at_once), ("second", later))]
        for each in reading:
            each.start()
        system.stack.kafka.kill()
        try:
            assert one.send(first, f"{first}/cancel").status_code == 303
            reading[0].join(LIMIT_S)
            assert told == ["first"]
            _wait_for_alarm(system, "Kafka")
        finally:
            system.stack.kafka.start()
        assert one.send(second, f"{second}/cancel").status_code == 303
        reading[1].join(LIMIT_S)
        assert all("This order is cancelled" in each for each in texts) and len(texts) == 2


def _wait_for_alarm(system: System, word: str) -> None:
    """Wait until a worker's alarms have a word: Kafka's death is noticed by the next look, not at once."""
    end_s = time.monotonic() + LIMIT_S
    alarms: list[dict[str, Any]] = []
    while time.monotonic() < end_s:
        alarms = httpx.get(f"{system.urls['web']}/health/status").json()["alarms"]
        if any(word in each["what"] for each in alarms):
            return
        time.sleep(0.1)
    raise AssertionError(alarms)


def _until_end(stream: httpx.Response) -> str:
    """What a stream says until it ends."""
    return "".join(stream.iter_text())


def _workers_with_streams(system: System) -> set[int]:
    """The workers of the web process that hold a connection."""
    port = httpx.URL(system.urls["web"]).port
    found: set[int] = set()
    for each in psutil.process_iter(["cmdline"]):
        command = each.info["cmdline"] or []
        if "web" in command and "--share-port" in command:
            with contextlib.suppress(psutil.Error):
                held = [c for c in each.net_connections("tcp") if c.laddr.port == port and c.status == "ESTABLISHED"]
                found |= {each.pid} if held else set()
    return found
