"""One history: simulated processes of the services over one log and real databases, with their customers and faults."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from msgspec.structs import replace

import ordersaga.delivery.app
import ordersaga.order.handlers
import ordersaga.payment.handlers
import ordersaga.stock.handlers
from ordersaga.contracts import codec
from ordersaga.contracts import messages as m
from ordersaga.contracts.topics import BY_MESSAGE, BY_NAME, TOPICS, key_of
from ordersaga.messaging.database import OVER_STATEMENT_TIMEOUT_S
from ordersaga.messaging.handler import Batch, Handler, Outgoing, Record
from ordersaga.messaging.kafka import Partition
from ordersaga.messaging.sqlstate import is_transient
from ordersaga.order.deadlines import Deadlines, waits
from ordersaga.order.store import KnownOrders, find, save_prices
from ordersaga.settings import Settings
from ordersaga.stock.commands import AddProduct, add
from tests.simulation.consumer import Consumer, Group
from tests.simulation.customers import accept, product_id, send_webhook, send_webhooks, visit
from tests.simulation.database import Connection, Database
from tests.simulation.faults import Faults
from tests.simulation.gateway import Gateway
from tests.simulation.kafka import Log
from tests.simulation.plan import CLOCK_JUMP_S_MAX, PRICE, OrderPlan, Plan
from tests.simulation.process import Instance
from tests.simulation.scheduler import START_S, Process, Rest, Scheduler, Violation

EPOCH: Final = datetime(2026, 11, 24, tzinfo=UTC)
EVICTED_AFTER_S_MAX: Final = 2.0
BACK_AFTER_S_MAX: Final = 1.5
PARK_ATTEMPTS_MAX: Final = 3
STOP_FAILURES_MIN: Final = 4
"""After a restart with parked records: below their number, so that taking retries for fresh failures would stop a partition."""
LAG_ALARM_S: Final = 60 + 2 * CLOCK_JUMP_S_MAX
"""A record looks older than it is by up to two clock jumps."""
ACCEPTED: Final = "given back at the gateway"
STOCK_ASKS_MAX: Final = 3
REST_ENDS_S: Final = 0.005

HANDLERS: Final[dict[str, Callable[[Settings], Handler]]] = {
    "order": ordersaga.order.handlers.handler,
    "stock": ordersaga.stock.handlers.handler,
    "delivery": ordersaga.delivery.app.handler,
    "payment": ordersaga.payment.handlers.handler,
}


class Handled:
    """A transaction handled a record, so many seconds after the history began."""

    __slots__ = ("at_s", "message", "record", "who")

    def __init__(self, at_s: float, who: str, record: Record, message: m.Message) -> None:
        self.at_s = at_s
        self.who = who
        self.record = record
        self.message = message


class World:
    """The state of one history: `await run()`, then judge."""

    def __init__(self, plan: Plan, databases: dict[str, Database]) -> None:
        self.plan: Final = plan
        seed = f"{plan.seed} {plan.schedule}"
        random.seed(seed)
        self.scheduler: Final = Scheduler(seed)
        self.databases: Final = {service: databases[service] for service in plan.instances}
        self.settings: Final = Settings(
            batch_max=plan.batch_max,
            turns_publishing_max=plan.turns_publishing_max,
            park_attempts_max=PARK_ATTEMPTS_MAX,
            park_backoff_ms=1_000,
            outbox_adopt_after_ms=4_000,
            payment_deadline_s=plan.pay_within_s,
            stock_deadline_s=2.0,
            stock_asks_max=STOCK_ASKS_MAX,
            delivery_deadline_s=3.0,
            compensation_deadline_s=3.0,
            recovery_after_ms=plan.lease_ms,
            lock_timeout_ms=1_000,
            statement_timeout_ms=2_000,
            outbox_lag_alarm_s=LAG_ALARM_S,
        )
        self._strict: Final = self.settings.model_copy(update={"stop_failures_min": STOP_FAILURES_MIN})
        self.clocks: Final[Counter[str]] = Counter()
        """By process, the error of its clock. Seconds."""
        self._deadlines: Final = Deadlines.of(self.settings)
        names = [topic.name for topic in TOPICS]
        self.log: Final = Log(self.scheduler, [*names, *[topic.dead_letters for topic in TOPICS]], plan.partitions)
        self.log.watchers.append(self._written)
        self.faults: Final = Faults(self)
        self.scheduler.faults = self.faults
        self.log.loses = self.faults.loses
        for database in self.databases.values():
            database.moment = self.faults.moment
            database.patience_s = self.settings.statement_timeout_ms / 1000 + OVER_STATEMENT_TIMEOUT_S
        self.outside: Final = Process(self.scheduler, "world")
        self.customers: Final = Process(self.scheduler, "customer")
        self.operator: Final = Process(self.scheduler, "operator")
        self._rests: Final[dict[str, float]] = {}
        self.apart_s: Final[dict[str, float]] = {}
        """By service, the least time between its turns."""
        """When a service whose turns keep a distance is ready for the next one. The clock does not leap further while it has records."""
        self.handlers: Final = {service: HANDLERS[service](self.settings) for service in plan.instances}
        self.groups: Final = {
            service: Group(
                [Partition(topic.name, n) for topic in handler.topics for n in range(plan.partitions)],
                self.scheduler.random,
            )
            for service, handler in self.handlers.items()
        }
        self.instances: Final[dict[str, Instance]] = {}
        self.gateway: Final[Any] = Gateway(self.scheduler)
        self.gateway.tell = lambda payment: send_webhooks(self, payment)
        self.gateway.tell_surely = lambda payment: send_webhook(self, payment)
        self.complaints: Final[list[str]] = []
        self.placed: Final[dict[int, UUID]] = {}
        self._ids = 0
        self._pauses: Final[list[float]] = []
        self._writers: Final[list[tuple[Record, str]]] = []

    # Time and ids ----------------------------------------------------------------------------------------------------------

    def clock(self) -> datetime:
        return EPOCH + timedelta(seconds=self.scheduler.now_s - START_S)

    def clock_of(self, name: str) -> datetime:
        """The time by the clock of a process."""
        return self.clock() + timedelta(seconds=self.clocks[name])

    def settings_of(self, service: str) -> Settings:
        """The settings of a process that starts now."""
        return self._strict if service in self.faults.restarted else self.settings

    def new_id(self) -> UUID:
        """A UUIDv7 of the simulated time with a counter in place of the random bits."""
        self._ids += 1
        at_ms = int(self.clock().timestamp() * 1000)
        return UUID(int=at_ms << 80 | 7 << 76 | 2 << 62 | self._ids)

    # Life ------------------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Start all processes and customers, and run until no work is left. Raises `Violation` if that never happens."""
        await self._stock_up()
        for service, count in self.plan.instances.items():
            for number in range(1, count + 1):
                self.start(service, f"{service}-{number}")
        visit(self)
        self.faults.begin()
        await self.scheduler.run(self._unsettled)

    async def _stock_up(self) -> None:
        """Add the products to Stock, and their prices to Order."""
        now = self.clock()
        additions = [
            AddProduct(self.new_id(), product_id(number), "a product", PRICE, pieces, None)
            for number, pieces in enumerate((*self.plan.stock, 0))  # no customer orders the last
        ]
        added = await add(self.databases["stock"].monitor, additions, now)
        messages: list[Any] = [each.message for each in added.outgoing]
        await save_prices(self.databases["order"].monitor, messages)

    async def end(self) -> None:
        """Kill all processes, which returns their connections."""
        for process in [each.process for each in self.instances.values()] + [
            self.outside,
            self.customers,
            self.operator,
        ]:
            if process.alive:
                await self.scheduler.kill(process)
        await self.scheduler.quiet()

    def start(self, service: str, name: str) -> None:
        """Start a process under this name."""
        process = Process(self.scheduler, name)
        database = self.databases[service]
        process.holds_others_up = lambda: database.is_held_up_by(process)
        process.at_death["world"] = lambda: self._died(service, name)
        known = KnownOrders()
        handler = HANDLERS[service](self.settings)  # a process of its own knows only what it has written itself
        if service == "order":
            handler = ordersaga.order.handlers.handler(self.settings, known)
        self.instances[name] = Instance(self, process, service, self._watched(service, handler), known)

    async def _died(self, service: str, name: str) -> None:
        """Evict a killed process from its group and start another, after random times and in any order."""
        dice, group = self.scheduler.random, self.groups[service]
        dead = [member for member in group.members if not member.process.alive]

        async def evict() -> None:
            for member in dead:
                group.leave(member)

        async def back() -> None:
            await evict()
            wait_s = self.faults.back_at.get(service, 0.0) - self.scheduler.now_s
            if wait_s > 0:
                self.later(wait_s, f"{name} is started again after the outage", back)
            else:
                self.start(service, name)

        if self.outside.alive:
            self.later(dice.uniform(0, EVICTED_AFTER_S_MAX), f"the group gives {name} up", evict)
            self.later(dice.uniform(0, BACK_AFTER_S_MAX), f"{name} is started again", back)

    def later(self, after_s: float, what: str, work: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        """Do some work outside the processes, after so many seconds."""

        async def wait() -> None:
            await self.pause(after_s)
            try:
                await self.scheduler.do("world", what, work)
            except Exception as error:  # otherwise a fault that fails itself would be a fault that does nothing
                self.complain(f"the simulation failed at: {what}: {type(error).__name__}: {error}")

        self.outside.spawn(wait())

    async def pause(self, seconds: float) -> None:
        """Sleep outside the processes; the scheduler knows the due time."""
        until_s = self.scheduler.now_s + seconds
        self._pauses.append(until_s)
        try:
            await asyncio.sleep(seconds)
        finally:
            self._pauses.remove(until_s)

    async def _unsettled(self) -> Rest | None:
        """The work that is left when no gate is open. A history with a broken promise ends here."""
        if self.complaints:
            raise Violation("this history was not lived to its end")
        left, dues = [], [*self._pauses, *(each for each in self._rests.values() if each > self.scheduler.now_s)]
        if any(each.tasks for each in (self.outside, self.customers, self.operator)):
            left.append("a customer or operator is not done")
        for service, database in self.databases.items():
            row = await database.monitor.fetchrow(UNSETTLED[service == "payment"])
            counts = {name: row[name] for name in ("outbox", "parked", "intents")}
            if any(counts.values()):
                left.append(f"{service}: {counts}")
            if row["due_at"] is not None:
                dues.append(START_S + (row["due_at"] - EPOCH).total_seconds())
            ends = dict(
                zip(zip(row["topics"] or (), row["partitions"] or (), strict=True), row["ends"] or (), strict=True)
            )
            for partition in self.groups[service].partitions:
                if ends.get((partition.topic, partition.partition), 0) < self.log.ends[partition]:
                    left.append(f"{service}: {partition.topic}/{partition.partition} is not read to its end")
            if row["unpublished"] and not self.log.refusing:
                left.append(f"{service}: {row['unpublished']} letters are not published")
        left += await self._waiting_orders()
        left += await self._left_to_operators(bool(left))
        if not left:
            return None
        return Rest("; ".join(left), min(dues, default=None), min(self._pauses, default=None), self._is_troubled)

    @property
    def _is_troubled(self) -> bool:
        """Whether a service is still down, or a database read-only or frozen: what waits for it has not been given up."""
        ends = list(self.faults.back_at.values())
        for database in self.databases.values():
            ends += [database.read_only_until_s, database.frozen_until_s]
        return max(ends) > self.scheduler.now_s

    async def _left_to_operators(self, others: bool) -> list[str]:
        """Let the operator mend refusing topics once no other work is left, and accept refunds made at the dashboard."""
        left = []
        if self.log.refusing and not others:
            self.scheduler.say("operator", "mends the dead letter topics")
            self.log.refusing.clear()
            left.append("dead letter topics were mended")
        for order_id in await self._flagged() if self.gateway.given_back else ():
            self.operator.spawn(accept(self, order_id))
            left.append(f"order {order_id} waits for a person")
        return left

    async def _flagged(self) -> list[UUID]:
        query = "SELECT order_id FROM saga WHERE facts ->> 'flag' LIKE $1 || '%' ORDER BY order_id"
        rows = await self.databases["order"].monitor.fetch(query, ACCEPTED)
        return [row["order_id"] for row in rows if not self.operator.tasks]

    async def _waiting_orders(self) -> list[str]:
        """Orders that wait for an answer with a deadline."""
        orders = await find(self.databases["order"].monitor, self.placed.values())
        return [
            f"order {id} waits for {wait.awaited}"
            for id, order in orders.items()
            for wait in waits(order, self._deadlines)
        ]

    # What handlers do ------------------------------------------------------------------------------------------------------

    def _watched(self, service: str, handler: Handler) -> Handler:
        """The handler, failing on poisoned records. It notes each handled record in its transaction."""
        self.apart_s[service] = handler.apart_s

        async def handle(batch: Batch, db: Any) -> list[Outgoing]:
            self.faults.fail_if_poisoned(batch)
            try:
                outgoing = await handler.handle(batch, db)
            except Exception as error:
                if not is_transient(error):
                    self.complain(f"{service}'s handler raised {type(error).__name__}: {error}")
                raise
            rejected = {each.record.coordinates for each in batch.rejected}
            if handler.apart_s:
                self._rests[service] = self.scheduler.now_s + handler.apart_s + REST_ENDS_S
            connection: Connection = getattr(db, "connection", db)
            self.faults.handled(connection.process, batch)
            for each in batch.incoming:
                if each.record.coordinates not in rejected:
                    at_s = self.scheduler.now_s - START_S
                    connection.note_soon(Handled(at_s, connection.process.name, each.record, each.message))
            return outgoing

        return replace(handler, handle=handle)

    def complain(self, what: str) -> None:
        """Note a broken promise before the history is judged."""
        if what not in self.complaints:
            self.complaints.append(what)

    def plan_of(self, number: int) -> OrderPlan:
        return next(each for each in self.plan.orders if each.number == number)

    def log_with_writers(self) -> list[tuple[Record, str]]:
        """Every record that was written, also the lost ones, each with its writer."""
        return self._writers + self.log.lost

    async def rows(self, service: str, table: str) -> list[Any]:
        """The committed rows of one of a service's tables."""
        rows: list[Any] = await self.databases[service].monitor.fetch(f"SELECT * FROM {table} ORDER BY 1")
        return rows

    def inputs(self, service: str) -> Iterator[Record]:
        """The records on a service's input topics."""
        for partition in self.groups[service].partitions:
            yield from self.log.records[partition]

    def consumer_of(self, process: Process) -> Consumer | None:
        """The process as a member of its group."""
        members = [member for group in self.groups.values() for member in group.members]
        return next((member for member in members if member.process is process), None)

    def _written(self, record: Record, who: str) -> None:
        """Keep the writer of a record, strike with its faults, and answer a refund where Payment is not ours."""
        self._writers.append((record, who))
        topic = BY_NAME.get(record.topic)
        if topic is None or who in ("somebody", "again"):
            return
        self.faults.written(record)
        if not self.plan.own_payment and topic.message is m.PaymentCancelRequestedMessage:
            self.later(self.scheduler.random.uniform(0, 0.3), "a refund is answered", lambda: self._refund(record))

    async def _refund(self, record: Record) -> None:
        """Answer a refund request, as a partner's Payment does."""
        asked: Any = codec.decode(record.topic, record.value)
        self.write(
            m.PaymentCancelledMessage(
                order_id=asked.order_id, payment_key=asked.payment_key, amount=asked.amount, status="SUCCESS"
            )
        )

    def write(self, message: m.Message, keyless: bool = False) -> None:
        """Write a record as a partner's service does: without headers, and perhaps without a key."""
        topic = BY_MESSAGE[type(message)].name
        key = None if keyless else str(key_of(message)).encode()
        self.log.append(self.log.partition_of(topic, key), key, codec.encode(message), None, "partner")


def _settlement_query(intents: str, dues: str) -> str:
    return f"""
        SELECT (SELECT count(*) FROM outbox) AS outbox, (SELECT count(*) FROM parked) AS parked,
            (SELECT count(*) FROM dead_letter WHERE unpublished IS NOT NULL AND status = 'OPEN') AS unpublished, {intents} AS intents,
            array_agg(topic) AS topics, array_agg(partition) AS partitions, array_agg(next_offset) AS ends,
            (SELECT min(due_at) FROM ({dues} SELECT min(due_at) AS due_at FROM timer UNION ALL SELECT min(due_at) FROM parked
                                      UNION ALL SELECT min(greatest(adopt_at, leased_until)) FROM outbox) AS d) AS due_at
        FROM ledger"""


UNSETTLED: Final = (
    _settlement_query("0", ""),
    _settlement_query(
        "(SELECT count(*) FROM intent WHERE status = 'OPEN')",
        "SELECT min(due_at) AS due_at FROM intent WHERE status = 'OPEN' UNION ALL",
    ),
)
