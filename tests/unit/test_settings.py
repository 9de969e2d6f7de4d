"""A setting that cannot work is refused at start: in a sentence, with the name of its variable, without its secret."""

import os
from pathlib import Path

import pytest

from ordersaga.settings import Settings, WrongSettings

WRONG = {
    "START_AT": ["", "yesterday", "group:", "group: ", "groups:old", "2026-11-24T09:30:00", "2026-13-01T00:00:00Z"],
    "TYPE_IDS": ["nonsense", "[]", '{"order-made": "x"}', '{"order-created": ""}', '"order-created"'],
    "IDEMPOTENT_PARTNERS": ["stock", '["warehouse"]', '["order"]', "{}"],
    "KAFKA_BOOTSTRAP_SERVERS": ["", "kafka", "kafka:", "kafka:0", "kafka:70000", "kafka:9092,", "http://kafka"],
    "KAFKA_SECURITY_PROTOCOL": ["TLS", "sasl_ssl"],
    "KAFKA_SASL_MECHANISM": ["SCRAM", "GSSAPI"],
    "KAFKA_SSL_CA_LOCATION": ["/no/such/file.pem", "/"],
    "KAFKA_SESSION_TIMEOUT_MS": ["5999", "300001", "8s"],
    "TOPIC_PARTITIONS": ["0", "-1"],
    "TOPIC_REPLICATION_FACTOR": ["-2"],
    "ORDER_GROUP": ["", "my group", "x" * 250, "ordersaga-stock"],
    "ORDER_DATABASE_URL": [
        "",
        "jdbc:postgresql://u:pa55word@db/orders",
        "mysql://u:pa55word@db/orders",
        "db:5432/orders",
        "postgresql://u:pa55word@db",
        "postgresql://u:pa55word@db:port/orders",
        "postgresql://u:pa55word@db:99999/orders",
        "postgresql://u:pa55word@x@db/orders",
        "postgresql://u:pa55word#1@db/orders",
        "postgresql://u:pa55word 1@db/orders",
        "postgresql://u:pa55word/1@db/orders",
        "postgresql://u:pa55word@db/orders?dbname=stock",
        "postgresql://u@db/orders?user=pa55word",
        "postgresql://db:5432/orders?host=pa55word",
        "postgresql://db:5432/orders?port=5433",
        "postgresql://db/orders?sslmode=require&sslmode=disable",
        "postgresql://postgres@127.0.0.1:5432/ordersaga_stock",
    ],
    "DATABASE_CONNECTIONS_MAX": ["3", "-8"],
    "LOCK_TIMEOUT_MS": ["0", "30000", "99999999999"],
    "STATEMENT_TIMEOUT_MS": ["0", "5000"],
    "IDLE_IN_TRANSACTION_TIMEOUT_MS": ["0", "-1", "99999999999"],
    "OUTBOX_ADOPT_AFTER_MS": ["0", "60000"],
    "OUTBOX_LAG_ALARM_S": ["0", "-1", "nan", "inf", "5"],
    "GATHER_TRANSACTIONS_MAX": ["0", "8"],
    "STOP_SHARE": ["0", "1", "nan"],
    "HISTORY_KEPT_DAYS": ["0", "99999999999"],
    "DEAD_LETTERS_KEPT_DAYS": ["0", "99999999999"],
    "IDEMPOTENCY_KEY_KEPT_HOURS": ["0", "99999999999"],
    "PAYMENT_DEADLINE_S": ["0", "99999999999"],
    "HTTP_PORT": ["-1", "65536", "http"],
    "JWT_JWKS_URL": ["", "keys.example", "ftp://keys", "file:///etc/passwd"],
    "JWT_ALGORITHMS": ["[]", '["none"]', "RS256"],
    "GATEWAY_URL": ["", "gateway", "ftp://u:pa55word@gateway", "http://"],
    "GATEWAY_SECRET_KEY": [""],
    "SANDBOX_WEBHOOK_URL": ["payment:8083"],
    "UNDELIVERABLE_ZIPCODES": ["63", '[""]'],
    "LOG_LEVEL": ["loud"],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_a_setting_that_cannot_work_is_refused_by_its_name(name: str, value: str) -> None:
    with pytest.raises(WrongSettings) as refused:
        Settings.of({f"ORDERSAGA_{name}": value})
    said = str(refused.value)
    assert f"ORDERSAGA_{name}" in said
    assert "pa55word" not in said and "pydantic" not in said and "\n" not in said


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("START_AT", "latest"),
        ("START_AT", "group:order-group"),
        ("START_AT", "2026-11-24T09:30:00Z"),
        ("START_AT", "2026-11-24T09:30:00+09:00"),
        ("TYPE_IDS", '{"order-created": "com.example.Request"}'),
        ("IDEMPOTENT_PARTNERS", "[]"),
        ("KAFKA_BOOTSTRAP_SERVERS", "kafka-1:9092, kafka-2:9092,[::1]:9092"),
        ("ORDER_DATABASE_URL", "postgres://u:p%40ss@one:5432,two:5433/orders?target_session_attrs=read-write"),
        ("ORDER_DATABASE_URL", "postgresql:///orders?host=/var/run/postgresql"),
        ("ORDER_DATABASE_URL", "postgresql://u@[::1]:5432/orders"),
        ("ORDER_DATABASE_URL", "postgresql://db?dbname=orders&user=u"),
        ("GATEWAY_URL", "https://api.tosspayments.com"),
        ("HTTP_PORT", "0"),
    ],
)
def test_a_setting_that_can_work_is_taken(name: str, value: str) -> None:
    Settings.of({f"ORDERSAGA_{name}": value})


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(WrongSettings, match=r"ORDERSAGA_TYPE_IDS.*ORDERSAGA_HTTP_PORT"):
        Settings.of({"ORDERSAGA_HTTP_PORT": "x", "ORDERSAGA_TYPE_IDS": "x"})


SASL = {"KAFKA_SASL_MECHANISM": "PLAIN", "KAFKA_SASL_USERNAME": "u", "KAFKA_SASL_PASSWORD": "p"}


@pytest.mark.parametrize("missing", SASL)
def test_sasl_is_wanted_whole(missing: str) -> None:
    given = {name: value for name, value in SASL.items() if name != missing} | {"KAFKA_SECURITY_PROTOCOL": "SASL_SSL"}
    with pytest.raises(WrongSettings, match=f"ORDERSAGA_{missing} must be set too"):
        Settings.of({f"ORDERSAGA_{name}": value for name, value in given.items()})


def test_a_password_for_kafka_is_not_left_unused_without_a_word() -> None:
    with pytest.raises(WrongSettings, match="ORDERSAGA_KAFKA_SECURITY_PROTOCOL must be SASL_SSL or SASL_PLAINTEXT"):
        Settings.of({f"ORDERSAGA_{name}": value for name, value in SASL.items()})


def test_settings_of_an_environment_are_of_that_one_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "ORDERSAGA_ORDER_GROUP", "mine")
    assert Settings.of({}).order_group == "ordersaga-order"
    assert Settings().order_group == "mine"


def test_a_secret_may_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("test_sk_file\n")
    settings = Settings.of({"ORDERSAGA_GATEWAY_SECRET_KEY_FILE": str(tmp_path / "key")})
    assert settings.gateway_secret_key.get_secret_value() == "test_sk_file"
    both = {"ORDERSAGA_JWT_KEY": "k", "ORDERSAGA_JWT_KEY_FILE": str(tmp_path / "key")}
    for wrong in ({"ORDERSAGA_JWT_KEY_FILE": str(tmp_path / "none")}, {"ORDERSAGA_JWT_KEY_FILE": str(tmp_path)}, both):
        with pytest.raises(WrongSettings, match="ORDERSAGA_JWT_KEY_FILE"):
            Settings.of(wrong)


def test_payment_wants_orders_word_and_order_wants_prices_unless_a_foreign_partner_is_named() -> None:
    ours = Settings.of({})
    assert (ours.payable_required, ours.trust_client_total) == (True, False)
    theirs = Settings.of({"ORDERSAGA_FOREIGN_PARTNERS": '["order", "stock"]'})
    assert (theirs.payable_required, theirs.trust_client_total) == (False, True)
    with pytest.raises(WrongSettings, match=r"ORDERSAGA_FOREIGN_PARTNERS.*'java' is no service"):
        Settings.of({"ORDERSAGA_FOREIGN_PARTNERS": '["java"]'})


@pytest.mark.parametrize(("name", "value"), [("PAYABLE_REQUIRED", "false"), ("TRUST_CLIENT_TOTAL", "true")])
def test_a_variable_that_holds_no_more_is_refused_with_the_one_that_does(name: str, value: str) -> None:
    with pytest.raises(WrongSettings, match=rf"ORDERSAGA_{name}.*ORDERSAGA_FOREIGN_PARTNERS"):
        Settings.of({f"ORDERSAGA_{name}": value})


def test_compose_leaves_what_takes_money_at_its_safe_default() -> None:
    assert "FOREIGN_PARTNERS" not in (Path(__file__).parents[2] / "compose.yaml").read_text()


def test_migrate_has_a_url_of_its_own_only_to_the_same_database() -> None:
    running = {"ORDERSAGA_ORDER_DATABASE_URL": "postgresql://order@pooler:6432/orders"}
    given = Settings.of(running | {"ORDERSAGA_ORDER_MIGRATING_URL": "postgresql://owner:s3cret@db/orders"})
    assert given.migrating_url("order") == "postgresql://owner:s3cret@db/orders"
    assert given.migrating_url("stock") == given.database_url("stock")
    with pytest.raises(WrongSettings, match=r"ORDERSAGA_ORDER_MIGRATING_URL and .* must lead to one database"):
        Settings.of(running | {"ORDERSAGA_ORDER_MIGRATING_URL": "postgresql://owner@db/stock"})
    with pytest.raises(WrongSettings, match="ORDERSAGA_ORDER_DATABASE_URL must name its user"):
        Settings.of(
            {
                "ORDERSAGA_ORDER_DATABASE_URL": "postgresql://db/orders",
                "ORDERSAGA_ORDER_MIGRATING_URL": "postgresql://owner@db/orders",
            }
        )


def test_a_certificate_that_a_database_url_names_must_be_there() -> None:
    with pytest.raises(WrongSettings, match=r"ORDERSAGA_ORDER_DATABASE_URL: the file /no/such.pem cannot be read"):
        Settings.of({"ORDERSAGA_ORDER_DATABASE_URL": "postgresql://u@db/orders?sslrootcert=/no/such.pem"})
    Settings.of({"ORDERSAGA_ORDER_DATABASE_URL": "postgresql://u@db/orders?sslmode=verify-full&sslrootcert=system"})


def test_each_setting_says_what_it_is() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []
