"""A secret is shown nowhere: not where it stands in a URL, not as a library repeats it, not in a log line or its traceback."""

import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import uuid4

import pytest
import structlog
from litestar import Litestar
from litestar.testing import AsyncTestClient
from pydantic import SecretStr

from ordersaga import masking
from ordersaga.cli.settings import shown
from ordersaga.http.health import health
from ordersaga.http.problems import Problem, on_problem
from ordersaga.masking import masked, remember
from ordersaga.messaging.dead_letters import DeadLetter
from ordersaga.messaging.handler import Record
from ordersaga.messaging.health import Alarm, Health
from ordersaga.observability import log_to_stderr
from ordersaga.settings import Settings

SECRET = "s3cr3t-Pa55"
MASK = masking.MASK


@pytest.fixture(autouse=True)
def nothing_remembered() -> Iterator[None]:
    before = set(masking._remembered)
    masking._remembered.clear()
    yield
    masking._remembered.clear()
    masking._remembered.update(before)


@pytest.mark.parametrize(
    "text",
    [
        f"postgresql://shop:{SECRET}@db:5432/orders",
        f"postgres://shop:{SECRET}@db1:5432,db2:5433/orders?target_session_attrs=read-write",
        f"postgresql+psycopg://shop:{SECRET}@db/orders",
        f"jdbc:postgresql://shop:{SECRET}@db/orders",
        f"jdbc:postgresql://db/orders?user=shop&password={SECRET}",
        f"postgresql://db/orders?user=shop&password={SECRET}&sslmode=require",
        f"postgresql://db/orders?sslpassword={SECRET}",
        f"postgresql://db/orders?sslmode=require&passfile=/{SECRET}",
        f"postgresql://db/orders?pass%77ord={SECRET}",
        f"postgresql://shop:{SECRET}/with@an@and/@db/orders",
        f"postgresql://shop:it's\"{SECRET}@db/orders",
        f"https://shop:{SECRET}@gateway",
        f"https://{SECRET}:@gateway/v1",
        f"https://{SECRET}@gateway/v1",
        f"http://keys/jwks.json?api_key={SECRET}",
        f"http://keys/jwks.json?a=1&X-Amz-Signature={SECRET}&b=2",
        f"http://keys/jwks.json?a=1;access_token={SECRET}",
        f"http://shop/back#id_token={SECRET}",
        f"http://hook/in?sig={SECRET}",
        f"http://hook/in?client%5Fsecret={SECRET}",
        f'["https://a:{SECRET}@one","https://b:{SECRET}@two"]',
        f"invalid dsn: host=db password={SECRET} user=shop",
        f"host=db password='two words {SECRET}' user=shop",
        f"{{'user': 'shop', 'password': '{SECRET}'}}",
        f'{{"secret_key": "{SECRET}"}}',
        f"<CIMultiDict('Authorization': 'Basic {SECRET}')>",
        f"Authorization: Bearer {SECRET}",
        f"value=PostgresDsn('postgresql://shop:{SECRET}@db/orders') is not right",
    ],
)
def test_a_secret_is_masked_wherever_it_stands_in_a_url(text: str) -> None:
    assert SECRET not in masked(text)
    assert MASK in masked(text)
    assert masked(masked(text)) == masked(text)


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://shop@db:5432/orders?sslmode=require&target_session_attrs=any&application_name=x",
        "http://127.0.0.1:8085/v1/payments?orderId=1&limit=20",
        "kafka-1:9092,kafka-2:9092",
        'password authentication failed for user "shop"',
        "the key order-created/3 has no value",
        "is ORDERSAGA_ORDER_DATABASE_URL right?",
        "mail somebody@example.com about http://shop/orders",
    ],
)
def test_what_is_no_secret_stays_readable(text: str) -> None:
    assert masked(text) == text


def test_who_connects_where_stays_readable() -> None:
    assert masked(f"postgresql://shop:{SECRET}@db:5432/orders") == f"postgresql://shop:{MASK}@db:5432/orders"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (f"postgresql://shop:{SECRET}@db/orders", f'invalid port number: "{SECRET}"'),
        ("postgresql://shop:s3cr3t%2FPa55@db/orders", 'no password "s3cr3t/Pa55" in sight'),
        ("postgresql://shop:s3cr3t/Pa55@db/orders", 'invalid port number: "s3cr3t"'),
        (f"http://gateway?token={SECRET}", f"cannot use {SECRET}"),
    ],
)
def test_what_a_library_repeats_of_a_url_is_masked_without_its_url(url: str, said: str) -> None:
    remember([url])
    assert "s3cr3t" not in masked(said)


def test_a_key_is_masked_also_as_basic_authorization_and_percent_encoded() -> None:
    remember(["test_sk_Ab/9"])
    assert masked("dGVzdF9za19BYi85Og== test_sk_Ab%2F9 test_sk_Ab/9") == f"{MASK} {MASK} {MASK}"


def test_a_password_that_is_also_a_name_does_not_make_texts_unreadable() -> None:
    remember(["postgresql://postgres:postgres@postgres/ordersaga_order"])
    assert masked("the host postgres does not answer") == "the host postgres does not answer"


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_log_line_shows_no_secret_however_deep_it_stands(log_format: str, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"postgresql://shop:{SECRET}@db/orders"
    before = structlog.get_config()
    handlers = logging.getLogger().handlers[:]
    try:
        settings = Settings.model_validate({"log_format": log_format, "gateway_secret_key": "key-of-the-gateway"})
        log_to_stderr(settings, "order")
        log = structlog.get_logger()
        try:
            raise ValueError(f"cannot use {url}")
        except ValueError as error:
            log.error(f"at {url}", url=url, nested={"a": [url, (url.encode(),)]}, error=error, exc_info=error)
        log.warning("the gateway was given key-of-the-gateway", secret=SecretStr(SECRET))
        logging.getLogger("uvicorn.error").error("lost %s", url)
        said = capsys.readouterr().err
    finally:
        structlog.configure(**before)
        structlog.contextvars.clear_contextvars()
        logging.getLogger().handlers[:] = handlers
    assert SECRET not in said and "key-of-the-gateway" not in said
    assert said.count(MASK) >= 7 and "Traceback" in said
    if log_format == "json":
        assert [json.loads(line)["service"] for line in said.splitlines()] == ["order"] * 3


def test_settings_prints_no_secret_of_any_setting() -> None:
    settings = Settings.model_validate(
        {
            "order_database_url": f"postgresql://shop:{SECRET}@db/orders?sslpassword={SECRET}",
            "gateway_url": f"https://{SECRET}:@gateway",
            "jwt_jwks_url": f"https://keys/jwks.json?token={SECRET}",
            "sandbox_webhook_url": f"http://a:{SECRET}@hook",
            "gateway_secret_key": SECRET,
            "jwt_key": SECRET,
        }
    )
    assert not [name for name in Settings.model_fields if SECRET in shown(getattr(settings, name))]


class Troubled:
    """A process whose troubles repeat what a driver said."""

    said = f"cannot use https://u:{SECRET}@somewhere"

    async def health(self) -> Health:
        return Health([self.said], [Alarm("a", "b", self.said, self.said, datetime.now(UTC), 1)])

    def dead(self) -> list[str]:
        return [self.said]


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/health/status"])
async def test_no_health_text_shows_a_secret(path: str) -> None:
    async with AsyncTestClient(Litestar(health("order", Troubled()), logging_config=None)) as client:
        said = (await client.get(path)).text
    assert SECRET not in said and MASK in said


def test_no_problem_over_http_shows_a_secret() -> None:
    answer = on_problem(None, Problem(503, "The keys are away", Troubled.said))  # type: ignore[arg-type]
    assert SECRET.encode() not in answer.content and MASK.encode() in answer.content


def test_no_dead_letter_tells_a_secret_to_partners() -> None:
    record = Record("order-created", 0, 1, b"k", b"v", None, 0)
    letter = DeadLetter(uuid4(), "", "", record, "ValueError", Troubled.said, 1)
    assert SECRET not in str(letter.headers("group")) and MASK in str(letter.headers("group"))
