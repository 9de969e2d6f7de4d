"""The services as one API, whose answers lead to further requests: orders are placed, paid, cancelled and returned, letters are decided.

Schemathesis knows one document and one address. So the services' documents become one, with the service as the first part of each path, and a small server passes
each request on, as a customer or as an operator. The links are those of the order process; Schemathesis finds more by the names of parameters.
"""

import contextlib
import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import httpx
from msgspec import Struct

from ordersaga.settings import SERVICES
from tests.fuzz.faces import ANSWER_S, CONFIG
from tests.fuzz.world import World, document, headers

CHECKS: Final = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "use_after_free",
)
LEFT_OUT: Final = ("/events", "/webhook")
"""An answer that does not end, and what a gateway alone calls."""
OPERATIONS: Final = "/api/v1/operations"
LETTERS: Final = f"{OPERATIONS}/dead-letters"
"""Of the operators' routes these alone: with all of them few chains would begin with an order, and some stop the system on purpose."""
PRODUCTS: Final = 3
CARDS: Final = ["approve", "approve", "approve", "REJECT_CARD_COMPANY", "answer-lost"]
HOP: Final = ("connection", "content-length", "date", "host", "keep-alive", "server", "transfer-encoding")

ID = {"order_id": "$response.body#/orderId"}
LETTER = {"letter_id": "$response.body#/items/0/id"}
LINKS: Final[dict[tuple[str, str], list[tuple[str, dict[str, str], Any]]]] = {
    ("order.placeOrder", "201"): [
        ("order.showOrder", ID, None),
        ("order.listEvents", ID, None),
        ("order.cancelOrder", ID, None),
        ("order.returnOrder", ID, None),
        ("sandbox.pay", {}, {"orderId": "$response.body#/orderId", "amount": "$response.body#/totalAmount"}),
        ("delivery.showDelivery", {"some_id": "$response.body#/orderId"}, None),
        ("payment.listPayments", {"query.orderId": "$response.body#/orderId"}, None),
    ],
    ("sandbox.pay", "200"): [
        (
            "payment.confirmPayment",
            {},
            {name: f"$response.body#/{name}" for name in ("paymentKey", "orderId", "amount")},
        )
    ],
    ("payment.confirmPayment", "200"): [
        ("payment.showPayment", {"payment_key": "$response.body#/paymentKey"}, None),
        ("payment.confirmPayment", {}, "$request.body"),
        ("order.returnOrder", {"order_id": "$request.body#/orderId"}, None),
        ("order.cancelOrder", {"order_id": "$request.body#/orderId"}, None),
    ],
    **{
        (f"{service}.listDeadLetters", "200"): [
            (f"{service}.{act}", LETTER, body)
            for act, body in (
                ("showDeadLetter", None),
                ("replayDeadLetter", {"reason": "fuzz", "version": "OPEN"}),
                ("editDeadLetter", {"reason": "fuzz", "version": "OPEN", "value": "{}"}),
                ("discardDeadLetter", {"reason": "fuzz", "version": "OPEN"}),
            )
        ]
        for service in SERVICES
    },
    ("stock.addProduct", "201"): [
        (f"stock.{act}", {"product_id": "$response.body#/productId"}, None)
        for act in ("showProduct", "receivePieces", "changeProduct")
    ],
}


class Outcome(Struct, frozen=True):
    """`answers`: how many requests of each kind were answered with 2xx. `report`: what Schemathesis says of failures."""

    is_right: bool
    report: str
    answers: Counter[str]


def fuzz(world: World, folder: Path, *, scenarios: int, seed: int) -> Outcome:
    """Follow links for so many scenarios."""
    here = folder / "stateful"
    here.mkdir()
    (here / "openapi.json").write_text(json.dumps(_document(world)))
    (here / "schemathesis.toml").write_text(CONFIG)
    answers: Counter[str] = Counter()
    with _passing_on(world, answers) as url:
        command = [str(Path(sys.executable).with_name("schemathesis")), "--config-file", "schemathesis.toml", "run"]
        command += ["openapi.json", "--url", url, "--checks", ",".join(CHECKS), "--phases", "stateful", "--no-color"]
        command += ["--max-examples", str(scenarios), "--seed", str(seed), "--generation-database", "none"]
        command += ["--request-timeout", str(ANSWER_S), "--continue-on-failure"]
        done = subprocess.run(command, cwd=here, capture_output=True, text=True, check=False)
    lines = [line[:600] for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return Outcome(done.returncode == 0, "\n".join(lines), answers)


def _document(world: World) -> dict[str, Any]:
    whole: dict[str, Any] = {"openapi": "3.1.0", "info": {"title": "ordersaga", "version": "1"}, "paths": {}}
    schemas = whole.setdefault("components", {}).setdefault("schemas", {})
    for service in SERVICES:
        text = json.dumps(document(world, service)).replace("#/components/schemas/", f"#/components/schemas/{service}.")
        own = json.loads(text)
        schemas |= {f"{service}.{name}": schema for name, schema in own["components"]["schemas"].items()}
        for path, item in own["paths"].items():
            is_wanted = path.startswith(LETTERS) or not path.startswith(OPERATIONS)
            if is_wanted and not any(each in path for each in LEFT_OUT):
                whole["paths"][f"/{service}{path}"] = item
                for operation in item.values():
                    operation["operationId"] = f"{service}.{operation['operationId']}"
                    operation.pop("security", None)
    whole["paths"]["/sandbox/sandbox/payments"] = {"post": _PAY}
    orders = whole["paths"]["/order/api/v1/orders"]["post"]
    orders["requestBody"]["content"]["application/json"] = {"schema": {"enum": list(bodies(world))}}
    for item in whole["paths"].values():
        for operation in item.values():
            for (name, status), links in LINKS.items():
                if operation["operationId"] == name:
                    operation["responses"][status]["links"] = {each[0]: _link(*each) for each in links}
    return whole


_PAY: Final[dict[str, Any]] = {
    "operationId": "sandbox.pay",
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["orderId", "amount", "card"],
                    "properties": {
                        "orderId": {"type": "string", "format": "uuid"},
                        "amount": {"type": "integer", "minimum": 1, "maximum": 1_000_000},
                        "card": {"enum": CARDS},
                    },
                }
            }
        },
    },
    "responses": {"200": {"description": "what a browser gets"}, "400": {"description": "odd"}},
}


def _link(operation: str, parameters: dict[str, str], body: Any) -> dict[str, Any]:
    link: dict[str, Any] = {"operationId": operation}
    link |= {"parameters": parameters} if parameters else {}
    return link | ({"requestBody": body} if body is not None else {})


def bodies(world: World) -> Iterator[dict[str, Any]]:
    """Orders that may be placed: others are refused for their total."""
    products = httpx.get(f"{world.system.urls['stock']}/api/v1/products", headers=headers("CUSTOMER")).json()["items"]
    for each in products[:PRODUCTS]:
        for quantity, zipcode in ((1, "04524"), (2, "04524"), (1, "63000"), (100_000, "04524")):
            yield {
                "orderName": each["name"],
                "totalAmount": each["price"] * quantity,
                "address": "1 Sejong-daero",
                "zipcode": zipcode,
                "phone": "010-0000-0000",
                "name": "Kim Hana",
                "items": [{"productId": each["productId"], "quantity": quantity}],
            }


@contextlib.contextmanager
def _passing_on(world: World, answers: Counter[str]) -> Iterator[str]:
    http = httpx.Client(timeout=ANSWER_S)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _pass_on(self) -> None:
            _, service, path, *_ = [*self.path.split("/", 2), ""]
            if service not in world.system.urls or not path:
                return self.send_error(404)
            acts = "/operations" in path or (service == "stock" and self.command != "GET")
            sent = {name: value for name, value in self.headers.items() if name.lower() not in HOP}
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            sent |= headers("MASTER" if acts else "CUSTOMER") if service != "sandbox" else {}
            url = f"{world.system.urls[service]}/{path}"
            answer = http.request(self.command, url, content=body, headers=sent | {"Accept-Encoding": "identity"})
            if answer.is_success:
                answers[f"{self.command} {service}"] += 1
            self.send_response_only(answer.status_code)
            for name, value in answer.headers.multi_items():
                if name.lower() not in HOP:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = do_HEAD = do_OPTIONS = do_TRACE = _pass_on

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        http.close()
