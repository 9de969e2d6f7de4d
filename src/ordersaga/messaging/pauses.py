"""Pauses: an operator stops the reading of a partition, and later lets it go on.

A pause is a row, so it holds after a restart and for the next owner of the partition. The owner looks for rows every two seconds
(`looking.py`) and when it takes partitions: at most one more turn of the partition begins after the pause is committed and before the owner has read it.
"""

from datetime import datetime
from typing import Final

from msgspec import Struct

from ordersaga.messaging.acts import Operator
from ordersaga.messaging.database import Connection
from ordersaga.messaging.health import Trouble
from ordersaga.messaging.kafka import Partition
from ordersaga.messaging.queries import queries
from ordersaga.messaging.texts import storable
from ordersaga.said import say

sql: Final = queries(__file__)


class Pause(Struct, frozen=True):
    """Who has paused a partition, why, and when."""

    who: str
    why: str
    at: datetime

    @property
    def trouble(self) -> Trouble:
        """The alarm of a paused partition."""
        return Trouble(
            say(
                "alarm.paused",
                "{who} has paused the partition at {at}: {why}",
                who=self.who,
                at=self.at,
                why=self.why,
            ),
            say("todo.paused", "resume it when the reason is gone: `ordersaga topics resume`"),
        )


async def paused(db: Connection) -> dict[Partition, Pause]:
    """All pauses of this service."""
    return {
        Partition(row["topic"], row["partition"]): Pause(row["who"], row["why"], row["at"])
        for row in await sql.paused_partitions(db)
    }


async def pause(db: Connection, partition: Partition, operator: Operator, now: datetime) -> None:
    """Pause a partition, in the transaction of the operator's act."""
    await sql.pause_partition(
        db, **partition._asdict(), who=storable(operator.who), why=storable(operator.why), now=now
    )


async def resume(db: Connection, partition: Partition) -> None:
    """End a pause, in the transaction of the operator's act."""
    await sql.resume_partition(db, **partition._asdict())
