"""Who calls: from a JWT that we check, or from the headers of the gateway in front, where a setting says that there is one."""

import asyncio
from typing import Any, Final
from uuid import UUID

import jwt
from litestar import Request
from msgspec import Struct

from ordersaga.http.headers import header
from ordersaga.http.problems import Problem
from ordersaga.settings import Settings

OPERATOR_ROLES: Final = frozenset({"MASTER", "OPERATOR"})


class Caller(Struct, frozen=True):
    """A user. A customer sees only what is theirs; an operator sees all."""

    user_id: UUID
    roles: frozenset[str]

    @property
    def is_operator(self) -> bool:
        return bool(self.roles & OPERATOR_ROLES)


class Callers:
    """Finds the caller of a request."""

    def __init__(self, settings: Settings) -> None:
        self._settings: Final = settings
        self._jwks: Final = jwt.PyJWKClient(settings.jwt_jwks_url) if settings.jwt_jwks_url else None

    async def of(self, request: Request[Any, Any, Any]) -> Caller:
        """The caller. Raises `Problem` 401 where there is none that we can believe."""
        bearer = header(request, b"authorization") or ""
        if bearer.lower().startswith("bearer "):
            return await self._by_token(bearer[7:].strip())
        if self._settings.trust_gateway_headers:
            user_id = header(request, b"user-id")
            if user_id is None:
                raise _unknown("the header User-Id is missing")
            return _caller(user_id, (header(request, b"user-roles") or "CUSTOMER").split(","))
        raise _unknown("send a bearer token")

    async def operator(self, request: Request[Any, Any, Any]) -> Caller:
        """The caller, who must be an operator. Raises `Problem` 401 or 403."""
        caller = await self.of(request)
        if not caller.is_operator:
            raise Problem(
                403, "Only an operator may do this", f"one of the roles {', '.join(sorted(OPERATOR_ROLES))} is needed"
            )
        return caller

    async def _by_token(self, token: str) -> Caller:
        try:
            claims = await self._claims(token)
        except jwt.PyJWTError as error:
            raise _unknown(f"the token is not valid: {error}") from error
        roles = claims.get("roles", claims.get("role", "CUSTOMER"))
        return _caller(
            str(claims["sub"]), roles.split(",") if isinstance(roles, str) else [str(role) for role in roles]
        )

    async def _claims(self, token: str) -> dict[str, Any]:
        key: Any = self._settings.jwt_key and self._settings.jwt_key.get_secret_value()
        if self._jwks is not None:
            key = (await asyncio.to_thread(self._jwks.get_signing_key_from_jwt, token)).key
        if not key:
            raise _unknown("this service checks no tokens: neither ORDERSAGA_JWT_JWKS_URL nor ORDERSAGA_JWT_KEY is set")
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=self._settings.jwt_algorithms,
            options={"require": ["sub", "exp"], "verify_aud": False},
        )
        return claims


def _caller(user_id: str, roles: list[str]) -> Caller:
    try:
        return Caller(
            UUID(user_id), frozenset(role.strip().upper().removeprefix("ROLE_") for role in roles if role.strip())
        )
    except ValueError as error:
        raise _unknown("the user id is not a UUID") from error


def _unknown(why: str) -> Problem:
    return Problem(401, "Who is calling is not known", why)
