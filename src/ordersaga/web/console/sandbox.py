"""The payment gateway's sandbox as the page of faults uses it: which faults are in force there, and other ones."""

from typing import Any, Final

import aiohttp
import msgspec

TIMEOUT_S: Final = 3.0


class Sandbox:
    """The sandbox at the gateway's address."""

    def __init__(self, gateway_url: str) -> None:
        self._url: Final = f"{gateway_url.rstrip('/')}/sandbox/faults"

    async def faults(self) -> dict[str, Any] | None:
        """The faults in force; None: there is no sandbox there."""
        return await self._ask("GET")

    async def set(self, faults: dict[str, Any]) -> bool:
        """Replace all faults. False: the sandbox refuses these, or does not answer."""
        return await self._ask("PUT", faults) is not None

    async def _ask(self, method: str, body: Any = None) -> dict[str, Any] | None:
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        sent = None if body is None else msgspec.json.encode(body)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as http,
                http.request(method, self._url, data=sent) as answer,
            ):
                if answer.status != 200:
                    return None
                found: dict[str, Any] = msgspec.json.decode(await answer.read(), type=dict[str, Any])
                return found
        except (aiohttp.ClientError, TimeoutError, OSError, msgspec.MsgspecError):
            return None
