"""What a reader sees in the place of personal data: in records, and in the words of errors."""

import json
from collections.abc import Iterable
from typing import Any

from ordersaga.contracts.address import HIDDEN
from ordersaga.contracts.personal import FIELDS, hidden_in_words
from ordersaga.http.caller import Caller
from ordersaga.messaging.texts import storable
from ordersaga.said import Saying


def words_for(caller: Caller, text: str) -> str:
    """Words of an error or of a header: for a reader without personal data."""
    return text if caller.is_operator else hidden_in_words(text)


def sayings_for(caller: Caller, sayings: Iterable[Saying]) -> list[Saying]:
    """The sayings of such words: for a reader without personal data."""
    return [
        Saying(each.code, {name: words_for(caller, value) for name, value in each.values.items()}) for each in sayings
    ]


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
