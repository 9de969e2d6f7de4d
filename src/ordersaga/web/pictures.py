"""Pictures of products, drawn here as SVG where a product has none. Colours are classes of `site.css`, so they follow light and dark.

Each drawing fits a square of 120 by 120. Classes: `a` surface of the thing, `b` its darker part, `c` accent, `g` leaf, `h` highlight, `l` line, `s` shadow.
"""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final
from uuid import UUID

from markupsafe import Markup

if TYPE_CHECKING:
    from ordersaga.web.shop.model import Product

SHADOW: Final = '<ellipse class="s" cx="60" cy="101" rx="38" ry="4"/>'
DRAWINGS: Final[Mapping[str, str]] = {
    "teapot": '<path class="b" d="M84 58c14-6 18 6 12 13-4 5-9 8-13 9" fill="none" stroke-width="6"/><path class="a" d="M34 60 20 50c-3-2-6 0-5 4l9 22z"/>'
    '<path class="a" d="M30 66c0-18 12-26 30-26s30 8 30 26c0 20-10 32-30 32S30 86 30 66z"/><path class="b f" d="M40 44c4-7 12-10 20-10s16 3 20 10z"/><circle class="c" cx="60" cy="29" r="5"/>',
    "cup": '<path class="b" d="M80 56c16-4 20 8 14 15-4 5-10 7-16 7" fill="none" stroke-width="6"/><path class="a" d="M30 46h52v22c0 18-10 30-26 30S30 86 30 68z"/>'
    '<ellipse class="b f" cx="56" cy="46" rx="26" ry="6"/><ellipse class="c" cx="56" cy="47" rx="20" ry="3.5"/><path class="l" d="M48 34c-4-5 4-8 0-14M62 34c-4-5 4-8 0-14"/>',
    "board": '<rect class="a" x="30" y="30" width="60" height="66" rx="12"/><path class="l" d="M42 44c14 8 24-4 36 4M42 60c14 8 24-4 36 4M42 76c14 8 24-4 36 4"/><circle class="b f" cx="60" cy="22" r="9"/><circle class="h" cx="60" cy="22" r="4"/>',
    "notebook": '<rect class="a" x="32" y="22" width="58" height="76" rx="6"/><rect class="b f" x="32" y="22" width="14" height="76" rx="6"/><rect class="h" x="56" y="36" width="24" height="16" rx="3"/><path class="c f" d="M76 22h8v30l-4-4-4 4z"/>',
    "pen": '<path class="a" d="m76 20 14 14-44 44-14-14z"/><path class="b f" d="m82 14c4-4 8-3 11 0l3 3c3 3 4 7 0 11l-6 6-14-14z"/><path class="c f" d="m32 64 14 14-22 10c-3 1-4 0-3-3z"/><path class="l" d="M28 97c14-6 24 6 40 0s18-2 24 0"/>',
    "clips": '<path class="b" d="M44 32v38a14 14 0 0 0 28 0V36a9 9 0 0 0-18 0v32a4 4 0 0 0 8 0V42" fill="none" stroke-width="6"/><rect class="a" x="24" y="78" width="72" height="20" rx="6"/><path class="c f" d="M24 84c0-4 2-6 6-6h60c4 0 6 2 6 6v3H24z"/>',
    "lamp": '<path class="b" d="m46 94 12-30-18-22" fill="none" stroke-width="5"/><path class="a" d="m30 46 26-22 24 22c-8 10-36 14-50 0z"/><path class="c f" d="M44 54c8 3 18 2 26-3-2 9-18 14-26 3z"/><rect class="b f" x="30" y="92" width="36" height="7" rx="3.5"/>',
    "plant": '<path class="g" d="M60 66c-20 0-28-14-28-26 16-2 28 8 28 26zM60 62c0-20 12-32 28-32 2 18-8 32-28 32z"/><path class="l" d="M60 74V54"/><path class="a" d="M38 68h44l-6 26c-1 3-3 5-6 5H50c-3 0-5-2-6-5z"/><rect class="b f" x="34" y="64" width="52" height="9" rx="4"/>',
    "cushion": '<path class="a" d="M28 34c20-5 44-5 64 0 5 20 5 34 0 56-20 5-44 5-64 0-5-22-5-36 0-56z"/><path class="l" d="M40 46c14 6 26 6 40 0M40 78c14-6 26-6 40 0"/><circle class="c" cx="60" cy="62" r="6"/>',
    "bag": '<path class="b" d="M44 44V34a16 16 0 0 1 32 0v10" fill="none" stroke-width="5"/><path class="a" d="M30 44h60l5 48c0 4-2 7-6 7H31c-4 0-6-3-6-7z"/><path class="c f" d="M28 64h64l1 9H27z"/>',
    "bottle": '<rect class="b f" x="48" y="14" width="24" height="14" rx="4"/><path class="a" d="M50 28h20v8c0 6 10 8 10 20v36c0 5-3 8-8 8H48c-5 0-8-3-8-8V56c0-12 10-14 10-20z"/><rect class="c f" x="40" y="62" width="40" height="18"/>',
    "keyboard": '<rect class="a" x="16" y="42" width="88" height="44" rx="9"/><g class="h"><rect x="24" y="50" width="10" height="8" rx="2"/><rect x="38" y="50" width="10" height="8" rx="2"/><rect x="52" y="50" width="10" height="8" rx="2"/><rect x="66" y="50" width="10" height="8" rx="2"/>'
    '<rect x="24" y="62" width="16" height="8" rx="2"/><rect x="44" y="62" width="10" height="8" rx="2"/><rect x="58" y="62" width="10" height="8" rx="2"/><rect x="72" y="62" width="10" height="8" rx="2"/></g><rect class="c f" x="80" y="50" width="16" height="8" rx="2"/><rect class="b f" x="38" y="74" width="44" height="6" rx="3"/>',
    "box": '<path class="a" d="m60 24 38 16v42L60 100 22 82V40z"/><path class="b f" d="m60 58 38-18v42L60 100z"/><path class="c f" d="m41 32 38 17v12l-8-4-8 4V56L25 39z"/>',
}
CATEGORIES: Final[Mapping[str, tuple[str, ...]]] = {
    "kitchen": ("teapot", "cup", "board"),
    "desk": ("notebook", "pen", "clips", "keyboard"),
    "home": ("lamp", "plant", "cushion"),
    "carry": ("bag", "bottle"),
}
"""The drawings of a category. A product without a drawing of its own gets one of them, always the same."""
TINTS: Final = 4
TINT: Final = {
    "teapot": 0,
    "cup": 1,
    "board": 2,
    "notebook": 3,
    "pen": 2,
    "clips": 3,
    "lamp": 0,
    "plant": 0,
    "cushion": 3,
    "bag": 1,
    "bottle": 3,
    "keyboard": 1,
}
PATH: Final = re.compile(r"/pictures/([a-z]+)\.svg")
"""The picture of a product that names one of these drawings. The page then has the drawing itself."""


COLOURS: Final = (
    ".a{fill:#c8693f}.b{stroke:#9c4c2a;stroke-linecap:round;stroke-linejoin:round}.b.f{fill:#9c4c2a}.f{stroke:none}.c{fill:#c39a3b}"
    ".g{fill:#3f8577}.h{fill:#fffaf0}.l{fill:none;stroke:#fffaf0;stroke-width:2.5;stroke-linecap:round}.s{fill:#0001}"
)


def picture(product: "Product | None", product_id: UUID) -> Markup:
    """The picture of a product: its own, else a drawing of its category, else a box. It is decoration: the name stands beside."""
    path = product.picture if product else None
    name = PATH.fullmatch(path or "")
    if name and name[1] in DRAWINGS:
        return _svg(name[1], product_id)
    if path:
        return Markup('<img class="picture" src="{}" alt="" loading="lazy">').format(path)
    several = CATEGORIES.get((product.category if product else None) or "", ("box",))
    return _svg(several[product_id.int % len(several)], product_id)


def drawing(name: str) -> Markup:
    """One drawing by its name, for a page without a product."""
    return _svg(name, UUID(int=0))


def file(name: str) -> str | None:
    """The drawing as a file of its own, with colours in it; None: there is no such drawing."""
    if name not in DRAWINGS:
        return None
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 120 120"><style>{COLOURS}</style>{SHADOW}{DRAWINGS[name]}</svg>'


def _svg(name: str, product_id: UUID) -> Markup:
    tint = TINT.get(name, product_id.int // 7 % TINTS)
    return Markup(
        f'<svg class="picture tint{tint}" viewBox="0 0 120 120" aria-hidden="true" focusable="false">{SHADOW}{DRAWINGS[name]}</svg>'
    )
