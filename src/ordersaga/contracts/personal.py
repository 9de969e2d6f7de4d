"""Hides personal data in the words of errors, which may repeat a part of a record.

A consumer in Java names the source of malformed JSON (`[Source: (byte[])"{"name":"Kim...`), and PostgreSQL the row that does not fit.
"""

import re
from typing import Final

from ordersaga.contracts.address import HIDDEN, Address

FIELDS: Final = Address.__struct_encode_fields__
"""Hidden wherever a JSON object of a record has them, however deep."""

_names: Final = "|".join(FIELDS)
_MEMBER: Final = re.compile(
    rf'(?P<name>(?P<level>\\{{0,7}})"(?:{_names})(?P=level)"\s*:\s*)(?:(?P=level)".*?(?:(?<!\\)(?P=level)"|\Z)|(?!null\b)[^\s"\\,}}\]]+)',
    re.DOTALL,
)
"""A field of JSON, also of JSON in a text of JSON, where each quote has backslashes, and of JSON that is cut off."""
_PROPERTY: Final = re.compile(rf"\b((?:{_names})=)(?!null\b)[^,)\]}}]+")
"""A field as Java prints an object: `name=Kim Hana, phone=...`."""
_ROW: Final = re.compile(r"(Failing row contains \().*", re.DOTALL)


def hidden_in_words(text: str) -> str:
    """The text without the personal data of a record that it repeats."""
    return _PROPERTY.sub(rf"\1{HIDDEN}", hidden_in_own_words(text))


def hidden_in_own_words(text: str) -> str:
    """The same for our own logs and spans, in which `name=` is more often a piece of code."""
    text = _MEMBER.sub(lambda found: f'{found["name"]}{found["level"]}"{HIDDEN}{found["level"]}"', text)
    return _ROW.sub(rf"\1{HIDDEN})", text)
