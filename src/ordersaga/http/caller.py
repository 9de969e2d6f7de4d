"""Finds the caller of a request: by a JWT that is checked here or, where a setting says so, by the headers of an API gateway in front."""

import hmac
from typing import Any, Final
from uuid import UUID

import jwt
from litestar import Request
from msgspec import Struct

from ordersaga.http.addresses import Addresses, is_in, peer
from ordersaga.http.jwks import Jwks, KeysUnavailable
from ordersaga.http.limits import Pace
from ordersaga.http.problems import Problem, TooManyRequests, invalid
from ordersaga.http.requests import headers
from ordersaga.settings import Settings

OPERATOR_ROLES: Final = frozenset({"MASTER", "OPERATOR"})
READER_ROLES: Final = OPERATOR_ROLES | {"READER"}


class Caller(Struct, frozen=True):
    """The user who calls. A customer sees only their own things, an operator sees all, a reader sees all but personal data."""

    user_id: UUID
    roles: frozenset[str]

    @property
    def is_operator(self) -> bool:
        return bool(self.roles & OPERATOR_ROLES)

    @property
    def sees_all(self) -> bool:
        """Whether the caller sees what belongs to others: an operator, or a reader."""
        return bool(self.roles & READER_ROLES)

    def sees_personal_data_of(self, customer_id: UUID) -> bool:
        """A reader sees no personal data but their own."""
        return self.is_operator or self.user_id == customer_id


class Callers:
    """Finds the caller of a request."""

    def __init__(self, settings: Settings, is_service: bool = False) -> None:
        """`is_service`: it counts its customers' requests, of which each may make so many."""
        self._settings: Final = settings
        per_s = settings.http_caller_requests_per_s if is_service else None
        self._pace: Final = None if per_s is None else Pace(per_s, "caller")
        self.addresses: Final = Addresses(settings)
        url = settings.jwt_jwks_url
        self._jwks: Final = Jwks(url, settings.jwt_jwks_timeout_s) if url else None
        self._networks: Final = settings.gateway_networks
        secret = settings.trust_gateway_secret
        self._secret: Final = secret.get_secret_value().encode() if secret else None

    async def of(self, request: Request[Any, Any, Any]) -> Caller:
        """The caller. Raises `Problem` 401 without valid credentials, 503 while the identity provider does not answer, 429 for a customer who
        makes too many requests and for an address that makes too many without valid credentials."""
        try:
            caller = await self._found(request)
        except Problem:
            self.addresses.count(request.scope)
            raise
        wait_s = 0 if self._pace is None or caller.sees_all else self._pace.wait_s(caller.user_id)
        if wait_s:
            raise TooManyRequests(wait_s)
        return caller

    async def _found(self, request: Request[Any, Any, Any]) -> Caller:
        authorization = _single(request, b"authorization", "Authorization")
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() == "bearer":
            return await self._by_token(token.strip())
        if self._settings.trust_gateway_headers and authorization != "":
            user_id = _single(request, b"user-id", "User-Id")
            if user_id is None:
                raise _unknown("the header User-Id is missing")
            self._must_be_the_gateway(request)
            roles = _single(request, b"user-roles", "User-Roles")
            return _caller(user_id, ["CUSTOMER"] if roles is None else roles.split(","))
        raise _unknown("send a bearer token")

    def _must_be_the_gateway(self, request: Request[Any, Any, Any]) -> None:
        """Raises `Problem` 401 unless the request comes from the API gateway, which alone may say who calls."""
        if not self._networks and self._secret is None and not self._settings.development:
            raise _unknown(
                "User-Id is taken from nobody: neither ORDERSAGA_TRUST_GATEWAY_ADDRESSES nor ORDERSAGA_TRUST_GATEWAY_SECRET is set"
            )
        if self._networks:
            address = peer(request.scope)
            if address is None or not is_in(address, self._networks):
                raise _unknown(
                    f"User-Id is not taken from {address or 'this socket'}: ORDERSAGA_TRUST_GATEWAY_ADDRESSES does not list it"
                )
        if self._secret is not None:
            sent = _single(request, b"gateway-secret", "Gateway-Secret")
            if sent is None or not hmac.compare_digest(sent.encode("latin-1"), self._secret):
                raise _unknown("User-Id is taken from the API gateway alone, and Gateway-Secret is not the gateway's")

    async def operator(self, request: Request[Any, Any, Any]) -> Caller:
        """The caller, who must be an operator. Raises `Problem` 401, 403 or 503."""
        caller = await self.of(request)
        must_operate(caller)
        return caller

    async def reader(self, request: Request[Any, Any, Any]) -> Caller:
        """The caller, who may see what operators see. Raises `Problem` 401, 403 or 503."""
        caller = await self.of(request)
        _must_have(caller, READER_ROLES, "Only an operator or a reader may see this")
        return caller

    async def _by_token(self, token: str) -> Caller:
        key = await self._key(token)
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=self._settings.jwt_algorithms,
                audience=self._settings.jwt_audience,
                issuer=self._settings.jwt_issuer,
                leeway=self._settings.jwt_leeway_s,
                options={
                    "require": ["sub", "exp"],
                    "verify_aud": self._settings.jwt_audience is not None,
                    "verify_iss": self._settings.jwt_issuer is not None,
                },
            )
            exp: Any = claims["exp"]
            if isinstance(exp, bool) or not isinstance(exp, int | float):
                raise ValueError("exp is no number")
            return _caller(str(claims["sub"]), roles_in(claims, self._settings.jwt_role_claim))
        except Problem:
            raise
        except Exception as error:  # a hostile token can make the library raise any error
            raise _unknown(
                "the token is not valid" + (f": {error}" if isinstance(error, jwt.PyJWTError) else "")
            ) from error

    async def _key(self, token: str) -> Any:
        if self._jwks is None:
            if self._settings.jwt_key is None:
                raise _unknown(
                    "this service checks no tokens: neither ORDERSAGA_JWT_JWKS_URL nor ORDERSAGA_JWT_KEY is set"
                )
            return self._settings.jwt_key.get_secret_value()
        try:
            head = jwt.get_unverified_header(token)
        except Exception as error:
            raise _unknown("the token is not valid") from error
        kid = head.get("kid")
        if not isinstance(kid, str) or head.get("alg") not in self._settings.jwt_algorithms:
            raise _unknown("the token names no key, or an algorithm that is not taken here")
        try:
            key = await self._jwks.key(kid)
        except KeysUnavailable as error:
            raise Problem(
                503, "Who is calling cannot be checked now", "the identity provider does not answer"
            ) from error
        if key is None:
            raise _unknown("the token's key is not known")
        return key


def must_operate(caller: Caller) -> None:
    """Raises `Problem` 403, with the roles that are needed, unless the caller is an operator."""
    _must_have(caller, OPERATOR_ROLES, "Only an operator may do this")


def _must_have(caller: Caller, roles: frozenset[str], title: str) -> None:
    if not caller.roles & roles:
        raise Problem(403, title, f"one of the roles {', '.join(sorted(roles))} is needed")


def roles_in(claims: dict[str, Any], claim: str | None) -> list[str]:
    """The roles in a token's claim, which `claim` names or reaches by a path with dots. CUSTOMER where the claim is missing.

    Without `claim` the roles are in `roles`, or in the Java gateway's `role`. Raises ValueError for a claim that is no text and no list
    of texts.
    """
    claim = claim or ("roles" if "roles" in claims else "role")
    found: Any = claims.get(claim)
    if found is None:
        found = claims
        for part in claim.split("."):
            found = found.get(part) if isinstance(found, dict) else None
    if found is None:
        return ["CUSTOMER"]
    if isinstance(found, str):
        return found.replace(",", " ").split()
    if isinstance(found, list) and all(isinstance(each, str) for each in found):
        return found
    raise ValueError(f"{claim} is neither a text nor a list of texts")


def _single(request: Request[Any, Any, Any], name: bytes, shown: str) -> str | None:
    """The value of an identity header. A repeated one is refused: the API gateway and this service might read different callers."""
    found = headers(request, name)
    if len(found) > 1:
        raise invalid(shown, "must not come more than once", "duplicate")
    return found[0].strip() if found else None


def _caller(user_id: str, roles: list[str]) -> Caller:
    names = frozenset(role.strip().upper().removeprefix("ROLE_") for role in roles)
    if "" in names or not names:
        raise _unknown("a role is empty")
    try:
        return Caller(UUID(user_id), names)
    except ValueError as error:
        raise _unknown("the user id is not a UUID") from error


def _unknown(why: str) -> Problem:
    return Problem(401, "Who is calling is not known", why)
