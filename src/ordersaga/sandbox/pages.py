"""The sandbox's pages, in Korean and English."""

from pathlib import Path
from typing import Any, Final

import jinja2
from litestar import Response

_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'self'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "Vary": "Accept-Language",
}
_templates: Final = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
)


def page(template: str, korean: bool, values: dict[str, Any], status: int = 200) -> Response[str]:
    """Render a page. Its headers forbid it to load anything and browsers to cache it."""
    text = _templates.get_template(template).render(ko=korean, **values)
    headers = _HEADERS | {"Content-Language": "ko" if korean else "en"}
    return Response(text, status_code=status, headers=headers, media_type="text/html")


def wants_korean(lang: str, accept_language: str) -> bool:
    """Whether the page is Korean: `lang`, otherwise the browser's `Accept-Language`, may ask for English."""
    return not (lang or accept_language).strip().lower().startswith("en")
