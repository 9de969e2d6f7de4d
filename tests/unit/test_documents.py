"""The OpenAPI document of each service: valid, and complete for each operation."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from litestar.testing import TestClient
from openapi_spec_validator import OpenAPIV31SpecValidator

from ordersaga.cli.serve import application
from ordersaga.contracts import asyncapi
from ordersaga.http.documents import SECURITY_SCHEMES, document
from ordersaga.settings import SERVICES, ServiceName, Settings

DOCUMENTED = (*SERVICES, "audit")
METHODS = ("get", "post", "put", "patch", "delete")


@pytest.fixture(scope="module")
def documents() -> dict[str, Any]:
    return {each: document(application(each)(Settings())) for each in DOCUMENTED}


def operations(found: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, item in found["paths"].items():
        for method in METHODS:
            if method in item:
                yield f"{method} {path}", item[method]


def test_each_document_is_valid(documents: dict[str, Any]) -> None:
    for service, found in documents.items():
        assert [error.message for error in OpenAPIV31SpecValidator(found).iter_errors()] == [], service


def test_each_operation_says_all_of_itself(documents: dict[str, Any]) -> None:
    for found in documents.values():
        ids = [operation["operationId"] for _, operation in operations(found)]
        assert len(ids) == len(set(ids))
        assert all(each.isidentifier() and each[0].islower() and "_" not in each for each in ids)
        tags = {each["name"] for each in found["tags"]}
        for name, operation in operations(found):
            assert operation["summary"] and operation["tags"] and set(operation["tags"]) <= tags, name
            assert operation["security"] is not None
            for status, answer in operation["responses"].items():
                (kind,) = answer["content"]
                schema = answer["content"][kind]["schema"]
                if status.startswith("2"):
                    assert kind == "text/event-stream" or "$ref" in schema or "type" in schema, (name, schema)
                    assert schema.get("type") != "string" or kind == "text/event-stream", name
                else:
                    assert (kind, schema) == ("application/problem+json", {"$ref": "#/components/schemas/ProblemBody"})
            if name.split()[0] in ("post", "put", "patch") and "requestBody" in operation:
                assert {"400", "415"} <= operation["responses"].keys(), name


def test_security_schemes_and_problems_are_described_once(documents: dict[str, Any]) -> None:
    for each in documents.values():
        assert each["components"]["securitySchemes"] == SECURITY_SCHEMES
        for _, operation in operations(each):
            for requirement in operation["security"]:
                assert requirement.keys() <= SECURITY_SCHEMES.keys()
        assert {"title", "status", "detail", "errors"} <= each["components"]["schemas"]["ProblemBody"][
            "properties"
        ].keys()


def test_our_routes_have_examples(documents: dict[str, Any]) -> None:
    for each in documents.values():
        for name, operation in operations(each):
            if operation["tags"] == ["operations"] or "text/event-stream" in str(operation["responses"]):
                continue
            answers = [answer for status, answer in operation["responses"].items() if status.startswith("2")]
            assert any("examples" in answer["content"]["application/json"] for answer in answers), name


def test_a_document_is_made_once_and_the_same_for_each_process(documents: dict[str, Any]) -> None:
    app = application("stock")(Settings())
    assert document(app) is document(app)
    assert document(app) == documents["stock"]


@pytest.mark.parametrize("service", SERVICES)
def test_each_service_shows_its_topics_on_a_page_that_loads_nothing(service: ServiceName) -> None:
    client = TestClient(application(service)(Settings()))
    page = client.get("/schema/asyncapi")
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    assert not re.search(r"<script|<link|<img|<iframe|@import|url\(|https?://", page.text)
    topics = client.get("/schema/asyncapi.json").json()
    assert topics == asyncapi.document(service)
    assert topics["channels"] and all(f"<code>{name}</code>" in page.text for name in topics["channels"])
    assert "href=/schema/asyncapi>" in client.get("/schema").text
