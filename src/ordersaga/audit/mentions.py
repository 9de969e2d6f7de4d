"""What a sentence of the audit names, so that a page can lead there: an order, a product, a dead letter, or a place in a topic."""

import re
from typing import Final
from uuid import UUID

from msgspec import Struct

from ordersaga.contracts.topics import TOPICS
from ordersaga.settings import SERVICES

ID: Final = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_SERVICE: Final = re.compile(rf"^({'|'.join(SERVICES)}): ")
_LETTER: Final = re.compile(rf"(?:dead letter |^(?:{'|'.join(SERVICES)}): )({ID})\b")
_ORDER: Final = re.compile(rf"\border ({ID})\b")
_PRODUCT: Final = re.compile(rf"\bproduct ({ID})\b")
_FIRST: Final = re.compile(rf"^({ID})\b")
_NAMES: Final = "|".join(
    sorted({re.escape(name) for topic in TOPICS for name in (topic.name, topic.dead_letters)}, key=len, reverse=True)
)
_NUMBERS: Final = r"(?:/(\d{1,9})(?:/(\d{1,19}))?)?"
_PLACE: Final = re.compile(rf"(?<![\w.-])({_NAMES})(?![\w.-]){_NUMBERS}")
_ANY_PLACE: Final = re.compile(r"^\w+: ([\w.-]{1,249})/(\d{1,9})(?:/(\d{1,19}))?\b")
"""A topic that is none of the contract's: its sentence begins with the service and the partition."""


class Mentions(Struct, frozen=True, kw_only=True):
    """The things that a sentence names, each the first of its kind. `service`: whose database or position the sentence is about."""

    service: str | None = None
    order_id: UUID | None = None
    product_id: UUID | None = None
    letter_id: UUID | None = None
    topic: str | None = None
    partition: int | None = None
    offset: int | None = None


def mentions(sentence: str, about_products: bool) -> Mentions:
    """What the sentence names. An id at its beginning is a product's if its invariant counts products, else an order's."""
    service, letter = _SERVICE.match(sentence), _LETTER.search(sentence)
    place = _PLACE.search(sentence) or _ANY_PLACE.match(sentence)
    first = _FIRST.match(sentence)
    order = _ORDER.search(sentence) or (None if about_products else first)
    product = (first if about_products else None) or _PRODUCT.search(sentence)
    return Mentions(
        service=service[1] if service else None,
        order_id=UUID(order[1]) if order else None,
        product_id=UUID(product[1]) if product else None,
        letter_id=UUID(letter[1]) if letter else None,
        topic=place[1] if place else None,
        partition=int(place[2]) if place and place[2] else None,
        offset=int(place[3]) if place and place[3] else None,
    )
