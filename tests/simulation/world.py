"""One history: the services as simulated processes over one log and real databases, their customers, and what goes wrong meanwhile."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import ordersaga.delivery.app
import ordersaga.order.handlers
import ordersaga.payment.handlers
import ordersaga.stock.handlers
from ordersaga.contracts import codec
from ordersaga.contracts import messages as m
from ordersaga.contracts.topics import BY_MESSAGE, BY_NAME, TOPICS, key_of
from ordersaga.messaging.database import OVER_STATEMENT_TIMEOUT_S, is_transient
from ordersaga.messaging.handler import Batch, Handler, Outgoing, Record
from ordersaga.messaging.kafka import Partition
from ordersaga.messaging.parking import place
from ordersaga.order.deadlines import Deadlines, waits
from ordersaga.order.store import find, save_prices
from ordersaga.settings import Settings
from ordersaga.stock.commands import AddProduct, add
from tests.simulation.customers import accept, product_id, send_webhook, send_webhooks, visit
from tests.simulation.database import Connection, Database
from tests.simulation.gateway import Gateway
from tests.simulation.kafka import Consumer, Group, Log
from tests.simulation.plan import CLOCK_JUMP_S_MAX, PRICE, OrderPlan, Plan
from tests.simulation.process import Instance
from tests.simulation.scheduler import START_S, Process, Rest, Scheduler, Violation
from tests.simulation.troubles import Troubles

EPOCH: Final = datetime(2026, 11, 24, tzinfo=UTC)
EVICTED_AFTER_S_MAX: Final = 2.0
BACK_AFTER_S_MAX: Final = 1.5
PARK_ATTEMPTS_MAX: Final = 3
STOP_FAILURES_MIN: Final = 4
"""After a restart with parked records: fewer than there are."""
LAG_ALARM_S: Final = 60 + 2 * CLOCK_JUMP_S_MAX
"""Clocks that do not agree make records look older than they are."""
ACCEPTED: Final = "given back at the gateway"
STOCK_ASKS_MAX: Final = 3

HANDLERS: Final = {
    "order": ordersaga.order.handlers.handler,
    "stock": ordersaga.stock.handlers.handler,
    "delivery": ordersaga.delivery.app.handler,
    "payment": ordersaga.payment.handlers.handler,
}


class Handled:
    """A record took effect in a transaction."""

    __slots__ = ("message", "record", "who")

    def __init__(self, who: str, record: Record, message: m.Message) -> None:
        self.who = who
        self.record = record
        self.message = message


class World:
    """Everything of one history. Make it, `await live()`, then judge."""

    def __init__(self, plan: Plan, databases: dict[str, Database]) -> None:
        self.plan: Final = plan
        seed = f"{plan.seed} {plan.schedule}"
        random.seed(seed)
        self.scheduler: Final = Scheduler(seed)
        self.databases: Final = {service: databases[service] for service in plan.instances}
        self.settings: Final = Settings(
            _env_file=None,
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
        """By process, by how many seconds its clock is wrong."""
        self._deadlines: Final = Deadlines.of(self.settings)
        names = [topic.name for topic in TOPICS]
        self.log: Final = Log(self.scheduler, [*names, *[topic.dead_letters for topic in TOPICS]], plan.partitions)
        self.log.watchers.append(self._written)
        self.troubles: Final = Troubles(self)
        self.scheduler.strikes = self.troubles
        self.log.loses = self.troubles.loses
        for database in self.databases.values():
            database.moment = self.troubles.moment
            database.patience_s = self.settings.statement_timeout_ms / 1000 + OVER_STATEMENT_TIMEOUT_S
        self.outside: Final = Process(self.scheduler, "world")
        self.customers: Final = Process(self.scheduler, "customer")
        self.operator: Final = Process(self.scheduler, "operator")
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
        """What a process takes for the time."""
        return self.clock() + timedelta(seconds=self.clocks[name])

    def settings_of(self, service: str) -> Settings:
        """What a process that starts now is set to."""
        return self._strict if service in self.troubles.restarted else self.settings

    def new_id(self) -> UUID:
        """UUIDv7 of the simulated time, numbered."""
        self._ids += 1
        at_ms = int(self.clock().timestamp() * 1000)
        return UUID(int=at_ms << 80 | 7 << 76 | 2 << 62 | self._ids)

    # Life ------------------------------------------------------------------------------------------------------------------

    async def live(self) -> None:
        """From the first instance to the moment when nothing is left to do. Raises `Violation` if that never comes."""
        await self._stock_up()
        for service, count in self.plan.instances.items():
            for number in range(1, count + 1):
                self.start(service, f"{service}-{number}")
        visit(self)
        self.troubles.begin()
        await self.scheduler.run(self._unsettled)

    async def _stock_up(self) -> None:
        """Products with their first pieces, and what they cost."""
        now = self.clock()
        additions = [
            AddProduct(self.new_id(), product_id(number), "a product", PRICE, pieces, None)
            for number, pieces in enumerate((*self.plan.stock, 0))  # nobody orders the last
        ]
        added = await add(self.databases["stock"].monitor, additions, now)
        messages: list[Any] = [each.message for each in added.outgoing]
        await save_prices(self.databases["order"].monitor, messages)

    async def end(self) -> None:
        """Kill whoever lives, and give the databases back."""
        for process in [each.process for each in self.instances.values()] + [
            self.outside,
            self.customers,
            self.operator,
        ]:
            if process.alive:
                await self.scheduler.kill(process)
        await self.scheduler.quiet()

    def start(self, service: str, name: str) -> None:
        """A new process under this name."""
        process = Process(self.scheduler, name)
        database = self.databases[service]
        process.holds_others_up = lambda: database.is_held_up_by(process)
        process.at_death["world"] = lambda: self._died(service, name)
        self.instances[name] = Instance(self, process, service, self._watched(service, self.handlers[service]))

    async def _died(self, service: str, name: str) -> None:
        """The group notices sooner or later; a new process begins sooner or later; any of the two may be first."""
        dice, group = self.scheduler.random, self.groups[service]
        dead = [member for member in group.members if not member.process.alive]

        async def evict() -> None:
            for member in dead:
                group.leave(member)

        async def back() -> None:
            await evict()
            wait_s = self.troubles.back_at.get(service, 0.0) - self.scheduler.now_s
            if wait_s > 0:
                self.later(wait_s, f"{name} is started again after the outage", back)
            else:
                self.start(service, name)

        if self.outside.alive:
            self.later(dice.uniform(0, EVICTED_AFTER_S_MAX), f"the group gives {name} up", evict)
            self.later(dice.uniform(0, BACK_AFTER_S_MAX), f"{name} is started again", back)

    def later(self, after_s: float, what: str, work: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        """Let something happen outside of the processes."""

        async def wait() -> None:
            await self.pause(after_s)
            await self.scheduler.do("world", what, work)

        self.outside.spawn(wait())

    async def pause(self, seconds: float) -> None:
        """Let time pass for somebody outside, and know until when."""
        until_s = self.scheduler.now_s + seconds
        self._pauses.append(until_s)
        try:
            await asyncio.sleep(seconds)
        finally:
            self._pauses.remove(until_s)

    async def _unsettled(self) -> Rest | None:
        """What is still to be done, when nobody can go on by himself. A history that is broken already goes no further."""
        if self.complaints:
            raise Violation("this history was not lived to its end")
        left, dues = [], list(self._pauses)
        if any(each.tasks for each in (self.outside, self.customers, self.operator)):
            left.append("somebody outside is not done")
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
                if ends.get(tuple(partition), 0) < self.log.ends[partition]:
                    left.append(f"{service}: {partition.topic}/{partition.partition} is not read to its end")
            if row["unpublished"] and not self.log.refusing:
                left.append(f"{service}: {row['unpublished']} letters are not published")
        left += await self._waiting_orders()
        left += await self._left_to_operators(bool(left))
        return Rest("; ".join(left), min(dues, default=None)) if left else None

    async def _left_to_operators(self, others: bool) -> list[str]:
        """What only a person does: mending topics, when all else is done without them, and taking money that went back for meant."""
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
        """Orders whose deadlines have something to do yet."""
        orders = await find(self.databases["order"].monitor, self.placed.values())
        return [
            f"order {id} waits for {wait.awaited}"
            for id, order in orders.items()
            for wait in waits(order, self._deadlines)
        ]

    # What handlers do ------------------------------------------------------------------------------------------------------

    def _watched(self, service: str, handler: Handler) -> Handler:
        """The handler, noting in its transaction what took effect, and failing with poisoned records."""

        async def handle(batch: Batch, db: Any) -> list[Outgoing]:
            self.troubles.taste(batch)
            try:
                outgoing = await handler.handle(batch, db)
            except Exception as error:
                if not is_transient(error):
                    self.complain(f"{service}'s handler raised {type(error).__name__}: {error}")
                raise
            rejected = {place(each.record) for each in batch.rejected}
            connection: Connection = db
            self.troubles.handled(connection.process, batch)
            for each in batch.incoming:
                if place(each.record) not in rejected:
                    connection.note(Handled(connection.process.name, each.record, each.message))
            return outgoing

        return Handler(handler.topics, handle)

    def complain(self, what: str) -> None:
        """Note a broken promise that was seen on the way."""
        if what not in self.complaints:
            self.complaints.append(what)

    def plan_of(self, number: int) -> OrderPlan:
        return next(each for each in self.plan.orders if each.number == number)

    def log_with_writers(self) -> list[tuple[Record, str]]:
        """Every record in the log, and who wrote it."""
        return self._writers + self.log.lost

    def consumer_of(self, process: Process) -> Consumer | None:
        """The process as a member of its group."""
        members = [member for group in self.groups.values() for member in group.members]
        return next((member for member in members if member.process is process), None)

    def _written(self, record: Record, who: str) -> None:
        """A record is in the log: something may go wrong with it, and perhaps somebody answers it."""
        self._writers.append((record, who))
        topic = BY_NAME.get(record.topic)
        if topic is None or who in ("somebody", "again"):
            return
        self.troubles.written(record)
        if not self.plan.own_payment and topic.message is m.PaymentCancelRequestedMessage:
            self.later(self.scheduler.random.uniform(0, 0.3), "a refund is answered", lambda: self._refund(record))

    async def _refund(self, record: Record) -> None:
        """A payment service that is not ours: it answers each request."""
        asked: Any = codec.decode(record.topic, record.value)
        self.write(
            m.PaymentCancelledMessage(
                order_id=asked.order_id, payment_key=asked.payment_key, amount=asked.amount, status="SUCCESS"
            )
        )

    def write(self, message: m.Message, keyless: bool = False) -> None:
        """Write a record as somebody else's service does, without headers and perhaps without a key."""
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
