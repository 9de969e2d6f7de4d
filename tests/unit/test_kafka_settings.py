"""Settings of the connections to Kafka: what librdkafka gets of them, what is refused, and what nobody sees."""

from pathlib import Path

import pytest
from confluent_kafka import Consumer

from ordersaga.cli.settings import shown
from ordersaga.messaging.kafka.client import client_config
from ordersaga.settings import Settings, WrongSettings

SASL = {"KAFKA_SECURITY_PROTOCOL": "SASL_SSL"}
PASSWORD = {"KAFKA_SASL_MECHANISM": "SCRAM-SHA-512", "KAFKA_SASL_USERNAME": "u", "KAFKA_SASL_PASSWORD": "p"}
TOKENS = {
    "KAFKA_SASL_MECHANISM": "OAUTHBEARER",
    "KAFKA_OAUTH_TOKEN_URL": "https://idp.example/token",
    "KAFKA_OAUTH_CLIENT_ID": "ordersaga-order",
    "KAFKA_OAUTH_CLIENT_SECRET": "a5ecret",
}


def settings(given: dict[str, str]) -> Settings:
    return Settings.of({f"ORDERSAGA_{name}": value for name, value in given.items()})


def test_any_option_of_librdkafka_is_passed_on_by_its_name() -> None:
    given = settings({"KAFKA_OPTIONS": '{"socket.keepalive.enable": true, "linger.ms": 5, "fetch.min.bytes": "2"}'})
    config = client_config(given, {"group.id": "g", "linger.ms": 0})
    assert config["socket.keepalive.enable"] == "true" and config["linger.ms"] == "5"  # over our own
    Consumer(config).close()  # librdkafka takes them, also those of producers


@pytest.mark.parametrize(
    "option, instead",
    [
        ("sasl.password", "set ORDERSAGA_KAFKA_SASL_PASSWORD instead"),
        ("metadata.broker.list", "set ORDERSAGA_KAFKA_BOOTSTRAP_SERVERS instead"),
        ("enable.idempotence", "relies on"),
        ("auto.commit.enable", "relies on"),
        ("isolation.level", "relies on"),
        ("error_cb", "no option of librdkafka"),
        ("Linger", "no option of librdkafka"),
    ],
)
def test_an_option_that_would_break_a_promise_is_refused(option: str, instead: str) -> None:
    with pytest.raises(WrongSettings, match=f"ORDERSAGA_KAFKA_OPTIONS: .*{instead}") as refused:
        settings({"KAFKA_OPTIONS": f'{{"{option}": "pa55word"}}'})
    assert "pa55word" not in str(refused.value)


def test_options_that_are_secrets_are_masked_and_others_are_shown() -> None:
    given = settings({"KAFKA_OPTIONS": '{"ssl.key.pem": "-----PRIVATE", "linger.ms": 5}'})
    assert "PRIVATE" not in shown(given.kafka_options) and '"linger.ms": "5"' in shown(given.kafka_options)
    assert "-----PRIVATE" in given.secrets() and "5" not in given.secrets()
    assert "PRIVATE" not in repr(given)


def test_tokens_are_fetched_by_librdkafka_itself(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("a5ecret\n")
    from_file = {name: value for name, value in TOKENS.items() if not name.endswith("SECRET")}
    given = settings(SASL | from_file | {"KAFKA_OAUTH_CLIENT_SECRET_FILE": str(tmp_path / "secret")})
    config = client_config(given)
    assert config["sasl.oauthbearer.method"] == "oidc" and config["sasl.oauthbearer.client.secret"] == "a5ecret"
    Consumer(config | {"group.id": "g"}).close()
    assert "a5ecret" in given.secrets() and "a5ecret" not in shown(given.kafka_oauth_client_secret)


def test_other_ways_to_tokens_are_options() -> None:
    by_options = {"KAFKA_SASL_MECHANISM": "OAUTHBEARER", "KAFKA_OPTIONS": '{"sasl.oauthbearer.method": "default"}'}
    settings(SASL | by_options)


@pytest.mark.parametrize(
    "given, said",
    [
        (SASL | TOKENS | {"KAFKA_SASL_PASSWORD": "p"}, "KAFKA_SASL_PASSWORD is set and has no effect"),
        (SASL | PASSWORD | {"KAFKA_OAUTH_SCOPE": "kafka"}, "KAFKA_OAUTH_SCOPE is set and has no effect"),
        (SASL | {"KAFKA_SASL_MECHANISM": "OAUTHBEARER"}, "KAFKA_OAUTH_TOKEN_URL, .* must be set too"),
        (TOKENS, "KAFKA_SECURITY_PROTOCOL must be SASL_SSL"),
        ({"KAFKA_SSL_CERTIFICATE_LOCATION": __file__}, "KAFKA_SECURITY_PROTOCOL must be SSL"),
        ({"KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_SSL_CERTIFICATE_LOCATION": __file__}, "set ORDERSAGA_KAFKA_SSL_KEY"),
        ({"KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_SSL_KEY_PASSWORD": "p"}, "set ORDERSAGA_KAFKA_SSL_CERTIFICATE_LOC"),
    ],
)
def test_what_is_missing_or_without_effect_is_named(given: dict[str, str], said: str) -> None:
    with pytest.raises(WrongSettings, match=said):
        settings(given)
