"""Who is signed in, and the credentials with which the web process calls the services in that user's name."""

from typing import Any, Final
from uuid import UUID

from msgspec import Struct

from ordersaga.http.caller import READER_ROLES, Caller, roles_in

CUSTOMERS: Final[dict[str, UUID]] = {
    "hana": UUID("00000000-0000-4000-8000-0000000000a1"),
    "minjun": UUID("00000000-0000-4000-8000-0000000000a2"),
    "jordan": UUID("00000000-0000-4000-8000-0000000000a3"),
}
"""The customers of the demo. Their names are texts: `customer.hana` and so on."""


TOKEN_CHARS_MAX: Final = 2_700
"""A browser drops a cookie of more than 4,096 bytes and says nothing. The signed cookie is a third longer than what it signs."""


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

        A service must accept the token before anything is done. Raises ValueError, also for a token for which a cookie has no room.
        """
        if len(token) > TOKEN_CHARS_MAX or not token.isascii():
            raise ValueError(f"the token has {len(token)} characters; a cookie has room for {TOKEN_CHARS_MAX} of ASCII")
        roles = {each.upper().removeprefix("ROLE_") for each in roles_in(claims, role_claim)}
        return cls(UUID(str(claims.get("sub"))), tuple(sorted(roles & READER_ROLES)), "", token)


def credentials(user: User) -> dict[str, str]:
    """The headers by which the services know a user: the user's own token; for a customer of the demo, those of an API gateway in front."""
    if user.token:
        return {"Authorization": f"Bearer {user.token}"}
    return {"User-Id": str(user.user_id), "User-Roles": ",".join(user.roles)}
