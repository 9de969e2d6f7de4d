"""The payment gateway's sandbox as Payment and the page of faults use it: its faults, and the load generator that it keeps for all web processes."""

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, Final, TypeVar

import aiohttp
import msgspec

from ordersaga.contracts.codec import NOT_JSON
from ordersaga.operations.load_figures import AudienceBody, BeginBody, EndedBody, Figures, LoadNow, Orders, SteerBody
from ordersaga.operations.moments import LookBody, Looked

TIMEOUT_S: Final = 2.0
T = TypeVar("T")


class Sandbox:
    """The sandbox at the gateway's address."""

    def __init__(self, gateway_url: str) -> None:
        self._url: Final = f"{gateway_url.rstrip('/')}/sandbox"

    async def faults(self) -> dict[str, Any] | None:
        """The faults in force; None: there is no sandbox there."""
        return await self._ask("GET", "faults", dict[str, Any])

    async def set(self, faults: dict[str, Any]) -> bool:
        """Replace all faults. False: the sandbox refuses these, or does not answer."""
        return await self._ask("PUT", "faults", dict[str, Any], faults) is not None

    async def load(self) -> LoadNow:
        """The load generator; none, if the sandbox does not answer."""
        return await self._ask("GET", "load", LoadNow) or LoadNow()

    async def look(self, lags: Mapping[str, int]) -> Looked | None:
        """Tell how far the services are behind. Returns what all web processes show; None: the sandbox does not answer."""
        return await self._ask("POST", "load/looks", Looked, LookBody(dict(lags)))

    async def begin(self, rate: float) -> bool:
        """Announce a generator that a web process is about to start. False: one is running, or the sandbox does not answer."""
        return await self._ask("POST", "load", dict[str, Any], BeginBody(rate)) is not None

    async def steer(self, rate: float | None) -> bool:
        """Have the generator place orders at another rate, or no more (None). False: none is running, or the sandbox does not answer."""
        return await self._ask("PUT", "load", dict[str, Any], SteerBody(rate)) is not None

    async def tell(self, figures: Figures) -> Orders | None:
        """Pass on what the generator of this process says. Returns how it is to go on; None: the sandbox does not answer."""
        return await self._ask("POST", "load/figures", Orders, figures)

    async def ended(self, trouble: str) -> None:
        """The generator of this process has ended."""
        await self._ask("POST", "load/ended", dict[str, Any], EndedBody(trouble))

    async def seen(self, news: AudienceBody) -> bool:
        """Who has looked at the console here. False: the sandbox does not answer."""
        return await self._ask("POST", "load/audience", dict[str, Any], news) is not None

    async def _ask(self, method: str, path: str, kind: type[T], body: Any = None) -> T | None:
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        sent = None if body is None else msgspec.json.encode(body)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as http,
                http.request(method, f"{self._url}/{path}", data=sent) as answer,
            ):
                return msgspec.json.decode(await answer.read(), type=kind) if answer.status == 200 else None
        except (aiohttp.ClientError, TimeoutError, OSError, *NOT_JSON):
            return None


def version_of(faults: Mapping[str, Any]) -> str:
    """Changes with the faults."""
    return blake2b(msgspec.json.encode(faults, order="sorted"), digest_size=8).hexdigest()
