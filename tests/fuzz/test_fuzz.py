"""A short `make fuzz`: each role at each operation, systematic odd requests to each operation, and odd requests to each page."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from ordersaga.http.pages import Cursors
from ordersaga.settings import SERVICES
from tests.fuzz import faces, pages, stateful
from tests.fuzz.world import SERVED, USERS, Served, World, document, errors_of, headers, world

pytestmark = [pytest.mark.processes, pytest.mark.timeout(600)]
SEED = 7
UNKNOWN = UUID(int=5)
"""For a parameter of which the world has nothing real."""
STREAM = "/api/v1/orders/{order_id}/events"
ACTS_ON_ORDERS = re.compile(r"/api/v1/orders/\{order_id\}/(cancel|refund|return)/")
LISTS = {"/api/v1/orders", "/api/v1/payments", "/api/v1/deliveries"}
FORGED: dict[str, tuple[str, list[Any]]] = {
    "/api/v1/operations/acts": ("acts", [2**63, -1, 2**200]),
    "/api/v1/operations/dead-letters": ("dead letters", [["2026-01-01T00:00:00", "0" * 32]]),
    "/api/v1/operations/jobs": ("jobs", [["2026-01-01T00:00:00", "0" * 32]]),
    "/api/v1/operations/parked": ("parked records", [["a\0b", 0, "0" * 32], ["a", 2**31, "0" * 32]]),
    "/api/v1/operations/audits": ("runs of the audit", ["x", 5]),
    "/api/v1/operations/audits/{run_id}/{code}": ("differences", [-1, 2**63]),
    "/api/v1/operations/intents": ("open intents of an order", [-1, 2**63]),
    "/api/v1/operations/partitions": ("partitions", [["a\0b", 0], ["a", 2**63], ["a", -1]]),
}
"""Cursors that a client has made itself, by the list's path and name: keys that PostgreSQL cannot compare with."""


@pytest.fixture(scope="module")
def system() -> Iterator[World]:
    with world() as one:
        yield one
        assert errors_of(one) == []


def operations(one: World, service: Served) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    """Method, path as in the document, path of something real with the parameters that must be there, and what the document says."""
    for path, item in document(one, service)["paths"].items():
        real = re.sub(r"{([^}]+)}", lambda name: str(one.things[service].get(name[1], UNKNOWN)), path)
        for method, said in item.items():
            needed = [each["name"] for each in said.get("parameters", []) if each["in"] == "query" and each["required"]]
            query = httpx.QueryParams({name: one.things[service][name] for name in needed})
            if path != STREAM:
                yield method.upper(), path, f"{real}?{query}", said


def roles_of(method: str, path: str, said: dict[str, Any]) -> tuple[set[str], str]:
    """Which roles an operation is for, and how a refusal names them."""
    acts, sees = {"OPERATOR", "MASTER"}, {"READER", "OPERATOR", "MASTER"}
    if ACTS_ON_ORDERS.match(path):
        return {"CUSTOMER"} | acts, "MASTER, OPERATOR"
    if "403" not in said["responses"] or said["security"] == []:
        return set(USERS), ""
    return (sees, "MASTER, OPERATOR, READER") if method == "GET" else (acts, "MASTER, OPERATOR")


@pytest.mark.parametrize("service", SERVED)
def test_each_role_may_do_what_it_is_for_and_is_told_which_role_is_needed(system: World, service: Served) -> None:
    with httpx.Client(base_url=system.system.urls[service], timeout=faces.ANSWER_S) as http:
        for method, path, real, said in operations(system, service):
            allowed, named = roles_of(method, path, said)
            body: dict[str, Any] | None = None if method == "GET" else {}
            for role in (None, *USERS):
                answer = http.request(method, real, json=body, headers=headers(role))
                where = (method, path, role, answer.text)
                assert answer.status_code < 500 and str(answer.status_code) in said["responses"], where
                if role is None:
                    assert (answer.status_code == 401) == (said["security"] != []), where
                elif role in allowed:
                    assert answer.status_code not in (401, 403), where
                else:
                    assert answer.status_code == 403 and named in answer.json()["detail"], where


@pytest.mark.parametrize("service", SERVED)
def test_somebody_unknown_is_told_so_before_anything_about_their_request(system: World, service: Served) -> None:
    with httpx.Client(base_url=system.system.urls[service], timeout=faces.ANSWER_S) as http:
        for method, path, real, said in operations(system, service):
            if said["security"] == []:
                continue
            for each in said.get("parameters", []):
                if each["in"] == "query":
                    odd = {each["name"]: "\0" if each["schema"].get("type") == "string" else "0x"}
                    answer = http.request(method, httpx.URL(real).copy_merge_params(odd), json={})
                    assert answer.status_code == 401, (method, path, odd, answer.text)
                    assert answer.headers["www-authenticate"] == "Bearer"
            if method != "GET":
                assert http.request(method, real, content=b"[", headers={"Content-Type": "x/y"}).status_code == 401


OTHER = {"User-Id": str(UUID(int=0xAB)), "User-Roles": "CUSTOMER"}
"""A customer who has nothing in this world."""


def test_nothing_of_a_customer_is_shown_to_another_one_or_changed_by_them(system: World) -> None:
    looked_at = set()
    for service in SERVICES:
        with httpx.Client(base_url=system.system.urls[service], timeout=faces.ANSWER_S, headers=OTHER) as http:
            for method, path, real, _ in operations(system, service):
                whose = {name for name in ("order_id", "some_id", "payment_key") if f"{{{name}}}" in path}
                if path.startswith("/api/v1/operations") or not (whose or (method == "GET" and path in LISTS)):
                    continue
                looked_at.add((method, path))
                answer = http.request(method, real, json=None if method == "GET" else {"reason": "x", "version": "x"})
                if whose:
                    assert answer.status_code in (403, 404), (method, path, answer.text)
                elif answer.status_code != 403:
                    assert answer.status_code == 200 and answer.json()["items"] == [], (path, answer.text)
    assert len(looked_at) >= 10
    order = system.things["order"]
    with httpx.stream("GET", f"{system.system.urls['order']}{STREAM.format(**order)}", headers=OTHER) as stream:
        assert stream.status_code == 404
    mine = httpx.get(f"{system.system.urls['order']}/api/v1/orders/{order['order_id']}", headers=headers("CUSTOMER"))
    confirm = {"paymentKey": order["payment_key"], "orderId": order["order_id"], "amount": mine.json()["totalAmount"]}
    for changed in ({}, {"paymentKey": "another-key"}):
        confirmed = httpx.post(
            f"{system.system.urls['payment']}/api/v1/payments/confirm", json=confirm | changed, headers=OTHER
        )
        assert confirmed.status_code in (403, 404, 409), confirmed.text
        assert order["payment_key"] not in confirmed.text


def test_an_idempotency_key_is_its_customers_alone(system: World) -> None:
    body = next(stateful.bodies(system))
    placed = []
    for who in (headers("CUSTOMER"), OTHER, headers("CUSTOMER")):
        sent = {**who, "Idempotency-Key": "one key of two customers"}
        answer = httpx.post(f"{system.system.urls['order']}/api/v1/orders", json=body, headers=sent, timeout=60)
        assert answer.status_code in (200, 201, 202), answer.text
        placed.append(answer.json()["orderId"])
    assert placed[0] == placed[2] != placed[1]


@pytest.mark.parametrize("service", SERVICES)
def test_an_act_on_something_unknown_says_so_whatever_version_is_named(system: World, service: Served) -> None:
    body = {"reason": "fuzz", "version": "odd", "value": "{}", "at": "earliest", "position": 0}
    with httpx.Client(base_url=system.system.urls[service], headers=headers("MASTER")) as http:
        for method, path, _, _ in operations(system, service):
            if method == "POST" and "{" in path and path.startswith("/api/v1/operations/"):
                unknown = path.replace("{partition}", "0").replace("{offset}", "0").replace("{topic}", "no-topic")
                answer = http.post(re.sub(r"{[^}]+}", str(UNKNOWN), unknown), json=body)
                assert answer.status_code == 404, (path, answer.text)


def test_a_parameter_that_is_missing_is_named(system: World) -> None:
    answer = httpx.get(f"{system.system.urls['payment']}/api/v1/payments", headers=headers("MASTER"))
    assert answer.status_code == 400
    assert [(each["field"], each["code"]) for each in answer.json()["errors"]] == [("orderId", "missing")]


@pytest.mark.parametrize("service", SERVED)
def test_no_request_is_answered_as_the_document_does_not_say(system: World, service: Served, tmp_path: Path) -> None:
    outcome = faces.fuzz(system, service, "MASTER", tmp_path, phases="examples,coverage", examples=1, seed=SEED)
    assert outcome.is_right, outcome.report


@pytest.mark.parametrize("service", SERVED)
def test_a_cursor_that_a_client_has_made_is_refused(system: World, service: Served) -> None:
    with httpx.Client(base_url=system.system.urls[service], headers=headers("MASTER")) as http:
        for method, path, real, _ in operations(system, service):
            name, keys = FORGED.get(path, ("", []))
            for key in keys if method == "GET" else ():
                answer = http.get(real, params=httpx.URL(real).params.set("cursor", Cursors[Any](name, Any).of(key)))
                assert answer.status_code == 400, (path, key, answer.text)


def test_no_page_answers_an_odd_request_with_an_error_of_ours(system: World) -> None:
    assert pages.fuzz(system, SEED, 3) == []


def test_no_chain_of_requests_leads_to_an_answer_that_the_documents_do_not_have(system: World, tmp_path: Path) -> None:
    outcome = stateful.fuzz(system, tmp_path, scenarios=3, seed=SEED)
    assert outcome.is_right, outcome.report
    assert outcome.answers.total(), "something was found and followed"
