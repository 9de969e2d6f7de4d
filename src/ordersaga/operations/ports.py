"""A service as an operator's command reaches it: over its database (`desk.py`) or over its HTTP face (`remote.py`)."""

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from ordersaga.messaging.acts import Act, Operator
from ordersaga.messaging.bulk_replay import Replayable
from ordersaga.messaging.handler import Coordinates
from ordersaga.messaging.letters import CauseCount, Content, Letter, LetterFilter
from ordersaga.messaging.queues import Queue, QueueFilter
from ordersaga.operations.rehearsing import Rehearsed
from ordersaga.settings import ServiceName


class Refused(Exception):
    """Over HTTP: the caller has no rights, this address has no such face, or the service answers with an error of its own."""


class Letters(Replayable, Protocol):
    """Reads and acts on dead letters. Each raises `NotPossible`."""

    async def find(self, wanted: LetterFilter, rows_max: int | None = None) -> list[Letter]: ...

    async def by_ids(self, ids: Sequence[UUID]) -> dict[UUID, Letter]: ...

    async def causes(self, wanted: LetterFilter) -> list[CauseCount]: ...

    async def contents(self, ids: Sequence[UUID]) -> dict[UUID, Content]: ...

    async def history(self, letter: Letter) -> tuple[list[Letter], list[Act]]: ...

    async def refusal(self, letter: Letter) -> str | None: ...

    async def edit(self, letter_id: UUID, value: bytes, operator: Operator) -> Letter: ...

    async def discard(self, letter_id: UUID, operator: Operator) -> None: ...


class ParkedRecords(Protocol):
    """Reads and acts on parked records. Each raises `NotPossible`."""

    async def find(self, wanted: QueueFilter) -> list[Queue]: ...

    async def retry(self, first: Coordinates, operator: Operator) -> object: ...

    async def discard(self, first: Coordinates, operator: Operator) -> int: ...


class OperatorsDesk(Protocol):
    """One service. `attempts_max`: how often a parked record is tried."""

    @property
    def service(self) -> ServiceName: ...

    @property
    def redrive(self) -> Letters: ...

    @property
    def queues(self) -> ParkedRecords: ...

    @property
    def attempts_max(self) -> int: ...

    async def rehearse(self, letters: Sequence[Letter], type_id: str | None) -> list[Rehearsed]: ...
