"""Faults of a consumer on purpose, for development: turns that begin late or have few records, and records that fail.

They exist where `ORDERSAGA_CONSUMER_FAULTS` allows them. They are a row of the service's database, so they are those of all processes of the
service, and hold after a restart until somebody ends them. While they are on, an alarm says so. The dry run of a replay has none of them.
"""

import asyncio
import random
from datetime import UTC, datetime
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from ordersaga.messaging.database import Connection, Pool
from ordersaga.messaging.handler import Batch, Handle, Handler, Incoming, Outgoing
from ordersaga.messaging.health import Alarms, Trouble
from ordersaga.messaging.queries import queries
from ordersaga.messaging.texts import storable
from ordersaga.said import joined, say

sql: Final = queries(__file__)

ON_PURPOSE: Final = "faults on purpose"
READ_EVERY_S: Final = 0.5
NEVER: Final = datetime.fromtimestamp(0, UTC)


class PassingFault(Exception):
    """A record fails on purpose. It is parked, and a later try may succeed."""


class Faults(Struct, frozen=True, rename="camel"):
    """What goes wrong. Percentages are shares of records.

    `turn_delay_ms`: each turn begins so much later. `turn_records_max`: a turn has so many records at most; None: as many as without faults.
    `passing_percent`: the share that fails at a try; each try is drawn anew. `lasting_percent`: the share that becomes dead letters at the
    first try, the same records whenever they are replayed.
    """

    turn_delay_ms: int = 0
    turn_records_max: int | None = None
    passing_percent: float = 0.0
    lasting_percent: float = 0.0

    @property
    def words(self) -> str:
        """The faults as a sentence; empty where there are none."""
        parts = [
            say("fault.delay", "each turn begins {ms} ms late", ms=self.turn_delay_ms) if self.turn_delay_ms else "",
            say("fault.records", "a turn has {count} {count:record|records} at most", count=self.turn_records_max)
            if self.turn_records_max
            else "",
            say("fault.passing", "{percent} % of the tries fail", percent=f"{self.passing_percent:g}")
            if self.passing_percent
            else "",
            say("fault.lasting", "{percent} % of the records become dead letters", percent=f"{self.lasting_percent:g}")
            if self.lasting_percent
            else "",
        ]
        return joined(", ", filter(None, parts))


class InForce(Struct, frozen=True):
    """The faults of a service's consumers, who has set them, and when."""

    faults: Faults = Faults()
    who: str = ""
    set_at: datetime = NEVER


async def in_force(db: Connection, lock: bool = False) -> InForce:
    """The faults that the service's database has. `lock`: until the end of the transaction nobody else changes them."""
    (row,) = await (sql.faults_in_force_locked(db) if lock else sql.faults_in_force(db))
    return InForce(msgspec.json.decode(row["faults"], type=Faults), row["who"], row["set_at"])


async def put(db: Connection, faults: Faults, who: str, now: datetime) -> InForce:
    """Replace the faults, in the transaction of the operator's act."""
    stored = msgspec.json.encode(faults).decode()
    return InForce(faults, who, await sql.put_faults(db, faults=stored, who=storable(who), now=now))


class ConsumerFaults:
    """The faults of this process's consumer. `now` are those in force."""

    def __init__(self, alarms: Alarms) -> None:
        self._alarms: Final = alarms
        self._used = InForce()

    @property
    def now(self) -> Faults:
        """The faults that the next turn has."""
        return self._used.faults

    async def read(self, pool: Pool) -> None:
        """Use what the database has: another process of the service may have changed it. Raises database errors."""
        async with pool.acquire() as db:
            self.use(await in_force(db))

    def use(self, found: InForce) -> None:
        """Replace the faults from the next turn on, unless these are older than those in use. The alarm names who has set them."""
        if found.set_at < self._used.set_at:
            return
        self._used = found
        words = found.faults.words
        todo = say(
            "todo.faults",
            "end them with `POST /api/v1/operations/faults` or at the console's page of faults; a restart does not end them",
        )
        trouble = Trouble(
            say("alarm.faults", "{who} has set faults of this service's consumers: ", who=found.who) + words, todo
        )
        self._alarms.tell(ON_PURPOSE, "", trouble if words else None, found.set_at)

    def records_max(self, size: int) -> int:
        """How many records a turn may have, of the `size` that it could have."""
        return min(size, self.now.turn_records_max or size)

    async def delay(self) -> None:
        """Wait before a turn. Outside of its transaction, so that no lock is held meanwhile."""
        await asyncio.sleep(self.now.turn_delay_ms / 1000)

    def around(self, handler: Handler) -> Handler:
        """The same handler, whose records fail as the faults say."""

        async def handle(batch: Batch, db: Connection) -> list[Outgoing]:
            return await self._handle(handler.handle, batch, db)

        return replace(handler, handle=handle)

    async def _handle(self, handle: Handle, batch: Batch, db: Connection) -> list[Outgoing]:
        faults = self.now
        if not faults.passing_percent and not faults.lasting_percent:
            return await handle(batch, db)
        for each in batch.incoming:
            # With the turn's time: the halves of a turn that fails meet the same records again.
            if _drawn(each, f"{batch.now.timestamp()}", faults.passing_percent):
                why = say(
                    "letter.passing_fault",
                    "this try fails on purpose, as {percent} % of all do",
                    percent=f"{faults.passing_percent:g}",
                )
                raise PassingFault(why)
        others = []
        for each in batch.incoming:
            if _drawn(each, "", faults.lasting_percent):
                why = say(
                    "letter.lasting_fault",
                    "the record fails on purpose, as {percent} % of all do",
                    percent=f"{faults.lasting_percent:g}",
                )
                batch.reject(each, why)
            else:
                others.append(each)
        part = Batch(others, batch.now, batch.new_id)
        outgoing = await handle(part, db) if others else []
        batch.rejected.extend(part.rejected)
        return outgoing


def _drawn(incoming: Incoming, turn: str, percent: float) -> bool:
    return percent > 0 and random.Random(f"{incoming.record.coordinates} {turn}").random() * 100 < percent
