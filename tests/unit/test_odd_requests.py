"""Every operation of every OpenAPI document refuses, before it asks its database, what no caller should send, and its document says so."""

import importlib
import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any
from uuid import UUID

import httpx
import pytest

from ordersaga.settings import SERVICES, Settings

ID = str(UUID(int=5))
PARTS = {"topic": "order-created", "partition": "0", "offset": "0", "code": "x", "payment_key": "x"}
"""Parts of a path that are no id."""
MASTER = [("User-Id", ID), ("User-Roles", "MASTER")]
JSON = ("Content-Type", "application/json")
TWICE = ([*MASTER, ("User-Id", ID)], [*MASTER, ("User-Roles", "READER")], [("Authorization", "Bearer x")] * 2)
NO_JSON = (b"", b"{", b'{"reason":5', b'{"reason":5,"version":NaN}', b'{"reason":"\\ud800"}', b'{"reason":"\xff"}')
NESTED = b'{"reason":5,"x":' + b"[" * 5_000


@cache
def app(name: str) -> Any:
    return importlib.import_module(f"ordersaga.{name}.app").create_app(
        Settings(development=True, trust_gateway_headers=True)
    )


def client(name: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app(name)), base_url="http://test")


async def operations(http: httpx.AsyncClient) -> list[tuple[str, str, dict[str, Any]]]:
    """Method, path and what the document says of it."""
    found = []
    for path, item in (await http.get("/schema/openapi.json")).json()["paths"].items():
        real = re.sub(r"{([^}]+)}", lambda part: PARTS.get(part[1], ID), path)
        found += [(method.upper(), real, said) for method, said in item.items()]
    return found


def refused(answer: httpx.Response, status: int, said: dict[str, Any]) -> Iterator[str]:
    """What is wrong with a refusal."""
    asked = f"{answer.request.method} {answer.request.url.path}"
    if answer.status_code != status or answer.headers["content-type"] != "application/problem+json":
        yield f"{asked}: {answer.status_code} instead of {status}, {answer.text[:300]}"
    elif str(status) not in said["responses"]:
        yield f"{asked}: the document has no {status}"
    elif json.loads(answer.content)["status"] != status:
        yield f"{asked}: {answer.text}"


@pytest.mark.parametrize("name", [*SERVICES, "audit"])
async def test_a_caller_who_is_named_twice_is_refused(name: str) -> None:
    wrong: list[str] = []
    async with client(name) as http:
        for method, path, said in await operations(http):
            for headers in TWICE if said["security"] else ():
                wrong += refused(await http.request(method, path, headers=[*headers, JSON], content=b"{}"), 400, said)
    assert wrong == []


@pytest.mark.parametrize("name", [*SERVICES, "audit"])
async def test_a_body_that_is_no_json_or_not_said_to_be_is_refused(name: str) -> None:
    wrong: list[str] = []
    async with client(name) as http:
        for method, path, said in await operations(http):
            if "415" not in said["responses"]:
                continue
            for body in (*NO_JSON, NESTED):
                wrong += refused(await http.request(method, path, headers=[*MASTER, JSON], content=body), 400, said)
            wrong += refused(await http.request(method, path, headers=MASTER, content=b"{}"), 415, said)
    assert wrong == []


@pytest.mark.parametrize("name", [*SERVICES, "audit"])
async def test_a_method_that_a_path_has_not_is_told_those_that_it_has(name: str) -> None:
    async with client(name) as http:
        found = await operations(http)
        for path in {path for _, path, _ in found}:
            ours = {method for method, other, _ in found if other == path}
            allowed = ", ".join(sorted(ours | {"OPTIONS"} | ({"HEAD"} if "GET" in ours else set())))
            for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "TRACE"} - ours:
                answer = await http.request(method, path, headers=MASTER)
                assert (answer.status_code, answer.headers.get("allow")) == (405, allowed), (method, path, answer.text)
