"""`/schema`: a service's routes as a page that loads nothing from other hosts, and as JSON at `/schema/openapi.json`; `/schema/asyncapi`: the
topics that it writes and reads, and as JSON at `/schema/asyncapi.json`."""

import base64
import hashlib
import json
from collections.abc import Iterator, Sequence
from html import escape
from typing import Any, Final, get_args

from litestar import MediaType, Request, Router
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, OpenAPIRenderPlugin

from ordersaga.contracts import asyncapi
from ordersaga.contracts.topics import Role
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


def config(service: str) -> OpenAPIConfig:
    """Litestar's OpenAPI document with our pages: Litestar's own pages load scripts from other hosts."""
    router = Router(
        PATH, route_handlers=[], include_in_schema=False, response_headers={"Content-Security-Policy": POLICY}
    )
    plugins: list[OpenAPIRenderPlugin] = [_Page(path="/"), _Json()]
    roles = {role: role for role in get_args(Role)}
    if role := roles.get(service):
        topics = asyncapi.document(role)
        plugins += [_Topics(topics, path="/asyncapi"), _TopicsJson(topics, path="/asyncapi.json")]
    return OpenAPIConfig(title=f"ordersaga {service}", version="1", openapi_router=router, render_plugins=plugins)


class _Page(OpenAPIRenderPlugin):
    """The OpenAPI document as HTML without scripts."""

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        openapi_schema = document(request.app)
        links = [
            "openapi.json",
            *(["asyncapi"] if any(isinstance(each, _Topics) for each in _plugins(request)) else []),
        ]
        return _page(openapi_schema, links, _operations(openapi_schema))

    def receive_router(self, router: Router) -> None:
        """Remove Litestar's catch-all below `/schema`, which answers with a page: unknown paths are 404 as elsewhere."""
        router.routes[:] = [route for route in router.routes if "{path" not in route.path]


class _Json(JsonRenderPlugin):
    """The OpenAPI document as JSON."""

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        return super().render(request, document(request.app))


class _Topics(OpenAPIRenderPlugin):
    """The topics that a service writes and reads, as HTML without scripts."""

    def __init__(self, topics: dict[str, Any], *, path: str) -> None:
        super().__init__(path=path)
        self._topics: Final = topics

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        return _page(self._topics, ["asyncapi.json"], _channels(self._topics))


class _TopicsJson(JsonRenderPlugin):
    """The AsyncAPI document of a service as JSON."""

    def __init__(self, topics: dict[str, Any], *, path: str) -> None:
        super().__init__(path=path, media_type=MediaType.JSON)
        self._topics: Final = topics

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        return super().render(request, self._topics)


def _plugins(request: Request[Any, Any, Any]) -> Sequence[OpenAPIRenderPlugin]:
    config = request.app.openapi_config
    return config.render_plugins if config else ()


def _page(shown: dict[str, Any], links: Sequence[str], content: Iterator[str]) -> bytes:
    """A page of a document: its title, links to others, its content, and its schemas."""
    title = escape(shown["info"]["title"])
    anchors = ", ".join(f"<a href={PATH}/{each}><code>{PATH}/{each}</code></a>" for each in links)
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title><style>{STYLE}</style><h1>{title}</h1>",
        f"<p>See also: {anchors}</p>",
        *content,
        "<h2>Schemas</h2>",
        *(
            f"<details><summary><code>{escape(name)}</code></summary>{_shown(schema)}</details>"
            for name, schema in sorted(shown.get("components", {}).get("schemas", {}).items())
        ),
    ]
    return "\n".join(parts).encode()


def _channels(shown: dict[str, Any]) -> Iterator[str]:
    for operation in shown["operations"].values():
        name = operation["channel"]["$ref"].rpartition("/")[2]
        channel = shown["channels"][name]
        yield f"<h2><b>{operation['action']}</b> <code>{escape(name)}</code></h2><p>{escape(operation['summary'])}</p>"
        if "description" in operation:
            yield f"<p>{escape(operation['description'])}</p>"
        for message in channel["messages"]:
            for part in ("payload", "headers", "bindings", "examples"):
                if said := shown["components"]["messages"][message].get(part):
                    yield f"<details><summary>{part} of {escape(message)}</summary>{_shown(_resolved(said, shown))}</details>"
        yield f"<details><summary>the topic</summary>{_shown(channel)}</details>"


def _resolved(said: Any, shown: dict[str, Any]) -> Any:
    """A schema that is said by its name alone."""
    name = said.get("$ref", "").rpartition("/")[2] if isinstance(said, dict) else ""
    return shown["components"]["schemas"].get(name, said)


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
