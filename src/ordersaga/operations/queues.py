"""Parked records for operators: the queues that an act is about."""

from collections.abc import Sequence

from msgspec import Struct

from ordersaga.contracts.topics import BY_NAME
from ordersaga.messaging.acts import NotPossible
from ordersaga.messaging.handler import Coordinates
from ordersaga.messaging.queues import QueueFilter, parse_coordinates
from ordersaga.operations.ports import OperatorsDesk


class QueueSelection(Struct, frozen=True, kw_only=True):
    """The queues of these records, or all that fit. At least one condition is required; `everything` stands for all queues."""

    records: Sequence[str] = ()
    wanted: QueueFilter
    everything: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether no condition is given."""
        return not self.records and not self.everything and self.wanted == QueueFilter()


async def resolve(selection: QueueSelection, desks: Sequence[OperatorsDesk]) -> list[tuple[OperatorsDesk, Coordinates]]:
    """The first record of each queue, with its service. Raises `NotPossible`."""
    if selection.records:
        return [(_reader_of(each, desks), each) for each in map(parse_coordinates, selection.records)]
    return [(desk, queue.first) for desk in desks for queue in await desk.queues.find(selection.wanted)]


def _reader_of(record: Coordinates, desks: Sequence[OperatorsDesk]) -> OperatorsDesk:
    """The service that would have parked a record: the consumer of its topic, if it is among the given ones."""
    consumers = BY_NAME[record.topic].consumers if record.topic in BY_NAME else ()
    desk = next((desk for desk in desks if desk.service in consumers), None)
    if desk is None:
        readers = " and ".join(desk.service for desk in desks)
        raise NotPossible(f"{record}: {readers} read no topic {record.topic}", "UNKNOWN")
    return desk
