"""Every text that a page shows, one catalogue a language. `{names}` in a text are filled by `str.format`."""

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal

Language = Literal["en", "ko"]
LANGUAGES: Final[tuple[Language, ...]] = ("en", "ko")


def _flat(table: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


TEXTS: Final[dict[Language, dict[str, str]]] = {
    language: dict(_flat(tomllib.loads((Path(__file__).parent / f"{language}.toml").read_text())))
    for language in LANGUAGES
}


def preferred(accept_language: str) -> Language:
    """The language that a browser's `Accept-Language` wants most of ours. English if it wants neither."""
    wanted: list[tuple[float, int, Language]] = []
    for n, part in enumerate(accept_language.lower().split(",")):
        name, _, weight = part.strip().partition(";")
        code = name.strip().partition("-")[0]
        for language in LANGUAGES:
            if code == language:
                wanted.append((-_weight(weight), n, language))
    return min(wanted)[2] if wanted else "en"


def _weight(parameter: str) -> float:
    try:
        return float(parameter.strip().removeprefix("q=")) if parameter else 1.0
    except ValueError:
        return 0.0


def won(amount: int, language: Language) -> str:
    """An amount of won as people write it."""
    return f"{amount:,}원" if language == "ko" else f"₩{amount:,}"


def local(name: str, language: Language) -> str:
    """A name of the catalogue in one language, where the shop has written both: `Teapot / 찻주전자`."""
    english, slash, korean = name.partition(" / ")
    return name if not slash else (korean if language == "ko" else english)
