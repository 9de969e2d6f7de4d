"""Limits that would break a promise together are refused at start, with a sentence that says which one to change."""

import re
from pathlib import Path

import pytest

from ordersaga import settings_pairs as pairs
from ordersaga.cli import supervisor
from ordersaga.http import server as http_server
from ordersaga.messaging import bad_deployment, gather, loops, runtime
from ordersaga.messaging.database import OVER_STATEMENT_TIMEOUT_S
from ordersaga.messaging.kafka import consumer
from ordersaga.order import deadlines
from ordersaga.order import resources as order_resources
from ordersaga.payment import app as payment_app
from ordersaga.settings import SERVICES, Settings, WrongSettings

SOURCE = Path(__file__).parents[2] / "src" / "ordersaga"
SESSION_MS_MIN = 6_000
MAX_POLL_INTERVAL_S = 300.0
"""librdkafka's default of `max.poll.interval.ms`: a consumer that does not poll for so long leaves its group."""

REFUSED = [
    ({"WEB_SIGN_IN": "demo", "JWT_KEY": "a key"}, "WEB_SIGN_IN is demo.*MASTER.*ORDERSAGA_JWT_KEY says.*token"),
    (
        {"WEB_SIGN_IN": "demo", "JWT_JWKS_URL": "https://keys.example"},
        "WEB_SIGN_IN is demo.*ORDERSAGA_JWT_JWKS_URL says.*token",
    ),
    ({"WEB_SIGN_IN": "demo"}, "WEB_SIGN_IN is demo.*set it to token; for a demo set ORDERSAGA_DEVELOPMENT=true"),
    ({"CONSUMER_FAULTS": "true"}, "CONSUMER_FAULTS is for development: unset it, or .*ORDERSAGA_DEVELOPMENT=true"),
    (
        {"TRUST_GATEWAY_HEADERS": "true"},
        "TRUST_GATEWAY_HEADERS is on.*MASTER.*set ORDERSAGA_TRUST_GATEWAY_ADDRESSES.* or ORDERSAGA_TRUST_GATEWAY_SECRET",
    ),
    ({"TRUST_GATEWAY_SECRET": "s" * 16}, "TRUST_GATEWAY_ADDRESSES and .* no effect without .*_HEADERS=true: set it"),
    (
        {"TRUST_GATEWAY_HEADERS": "true", "TRUST_GATEWAY_ADDRESSES": '["10.0.3.7/24"]'},
        "TRUST_GATEWAY_ADDRESSES: '10.0.3.7/24' is no range of addresses; write 10.0.3.0/24",
    ),
    ({"TRUST_GATEWAY_HEADERS": "true", "TRUST_GATEWAY_SECRET": "short"}, "TRUST_GATEWAY_SECRET: .*at least 16"),
    (
        {"LOCK_TIMEOUT_MS": "30000"},
        "LOCK_TIMEOUT_MS must be smaller than ORDERSAGA_STATEMENT_TIMEOUT_MS.*lower the first",
    ),
    (
        {"OUTBOX_LAG_ALARM_S": "5"},
        "OUTBOX_ADOPT_AFTER_MS must be smaller than ORDERSAGA_OUTBOX_LAG_ALARM_S.*raise the second",
    ),
    (
        {"DEAD_LETTERS_KEPT_DAYS": "365"},
        "DEAD_LETTERS_KEPT_DAYS must be smaller than ORDERSAGA_OPERATOR_ACTS_KEPT_DAYS.*raise the second",
    ),
    (
        {"IDLE_IN_TRANSACTION_TIMEOUT_MS": "8000"},
        "IDLE_IN_TRANSACTION_TIMEOUT_MS must be smaller than ORDERSAGA_KAFKA_SESSION_TIMEOUT_MS.*lower the first",
    ),
    (
        {"KAFKA_REQUEST_TIMEOUT_MS": "8000"},
        "KAFKA_REQUEST_TIMEOUT_MS must be smaller than ORDERSAGA_KAFKA_SESSION_TIMEOUT_MS.*lower the first",
    ),
    (
        {"BATCH_MAX": "10001", "IDLE_IN_TRANSACTION_TIMEOUT_MS": "7000"},
        "BATCH_MAX must not be more than 10000.*lower it",
    ),
    ({"GATHER_MAX": "10001"}, "GATHER_MAX must not be more than 10000.*lower it"),
    ({"STATEMENT_TIMEOUT_MS": "60000"}, "STATEMENT_TIMEOUT_MS must be smaller than 60000.*lower it"),
    ({"REQUEST_TIMEOUT_MS": "799"}, "REQUEST_TIMEOUT_MS must be at least 800.*raise it"),
    (
        {"IDLE_IN_TRANSACTION_TIMEOUT_MS": "999"},
        "IDLE_IN_TRANSACTION_TIMEOUT_MS must be at least ORDERSAGA_BATCH_MAX times 0.5.*raise the first, or lower the second",
    ),
    (
        {"STOCK_DEADLINE_S": "1", "STOCK_ASKS_MAX": "2"},
        "STOCK_DEADLINE_S, doubled with each of the 2 asks of ORDERSAGA_STOCK_ASKS_MAX.*raise the first",
    ),
    ({"DELIVERY_DEADLINE_S": "0.1"}, "DELIVERY_DEADLINE_S, doubled with each of the 5 asks of ORDERSAGA_ASKS_MAX"),
    ({"COMPENSATION_DEADLINE_S": "0.1"}, "COMPENSATION_DEADLINE_S, doubled with each of the 5 asks"),
    (
        {"GATHER_TRANSACTIONS_MAX": "2"},
        "DATABASE_CONNECTIONS_MAX must be more than 4 times ORDERSAGA_GATHER_TRANSACTIONS_MAX",
    ),
    (
        {"STOP_FAILURES_MIN": "2001"},
        "STOP_FAILURES_MIN must not be more than 100, or than ORDERSAGA_BATCH_MAX.*lower the first",
    ),
]
TAKEN = [
    {"DEVELOPMENT": "true", "TRUST_GATEWAY_HEADERS": "true", "WEB_SIGN_IN": "demo", "CONSUMER_FAULTS": "true"},
    {"TRUST_GATEWAY_HEADERS": "true", "TRUST_GATEWAY_ADDRESSES": '["10.0.3.7", "fd00::/8"]'},
    {"BATCH_MAX": "10000"},
    {"GATHER_TRANSACTIONS_MAX": "2", "DATABASE_CONNECTIONS_MAX": "9"},
    {"IDLE_IN_TRANSACTION_TIMEOUT_MS": "999", "BATCH_MAX": "1998"},
    {"STOP_FAILURES_MIN": "100", "BATCH_MAX": "1"},
    {"STOCK_DEADLINE_S": "1", "STOCK_ASKS_MAX": "3"},
    {"STATEMENT_TIMEOUT_MS": "59999"},
]


@pytest.mark.parametrize(
    ("variables", "said"), REFUSED, ids=lambda each: "-".join(each) if isinstance(each, dict) else ""
)
def test_limits_that_break_a_promise_together_are_refused(variables: dict[str, str], said: str) -> None:
    with pytest.raises(WrongSettings, match=f"ORDERSAGA_{said}"):
        Settings.of({f"ORDERSAGA_{name}": value for name, value in variables.items()})


LIVE = {"GATEWAY_URL": "https://api.tosspayments.com", "GATEWAY_SECRET_KEY": "live_sk_x"}
UNSAFE = [
    ("sandbox", {}, "leave it out"),
    ("payment", {}, "test key.*GATEWAY_SECRET_KEY_FILE.*unencrypted: set an https:// address"),
    ("payment", LIVE | {"GATEWAY_SECRET_KEY": "test_gsk_x"}, "GATEWAY_SECRET_KEY is a test key"),
    ("payment", LIVE | {"GATEWAY_URL": "http://10.0.0.1"}, "GATEWAY_URL is http://10.0.0.1"),
]


@pytest.mark.parametrize(("server", "variables", "said"), UNSAFE)
def test_what_is_for_development_is_not_served_elsewhere(server: str, variables: dict[str, str], said: str) -> None:
    given = {f"ORDERSAGA_{name}": value for name, value in variables.items()}
    why = Settings.of(given).unsafe_to_serve(server)
    assert why is not None and re.search(f"{said}.*for a demo set ORDERSAGA_DEVELOPMENT=true", why), why
    assert Settings.of(given | {"ORDERSAGA_DEVELOPMENT": "true"}).unsafe_to_serve(server) is None


@pytest.mark.parametrize("server", ["order", "stock", "payment", "delivery", "web", "audit"])
def test_with_a_live_gateway_all_servers_start_outside_development(server: str) -> None:
    assert Settings.of({f"ORDERSAGA_{name}": value for name, value in LIVE.items()}).unsafe_to_serve(server) is None


@pytest.mark.parametrize("variables", TAKEN, ids="-".join)
def test_limits_that_just_fit_are_taken(variables: dict[str, str]) -> None:
    Settings.of({f"ORDERSAGA_{name}": value for name, value in variables.items()})


def test_the_limits_that_are_copied_here_are_the_codes_own() -> None:
    schema = (SOURCE / "messaging" / "migrations" / "0001.runtime.sql").read_text()
    assert f"outbox_block INCREMENT BY {pairs.OUTBOX_BLOCK_IDS} " in schema
    assert order_resources.ITEMS_MAX == pairs.ORDER_LINES_MAX
    assert loops.LIMIT_S == pairs.LOOP_LIMIT_S
    assert gather.SET_LOCK_WAIT_MS == pairs.SET_LOCK_WAIT_MS
    assert bad_deployment.WINDOW_RECORDS == pairs.SUSPICION_RECORDS
    assert deadlines.BACKOFF_DOUBLINGS_MAX == pairs.DOUBLINGS_MAX
    kinds = [
        sum(len(re.findall(r"runtime\.gather\(", file.read_text())) for file in (SOURCE / service).glob("*.py"))
        for service in SERVICES
    ]
    assert max(kinds) == pairs.WRITES_OF_A_SERVICE_MAX


def test_limits_of_the_code_fit_each_other() -> None:
    Settings.of({"ORDERSAGA_KAFKA_SESSION_TIMEOUT_MS": str(SESSION_MS_MIN)})
    assert 3 * consumer.quiet_ms_of(SESSION_MS_MIN) <= SESSION_MS_MIN, "Kafka's advice: three heartbeats a session"
    assert runtime.LONG_LIMIT_S <= MAX_POLL_INTERVAL_S, "a turn is ended before its consumer leaves the group for it"
    assert loops.LIMIT_S + OVER_STATEMENT_TIMEOUT_S < runtime.LONG_LIMIT_S
    ends_within_s = http_server.DRAIN_S + payment_app.DRAIN_S + runtime.CONSUMING_ENDS_WITHIN_S
    assert ends_within_s < supervisor.STOP_WITHIN_S
