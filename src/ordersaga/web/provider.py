"""The identity provider as the web process sees it: OpenID Connect's authorization code flow with PKCE, state and nonce."""

import asyncio
import secrets
import time
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit
from uuid import UUID

import aiohttp
import jwt
import msgspec
from authlib.common.urls import add_params_to_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.core import CodeIDToken
from joserfc.errors import JoseError
from msgspec import Struct, field
from msgspec.structs import replace

from ordersaga.contracts.codec import NOT_JSON
from ordersaga.http.jwks import Jwks, KeysUnavailable
from ordersaga.settings import Settings

T = TypeVar("T")
KEPT_S: Final = 300.0
ANSWER_BYTES_MAX: Final = 1_000_000
OFFLINE: Final = "offline_access"
BEGUN_S: Final = 600
"""How long somebody may take to sign in at the provider."""
ALGORITHMS: Final = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
"""Of public keys alone: with a shared secret, every client of the provider could sign."""


class ProviderAway(Exception):
    """The provider does not answer, or answers what no provider does."""


class SignInFailed(Exception):
    """Nobody is signed in. `why`: the end of a key `sign_in.failed.…`; the message is for the log."""

    def __init__(self, why: str, detail: str) -> None:
        super().__init__(detail)
        self.why: Final = why


class Endpoints(Struct):
    """What is read of the discovery document."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    end_session_endpoint: str | None = None
    revocation_endpoint: str | None = None
    authorization_response_iss_parameter_supported: bool = False
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)


class Begun(Struct):
    """A sign-in that has begun in this browser. It is kept in a signed cookie until the provider sends the browser back."""

    then: str
    state: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    nonce: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(48))
    at: float = field(default_factory=time.time)

    @property
    def is_old(self) -> bool:
        return not 0 <= time.time() - self.at < BEGUN_S


class Tokens(Struct):
    """The token endpoint's answer."""

    id_token: str | None = None
    access_token: str = ""
    refresh_token: str | None = None


class SignedIn(Struct, frozen=True):
    """What the provider has given for one user. `token`: for the services."""

    token: str
    id_token: str | None
    refresh_token: str | None


class _RefusedCode(Struct):
    error: str
    error_description: str = ""


class Provider:
    """Its methods raise `ProviderAway` and `SignInFailed`."""

    def __init__(self, settings: Settings) -> None:
        assert settings.oidc_issuer is not None and settings.oidc_client_id is not None
        self._issuer: Final = settings.oidc_issuer
        self._client_id: Final = settings.oidc_client_id
        secret = settings.oidc_client_secret
        self._secret: Final = secret.get_secret_value() if secret else None
        self._scopes: Final = settings.oidc_scopes
        self._sends_id_token: Final = settings.oidc_token == "id"
        self._timeout_s: Final = settings.oidc_timeout_s
        self._leeway_s: Final = settings.jwt_leeway_s
        self._endpoints: Endpoints | None = None
        self._got_at = -KEPT_S
        self._jwks: Jwks | None = None

    async def endpoints(self) -> Endpoints:
        """The provider's addresses, from its discovery document. Those of an earlier time are good while it does not answer."""
        if self._endpoints is not None and time.monotonic() < self._got_at + KEPT_S:
            return self._endpoints
        try:
            found = await self._discover()
        except ProviderAway:
            if self._endpoints is None:
                raise
            return self._endpoints
        if self._jwks is None or self._endpoints is None or self._endpoints.jwks_uri != found.jwks_uri:
            self._jwks = Jwks(found.jwks_uri, self._timeout_s)
        self._endpoints, self._got_at = found, time.monotonic()
        return found

    async def _discover(self) -> Endpoints:
        url = f"{self._issuer.rstrip('/')}/.well-known/openid-configuration"
        status, said = await self._ask("GET", url)
        if status != 200:
            raise ProviderAway(f"{url} answers {status}")
        found = _read(said, Endpoints, url)
        if found.issuer != self._issuer:
            raise ProviderAway(
                f"{url} is of the issuer {found.issuer!r}, and ORDERSAGA_OIDC_ISSUER is {self._issuer!r}"
            )
        addresses = [found.authorization_endpoint, found.token_endpoint, found.jwks_uri]
        addresses += [each for each in (found.end_session_endpoint, found.revocation_endpoint) if each]
        allowed = {"https", urlsplit(self._issuer).scheme.lower()}
        if any(urlsplit(each).scheme not in allowed for each in addresses):
            raise ProviderAway(f"{url} has an address without https")
        return found

    async def sign_in_url(self, begun: Begun, back_to: str) -> str:
        """The provider's page, which sends the browser back to `back_to`."""
        values = {
            "client_id": self._client_id,
            "response_type": "code",
            "redirect_uri": back_to,
            "scope": self._scopes,
            "state": begun.state,
            "nonce": begun.nonce,
            "code_challenge": create_s256_code_challenge(begun.verifier),
            "code_challenge_method": "S256",
        }
        if OFFLINE in self._scopes.split():
            values["prompt"] = "consent"  # without which a provider must not take offline access into account
        return str(add_params_to_uri((await self.endpoints()).authorization_endpoint, list(values.items())))

    async def sign_out_url(self, id_token: str | None, back_to: str) -> str | None:
        """The provider's page that ends its own session; None if it has none, or does not answer."""
        try:
            url = (await self.endpoints()).end_session_endpoint
        except ProviderAway:
            return None
        if url is None:
            return None
        values = {"client_id": self._client_id, "post_logout_redirect_uri": back_to}
        values |= {"id_token_hint": id_token} if id_token else {}
        return str(add_params_to_uri(url, list(values.items())))

    async def must_be_from_here(self, issuer: str | None) -> None:
        """Refuse an answer that says it is of another provider, or says nothing although this one always says it (RFC 9207)."""
        silent = issuer is None and not (await self.endpoints()).authorization_response_iss_parameter_supported
        if issuer != self._issuer and not silent:
            raise SignInFailed("foreign", f"the answer is of the issuer {issuer!r}")

    async def token(self, begun: Begun, code: str, back_to: str) -> SignedIn:
        """The tokens for a code that the provider has given for this sign-in. The ID token is verified."""
        body = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": back_to,
            "code_verifier": begun.verifier,
        }
        tokens = await self._exchanged(body)
        if tokens.id_token is None:
            raise SignInFailed("unusable", "the provider sends no ID token")
        claims = await self._verified(tokens.id_token, tokens.access_token, begun.nonce)
        return self._of(tokens, str(claims["sub"]))

    async def renewed(self, refresh_token: str, user_id: UUID) -> SignedIn:
        """New tokens for a user who is signed in. A provider that sends no other refresh token lets this one be used again."""
        tokens = await self._exchanged({"grant_type": "refresh_token", "refresh_token": refresh_token})
        if tokens.id_token is not None:
            claims = await self._verified(tokens.id_token, tokens.access_token, None)
            if not _is_of(claims, str(user_id)):
                raise SignInFailed("foreign", "the renewed ID token is of another user")
        found = self._of(tokens, str(user_id))
        return found if found.refresh_token else replace(found, refresh_token=refresh_token)

    def _of(self, tokens: Tokens, subject: str) -> SignedIn:
        """The tokens of this user, and of nobody else."""
        token = tokens.id_token if self._sends_id_token else tokens.access_token
        try:
            claims = jwt.decode(token or "", options={"verify_signature": False})  # the services verify it
        except Exception as error:
            raise SignInFailed(
                "unusable",
                "the provider's access token is no JWT: have it issue one for the services, or set ORDERSAGA_OIDC_TOKEN=id"
                if not self._sends_id_token
                else "the provider renews no ID token: set ORDERSAGA_OIDC_TOKEN=access",
            ) from error
        if not _is_of(claims, subject):
            raise SignInFailed("foreign", "the access token and the ID token are of two users")
        return SignedIn(str(token), tokens.id_token, tokens.refresh_token)

    async def revoke(self, refresh_token: str) -> None:
        """Have the provider take a refresh token back, if it has an address for that (RFC 7009)."""
        url = (await self.endpoints()).revocation_endpoint
        if url is not None:
            form = {"token": refresh_token, "token_type_hint": "refresh_token"}
            status, _ = await self._ask("POST", url, *await self._as_client(form))
            if status != 200:
                raise ProviderAway(f"{url} answers {status}")

    async def _as_client(self, form: dict[str, str]) -> tuple[dict[str, str], dict[str, str]]:
        """A form for the provider, and the headers with it, by which it knows this client."""
        methods = (await self.endpoints()).token_endpoint_auth_methods_supported
        if self._secret is None:
            return form | {"client_id": self._client_id}, {}
        if "client_secret_basic" in methods or "client_secret_post" not in methods:
            return form, {"Authorization": aiohttp.encode_basic_auth(self._client_id, self._secret, "utf-8")}
        return form | {"client_id": self._client_id, "client_secret": self._secret}, {}

    async def _exchanged(self, form: dict[str, str]) -> Tokens:
        url = (await self.endpoints()).token_endpoint
        status, said = await self._ask("POST", url, *await self._as_client(form))
        if status in (400, 401, 403):
            refused = _read(said, _RefusedCode, url)
            why = "code" if refused.error == "invalid_grant" else "unusable"
            raise SignInFailed(why, f"the provider refuses the code: {refused.error} {refused.error_description}")
        if status != 200:
            raise ProviderAway(f"{url} answers {status}")
        return _read(said, Tokens, url)

    async def _verified(self, id_token: str, access_token: str, nonce: str | None) -> dict[str, Any]:
        """The claims of the ID token. `nonce`: that of the sign-in; a renewed one may have none."""
        await self.endpoints()
        assert self._jwks is not None
        try:
            head = jwt.get_unverified_header(id_token)
        except Exception as error:  # a hostile token can make the library raise any error
            raise SignInFailed("forged", "the ID token is no JWT") from error
        kid = head.get("kid")
        if kid is None:
            raise SignInFailed(
                "unusable",
                "the ID token names no key: have the provider send kid, without which no service takes a token",
            )
        if not isinstance(kid, str) or head.get("alg") not in ALGORITHMS:
            raise SignInFailed("forged", "the ID token names no key, or an algorithm that is not taken")
        try:
            key = await self._jwks.key(kid)
        except KeysUnavailable as error:
            raise ProviderAway(str(error)) from error
        if key is None:
            raise SignInFailed("forged", "the provider has no such key as the ID token names")
        try:
            claims = jwt.decode(
                id_token,
                key,
                algorithms=ALGORITHMS,
                audience=self._client_id,
                issuer=self._issuer,
                leeway=self._leeway_s,
                options={"require": ["sub", "exp", "iat", *(["nonce"] if nonce else [])]},
            )
            params = {"client_id": self._client_id, "access_token": access_token, **({"nonce": nonce} if nonce else {})}
            CodeIDToken(claims, head, params=params).validate(leeway=int(self._leeway_s))
        except jwt.ExpiredSignatureError as error:
            raise SignInFailed("expired", f"the ID token: {error}") from error
        except (jwt.InvalidAudienceError, jwt.InvalidIssuerError, JoseError) as error:
            raise SignInFailed("foreign", f"the ID token: {error}") from error
        except Exception as error:
            raise SignInFailed("forged", f"the ID token: {error}") from error
        return claims

    async def _ask(
        self, method: str, url: str, form: dict[str, str] | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        sent = {"Accept": "application/json", **(headers or {})}
        try:
            # Sign-ins are rare, and each would find a connection of the one before closed.
            async with (
                asyncio.timeout(self._timeout_s),
                aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http,
                http.request(method, url, data=form, headers=sent, allow_redirects=False) as answer,
            ):
                said = b""
                async for part in answer.content.iter_any():
                    said += part
                    if len(said) > ANSWER_BYTES_MAX:
                        raise ProviderAway(f"{url} answers too much")
                return answer.status, said
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise ProviderAway(f"{url} does not answer: {type(error).__name__} {error}") from error


def _is_of(claims: dict[str, Any], subject: str) -> bool:
    """Whether a token is of this user. A provider may write a UUID in capitals or without hyphens, as it may for the services."""
    sub = str(claims.get("sub"))
    try:
        return UUID(sub) == UUID(subject)
    except ValueError:
        return sub == subject


def _read(said: bytes, kind: type[T], url: str) -> T:
    try:
        return msgspec.json.decode(said, type=kind)
    except NOT_JSON as error:
        raise ProviderAway(f"{url} answers nonsense: {error}") from error
