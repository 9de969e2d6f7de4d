"""Odd requests to every route of the web process: addresses, queries and forms that no page of ours has, by everybody who may come."""

import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote
from uuid import UUID

import httpx
from litestar.routes import HTTPRoute

from ordersaga import web
from ordersaga.settings import Settings
from ordersaga.web.app import create_app
from tests.fuzz.world import World

PEOPLE: Final = {
    "nobody": {},
    "customer": {"/sign-in": {"customer": "hana"}},
    "stranger": {"/sign-in": {"customer": "minjun"}},
    "reader": {"/console/sign-in": {"role": "reader"}},
    "operator": {"/console/sign-in": {"role": "operator"}},
    "master": {"/console/sign-in": {"role": "master"}, "/sign-in": {"customer": "hana"}},
}
"""Each with the forms by which they sign in."""
LEFT_OUT: Final = ("/health/", "/metrics", "/stream")
"""What is no page, and what does not end."""
TEMPLATES: Final = Path(web.__file__).parent / "templates"
FIELDS: Final = sorted(
    {name for each in TEMPLATES.rglob("*.html") for name in re.findall(r'name="([A-Za-z_.]+)"', each.read_text())}
    - {"csrf", "viewport"}
    | {
        "address",
        "address_detail",
        "amount",
        "cursor",
        "customerId",
        "customerName",
        "intent",
        "kind",
        "letters",
        "name",
        "offset",
    }
    | {
        "olderThanS",
        "partition",
        "paymentKey",
        "phone",
        "record",
        "turnDelayMs",
        "turnRecordsMax",
        "passingPercent",
        "lastingPercent",
    }
    | {
        "duplicates",
        "jitter",
        "latency",
        "slow",
        "confirm.slow",
        "cancel.dropped",
        "add:value.items",
        "remove:value.items[0]",
    }
    | {"value.orderId", "value.items[0].quantity", "x", "zipcode"}
)
"""What forms and addresses say: every name that a template has, those that it makes, and one that nobody reads."""
ODD: Final = (
    *("", " ", "0", "-1", "1e9", "NaN", "9" * 40, "x", "찻잔", "\ud7ff", "a\0b", "\r\nX: 1", "../..", "//evil.example"),
    *("'", '"><script>', "{}", "[]", "null", "%", "%00", "a" * 3_000, "😀" * 50, "OPEN", "replay", "true", "true"),
    *("2026-01-01T00:00:00", "2026-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "0" * 32, str(UUID(int=0))),
)
ANSWERED: Final = {200, 303, 400, 403, 404, 405, 409, 413, 414, 431}


class Person:
    """One browser. Each request begins with the cookies of the sign-in, so that no request changes who comes."""

    def __init__(self, url: str, name: str) -> None:
        self.name: Final = name
        self._http: Final = httpx.Client(base_url=url, timeout=30, headers={"Accept-Language": "en"})
        self._http.get("/sign-in")
        for path, fields in PEOPLE[name].items():
            signed_in = self._http.post(path, data={"csrf": self._token(path), **fields})
            assert signed_in.status_code == 303, signed_in.text
        self.csrf: Final = self._token("/sign-in")
        self._cookies: Final = dict(self._http.cookies)

    def _token(self, path: str) -> str:
        found = re.search(r'name="csrf" value="([^"]+)"', self._http.get(path).text)
        assert found
        return found[1]

    def send(
        self, method: str, path: str, fields: dict[str, str], headers: dict[str, str] | None = None
    ) -> httpx.Response:
        """One request; a form goes with the session's token unless `fields` has another."""
        self._http.cookies = httpx.Cookies(self._cookies)
        if method == "GET":
            return self._http.get(path, params=fields, headers=headers)
        return self._http.request(method, path, data={"csrf": self.csrf, **fields}, headers=headers)

    def close(self) -> None:
        self._http.close()


def routes() -> list[tuple[str, str]]:
    """Method and path of every page and form."""
    found = []
    for route in create_app(Settings(development=True, web_sign_in="demo")).routes:
        if isinstance(route, HTTPRoute) and not any(each in route.path_format for each in LEFT_OUT):
            found += [(method, route.path_format) for method in route.methods if method in ("GET", "POST")]
    return sorted(found)


def requests(world: World, seed: int, each: int) -> Iterator[tuple[str, str, str, dict[str, str]]]:
    """For each person and route: about real things, and about odd ones. Who, method, path, fields."""
    chance = random.Random(seed)
    real: dict[str, Any] = world.things["delivery"] | {"service": "delivery", "code": "ko", "name": "cup.svg"}
    real |= {"key": real["payment_key"]}
    values = (*ODD, *(str(value) for value in real.values()))
    for who in PEOPLE:
        for method, path in routes():
            names = re.findall(r"{([^}]+)}", path)
            for n in range(each):
                filled = path
                for name in names:
                    value = str(real.get(name, "x")) if n == 0 or chance.random() < 0.6 else chance.choice(values)
                    filled = filled.replace(f"{{{name}}}", quote(value.encode("utf-8", "replace"), safe=""))
                fields = (
                    {}
                    if n == 0
                    else {key: chance.choice(values) for key in chance.sample(FIELDS, chance.randint(0, 6))}
                )
                yield who, method, filled, fields


def fuzz(world: World, seed: int, each: int) -> list[str]:
    """What was answered as no page of ours should be."""
    url = world.system.urls["web"]
    people = {name: Person(url, name) for name in PEOPLE}
    wrong = []
    try:
        for who, method, path, fields in requests(world, seed, each):
            answer = people[who].send(method, path, fields)
            if fault := _fault(answer):
                wrong.append(f"{who} {method} {path} {fields}: {answer.status_code}, {fault}")
            if method == "POST":
                wrong += _forged(people[who], path, fields)
    finally:
        for person in people.values():
            person.close()
    return wrong


def _fault(answer: httpx.Response) -> str | None:
    if answer.status_code not in ANSWERED:
        return "a status that no page has"
    if answer.headers.get("content-type", "").startswith("text/html"):
        if "default-src 'none'" not in answer.headers.get("content-security-policy", ""):
            return "no Content-Security-Policy"
        if "<script>" in answer.text:
            return "the request's script is in the page"
    if answer.status_code == 303 and re.match(r"(https?:)?//(?!127\.0\.0\.1)", answer.headers["location"]):
        return f"leads to {answer.headers['location']}"
    return None


def _forged(person: Person, path: str, fields: dict[str, str]) -> Iterator[str]:
    """A form with another's token, or from another site, is refused, whoever sends it."""
    for forged, headers in (({**fields, "csrf": "guessed"}, None), (fields, {"Origin": "http://evil.example"})):
        answer = person.send("POST", path, forged, headers)
        if answer.status_code not in (303, 403, 404, 405) or (
            answer.status_code == 303 and "sign-in" not in answer.headers["location"]
        ):
            yield f"{person.name} POST {path}, forged by {headers or 'token'}: {answer.status_code}"
