"""Strikes with the faults of a plan, each at its gate, moment, time or record."""

from collections import Counter
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from confluent_kafka import KafkaError

from ordersaga.contracts import codec
from ordersaga.contracts import messages as m
from ordersaga.contracts.topics import BY_MESSAGE, BY_NAME, DEAD_LETTER_SUFFIX, key_of
from ordersaga.messaging.handler import Batch, Record
from ordersaga.messaging.kafka import Partition
from tests.simulation.customers import change_price
from tests.simulation.operators import discard, mend
from tests.simulation.plan import CROSSED, Fault
from tests.simulation.scheduler import Gate, Process

if TYPE_CHECKING:
    from tests.simulation.world import World

FREEZE_STEPS: Final = 3
FROZEN_STEPS_MAX: Final = 120
LOOKS_MAX: Final = 20
LOOK_EVERY_S: Final = 0.3
PARKED_AT_RESTART: Final = 8
REFUSALS: Final = (KafkaError.POLICY_VIOLATION, KafkaError.MSG_SIZE_TOO_LARGE)
"""The first is about one record; the second is about a batch, so each of its records is tried alone."""
PART: Final = 7
PARTLY: Final = "part "


class Poisoned(Exception):
    """The error of a handler on a poisoned record."""


class Faults:
    """The faults that have not struck yet. `poison`: by topic, partition and offset, how often handling that record still fails."""

    def __init__(self, world: "World") -> None:
        self._world: Final = world
        self._left: Final[list[Fault]] = [fault for fault in world.plan.faults if fault.gate]
        self._passed: Final[Counter[tuple[str, str]]] = Counter()
        self._written: Final[Counter[str]] = Counter()
        self._tried: Final[Counter[str]] = Counter()
        self.poison: Final[dict[tuple[str, int, int], float]] = {}
        self._late: Final[list[Record]] = []
        self._twice: Final[list[set[tuple[str, int, int]]]] = []
        self.back_at: Final[dict[str, float]] = {}
        self.restarted: Final[set[str]] = set()
        """Services that were restarted with parked records."""

    def begin(self) -> None:
        """Schedule the faults that have a time."""
        for fault in self._world.plan.faults:
            if not fault.gate:
                self._world.later(fault.at_s, str(fault), self._happening(fault))

    # At gates --------------------------------------------------------------------------------------------------------------

    def at(self, gate: Gate) -> str | None:
        """The fault that strikes at this gate."""
        who = gate.process.name
        for kind in (gate.kind, "any"):
            self._passed[who, kind] += 1
        for fault in self._left:
            if fault.who == who and self._passed[who, fault.gate] >= fault.nth and self._suits(fault, gate):
                self._left.remove(fault)
                return self._strike(fault, gate)
        return None

    def _suits(self, fault: Fault, gate: Gate) -> bool:
        if fault.gate not in ("any", gate.kind):
            return False
        if fault.kind.startswith("fail"):
            return gate.fail is not None
        return fault.kind.startswith("publishing") == (gate.kind == "publish") or fault.kind.startswith("crash")

    def _strike(self, fault: Fault, gate: Gate) -> str | None:
        consumer = self._world.consumer_of(gate.process)
        match fault.kind:
            case "freeze":
                gate.process.frozen_until_step = self._world.scheduler.step + fault.amount * FREEZE_STEPS
                if consumer is not None and fault.amount % 2:
                    consumer.group.leave(consumer)
            case "reads again" if consumer is not None:
                consumer.go_back = fault.amount % 5 + 1
                return None
            case "cannot read" if consumer is not None:
                consumer.unreadable = True
                return None
            case "publishing fails":
                return "fail before"
            case "publishing fails for good":
                return "fail after"
        return fault.kind

    def moment(self, process: Process, what: str) -> None:
        """A process has reached a moment at which others may act: freeze it there if a fault says so."""
        if what == "takes timers" and self._late:
            for record in self._late:
                self._world.log.append(self._place(record), record.key, record.value, record.headers, "again")
            self._late.clear()
            self._freeze(process, self._frozen_steps(), "as what it waits for comes after all")
        for who in (process.name, process.name.rsplit("-", 1)[0]):
            self._passed[who, what] += 1
            for fault in list(self._left):
                if (fault.who, fault.gate) == (who, what) and fault.nth == self._passed[who, what]:
                    self._left.remove(fault)
                    self._cut_in(fault, process)

    def _cut_in(self, fault: Fault, process: Process) -> None:
        steps = fault.amount * FREEZE_STEPS
        if fault.kind == "operator":
            self._send_operator(fault)
            steps = self._frozen_steps()
        self._freeze(process, steps, f"as it {fault.gate}")

    def _frozen_steps(self) -> int:
        return self._world.scheduler.random.randint(0, FROZEN_STEPS_MAX)

    def _freeze(self, process: Process, steps: int, why: str) -> None:
        process.frozen_until_step = self._world.scheduler.step + steps
        self._world.scheduler.say(process.name, "is frozen", f"for {steps} steps, {why}")

    def _send_operator(self, fault: Fault) -> None:
        work = mend if fault.amount == 1 else discard

        async def act() -> None:
            try:
                await work(self._world, fault.who, self._world.operator)
            except (
                TypeError
            ) as error:  # the simulated database lacks what the code calls: otherwise an operator who never acts
                self._world.complain(f"the operator could not act: {error}")

        self._world.operator.spawn(act())

    # At times --------------------------------------------------------------------------------------------------------------

    def _happening(self, fault: Fault) -> Callable[[], Coroutine[Any, Any, Any]]:
        """The action of a fault that has a time."""

        async def happen() -> None:
            match fault.kind:
                case "rebalance":
                    self._world.groups[fault.who].rebalance()
                case "outage":
                    await self._strike_down(fault.who, fault.amount)
                case "operator":
                    self._send_operator(fault)
                case "deploy":
                    self._world.instances[fault.who].stop.set()
                case "skipped offset":
                    self._world.log.skip(self._world.scheduler.random.choice(self._world.groups[fault.who].partitions))
                case "garbage":
                    self._write_garbage(fault)
                case _:
                    self._neighbour(fault)

        return happen

    def _neighbour(self, fault: Fault) -> None:
        world, now_s = self._world, self._world.scheduler.now_s
        match fault.kind:
            case "letters refused":
                code = REFUSALS[fault.amount % len(REFUSALS)]
                topics = {p.topic + DEAD_LETTER_SUFFIX: code for p in world.groups[fault.who].partitions}
                world.log.refusing.update(topics)
            case "parked at a restart":
                self._write_poison(fault)
            case "read-only":
                world.databases[fault.who].read_only_until_s = now_s + fault.amount
            case "database frozen":
                world.databases[fault.who].frozen_until_s = now_s + fault.amount
            case "transaction":
                to = world.scheduler.random.choice(world.groups[fault.who].partitions)
                at = world.log.begin(to)
                world.later(fault.amount, f"the transaction in {to} is aborted", self._aborting(to, at))
            case "clock jumps":
                world.clocks[fault.who] += fault.amount
            case "prices change":
                for _ in range(fault.amount):
                    change_price(world)
            case "dashboard cancel":
                self._cancel(fault.amount)
            case "equal parts":
                self._ask_for_parts()

    def _aborting(self, to: Partition, at: int) -> Callable[[], Coroutine[Any, Any, Any]]:
        async def abort() -> None:
            self._world.log.abort(to, at)

        return abort

    # Parked records at a restart -----------------------------------------------------------------------------------------

    def _write_garbage(self, fault: Fault) -> None:
        """Write a record that is no message of its topic, or one about an unknown order."""
        to = self._world.scheduler.random.choice(self._world.groups[fault.who].partitions)
        key = str(UUID(int=self._world.scheduler.random.randrange(3))).encode()
        value = b'{"orderId": ' if fault.amount > 1 else _of_nobody(to.topic)
        self._world.log.append(to, key, value, None, "somebody")

    def _write_poison(self, fault: Fault) -> None:
        """Write poisoned records about unknown orders, and kill the service when all of them are parked."""
        world, places = self._world, set()
        for number in range(PARKED_AT_RESTART):
            message = _about(fault.who, UUID(int=0xE000 + number))
            topic, key = BY_MESSAGE[type(message)].name, str(key_of(message)).encode()
            record = world.log.append(world.log.partition_of(topic, key), key, codec.encode(message), None, "somebody")
            self.poison[record.coordinates] = float("inf")
            places.add(record.coordinates)

        async def look(looks: int = 0) -> None:
            rows = await world.databases[fault.who].monitor.fetch("SELECT topic, partition, record_offset FROM parked")
            if places <= {tuple(row) for row in rows}:
                self.restarted.add(fault.who)
                await self._strike_down(fault.who, fault.amount)
            elif looks < LOOKS_MAX:
                world.later(LOOK_EVERY_S, "waits until the records are parked", lambda: look(looks + 1))

        world.later(LOOK_EVERY_S, "waits until they are parked", look)

    async def _strike_down(self, service: str, seconds: float) -> None:
        """Kill all processes of a service, and start none for so many seconds."""
        self.back_at[service] = self._world.scheduler.now_s + seconds
        for instance in list(self._world.instances.values()):
            if instance.service == service and instance.process.alive:
                await self._world.scheduler.kill(instance.process)

    # The gateway's dashboard ---------------------------------------------------------------------------------------------

    def _cancel(self, part: int) -> None:
        """Refund `1 / part` of a payment at the dashboard."""
        self._with_held(lambda key: self._world.gateway.cancel_at_dashboard(key, part))

    def _with_held(self, act: Callable[[str], None], looks: int = 0) -> None:
        """Act on a captured payment, as soon as there is one."""
        held = self._world.gateway.held_keys()
        if held:
            act(self._world.scheduler.random.choice(held))
        elif looks < LOOKS_MAX:

            async def again() -> None:
                self._with_held(act, looks + 1)

            self._world.later(LOOK_EVERY_S, "looks for a captured payment", again)

    def _ask_for_parts(self) -> None:
        """Write two refund requests of the same amount with different request ids, as a partner's Order may."""

        def ask(key: str) -> None:
            gateway = self._world.gateway
            gateway.given_back.setdefault(key, 0)
            order_id = UUID(gateway.payments[key].order_id)
            for number in range(2):
                asked = m.PaymentCancelRequestedMessage(
                    order_id=order_id, payment_key=key, amount=PART, request_id=f"{PARTLY}{number} of {key}"
                )
                self._world.write(asked)

        self._with_held(ask)

    # To records ------------------------------------------------------------------------------------------------------------

    def loses(self, record: Record) -> bool:
        """Whether a fault loses this record."""
        topic = BY_NAME.get(record.topic)
        if topic is None:
            return False
        name = topic.message.__name__
        if not _is_awaited(record):
            return False
        self._tried[name] += 1
        for fault in self._left:
            if fault.kind in ("lost", "late") and fault.gate == name and fault.nth == self._tried[name]:
                self._left.remove(fault)
                if fault.kind == "late":
                    self._late.append(record)
                return True
        return False

    def fail_if_poisoned(self, batch: Batch) -> None:
        bad = [each.record.coordinates for each in batch.incoming if self.poison.get(each.record.coordinates, 0) > 0]
        if bad:
            if len(batch.incoming) == 1:
                self.poison[bad[0]] -= 1
            raise Poisoned(f"{len(bad)} poisoned")

    def handled(self, process: Process, batch: Batch) -> None:
        """Freeze a process before it commits one of two copies of a record, so that another process can handle the other copy."""
        places = {each.record.coordinates for each in batch.incoming}
        for twice in [each for each in self._twice if each & places]:
            self._twice.remove(twice)
            self._freeze(process, self._frozen_steps(), "before a commit")

    def written(self, record: Record) -> None:
        """Strike with the faults of this record: poison it, or write it again."""
        name = BY_NAME[record.topic].message.__name__
        self._written[name] += 1
        for fault in list(self._left):
            if fault.gate != name or fault.nth != self._written[name] or fault.kind in ("lost", "late"):
                continue
            self._left.remove(fault)
            match fault.kind:
                case "poison":
                    self.poison[record.coordinates] = fault.amount or float("inf")
                case "written again":
                    self._world.later(fault.at_s, str(fault), lambda: self._write_again(record))
                case "written twice":
                    self._write_elsewhere(record)
                case "crossed":
                    self._write_what_went_before(record)

    async def _write_again(self, record: Record) -> None:
        self._world.log.append(self._place(record), record.key, record.value, record.headers, "again")

    def _place(self, record: Record) -> Partition:
        """The partition of the record; any partition for a record without a key."""
        if record.key is None:
            return self._world.log.partition_of(record.topic, None)
        return Partition(record.topic, record.partition)

    def _write_elsewhere(self, record: Record) -> None:
        """Write the record again, to another partition if there is one."""
        log = self._world.log
        to = Partition(record.topic, (record.partition + 1) % self._world.plan.partitions)
        again = log.append(to, record.key, record.value, record.headers, "again")
        self._twice.append({record.coordinates, again.coordinates})

    def _write_what_went_before(self, record: Record) -> None:
        """Write the last predecessor of this record about the same order again, if there is one."""
        topics = {topic.message.__name__: topic.name for topic in BY_NAME.values()}
        earlier = self._world.log.records_of(topics[CROSSED[BY_NAME[record.topic].message.__name__]])
        for each in reversed([each for each in earlier if each.key is not None and each.key == record.key]):
            self._write_elsewhere(each)
            break


def _of_nobody(topic: str) -> bytes:
    """A message about an unknown order where the service must reject it; else bytes that are no message."""
    if topic == BY_MESSAGE[m.StockResponseMessage].name:
        return codec.encode(m.StockResponseMessage(order_id=UUID(int=1), status="SUCCESS"))
    return b"\xff"


def _about(service: str, order_id: UUID) -> m.Message:
    """A message to a service about an order."""
    match service:
        case "order":
            return m.StockResponseMessage(order_id=order_id, status="SUCCESS")
        case "stock":
            return m.StockRollbackRequestedMessage(order_id=order_id, items=())
        case "delivery":
            return m.DeliveryRequestMessage(order_id=order_id, customer_id=order_id)
        case _:
            return m.PaymentCancelRequestedMessage(order_id=order_id, payment_key="key-of-nobody", amount=1)


def _is_awaited(record: Record) -> bool:
    """Whether the receiver asks again for a message that does not come. Nobody asks for word of a refund that Order did not request."""
    try:
        message = codec.decode(record.topic, record.value)
    except codec.Undecodable:
        return False
    if not isinstance(message, m.PaymentCancelledMessage):
        return True
    return message.request_id is not None and not message.request_id.startswith(PARTLY)
