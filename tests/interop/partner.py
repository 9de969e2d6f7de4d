"""A partner: another team's program, in whatever language, which plays some of the roles. It is on a leash like every server of ours."""

import os
import signal
from collections.abc import Sequence
from typing import Any, ClassVar, Final
from uuid import UUID

import httpx
from msgspec import Struct

from ordersaga.devstack.folder import StackFolder
from ordersaga.devstack.server import Server
from ordersaga.settings import PREFIX, ServiceName, Settings

LIMIT_S: Final = 30.0


class Kind(Struct, frozen=True):
    """A program, and the roles that it plays in a pairing. `options` are its variant's."""

    stack: str
    roles: tuple[ServiceName, ...]
    options: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "-".join([self.stack, "+".join(self.roles), *self.options])


class Partner(Server):
    """One process, ready when each of its consumers has partitions."""

    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM

    def __init__(self, folder: StackFolder, kind: Kind, command: Sequence[str], settings: Settings) -> None:
        self.name = kind.stack  # type: ignore[misc]  # here each object is a server of its own
        super().__init__(folder)
        self.kind: Final = kind
        self.url: Final = f"http://127.0.0.1:{self.port}"
        self._given: Final = command
        self.environment = {name: value for name, value in os.environ.items() if not name.upper().startswith(PREFIX)}
        self.environment |= {
            "PARTNER_NAME": kind.stack,
            "PARTNER_BOOTSTRAP": settings.kafka_bootstrap_servers,
            "PARTNER_PORT": str(self.port),
            "PARTNER_GATEWAY": settings.gateway_url,
            "PARTNER_GATEWAY_KEY": settings.gateway_secret_key.get_secret_value(),
        }

    def _prepare(self) -> None:
        pass

    def _command(self) -> list[str]:
        return list(self._given)

    def _is_ready(self, log_from: int) -> bool:
        try:
            answer = httpx.get(f"{self.url}/partner/ready", timeout=1.0)
        except httpx.TransportError:
            self.not_ready_because = "it does not answer yet"
            return False
        self.not_ready_because = f"no partitions yet: {answer.text}"
        return answer.status_code == 200

    async def bug(self, kind: str) -> None:
        """Deploy a bug, or mend it with `NONE`: see Bug.java."""
        await self._ask("PUT", f"/partner/bug/{kind}")

    async def letters(self, order_id: UUID) -> list[dict[str, Any]]:
        """The dead letters about an order, as the partner's tool has read them."""
        return [each for each in await self._ask("GET", "/partner/letters") if each["key"] == str(order_id)]

    async def replay(self, order_id: UUID, wrong: str, right: str) -> int:
        """Have the partner's tool send an order's dead letters again, with a word mended; returns how many."""
        return int(
            await self._ask("POST", "/partner/letters/replay", {"key": str(order_id), "wrong": wrong, "right": right})
        )

    async def _ask(self, method: str, path: str, body: Any = None) -> Any:
        async with httpx.AsyncClient(timeout=LIMIT_S) as http:
            answer = await http.request(method, self.url + path, json=body)
            answer.raise_for_status()
            return answer.json() if answer.content else None
