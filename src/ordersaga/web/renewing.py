"""Renews the tokens of people who are signed in at the identity provider, shortly before they run out: no page, form or stream notices.

The provider's refresh token is in a sealed cookie of the browser. A provider may take each refresh token once, so the requests of a browser that come at
the same time, or a moment later with the old cookie, share one renewal: `shared_renewals.py`. A token that cannot be renewed is used until it runs out; then
its user signs in again.
"""

import asyncio
import base64
import time
from collections import OrderedDict, deque
from functools import partial
from typing import Any, Final
from uuid import UUID

import jwt
import msgspec
import structlog
from litestar.datastructures import Cookie
from msgspec import Struct

from ordersaga.web.accounts import User
from ordersaga.web.provider import Provider, ProviderAway, SignedIn, SignInFailed
from ordersaga.web.shared_renewals import SharedRenewals
from ordersaga.web.signing import Signer

log: Final = structlog.get_logger()

RENEWAL: Final = "ordersaga_renewal"
OPERATOR_RENEWAL: Final = "ordersaga_operator_renewal"
"""The cookies with the refresh token of the shop's user, and of the console's."""
COOKIE_CHARS_MAX: Final = 4_000
BEFORE_S: Final = 60.0
"""A token is renewed so long before its end, and one of a short life in the last quarter of it."""
SHARED_S: Final = 60.0
AGAIN_S: Final = 10.0
"""After a renewal that failed, its next try, and the next renewal with the same refresh token."""
SHARED_MAX: Final = 10_000
NOTED: Final = "ordersaga_renewed"


class Renewable(Struct, frozen=True):
    """What a cookie keeps."""

    user_id: UUID
    refresh_token: str


class _Times(Struct):
    exp: float
    iat: float | None = None


class Renewing:
    """The renewals of this process."""

    def __init__(self, provider: Provider, signer: Signer, role_claim: str | None) -> None:
        self._provider: Final = provider
        self._signer: Final = signer
        self._with_others: Final = SharedRenewals(signer)
        self._role_claim: Final = role_claim
        self._shared: Final[OrderedDict[str, tuple[float, asyncio.Task[SignedIn]]]] = OrderedDict()
        self._over: Final[deque[str]] = deque(maxlen=SHARED_MAX)

    def sealed(self, name: str, user_id: UUID, refresh_token: str | None) -> str:
        """A cookie's value; empty if there is nothing to renew with, or no room for it in a cookie."""
        if refresh_token is None:
            return ""
        value = self._signer.seal(name, Renewable(user_id, refresh_token))
        if len(value) > COOKIE_CHARS_MAX:
            log.warning("a refresh token is too long for a cookie: its user signs in again", characters=len(value))
            return ""
        return value

    async def fresh(self, user: User, name: str, cookie: str | None) -> tuple[User, str] | None:
        """The user with a new token, and the new value of the cookie; None if the token is good for a while, or cannot be renewed."""
        if not ends_soon(user.token):
            return None
        kept = self._signer.unseal(name, cookie, Renewable)
        if kept is None or kept.user_id != user.user_id:
            return None
        try:
            found = await self._once(kept)
            claims = jwt.decode(found.token, options={"verify_signature": False})  # the services verify it
            renewed = User.unchecked(claims, found.token, self._role_claim)
        except (ProviderAway, SignInFailed, ValueError, jwt.PyJWTError):
            return None
        return renewed, self.sealed(name, user.user_id, found.refresh_token)

    async def _once(self, kept: Renewable) -> SignedIn:
        now_s = time.monotonic()
        while self._shared and (
            len(self._shared) > SHARED_MAX or next(iter(self._shared.values()))[0] < now_s - SHARED_S
        ):
            self._shared.popitem(last=False)
        began_s, task = self._shared.get(kept.refresh_token, (now_s, None))
        is_over = task is not None and task.done() and (_failed(task) or _is_used_up(kept.refresh_token, task.result()))
        if task is None or (is_over and began_s < now_s - AGAIN_S):
            task = asyncio.create_task(self._renew(kept))
            self._shared[kept.refresh_token] = (now_s, task)
            self._shared.move_to_end(kept.refresh_token)
        return await asyncio.shield(task)

    async def _renew(self, kept: Renewable) -> SignedIn:
        try:
            return await self._with_others.once(
                kept.refresh_token,
                lambda: self._provider.renewed(kept.refresh_token, kept.user_id),
                partial(_is_used_up, kept.refresh_token),
            )
        except (ProviderAway, SignInFailed) as error:
            log.warning("a token cannot be renewed: its user signs in again when it runs out", error=str(error))
            raise

    def is_over(self, session_id: str) -> bool:
        """Whether somebody has signed out of this session lately."""
        return session_id in self._over

    async def end(self, session_id: str, name: str, cookie: str | None) -> None:
        """A session ends: have the provider take back the refresh token of its cookie."""
        self._over.append(session_id)
        kept = self._signer.unseal(name, cookie, Renewable)
        if kept is not None:
            try:
                await self._provider.revoke(kept.refresh_token)
            except (ProviderAway, SignInFailed) as error:
                log.warning("the provider did not take a refresh token back", error=str(error))


def _failed(task: "asyncio.Task[SignedIn]") -> bool:
    return task.cancelled() or task.exception() is not None


def _is_used_up(refresh_token: str, found: SignedIn) -> bool:
    """Whether it is time to renew again with the same refresh token, which some providers take any number of times."""
    return found.refresh_token == refresh_token and ends_soon(found.token)


def ends_soon(token: str | None) -> bool:
    """Whether a token has run out, or is about to."""
    times = _times(token)
    if times is None:
        return False
    lasts_s = BEFORE_S if times.iat is None else min(BEFORE_S, max(0.0, times.exp - times.iat) / 4)
    return time.time() > times.exp - lasts_s


def has_ended(token: str | None) -> bool:
    """Whether a token has run out."""
    times = _times(token)
    return times is not None and time.time() > times.exp


def _times(token: str | None) -> _Times | None:
    """When a JWT was made, and when it ends; None if it does not say."""
    try:
        payload = (token or "").split(".")[1]
        return msgspec.json.decode(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)), type=_Times)
    except (IndexError, ValueError, msgspec.MsgspecError):
        return None


def note(scope: Any, session_id: str, cookies: list[Cookie]) -> None:
    """Have the answer to this request bring these cookies, whatever it is: a page, a part of one, a stream, an error."""
    scope.setdefault("state", {})[NOTED] = (session_id, cookies)


class BringsCookies:
    """Litestar's `before_send`: adds the cookies that were noted. One that the answer sets itself stays, and after a sign-out in another window none is
    added, which would sign in again."""

    def __init__(self, renewing: Renewing | None) -> None:
        self._renewing: Final = renewing

    async def __call__(self, message: Any, scope: Any) -> None:
        noted = scope.get("state", {}).get(NOTED) if message["type"] == "http.response.start" else None
        if noted is None or self._renewing is None or self._renewing.is_over(noted[0]):
            return
        own = {value.partition(b"=")[0] for name, value in message["headers"] if name.lower() == b"set-cookie"}
        more = [each.to_encoded_header() for each in noted[1] if (each.key or "").encode() not in own]
        message["headers"] = [*message["headers"], *more]
