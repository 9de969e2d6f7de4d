"""What a provider, or somebody in its place, may answer that is not for us; and what the sign-in page says of it."""

import hmac
from collections.abc import Callable
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization

from ordersaga.web.accounts import TOKEN_CHARS_MAX
from tests.unit.oidc_provider import CLIENT, OidcProvider


def _claims(**changes: Any) -> Callable[[OidcProvider], None]:
    return lambda provider: provider.changes.update(changes)


def _signed_by_a_stranger(provider: OidcProvider) -> None:
    """The stranger names a key of the provider's."""
    provider.kid, provider.headers = "foreign", {"kid": "one"}


def _by_an_unknown_key(provider: OidcProvider) -> None:
    provider.headers = {"kid": "nobody's"}


def _unsigned(provider: OidcProvider) -> None:
    head = jwt.utils.base64url_encode(b'{"alg":"none","kid":"one"}').decode()
    provider.rewritten = lambda token: f"{head}.{token.split('.')[1]}."


def _signed_with_the_public_key(provider: OidcProvider) -> None:
    """The public key as a shared secret: everybody has it."""
    key: Any = provider.keys.keys["one"].public_key()
    pem = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)

    def rewritten(token: str) -> str:
        head = jwt.utils.base64url_encode(b'{"alg":"HS256","kid":"one"}').decode()
        text = f"{head}.{token.split('.')[1]}"
        return f"{text}.{jwt.utils.base64url_encode(hmac.digest(pem, text.encode(), 'sha256')).decode()}"

    provider.rewritten = rewritten


def _without_a_key(provider: OidcProvider) -> None:
    head = jwt.utils.base64url_encode(b'{"alg":"RS256"}').decode()
    provider.rewritten = lambda token: f"{head}.{token.partition('.')[2]}"


def _no_token(provider: OidcProvider) -> None:
    provider.rewritten = lambda _: "x.y"


def _another_users_access(provider: OidcProvider) -> None:
    provider.access = {"sub": "00000000-0000-4000-8000-0000000000ff"}


def _an_opaque_token(provider: OidcProvider) -> None:
    provider.opaque = True


def _a_token_for_no_cookie(provider: OidcProvider) -> None:
    provider.access = {"more": "x" * TOKEN_CHARS_MAX}


LIES = {
    "signed by a stranger": (_signed_by_a_stranger, "forged"),
    "an unknown key": (_by_an_unknown_key, "forged"),
    "unsigned": (_unsigned, "forged"),
    "signed with the public key": (_signed_with_the_public_key, "forged"),
    "names no key": (_without_a_key, "unusable"),
    "no token": (_no_token, "forged"),
    "expired": (_claims(exp=1), "expired"),
    "no expiry": (_claims(exp=None), "forged"),
    "another audience": (_claims(aud="another shop"), "foreign"),
    "no audience": (_claims(aud=None), "forged"),
    "also of another client": (_claims(aud=[CLIENT, "another shop"]), "foreign"),
    "of another client": (_claims(aud=[CLIENT, "another shop"], azp="another shop"), "foreign"),
    "another issuer": (_claims(iss="https://another.example"), "foreign"),
    "another nonce": (_claims(nonce="another"), "foreign"),
    "no nonce": (_claims(nonce=None), "forged"),
    "the nonce is a list": (_claims(nonce=["another"]), "foreign"),
    "another access token": (_claims(at_hash="another"), "foreign"),
    "another user's access token": (_another_users_access, "foreign"),
    "no user": (_claims(sub=None), "forged"),
    "an opaque access token": (_an_opaque_token, "unusable"),
    "a token too long for a cookie": (_a_token_for_no_cookie, "unusable"),
}
