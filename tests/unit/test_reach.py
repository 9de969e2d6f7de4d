"""Whether Kafka's refusal lasts: an identity provider that is away, which the client calls a refusal as well, may come back; a certificate that is
not trusted, which the client may call a broken connection, does not become so."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from ordersaga.messaging.kafka import reach, why_refused
from ordersaga.messaging.kafka.reach import why_unreachable
from ordersaga.settings import Settings


@contextmanager
def provider(status: int, body: bytes) -> Iterator[str]:
    """An identity provider that answers each request alike."""

    class Answers(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/token"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def asking(token_url: str) -> Settings:
    return Settings.of(
        {
            "ORDERSAGA_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
            "ORDERSAGA_KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
            "ORDERSAGA_KAFKA_SASL_MECHANISM": "OAUTHBEARER",
            "ORDERSAGA_KAFKA_OAUTH_TOKEN_URL": token_url,
            "ORDERSAGA_KAFKA_OAUTH_CLIENT_ID": "ordersaga-order",
            "ORDERSAGA_KAFKA_OAUTH_CLIENT_SECRET": "wrong secret",
        }
    )


def test_a_provider_that_is_away_is_no_refusal() -> None:
    settings = asking("http://127.0.0.1:1/token")
    assert "OAUTHBEARER token" in (why_unreachable(settings, 30) or ""), "the client says why"
    assert why_refused(settings, 30) is None


@pytest.mark.parametrize(
    ("status", "body", "lasts"),
    [
        (401, b'{"error": "invalid_client", "error_description": "no such client"}', True),
        (404, b"", False),
    ],
    ids=["refuses", "no route yet"],
)
def test_a_provider_that_refuses_us_is_one(status: int, body: bytes, lasts: bool) -> None:
    with provider(status, body) as url:
        why = why_refused(asking(url), 30)
    assert ("no such client" in (why or "")) is lasts


class Unanswered:
    """A client of librdkafka that reaches nobody."""

    said = ""

    def __init__(self, config: dict[str, Any]) -> None:
        self._tell = config["error_cb"]

    def list_topics(self, timeout: float) -> None:
        raise KafkaException(KafkaError(KafkaError._TRANSPORT, "no answer"))

    def poll(self, _timeout: float) -> None:
        text = f"ssl://broker:9092/bootstrap: {self.said} (after 4ms in state SSL_HANDSHAKE)"
        self._tell(KafkaError(KafkaError._TRANSPORT, text))
        self._tell(KafkaError(KafkaError._ALL_BROKERS_DOWN, "1/1 brokers are down"))


@pytest.mark.parametrize(
    ("said", "lasts"),
    [
        ("error:0A000086:SSL routines::certificate verify failed", True),
        ("Receive failed: error:0A00045C:SSL routines::tlsv13 alert certificate required: SSL alert number 116", True),
        ("error:0A000126:SSL routines::unexpected eof while reading", False),
        ("Connect to ipv4#127.0.0.1:9092 failed: Connection refused", False),
    ],
    ids=["broker not trusted", "no certificate", "restarts", "away"],
)
def test_a_broken_connection_lasts_if_tls_has_refused(monkeypatch: pytest.MonkeyPatch, said: str, lasts: bool) -> None:
    """librdkafka gives the code of a broken connection to all of these, to the first by chance."""
    monkeypatch.setattr(reach, "AdminClient", Unanswered)
    monkeypatch.setattr(Unanswered, "said", said)
    assert why_refused(Settings()) == (said if lasts else None)
    assert why_unreachable(Settings()) == said
