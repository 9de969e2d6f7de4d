"""The plan of a history, drawn from a seed: the orders of its customers, and the faults."""

import random
from typing import Any, Final, Literal, get_args

from msgspec import Struct

Service = Literal["order", "stock", "payment", "delivery"]
Pay = Literal["well", "twice", "wrong amount", "declined", "not at all"]
PAYS: Final[tuple[Pay, ...]] = get_args(Pay)

PRODUCTS: Final = 3
PRICE: Final = 1_000
ORDERS_MAX: Final = 4
FAULTS_MAX: Final = 8
LOST_MAX: Final = 2
BEGIN_WITHIN_S: Final = 0.5
GATES_MEAN: Final = 45.0
QUEUE_SHARE: Final = 0.3
NEIGHBOURS_SHARE: Final = 0.5
NEIGHBOURS_MAX: Final = 2
CLOCK_JUMP_S_MAX: Final = 90
BATCH_REFUSED: Final = "publishing is refused as a batch"


class OrderPlan(Struct, frozen=True):
    """One customer's order, payment, cancellation and return. Times in seconds."""

    number: int
    lines: tuple[tuple[int, int], ...]
    pay: Pay
    begins_s: float
    pays_after_s: float
    cancels_after_s: float | None
    returns_after_s: float | None
    deliverable: bool
    keyless: bool

    @property
    def total(self) -> int:
        return PRICE * sum(quantity for _, quantity in self.lines)


class Fault(Struct, frozen=True):
    """One fault: its kind, the process or service it strikes, the n-th gate of a kind (or a time) at which it strikes, and its size."""

    kind: str
    who: str
    gate: str = ""
    nth: int = 0
    at_s: float = 0.0
    amount: int = 0

    @property
    def service(self) -> str:
        """The service of the process that the fault strikes."""
        return self.who.rsplit("-", 1)[0]

    def __str__(self) -> str:
        at = f"at {self.gate} {self.nth}" if self.gate else f"at {self.at_s:.2f} s"
        return f"{self.who}: {self.kind} {at}" + (f" ({self.amount})" if self.amount else "")


class Plan(Struct, frozen=True):
    """The plan of one history. `schedule` chooses one of the interleavings of the same plan."""

    seed: int
    orders: tuple[OrderPlan, ...]
    faults: tuple[Fault, ...]
    instances: dict[str, int]
    stock: tuple[int, ...]
    partitions: int
    batch_max: int
    turns_publishing_max: int
    own_payment: bool
    pay_within_s: int
    lease_ms: int
    schedule: int = 0


def plan(seed: int) -> Plan:
    """Draw the plan of a seed."""
    dice = random.Random(f"plan {seed}")
    own_payment = dice.random() < 0.4
    services = ["order", "stock", "delivery"] + (["payment"] if own_payment else [])
    instances = {service: dice.choice([1, 2, 2, 2, 3]) for service in services}
    orders = tuple(_order(dice, number) for number in range(dice.randint(2, ORDERS_MAX)))
    faults = [_fault(dice, instances) for _ in range(dice.randint(0, FAULTS_MAX))]
    if dice.random() < QUEUE_SHARE:
        faults += _queue(dice, instances)
    faults += _neighbours(random.Random(f"neighbours {seed}"), instances)
    lost = [fault for fault in faults if fault.kind in ("lost", "late")]
    return Plan(
        seed,
        orders,
        tuple(fault for fault in faults if fault not in lost[LOST_MAX:]),
        instances,
        tuple(dice.choice([2, 4, 50]) for _ in range(PRODUCTS)),
        dice.choice([1, 2, 2, 3]),
        dice.choice([1, 2, 5, 1000]),
        dice.choice([1, 2, 4]),
        own_payment,
        dice.choice([2, 20]),
        dice.choice([200, 10_000]),
    )


def _order(dice: random.Random, number: int) -> OrderPlan:
    products = dice.sample(range(PRODUCTS), dice.choice([1, 1, 2]))
    return OrderPlan(
        number,
        tuple((product, dice.randint(1, 2)) for product in products),
        dice.choices(PAYS, [6, 1, 1, 1, 1])[0],
        dice.choice([0.0, dice.uniform(0, BEGIN_WITHIN_S)]),
        dice.choice([0.0, dice.uniform(0, 0.4)]),
        dice.uniform(0, 0.6) if dice.random() < 0.2 else None,
        dice.uniform(0, 1.5) if dice.random() < 0.15 else None,
        dice.random() < 0.85,
        dice.random() < 0.3,
    )


POISONED: Final = {
    "order": ("StockResponseMessage", "PaymentSuccessMessage", "DeliveryStartMessage", "StockRollbackCompletedMessage"),
    "stock": ("StockDecreaseRequestMessage", "StockRollbackRequestedMessage"),
    "delivery": ("DeliveryRequestMessage",),
    "payment": ("OrderPayableMessage", "PaymentCancelRequestedMessage"),
}
TWICE: Final = (
    "StockDecreaseRequestMessage",
    "StockRollbackRequestedMessage",
    "DeliveryRequestMessage",
    "PaymentCancelRequestedMessage",
    "StockResponseMessage",
    "PaymentSuccessMessage",
)
CROSSED: Final = {
    "StockRollbackRequestedMessage": "StockDecreaseRequestMessage",
    "StockRollbackCompletedMessage": "StockResponseMessage",
    "DeliveryStartMessage": "StockResponseMessage",
    "PaymentCancelledMessage": "PaymentSuccessMessage",
}
"""By a message, the earlier message about the same order that is written again at the same moment."""
ANSWERS: Final = (
    "StockResponseMessage",
    "DeliveryStartMessage",
    "StockRollbackCompletedMessage",
    "PaymentCancelledMessage",
)
LOST: Final = (
    *ANSWERS,
    "StockDecreaseRequestMessage",
    "DeliveryRequestMessage",
    "PaymentCancelRequestedMessage",
)


def _fault(dice: random.Random, instances: dict[str, int]) -> Fault:
    service = dice.choice(["order", "order", *instances])
    who = f"{service}-{dice.randint(1, instances[service])}"
    kind: Any = dice.choices(list(KINDS), [weight for weight, _ in KINDS.values()])[0]
    return KINDS[kind][1](dice, kind, service, who)


def _at_gate(*gates: str) -> Any:
    """A fault at the n-th gate of a kind; early gates are more likely."""

    def make(dice: random.Random, kind: str, service: str, who: str) -> Fault:
        gate = dice.choice(gates)
        mean = GATES_MEAN if gate in ("any", "statement") else GATES_MEAN / 8
        return Fault(kind, who, gate, int(dice.expovariate(1 / mean)) + 1, amount=dice.randint(1, 150))

    return make


def _frozen_at_work(dice: random.Random, kind: str, service: str, who: str) -> Fault:
    """A process freezes where another can begin the same work: in a call to the gateway, with due timers, or with due parked records."""
    gate = {"order": "takes timers", "payment": "gateway"}.get(service, "finds parked")
    return Fault("freeze", who, gate, dice.choice([1, 1, 2, 3]), amount=dice.randint(20, 150))


def _at_time(to_service: bool) -> Any:
    def make(dice: random.Random, kind: str, service: str, who: str) -> Fault:
        return Fault(
            kind, service if to_service else who, at_s=dice.uniform(0, BEGIN_WITHIN_S * 3), amount=dice.randint(1, 3)
        )

    return make


def _outage(dice: random.Random, kind: str, service: str, who: str) -> Fault:
    """All processes of a service are killed, and none is started for so many seconds."""
    return Fault(kind, service, at_s=dice.uniform(0, BEGIN_WITHIN_S * 2), amount=dice.choice([2, 5, 20, 40]))


def _lost(dice: random.Random, kind: str, service: str, who: str) -> Fault:
    """The n-th record of a kind is lost after its acknowledgement; the waiting service must ask again."""
    return Fault(kind, "world", dice.choice(LOST), dice.randint(1, 3))


def _late(dice: random.Random, kind: str, service: str, who: str) -> Fault:
    """The n-th answer of a kind arrives only after Order's deadline, while Order is about to ask again."""
    return Fault(kind, "world", dice.choice(ANSWERS), dice.choice([1, 1, 2, 3]))


def _operator(dice: random.Random, kind: str, service: str, who: str) -> Fault:
    """An operator mends the poisoned records, retries and replays (1), or discards parked records (2 and more)."""
    return Fault(kind, service, at_s=dice.uniform(0, 12), amount=dice.randint(1, 2))


def _poison(dice: random.Random, kind: str, service: str, who: str) -> Fault:
    """The handler fails on the n-th record of a kind: once, twice, or always (0)."""
    message = dice.choice(POISONED[service])
    return Fault(kind, service, message, dice.randint(1, 3), amount=dice.choice([1, 1, 2, 0]))


def _again(dice: random.Random, kind: str, service: str, who: str) -> Fault:
    """The n-th record of a kind is written again."""
    message = dice.choice(POISONED[service])
    return Fault(kind, service, message, dice.randint(1, 4), at_s=dice.choice([0.0, dice.uniform(0, 1)]))


def _twice(dice: random.Random, kind: str, service: str, who: str) -> Fault:
    """The n-th record of a kind is also written to another partition, as a repeat without a key would be. Two processes get it at once."""
    return Fault(kind, "world", dice.choice(TWICE), dice.randint(1, 2))


def _crossed(dice: random.Random, kind: str, service: str, who: str) -> Fault:
    """When the n-th record of a kind is written, its predecessor about the same order is written again, to another partition."""
    return Fault(kind, "world", dice.choice(list(CROSSED)), dice.randint(1, 2))


def _queue(dice: random.Random, instances: dict[str, int]) -> list[Fault]:
    """A failing record, its repeat behind it, and an operator who acts at the moment a process retries or parks."""
    service = dice.choice(list(instances))
    message, nth = dice.choice(POISONED[service]), dice.randint(1, 2)
    return [
        Fault("poison", service, message, nth, amount=dice.choice([1, 2, 0])),
        Fault("written again", service, message, nth, at_s=dice.uniform(0, 2)),
        Fault(
            "operator",
            service,
            dice.choice(["finds parked", "parks"]),
            dice.randint(1, 2),
            amount=dice.choice([1, 2, 2]),
        ),
    ]


def _neighbours(dice: random.Random, instances: dict[str, int]) -> list[Fault]:
    """Faults of the neighbours of the services. They have dice of their own, so a new kind here leaves the rest of a seed's plan as it was."""
    if dice.random() >= NEIGHBOURS_SHARE:
        return []
    faults: list[Fault] = []
    weights = {
        kind: weight for kind, (weight, _) in NEIGHBOURS.items() if "payment" in instances or kind not in OF_MONEY
    }
    for kind in dice.choices(list(weights), list(weights.values()), k=dice.randint(1, NEIGHBOURS_MAX)):
        service = dice.choice(list(instances))
        faults += NEIGHBOURS[kind][1](dice, kind, service, f"{service}-{dice.randint(1, instances[service])}")
    return faults


def _letters_refused(dice: random.Random, kind: str, service: str, who: str) -> list[Fault]:
    """The dead letter topics of a service refuse all records, and some records become dead letters. An operator mends the topics at the end."""
    message = dice.choice(POISONED[service])
    return [
        Fault(kind, service, at_s=dice.choice([0.0, dice.uniform(0, 1)]), amount=dice.randint(1, 2)),
        Fault("poison", service, message, dice.randint(1, 2), amount=0),
        Fault("garbage", service, at_s=dice.uniform(0, BEGIN_WITHIN_S * 3), amount=dice.randint(1, 3)),
    ]


def _batch_refused(dice: random.Random, kind: str, service: str, who: str) -> list[Fault]:
    """Kafka refuses a batch of good records."""
    return [Fault(kind, who, "publish", dice.randint(1, 6))]


def _parked_at_restart(dice: random.Random, kind: str, service: str, who: str) -> list[Fault]:
    """Some poisoned records; when all are parked the service is killed, and is started so many seconds later, when their retries are overdue."""
    return [Fault(kind, service, at_s=dice.uniform(0, BEGIN_WITHIN_S), amount=dice.randint(4, 12))]


def _database(dice: random.Random, kind: str, service: str, who: str) -> list[Fault]:
    """A database is read-only, or frozen, for so many seconds."""
    return [Fault(kind, service, at_s=dice.uniform(0, BEGIN_WITHIN_S * 3), amount=dice.choice([1, 2, 5, 15]))]


def _transaction(dice: random.Random, kind: str, service: str, who: str) -> list[Fault]:
    """A partner's transaction on an input topic, aborted after so many seconds."""
    return [Fault(kind, service, at_s=dice.uniform(0, BEGIN_WITHIN_S * 3), amount=dice.choice([0, 1, 2, 20]))]


def _clock(dice: random.Random, kind: str, service: str, who: str) -> list[Fault]:
    """The clock of a process jumps by so many seconds, forwards or back."""
    return [
        Fault(kind, who, at_s=dice.uniform(0, BEGIN_WITHIN_S * 3), amount=_jump_s(dice))
        for _ in range(dice.choice([1, 1, 2]))
    ]


def _jump_s(dice: random.Random) -> int:
    return dice.choice([-1, 1]) * dice.choice([2, 10, dice.randint(1, CLOCK_JUMP_S_MAX)])


def _prices(dice: random.Random, kind: str, service: str, who: str) -> list[Fault]:
    """A price changes several times while the clocks of Stock's processes differ."""
    return [
        Fault(kind, "stock", at_s=dice.uniform(0, BEGIN_WITHIN_S), amount=dice.randint(2, 4)),
        Fault("clock jumps", "stock-1", at_s=0.0, amount=_jump_s(dice)),
    ]


def _dashboard(dice: random.Random, kind: str, service: str, who: str) -> list[Fault]:
    """A captured payment is cancelled at the gateway's dashboard: all of it, half (2), or a third (3)."""
    return [Fault(kind, "gateway", at_s=dice.uniform(0, BEGIN_WITHIN_S * 4), amount=dice.choice([1, 1, 2, 3]))]


def _partly(dice: random.Random, kind: str, service: str, who: str) -> list[Fault]:
    """A partner asks Payment for two partial refunds of the same amount."""
    return [Fault(kind, "payment", at_s=dice.uniform(0, BEGIN_WITHIN_S * 4))]


NEIGHBOURS: Final[dict[str, tuple[int, Any]]] = {
    "letters refused": (3, _letters_refused),
    BATCH_REFUSED: (3, _batch_refused),
    "parked at a restart": (2, _parked_at_restart),
    "read-only": (3, _database),
    "database frozen": (3, _database),
    "transaction": (3, _transaction),
    "clock jumps": (3, _clock),
    "prices change": (2, _prices),
    "dashboard cancel": (6, _dashboard),
    "equal parts": (4, _partly),
}
DELAYING: Final = (
    "crash before",
    "crash after",
    "fail before",
    "fail after",
    "freeze",
    "publishing fails",
    "publishing fails for good",
    "reads again",
    "cannot read",
    "deploy",
    "outage",
    "read-only",
    "database frozen",
    "transaction",
    "clock jumps",
)
"""Faults that keep a service from its records for a while."""
OF_MONEY: Final = ("dashboard cancel", "equal parts")
KINDS: Final[dict[str, tuple[int, Any]]] = {
    "crash before": (6, _at_gate("any", "commit", "statement", "kafka", "publish")),
    "crash after": (6, _at_gate("any", "commit", "statement", "publish")),
    "fail before": (2, _at_gate("statement", "commit", "kafka")),
    "fail after": (4, _at_gate("commit", "commit", "statement")),
    "freeze": (6, _at_gate("any", "commit", "statement", "fetch")),
    "frozen at work": (3, _frozen_at_work),
    "publishing fails": (3, _at_gate("publish")),
    "publishing fails for good": (2, _at_gate("publish")),
    "reads again": (1, _at_gate("fetch")),
    "cannot read": (1, _at_gate("fetch")),
    "rebalance": (4, _at_time(to_service=True)),
    "deploy": (2, _at_time(to_service=False)),
    "garbage": (1, _at_time(to_service=True)),
    "skipped offset": (1, _at_time(to_service=True)),
    "poison": (7, _poison),
    "written again": (4, _again),
    "written twice": (8, _twice),
    "crossed": (3, _crossed),
    "outage": (2, _outage),
    "lost": (3, _lost),
    "late": (3, _late),
    "operator": (3, _operator),
}
