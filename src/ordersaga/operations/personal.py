"""What a reader sees in the place of personal data: in records, and in the words of errors, which may repeat a part of a record.

A consumer in Java names the source of malformed JSON (`[Source: (byte[])"{"name":"Kim...`), and PostgreSQL the row that does not fit.
"""

import json
import re
from collections.abc import Iterable
from typing import Any, Final

from ordersaga.contracts.address import HIDDEN, Address
from ordersaga.http.caller import Caller
from ordersaga.messaging.texts import storable
from ordersaga.said import Saying

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


def words_for(caller: Caller, text: str) -> str:
    """Words of an error or of a header: for a reader without personal data."""
    return text if caller.is_operator else hidden_in_words(text)


def sayings_for(caller: Caller, sayings: Iterable[Saying]) -> list[Saying]:
    """The sayings of such words: for a reader without personal data."""
    return [
        Saying(each.code, {name: words_for(caller, value) for name, value in each.values.items()}) for each in sayings
    ]


def hidden_in_words(text: str) -> str:
    """The text without the personal data of a record that it repeats."""
    text = _MEMBER.sub(lambda found: f'{found["name"]}{found["level"]}"{HIDDEN}{found["level"]}"', text)
    text = _PROPERTY.sub(rf"\1{HIDDEN}", text)
    return _ROW.sub(rf"\1{HIDDEN})", text)


def hidden_in_value(text: str) -> str:
    """A record's value without personal data. A text that is no JSON object or list may have it anywhere, so all of it is hidden."""
    try:
        value = json.loads(text)
        if not isinstance(value, dict | list):
            return HIDDEN
        return storable(json.dumps(without_personal(value), ensure_ascii=False, separators=(",", ":")))
    except (ValueError, RecursionError):
        return HIDDEN


def without_personal(part: Any) -> Any:
    """A part of JSON without personal data."""
    if isinstance(part, dict):
        return {
            name: HIDDEN if name in FIELDS and each is not None else without_personal(each)
            for name, each in part.items()
        }
    if isinstance(part, str):
        return hidden_in_words(part)
    return [without_personal(each) for each in part] if isinstance(part, list) else part
