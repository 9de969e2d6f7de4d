"""How every service speaks HTTP: methods, media types, headers of every answer, all errors of a body at once, and what operators alone see."""

import contextvars
import re
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import psutil
import pytest

from ordersaga.http.limits import Streams
from ordersaga.http.server import Face, application, serve
from ordersaga.messaging.errors import CannotStart
from ordersaga.settings import Settings
from tests.integration.http_server import Well, routes, running
from tests.integration.test_http_limits import Server, process_of, started

PROBLEM = "application/problem+json"


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with started() as one:
        yield one


@pytest.fixture
async def client(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    async with server.client() as one:
        yield one


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/open"),
        ("GET", "/nowhere"),
        ("PUT", "/open"),
        ("POST", "/sum"),
        ("GET", "/schema"),
        ("GET", "/metrics"),
    ],
)
async def test_every_answer_forbids_guessing_and_keeping(client: httpx.AsyncClient, method: str, path: str) -> None:
    answer = await client.request(method, path)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"


async def test_a_stream_forbids_guessing_and_keeping_too(client: httpx.AsyncClient) -> None:
    async with client.stream("GET", "/stream") as answer:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "no-store" in answer.headers["cache-control"]


@pytest.mark.parametrize(
    "path", ["/open", "/large?wantedBytes=100000", "/stream", "/health/live", "/schema", "/nowhere"]
)
async def test_head_is_answered_as_get_is_and_has_no_body(client: httpx.AsyncClient, path: str) -> None:
    head = await client.head(path)
    async with client.stream("GET", path) as wanted:
        assert (head.status_code, head.content) == (wanted.status_code, b"")
        assert head.headers["content-type"] == wanted.headers["content-type"]
        assert head.headers.get("content-length") == wanted.headers.get("content-length")
    assert (await client.get("/open")).status_code == 200  # on the same connection


async def test_a_wrong_method_is_told_the_right_ones(client: httpx.AsyncClient) -> None:
    for method, path, allowed in (
        ("DELETE", "/open", "GET, HEAD, OPTIONS"),
        ("TRACE", "/open", "GET, HEAD, OPTIONS"),
        ("GET", "/sum", "OPTIONS, POST"),
        ("HEAD", "/sum", "OPTIONS, POST"),
        ("PUT", "/seen", "GET, HEAD, OPTIONS, POST"),
        ("POST", "/health/live", "GET, HEAD, OPTIONS"),
    ):
        refused = await client.request(method, path)
        assert (refused.status_code, refused.headers["content-type"]) == (405, PROBLEM)
        assert refused.headers["allow"] == allowed
        options = await client.options(path)
        assert (options.status_code, options.headers["allow"]) == (204, allowed)


async def test_operators_cannot_share_the_port_of_the_api() -> None:
    app, port = application("test", routes(Streams(1, 1)), Well(), running), free_port()
    with pytest.raises(CannotStart, match="ORDERSAGA_OPERATIONS_PORT"):
        await serve([Face(app, port, port, contextvars.copy_context())], Settings())


async def test_metrics_name_their_character_set_once(client: httpx.AsyncClient) -> None:
    assert (await client.get("/metrics")).headers["content-type"].count("charset") == 1


@pytest.mark.parametrize("path", ["/nowhere", "/open/more", "/schema/nowhere", "/%00", "//", "/..%2f", "/open%ff"])
async def test_an_unknown_path_is_a_problem(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (404, PROBLEM)


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("application/json", 200),
        ("application/json; charset=utf-8", 200),
        ("Application/JSON;charset=UTF-8", 200),
        ("application/json; charset=latin-1", 415),
        ("application/json; profile=x", 415),
        ("application/problem+json", 415),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("", 415),
        (None, 415),
    ],
)
async def test_a_body_must_be_said_to_be_json(client: httpx.AsyncClient, kind: str | None, status: int) -> None:
    headers = {} if kind is None else {"Content-Type": kind}
    answer = await client.post("/sum", content=b'{"a":1}', headers=headers)
    assert answer.status_code == status
    assert status == 200 or answer.headers["content-type"] == PROBLEM


@pytest.mark.parametrize("value", ["0", "-1", "x", "²", "9" * 30, "1.5", ""])
async def test_a_bad_parameter_is_named_with_a_code(client: httpx.AsyncClient, value: str) -> None:
    answer = await client.get("/large", params={"wantedBytes": value})
    assert (answer.status_code, answer.headers["content-type"]) == (400, PROBLEM)
    (error,) = answer.json()["errors"]
    assert error["field"] == "wantedBytes" and error["message"]
    assert error["code"] in ("too_small", "too_large", "type")


async def test_the_schema_page_loads_nothing(client: httpx.AsyncClient) -> None:
    page = await client.get("/schema")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert not re.search(r"<script|<link|<img|<iframe|@import|url\(|https?://", page.text)
    document = await client.get("/schema/openapi.json")
    assert document.json()["paths"].keys() >= {"/sum", "/open"}
    for path in document.json()["paths"]:
        assert path in page.text


async def test_what_is_for_operators_has_a_port_of_its_own_where_set() -> None:
    operations = free_port()
    with started(OPERATIONS_PORT=str(operations)) as server:
        async with server.client() as public, httpx.AsyncClient(base_url=f"http://127.0.0.1:{operations}") as inside:
            for path in ("/metrics", "/schema", "/schema/openapi.json", "/health/status", "//metrics", "/metrics/"):
                hidden = await public.get(path)
                assert (hidden.status_code, hidden.headers["content-type"]) == (404, PROBLEM)
            for path in ("/metrics", "/schema", "/schema/openapi.json", "/health/status"):
                assert (await inside.get(path)).status_code == 200
            for path in ("/health/live", "/health/ready"):
                assert (await public.get(path)).json() == {"status": "UP"}
                assert (await public.head(path)).status_code == 200
                assert "problems" in (await inside.get(path)).json()
            assert (await public.get("/open")).json() == 0


@pytest.mark.parametrize("any_free", ["public", "operators'", "both"])
def test_operators_paths_are_on_their_port_alone_where_a_port_is_any_free_one(any_free: str) -> None:
    port = free_port() if any_free == "operators'" else 0
    operations = free_port() if any_free == "public" else 0
    with process_of(port, OPERATIONS_PORT=str(operations)) as process:
        found = _two_ports(process)
        statuses = {each: httpx.get(f"http://127.0.0.1:{each}/metrics").status_code for each in found}
        assert sorted(statuses.values()) == [200, 404]
        assert statuses.get(port, 404) == 404
        assert statuses.get(operations, 200) == 200
        for each in found:
            assert httpx.get(f"http://127.0.0.1:{each}/open").json() == 0


def _two_ports(process: "subprocess.Popen[bytes]") -> list[int]:
    """The ports on which a process listens, once there are two."""
    end = time.monotonic() + 30
    while True:
        of_process = psutil.Process(process.pid).net_connections("inet")
        ports = [each.laddr.port for each in of_process if each.status == psutil.CONN_LISTEN]
        if len(ports) == 2:
            return ports
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.05)


async def test_all_wrong_fields_are_named_at_once(client: httpx.AsyncClient) -> None:
    answer = await client.post("/sum", json={"a": "x", "b": 1, "c": None})
    found: list[dict[str, Any]] = answer.json()["errors"]
    assert answer.status_code == 400
    assert found
