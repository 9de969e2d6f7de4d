"""Caches the identity provider's public keys for `KEPT_S`. While the provider does not answer, the cached keys are used.

A fetch runs in a thread of its own, one at a time. A provider or a name server that hangs blocks that thread and nothing else.
"""

import asyncio
import contextlib
import json
import threading
import time
import urllib.request
from typing import Any, Final

import structlog
from jwt import PyJWK, PyJWKSet

log: Final = structlog.get_logger()

KEPT_S: Final = 300.0
AGAIN_S: Final = 2.0
"""The least time between two fetches: tokens with unknown key ids must not make every request fetch."""
ANSWER_BYTES_MAX: Final = 1_000_000


class KeysUnavailable(Exception):
    """The token's key is not cached, and the provider does not answer."""


class Jwks:
    """The keys of one provider, by key id."""

    def __init__(self, url: str, timeout_s: float) -> None:
        self._url: Final = url
        self._timeout_s: Final = timeout_s
        self._keys: dict[str, PyJWK] = {}
        self._asked_at = -KEPT_S
        self._got_at = -KEPT_S
        self._answers = True
        self._asking: asyncio.Future[None] | None = None

    async def key(self, kid: str) -> PyJWK | None:
        """The key with this id; None if the provider has none. Raises `KeysUnavailable`."""
        now = time.monotonic()
        found = self._keys.get(kid)
        stale = now >= self._got_at + KEPT_S
        if (found is None or stale) and self._asking is None and now >= self._asked_at + AGAIN_S:
            self._ask(now)
        if found is not None:
            return found  # a stale key is good while newer ones are fetched
        if self._asking is not None:
            await asyncio.wait([self._asking], timeout=max(0.0, self._asked_at + self._timeout_s - now))
        found = self._keys.get(kid)
        if found is None and (self._asking is not None or not self._answers):
            raise KeysUnavailable(f"{self._url} does not answer")
        return found

    def _ask(self, now: float) -> None:
        self._asked_at = now
        self._asking = asyncio.get_running_loop().create_future()
        threading.Thread(target=self._fetch, args=(asyncio.get_running_loop(),), name="jwks", daemon=True).start()

    def _fetch(self, loop: asyncio.AbstractEventLoop) -> None:
        found: dict[str, PyJWK] | Exception
        try:
            found = _keys_at(self._url, self._timeout_s)
        except Exception as error:  # the provider may send anything; no failure may end this thread without a result
            found = error
        with contextlib.suppress(RuntimeError):  # the event loop has ended meanwhile
            loop.call_soon_threadsafe(self._received, found)

    def _received(self, found: dict[str, PyJWK] | Exception) -> None:
        if isinstance(found, Exception):
            if self._answers:
                log.error("the identity provider does not answer; the cached keys are used", error=str(found))
            self._answers = False
        else:
            if not self._answers:
                log.info("the identity provider answers again")
            self._keys, self._got_at, self._answers = found, time.monotonic(), True
        if self._asking is not None:
            self._asking.set_result(None)
            self._asking = None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """A redirect is an error: keys come from the URL of the setting alone."""


def _keys_at(url: str, timeout_s: float) -> dict[str, PyJWK]:
    end = time.monotonic() + timeout_s
    body = b""
    with urllib.request.build_opener(_NoRedirect).open(url, timeout=timeout_s) as answer:
        while part := answer.read1(65_536):
            body += part
            if len(body) > ANSWER_BYTES_MAX or time.monotonic() > end:
                raise TimeoutError("the answer is too long or comes too slowly")
    keys = PyJWKSet.from_dict(json.loads(body)).keys
    return {key.key_id: key for key in keys if isinstance(key.key_id, str) and key.public_key_use in ("sig", None)}
