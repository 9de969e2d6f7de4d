"""Signed values for cookies and forms: a browser can keep them and give them back, and can change none."""

import base64
import hashlib
import hmac
from typing import Any, Final, TypeVar

import msgspec
from cryptography.fernet import Fernet, InvalidToken

T = TypeVar("T")
MAC_BYTES: Final = 20


class Signer:
    """Signs with HMAC-SHA256. A value is signed for one purpose, so a cart's cookie is no session."""

    def __init__(self, secret: bytes) -> None:
        self._secret: Final = secret

    def sign(self, purpose: str, value: Any) -> str:
        """The value as text with its signature, safe in a cookie and in a URL."""
        payload = _text(msgspec.json.encode(value))
        return f"{payload}.{self._mac(purpose, payload)}"

    def read(self, purpose: str, signed: str | None, kind: type[T]) -> T | None:
        """The value; None if the text is missing, was signed for something else or by somebody else, or is of another version."""
        payload, _, mac = (signed or "").rpartition(".")
        if not payload or not self.fits(self._mac(purpose, payload), mac):
            return None
        try:
            return msgspec.json.decode(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)), type=kind)
        except (ValueError, msgspec.MsgspecError):
            return None

    def seal(self, purpose: str, value: Any) -> str:
        """The value as text that nobody else can read or change."""
        return self._sealing(purpose).encrypt(msgspec.json.encode(value)).decode()

    def unseal(self, purpose: str, sealed: str | None, kind: type[T]) -> T | None:
        """The value; None as with `read`."""
        try:
            return msgspec.json.decode(self._sealing(purpose).decrypt(sealed or ""), type=kind)
        except (InvalidToken, ValueError, msgspec.MsgspecError):
            return None

    def _sealing(self, purpose: str) -> Fernet:
        return Fernet(base64.urlsafe_b64encode(hmac.digest(self._secret, f"seal {purpose}".encode(), hashlib.sha256)))

    def token(self, purpose: str, about: str) -> str:
        """A text that only this process, or one with its secret, can make of `about`."""
        return self._mac(purpose, about)

    @staticmethod
    def fits(expected: str, given: str) -> bool:
        """Compare in constant time."""
        return hmac.compare_digest(expected.encode(), given.encode())

    def _mac(self, purpose: str, payload: str) -> str:
        return _text(hmac.digest(self._secret, f"{purpose}\n{payload}".encode(), hashlib.sha256)[:MAC_BYTES])


def _text(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")
