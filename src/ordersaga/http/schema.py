"""`/schema`: a service's routes as a page that loads nothing from other hosts, and as JSON at `/schema/openapi.json`."""

import base64
import hashlib
import json
from collections.abc import Iterator
from html import escape
from typing import Any, Final

from litestar import Request, Router
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, OpenAPIRenderPlugin

from ordersaga.http.documents import document

PATH: Final = "/schema"
METHODS: Final = ("get", "post", "put", "patch", "delete")
STYLE: Final = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "h2{font-size:1rem;border-top:1px solid #ddd;padding-top:1rem}code,pre{font-family:ui-monospace,monospace}"
    "pre{background:#f5f5f5;padding:.75rem;overflow:auto}b{text-transform:uppercase}"
)
POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def config(title: str) -> OpenAPIConfig:
    """Litestar's OpenAPI document with our page: Litestar's own pages load scripts from other hosts."""
    router = Router(
        PATH, route_handlers=[], include_in_schema=False, response_headers={"Content-Security-Policy": POLICY}
    )
    return OpenAPIConfig(title=title, version="1", openapi_router=router, render_plugins=[_Page(path="/"), _Json()])


class _Page(OpenAPIRenderPlugin):
    """The OpenAPI document as HTML without scripts."""

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        openapi_schema = document(request.app)
        title = escape(openapi_schema["info"]["title"])
        parts = [
            f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title><style>{STYLE}</style><h1>{title}</h1>",
            f"<p>As a document: <a href={PATH}/openapi.json><code>{PATH}/openapi.json</code></a></p>",
            *_operations(openapi_schema),
            "<h2>Schemas</h2>",
            *(
                f"<details><summary><code>{escape(name)}</code></summary>{_shown(schema)}</details>"
                for name, schema in sorted(openapi_schema.get("components", {}).get("schemas", {}).items())
            ),
        ]
        return "\n".join(parts).encode()

    def receive_router(self, router: Router) -> None:
        """Remove Litestar's catch-all below `/schema`, which answers with a page: unknown paths are 404 as elsewhere."""
        router.routes[:] = [route for route in router.routes if "{path" not in route.path]


class _Json(JsonRenderPlugin):
    """The OpenAPI document as JSON."""

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        return super().render(request, document(request.app))


def _operations(shown: dict[str, Any]) -> Iterator[str]:
    for path, item in sorted(shown.get("paths", {}).items()):
        for method in METHODS:
            if operation := item.get(method):
                yield f"<h2><b>{method}</b> <code>{escape(path)}</code></h2><p>{escape(operation.get('summary', ''))}</p>"
                for name in ("parameters", "requestBody", "responses"):
                    if operation.get(name):
                        yield f"<details><summary>{name}</summary>{_shown(operation[name])}</details>"


def _shown(value: Any) -> str:
    return f"<pre>{escape(json.dumps(value, indent=2, ensure_ascii=False))}</pre>"
