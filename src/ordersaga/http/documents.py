"""The OpenAPI document of a service: Litestar's, with what Litestar cannot see of our routes.

Routes encode their answers themselves and decode their bodies themselves, so each says by `described` what they are: the type of each answer,
the statuses of its refusals, its body and its headers. Every refusal is a problem (RFC 9457).
"""

from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, Literal

import msgspec
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.spec import Operation
from litestar.routes import HTTPRoute
from msgspec import Struct

from ordersaga.http.addresses import counted
from ordersaga.http.problems import PROBLEM_JSON, ProblemBody
from ordersaga.messaging.refusal import FieldError

Access = Literal["anybody", "customer", "operator"]

DESCRIBED: Final = "described"
DOCUMENT: Final = "document"
SCHEMAS: Final = "#/components/schemas/{name}"
HEADERS: Final[dict[str, dict[str, Any]]] = {
    "Idempotency-Key": {
        "description": "The same key and body again get the first answer's result.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 300},
    },
    "Prefer": {
        "description": "`respond-async`: answer at once. `wait=N`: wait up to N seconds for the outcome, at most 30.",
        "schema": {"type": "string"},
        "example": "wait=5",
    },
    "Last-Event-ID": {
        "description": "The stream begins after this event.",
        "schema": {"type": "string", "pattern": "^[0-9]{1,19}$"},
    },
}
SECURITY_SCHEMES: Final = {
    "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
    "gatewayUser": {
        "type": "apiKey",
        "in": "header",
        "name": "User-Id",
        "description": "The user's id, from an API gateway in front, where ORDERSAGA_TRUST_GATEWAY_HEADERS is set and the gateway is known.",
    },
    "gatewayRoles": {
        "type": "apiKey",
        "in": "header",
        "name": "User-Roles",
        "description": "The user's roles, separated by commas, from the same gateway. Without this header: CUSTOMER.",
    },
}
SECURITY: Final[list[dict[str, list[str]]]] = [{"bearer": []}, {"gatewayUser": [], "gatewayRoles": []}]
REFUSED: Final[dict[int, str]] = {
    400: "The request is not valid; `errors` names the fields",
    401: "Who is calling is not known",
    403: "The caller's role does not allow this",
    404: "There is no such thing, or it is another caller's",
    409: "The state does not allow this",
    413: "The body is larger than ORDERSAGA_HTTP_BODY_BYTES_MAX",
    415: "The body must be JSON",
    422: "It contradicts what is known, or the Idempotency-Key stands for another body",
    429: "Too many at once for this caller or this address; `Retry-After` says when to try again",
    503: "The service cannot do this now; `Retry-After` says when to try again",
}
OF_OPERATIONS: Final = (403, 404, 409, 422)
PROBLEM: Final = ProblemBody(
    "The request is not valid",
    400,
    "limit: Expected `int` >= 1",
    errors=[FieldError("limit", "Expected `int` >= 1", "too_small")],
)


class Described(Struct, frozen=True):
    """What a route says of itself. `answers`: the type of the body for each status; bytes: a stream of events. `examples`: by status."""

    answers: Mapping[int, Any]
    refusals: Sequence[int] = ()
    body: type[Struct] | None = None
    headers: Sequence[str] = ()
    access: Access = "customer"
    examples: Mapping[int, Struct] = {}
    body_example: Struct | None = None


def described(
    operation_id: str,
    answers: Mapping[int, Any],
    *,
    refusals: Sequence[int] = (),
    body: type[Struct] | None = None,
    headers: Sequence[str] = (),
    access: Access = "customer",
    examples: Mapping[int, Struct] | None = None,
    body_example: Struct | None = None,
) -> dict[str, Any]:
    """The keyword arguments of a route for its operation in the document."""
    said = Described(answers, refusals, body, headers, access, examples or {}, body_example)
    return {"operation_id": operation_id, DESCRIBED: said} | ({"guards": [counted]} if access == "anybody" else {})


class BodyOperation(Operation):
    """An operation whose route decodes its body itself. `model`: the type of that body."""

    model: type[Struct]


def document(app: Litestar) -> dict[str, Any]:
    """The document as plain JSON values, made once for each application."""
    if DOCUMENT not in app.state:
        app.state[DOCUMENT] = _document(app)
    made: dict[str, Any] = app.state[DOCUMENT]
    return made


def _document(app: Litestar) -> dict[str, Any]:
    found = app.openapi_schema.to_schema()
    operations = list(_operations(app, found))
    components: dict[str, Any] = found.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    models = {each for _, said in operations for each in _models(said)} | {ProblemBody}
    for kind in sorted(models, key=str):
        _, named = msgspec.json.schema_components([kind], ref_template=SCHEMAS)
        schemas.update(named)
    for operation, said in operations:
        _complete(operation, said)
    components["securitySchemes"] = SECURITY_SCHEMES
    found["tags"] = [{"name": name} for name in sorted({tag for each, _ in operations for tag in each.get("tags", [])})]
    return found


def _operations(app: Litestar, found: dict[str, Any]) -> Iterator[tuple[dict[str, Any], Described]]:
    """Each operation of Litestar's document, and what its route says."""
    for route in app.routes:
        if not isinstance(route, HTTPRoute) or route.path_format not in found.get("paths", {}):
            continue
        item = found["paths"][route.path_format]
        for handler in route.route_handlers:
            for method in handler.http_methods:
                if (operation := item.get(method.lower())) is not None:
                    yield operation, said_of(handler)


def said_of(handler: HTTPRouteHandler) -> Described:
    """What the route says; one that says nothing is an operator's, and Litestar sees the type of its answer."""
    said = handler.opt.get(DESCRIBED)
    if isinstance(said, Described):
        return said
    body = handler.operation_class.model if issubclass(handler.operation_class, BodyOperation) else None
    return Described({}, OF_OPERATIONS, body, access="operator")


def _models(said: Described) -> list[Any]:
    return [each for each in [said.body, *said.answers.values()] if each is not None and each is not bytes]


def _complete(operation: dict[str, Any], said: Described) -> None:
    responses: dict[str, Any] = {str(status): _answer(status, kind, said) for status, kind in said.answers.items()}
    if not said.answers:
        responses = {status: each for status, each in operation["responses"].items() if status.startswith("2")}
    for status in sorted({*said.refusals, *_always_refused(operation, said)}):
        responses[str(status)] = _refusal(status)
    operation["responses"] = responses
    for each in operation.get("parameters", []):
        _without_null(each["schema"])
    if said.headers:
        named = [{"name": name, "in": "header", "required": False, **HEADERS[name]} for name in said.headers]
        operation.setdefault("parameters", []).extend(named)
    if said.body is not None:
        media = _json(said.body, said.body_example)
        operation["requestBody"] = {"required": True, "content": {"application/json": media}}
    operation["security"] = [] if said.access == "anybody" else SECURITY


def _always_refused(operation: dict[str, Any], said: Described) -> set[int]:
    """What any such route may be answered: a parameter or body may be wrong, the caller unknown, the database away."""
    always = {429, 503}
    if operation.get("parameters") or said.body or said.headers:
        always.add(400)
    if said.body:
        always |= {413, 415}
    if said.access != "anybody":
        always |= {400, 401}  # 400: a header that says who is calling comes twice
    if said.access == "operator":
        always.add(403)
    return always


def _answer(status: int, kind: Any, said: Described) -> dict[str, Any]:
    phrase = HTTPStatus(status).phrase
    if kind is bytes:
        return {"description": phrase, "content": {"text/event-stream": {"schema": {"type": "string"}}}}
    return {"description": phrase, "content": {"application/json": _json(kind, said.examples.get(status))}}


def _refusal(status: int) -> dict[str, Any]:
    media = _json(ProblemBody, PROBLEM if status == 400 else ProblemBody(REFUSED[status].partition(";")[0], status))
    return {"description": REFUSED[status], "content": {PROBLEM_JSON: media}}


def _json(kind: Any, example: Struct | None) -> dict[str, Any]:
    (schema,), _ = msgspec.json.schema_components([kind], ref_template=SCHEMAS)
    media: dict[str, Any] = {"schema": schema}
    if example is not None:
        media["examples"] = {"example": {"value": msgspec.to_builtins(example)}}
    return media


def _without_null(schema: dict[str, Any]) -> None:
    """A parameter is absent or has a value, and is never null."""
    kinds = [each for each in schema.get("oneOf", []) if each != {"type": "null"}]
    if len(kinds) == 1:
        del schema["oneOf"]
        schema.update(kinds[0])
    if isinstance(schema.get("enum"), list):
        schema["enum"] = [each for each in schema["enum"] if each is not None]
    if isinstance(schema.get("type"), list):
        kinds = [each for each in schema["type"] if each != "null"]
        schema["type"] = kinds[0] if len(kinds) == 1 else kinds
