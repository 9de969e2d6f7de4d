"""The identity provider's public keys: kept, looked up again now and then, and for as long as it is away the last ones known.

A look-up runs in a thread of its own, one at a time. A provider that hangs, or a name server, holds up that thread and nothing else.
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
"""Least time between two look-ups, whatever tokens come: one with a key id that nobody knows must not make each request ask."""
ANSWER_BYTES_MAX: Final = 1_000_000


class KeysUnavailable(Exception):
    """The key of a token may exist, but the provider that would know does not answer."""


class Jwks:
    """The keys of one provider by their ids."""

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
            return found  # while newer ones are asked for
        if self._asking is not None:
            await asyncio.wait([self._asking], timeout=max(0.0, self._asked_at + self._timeout_s - now))
        found = self._keys.get(kid)
        if found is None and (self._asking is not None or not self._answers):
            raise KeysUnavailable(f"{self._url} does not answer")
        return found

    def _ask(self, now: float) -> None:
        self._asked_at = now
        self._asking = asyncio.get_running_loop().create_future()
        threading.Thread(target=self._look, args=(asyncio.get_running_loop(),), name="jwks", daemon=True).start()

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        found: dict[str, PyJWK] | Exception
        try:
            found = _keys_at(self._url, self._timeout_s)
        except Exception as error:  # whatever the provider sends: no key is known by it
            found = error
        with contextlib.suppress(RuntimeError):  # the process has ended meanwhile
            loop.call_soon_threadsafe(self._take, found)

    def _take(self, found: dict[str, PyJWK] | Exception) -> None:
        if isinstance(found, Exception):
            if self._answers:
                log.error("the identity provider does not answer; the keys known so far are used", error=str(found))
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
        """A redirect is an error: keys come from where the setting says and from nowhere else."""


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
