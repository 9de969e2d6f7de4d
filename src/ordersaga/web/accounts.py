"""Who is signed in, and the credentials with which the web process calls the services in that user's name."""

import time
from typing import Any, Final
from uuid import UUID

import jwt
from msgspec import Struct

from ordersaga.http.caller import READER_ROLES, Caller, roles_in
from ordersaga.settings import Settings
from ordersaga.settings_http import SECRET_ALGORITHMS

TOKEN_S: Final = 300
CUSTOMERS: Final[dict[str, UUID]] = {
    "hana": UUID("00000000-0000-4000-8000-0000000000a1"),
    "minjun": UUID("00000000-0000-4000-8000-0000000000a2"),
    "jordan": UUID("00000000-0000-4000-8000-0000000000a3"),
}
"""The customers of the demo. Their names are texts: `customer.hana` and so on."""


class User(Struct, frozen=True):
    """Somebody who is signed in. `name`: a customer of the demo, empty for a user of a token. `token`: the token to pass on."""

    user_id: UUID
    roles: tuple[str, ...] = ("CUSTOMER",)
    name: str = ""
    token: str | None = None

    @classmethod
    def of(cls, caller: Caller, token: str) -> "User":
        """The user of a token that was checked."""
        return cls(caller.user_id, tuple(sorted(caller.roles)), "", token)

    @classmethod
    def unchecked(cls, claims: dict[str, Any], token: str, role_claim: str | None) -> "User":
        """The user whom a token names, with those of its roles that mean something to a page: a cookie has little room.

        A service must accept the token before anything is done. Raises ValueError.
        """
        roles = {each.upper().removeprefix("ROLE_") for each in roles_in(claims, role_claim)}
        return cls(UUID(str(claims.get("sub"))), tuple(sorted(roles & READER_ROLES)), "", token)


class Credentials:
    """Makes the headers by which the services know a user."""

    def __init__(self, settings: Settings) -> None:
        self._settings: Final = settings
        self._signs: Final = settings.jwt_key is not None and all(
            each in SECRET_ALGORITHMS for each in settings.jwt_algorithms
        )

    def headers(self, user: User) -> dict[str, str]:
        """The user's own token; a token signed here where the services share a secret; else the headers of a gateway in front."""
        if user.token:
            return {"Authorization": f"Bearer {user.token}"}
        if self._signs and self._settings.jwt_key is not None:
            claims = {"sub": str(user.user_id), "exp": int(time.time()) + TOKEN_S, "roles": list(user.roles)}
            claims |= {"iss": self._settings.jwt_issuer} if self._settings.jwt_issuer else {}
            claims |= {"aud": self._settings.jwt_audience} if self._settings.jwt_audience else {}
            key = self._settings.jwt_key.get_secret_value()
            return {"Authorization": f"Bearer {jwt.encode(claims, key, self._settings.jwt_algorithms[0])}"}
        return {"User-Id": str(user.user_id), "User-Roles": ",".join(user.roles)}
