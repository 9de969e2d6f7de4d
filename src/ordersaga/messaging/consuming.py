"""The loop that consumes: fetch, take a turn, then the other steps of a round, in the order of `step`.

Each step is a file: `turn.py`, `retries.py` (parked records), `missed.py` (output that was left unpublished), `looking.py`, `watching.py`
(topics and logs), `lag.py`. A step that raises ends the round; `backoff.py` says when the next one begins.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from ordersaga.messaging.backoff import Backoff
from ordersaga.messaging.consumer_parts import ConsumerParts
from ordersaga.messaging.errors import CannotStart
from ordersaga.messaging.handler import Record
from ordersaga.messaging.kafka import Fetched, KafkaUnavailable
from ordersaga.messaging.lag import LagTools
from ordersaga.messaging.ledger import Fenced
from ordersaga.messaging.log_limit import LogLimit
from ordersaga.messaging.looking import Look
from ordersaga.messaging.loops import Beat
from ordersaga.messaging.missed import Missed
from ordersaga.messaging.retries import Retries
from ordersaga.messaging.stalls import Stalls
from ordersaga.messaging.turn import SHORT_MAX, Turns
from ordersaga.messaging.unreadable import Unreadable
from ordersaga.messaging.watching import Watching

log: Final = structlog.get_logger()

SOON_S: Final = 0.2
IDLE_WAIT_S: Final = 1.0
"""Where nothing is to be done but to wait for records: each round costs CPU, also on a system without orders."""
COMPANY_S: Final = 0.015
"""How long records that can wait (`Handler.can_wait`) do so. From about 15 orders/s on, another record of Order comes within it more often than not."""
WAITING_MAX: Final = SHORT_MAX - 1
"""So many records wait: with one more they still have a short turn. More records than that share the cost of a turn already."""


class Consuming:
    """Runs a handler over the records of its topics, with one consumer, until `stop`."""

    def __init__(self, parts: ConsumerParts, beat: Beat) -> None:
        self._group: Final = parts.group
        self._handler: Final = parts.handler
        self._consumer: Final = parts.consumer
        self._assignment: Final = parts.assignment
        self._outbox: Final = parts.outbox
        self._parking: Final = parts.parking
        self._clock: Final = parts.clock
        self._faults: Final = parts.faults
        self._beat: Final = beat
        self._turns: Final = Turns(parts)
        self._retries: Final = Retries(parts)
        self._look: Final = Look(parts.pool)
        self._missed: Final = Missed(parts)
        self._unreadable: Final = Unreadable(parts.consumer, parts.assignment, parts.clock, parts.alarms)
        self._watching: Final = Watching(parts, self._unreadable)
        self._lag_tools: Final = LagTools(parts.consumer, parts.assignment)
        self._log_limit: Final = LogLimit()
        self._backoff: Final = Backoff(parts.settings.retry_backoff_ms_max, parts.alarms, self._log_limit)
        servers = parts.settings.kafka_bootstrap_servers
        self.stalls: Final = Stalls(parts.consumer, servers, parts.clock, parts.alarms)
        self._stopping = False
        self._started = False

    def stop(self) -> None:
        """End after the turn under way."""
        self._stopping = True

    async def run(self) -> None:
        """Go round until `stop`. Raises errors that this consumer cannot recover from: `KafkaUnavailable`, `CannotStart`."""
        try:
            await self._loop()
        finally:
            self._watching.end()
            self._backoff.end()
            self.stalls.end()
            self._turns.end()
        await self._lag_tools.commit()

    async def _loop(self) -> None:
        wait_s = SOON_S
        while not self._stopping:
            size = self._turns.size.now
            records_max = self._faults.records_max(size) if self._faults else size
            fetched = await self._fetch(records_max, wait_s)
            if fetched.fatal is not None:
                raise KafkaUnavailable(fetched.fatal.str())
            self._assignment.change(fetched.joined, fetched.assigned, fetched.revoked)
            self.stalls.turn_began()
            began_s = asyncio.get_running_loop().time()
            wait_s = await self.step(fetched.records)
            self.stalls.turn_ended()
            # After the turn over the records before the error: the ledger then stands at the offset that cannot be read.
            if fetched.failures:
                await self._unreadable.failed(fetched.failures)
                if self._log_limit.allows():
                    log.warning("a partition cannot be read and is tried again", failure=fetched.failures[0])
            if self._watching.why_join_again is not None:
                raise KafkaUnavailable(self._watching.why_join_again)
            self._log_start()
            self._beat(well=self._assignment.settled and not self._backoff.failures)
            rest_s = began_s + self._handler.apart_s - asyncio.get_running_loop().time()
            if fetched.records and rest_s > 0:
                await asyncio.sleep(rest_s)

    async def _fetch(self, records_max: int, wait_s: float) -> Fetched:
        """What Kafka has. Records that can wait are given with those that come within `COMPANY_S`."""
        fetched = await self._consumer.fetch(records_max, wait_s, self._is_hurried)
        can_wait = self._handler.can_wait
        if can_wait is None or not fetched.records:
            return fetched
        loop = asyncio.get_running_loop()
        end_s = loop.time() + COMPANY_S
        while not fetched.has_news and _can_wait(fetched.records, can_wait):
            left_s, room = end_s - loop.time(), records_max - len(fetched.records)
            if left_s <= 0 or room <= 0 or self._is_hurried():
                break
            fetched = fetched.before(await self._consumer.fetch(room, left_s, self._is_hurried))
        return fetched

    def _is_hurried(self) -> bool:
        """Whether the next round has something to do that cannot wait. Called in another thread."""
        return self._stopping or self._outbox.broken

    async def step(self, records: Sequence[Record]) -> float:
        """One round over these records. Returns how long the next fetch may wait for its first record."""
        mine: Sequence[Record] = ()
        try:
            if self._outbox.broken:
                self._assignment.doubt()  # every partition is taken again, which publishes the rows that its turns left
                await self._outbox.restart()
            # Drop records that are handled already or not ours. Before `take`, which may change a position: these were fetched from the old one.
            mine = self._assignment.keep(records)
            if await self._assignment.take(self._clock()):  # new partitions are read from the offset in the ledger
                await self._retries.learn()
            if mine:
                if self._faults:
                    await self._faults.delay()
                await self._turns.handle(mine)
            if (found := await self._look.step()) is not None:
                self._assignment.follow(found.paused)
                self._retries.any_parked = found.any_parked
            more = await self._retries.step()
            await self._missed.step()
            await self._watching.step()
            await self._lag_tools.step()
        except Fenced:
            # A turn may be committed in parts. The parts after the fenced one are not handled, but the consumer is past them: read them again.
            self._assignment.doubt(self._assignment.unhandled(mine))
            return SOON_S
        except CannotStart:
            raise
        except Exception as error:
            return await self._back_off(error)
        self._backoff.succeeded(handled=bool(mine))
        if more:
            return 0.0
        is_idle = self._assignment.settled and not self._backoff.failures and not self._parking.holds_any
        return IDLE_WAIT_S if is_idle else SOON_S

    async def _back_off(self, error: Exception) -> float:
        """Stop reading and doubt every partition. The fetches of the wait keep this process in its group."""
        self._backoff.failed(error)
        await self._consumer.leave(self._assignment.doubt())
        return self._backoff.wait_s()

    def _log_start(self) -> None:
        if self._started or not self._assignment.settled:
            return
        self._started = True
        log.info(
            "started: records are consumed",
            group=self._group,
            topics=len(self._handler.topics),
            partitions=len(self._assignment.positions),
            stopped=len(self._assignment.stopped),
        )


def _can_wait(records: Sequence[Record], can_wait: Callable[[Record], bool]) -> bool:
    """Whether these records may wait for others. Of two records with one key, one may be what the other waits for."""
    distinct = {record.key for record in records}
    return len(records) == len(distinct) <= WAITING_MAX and all(map(can_wait, records))
