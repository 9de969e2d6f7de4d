"""What the shop shows of a product, and how a customer finds it: each word of a search must be a part of the product's name or category.

A part of a Korean word has no ending to cut off and no space before it, so no dictionary of PostgreSQL finds it, and the extension `pg_trgm`
may be missing on a managed server. Each listing therefore has an indexed set of its characters and pairs of neighbours. A search asks for the
pairs of each of its words, for the character of a word that has one alone, and compares the text of what it finds. No I/O.
"""

import unicodedata
from collections.abc import Iterator
from typing import Final

from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace

WORDS_MAX: Final = 10


class Listing(Struct, frozen=True):
    """What the shop shows of a product beside name and price. `picture`: a path or an https URL. An inactive product is not sold any more."""

    description: str = ""
    picture: str | None = None
    category: str | None = None
    active: bool = True


class ListingChange(Struct, frozen=True):
    """New values of a listing's fields. UNSET: the field stays as it is."""

    description: str | UnsetType = UNSET
    picture: str | UnsetType | None = UNSET
    category: str | UnsetType | None = UNSET
    active: bool | UnsetType = UNSET

    @property
    def fields(self) -> dict[str, str | bool | None]:
        """The fields that change."""
        values = {name: getattr(self, name) for name in self.__struct_fields__}
        return {name: value for name, value in values.items() if value is not UNSET}

    def of(self, listing: Listing) -> Listing:
        """The listing after the change."""
        return replace(listing, **self.fields)


class Search(Struct, frozen=True):
    """What a search asks of a listing: all these parts, and a text that is like all these patterns of SQL."""

    parts: list[str]
    patterns: list[str]


def search_text(name: str, category: str | None) -> str:
    """The text that a search compares with."""
    return _folded(f"{name} {category or ''}")


def parts(text: str) -> list[str]:
    """The characters of a folded text, and its pairs of neighbours within a word."""
    return sorted({part for word in text.split() for part in (*word, *_pairs(word))})


def search(text: str) -> Search | None:
    """The search for a text that a customer typed, its first `WORDS_MAX` words; None: there is no word in it."""
    words = _folded(text).split()[:WORDS_MAX]
    if not words:
        return None
    wanted = {part for word in words for part in (_pairs(word) if len(word) > 1 else [word])}
    return Search(sorted(wanted), [f"%{_escaped(word)}%" for word in words])


def _folded(text: str) -> str:
    """One form for texts that look the same: composed, without case, and with single spaces. macOS writes Korean syllables decomposed."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(unicodedata.normalize("NFKC", folded).split())


def _pairs(word: str) -> Iterator[str]:
    return (word[n : n + 2] for n in range(len(word) - 1))


def _escaped(word: str) -> str:
    return word.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_")
