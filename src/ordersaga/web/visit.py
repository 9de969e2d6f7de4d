"""What one request knows of its visitor, all of it from cookies: language, user, cart."""

import secrets
from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID, uuid4

from msgspec import Struct, field

from ordersaga.said import inflected
from ordersaga.web.accounts import User
from ordersaga.web.signing import Signer
from ordersaga.web.texts import TEXTS, Language

LINES_MAX: Final = 20
PIECES_MAX: Final = 99


class Session(Struct):
    """The browser's session. `session_id` is what CSRF tokens are made of. `user`: of the shop; `operator`: of the console."""

    session_id: str = field(default_factory=lambda: secrets.token_urlsafe(12))
    user: User | None = None
    operator: User | None = None


class Cart(Struct):
    """Pieces by product. One cart becomes at most one order: its id is the order's Idempotency-Key.

    `offered_at`: Unix time of the first checkout form. An order of this cart is no older.
    """

    cart_id: UUID = field(default_factory=uuid4)
    pieces: dict[UUID, int] = {}
    offered_at: int | None = None

    @property
    def count(self) -> int:
        return sum(self.pieces.values())

    def put(self, product_id: UUID, pieces: int) -> bool:
        """Set the pieces of a product; 0 removes it. False: the cart is full."""
        if pieces <= 0:
            self.pieces.pop(product_id, None)
            return True
        if product_id not in self.pieces and len(self.pieces) >= LINES_MAX:
            return False
        self.pieces[product_id] = min(pieces, PIECES_MAX)
        return True


class Visit:
    """One request's visitor. A change of `session` or `cart` is written into cookies by the answer."""

    def __init__(
        self,
        language: Language,
        session: Session,
        cart: Cart,
        path: str,
        signer: Signer,
        cookies: Mapping[str, str],
    ) -> None:
        self.language: Final = language
        self.session = session
        self.cart = cart
        self.path: Final = path
        self.cookies: Final = cookies
        self.by_proxy: User | None = None
        self._signer: Final = signer

    @property
    def user(self) -> User | None:
        return self.by_proxy or self.session.user

    @property
    def csrf(self) -> str:
        """The token that every form of this session carries."""
        return self._signer.token("csrf", self.session.session_id)

    def t(self, key: str, **values: Any) -> str:
        """A text in the visitor's language."""
        text = TEXTS[self.language][key]
        return inflected(text, values).format(**values) if values else text

    def under(self, section: str) -> dict[str, str]:
        """The texts of a section, by the last part of their keys."""
        begins = f"{section}."
        return {key.removeprefix(begins): text for key, text in TEXTS[self.language].items() if key.startswith(begins)}

    def has(self, key: str) -> bool:
        """Whether the catalogue has this text."""
        return key in TEXTS[self.language]
