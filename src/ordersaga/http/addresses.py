"""Counts the requests of which nobody knows the caller, by the address that they come from, so that one address cannot keep a process busy.

They are those of the routes for anybody, those for which there is no route, and those whose credentials are refused or cannot be
checked. A request with a caller is not counted here, so people with a token are served beside a flood from their own address.
"""

import ipaddress
import time
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, TypeAlias

import structlog
from litestar.connection import ASGIConnection
from litestar.handlers.base import BaseRouteHandler

from ordersaga.http.limits import Pace
from ordersaga.http.problems import TooManyRequests
from ordersaga.settings import Settings
from ordersaga.settings_limits import Network

log: Final = structlog.get_logger()

FORWARDED: Final = b"x-forwarded-for"
PROXIES_MAX: Final = 10
"""Entries of the header that are read, from its end: proxies one behind another. A client may send any number."""
IPV6_BITS: Final = 64
"""A household or a machine has so much of an IPv6 address for itself, and may use all addresses below."""
WARN_EVERY_S: Final = 60.0
COUNTS: Final = "counts_addresses"
Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address


class Addresses:
    """The addresses that requests without a caller come from."""

    def __init__(self, settings: Settings) -> None:
        self._proxies: Final = (*settings.proxy_networks, *settings.gateway_networks)
        per_s = settings.http_address_requests_per_s
        self._pace: Final = Pace(per_s, "address") if per_s else None
        self._warned_at = -WARN_EVERY_S

    def of(self, scope: Any) -> Address | None:
        """The client's address: that of the connection or, behind proxies of the settings, the last in `X-Forwarded-For` that is no such proxy.

        None: the socket has none.
        """
        found = peer(scope)
        if found is None or not is_in(found, self._proxies):
            return found
        for text in self._forwarded(scope):
            before = _address(text)
            if before is None:
                break
            found = before
            if not is_in(found, self._proxies):
                break
        return found

    def count(self, scope: Any) -> None:
        """Count a request without a caller. Raises `TooManyRequests` where its address has made too many."""
        address = self.of(scope) if self._pace else None
        if address is None or self._pace is None:
            return
        wait_s = self._pace.wait_s(client_of(address))
        if wait_s:
            self._warn_of_a_proxy(scope, address)
            raise TooManyRequests(wait_s)

    @staticmethod
    def _forwarded(scope: Any) -> Sequence[str]:
        """The entries of the header, the last first."""
        values = [value for name, value in scope["headers"] if name == FORWARDED]
        return [each.decode("latin-1").strip() for each in reversed(b",".join(values).rsplit(b",", PROXIES_MAX))][
            :PROXIES_MAX
        ]

    def _warn_of_a_proxy(self, scope: Any, address: Address) -> None:
        """Many clients behind a proxy that is not in the settings count as one."""
        now = time.monotonic()
        connected = peer(scope)
        if now < self._warned_at + WARN_EVERY_S or connected is None or not self._forwarded(scope)[0]:
            return
        if not is_in(connected, self._proxies):
            self._warned_at = now
            log.warning(
                "requests from one address are refused as too many, and may be those of many clients behind a proxy: if it is yours, "
                "list it in ORDERSAGA_HTTP_PROXY_ADDRESSES, and its X-Forwarded-For counts",
                address=str(address),
            )


async def counted(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """A guard for Litestar: counts each request of its route, which is for anybody."""
    addresses = connection.app.state.get(COUNTS)
    if addresses is not None:
        addresses.count(connection.scope)


def peer(scope: Any) -> Address | None:
    """The address of whoever has connected; None: a socket without addresses."""
    client = scope.get("client")
    return _address(client[0]) if client else None


def client_of(address: Address) -> str:
    """Whom an address stands for: itself, or the part of an IPv6 address that belongs to one client."""
    return str(address if address.version == 4 else ipaddress.ip_network((address, IPV6_BITS), strict=False))


def is_in(address: Address, networks: Sequence[Network]) -> bool:
    """Whether one of the networks has this address."""
    return any(address in each for each in networks)


@lru_cache(maxsize=4_096)
def _address(text: str) -> Address | None:
    """An address, which a proxy may have written with its port; None: the text is none."""
    text = text.strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    # A socket for IPv6 that also takes IPv4 tells of an IPv4 client as ::ffff:10.0.3.7.
    return getattr(address, "ipv4_mapped", None) or address
