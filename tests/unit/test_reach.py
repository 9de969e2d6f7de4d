"""Whether Kafka's refusal lasts: an identity provider that is away, which the client calls a refusal as well, may come back."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from ordersaga.messaging.kafka import why_refused
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
