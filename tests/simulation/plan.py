"""What happens in a history and what goes wrong in it, drawn from a seed; and the same with less of it, for whoever looks for a cause."""

import random
from typing import Any, Final, Literal

from msgspec import Struct

Service = Literal["order", "stock", "payment", "delivery"]
Pay = Literal["well", "twice", "wrong amount", "declined", "not at all"]

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


class OrderPlan(Struct, frozen=True):
    """One customer: what they order, how they pay, and whether they change their mind. Times in seconds."""

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
    """Something that goes wrong: which kind, to whom, at which of their gates (or at what time), and how much of it."""

    kind: str
    who: str
    gate: str = ""
    nth: int = 0
    at_s: float = 0.0
    amount: int = 0

    def __str__(self) -> str:
        at = f"at {self.gate} {self.nth}" if self.gate else f"at {self.at_s:.2f} s"
        return f"{self.who}: {self.kind} {at}" + (f" ({self.amount})" if self.amount else "")


class Plan(Struct, frozen=True):
    """One history. `schedule` chooses among the orders in which the same things can happen."""

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
    """The history of a seed."""
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
        dice.choices(["well", "twice", "wrong amount", "declined", "not at all"], [6, 1, 1, 1, 1])[0],
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
"""What is written, and what is written again at that moment."""
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
    """A fault that strikes at the n-th gate of a kind, early ones more often."""

    def make(dice: random.Random, kind: str, service: str, who: str) -> Fault:
        gate = dice.choice(gates)
        mean = GATES_MEAN if gate in ("any", "statement") else GATES_MEAN / 8
        return Fault(kind, who, gate, int(dice.expovariate(1 / mean)) + 1, amount=dice.randint(1, 150))

    return make


def _frozen_at_work(dice: random.Random, kind: str, service: str, who: str) -> Fault:
    """A process stands still where somebody else can begin the same work meanwhile: in a call of the gateway, or with timers in hand."""
    gate = {"order": "takes timers", "payment": "gateway"}.get(service, "finds parked")
    return Fault("freeze", who, gate, dice.choice([1, 1, 2, 3]), amount=dice.randint(20, 150))


def _at_time(to_service: bool) -> Any:
    def make(dice: random.Random, kind: str, service: str, who: str) -> Fault:
        return Fault(
            kind, service if to_service else who, at_s=dice.uniform(0, BEGIN_WITHIN_S * 3), amount=dice.randint(1, 3)
        )

    return make


def _outage(dice: random.Random, kind: str, service: str, who: str) -> Fault:
    """All processes of a service die, and none comes for so many seconds."""
    return Fault(kind, service, at_s=dice.uniform(0, BEGIN_WITHIN_S * 2), amount=dice.choice([2, 5, 20, 40]))


def _lost(dice: random.Random, kind: str, service: str, who: str) -> Fault:
    """The n-th record of a kind never comes to be read, as where a partner's own log has lost it; whoever waits must ask again."""
    return Fault(kind, "world", dice.choice(LOST), dice.randint(1, 3))


def _late(dice: random.Random, kind: str, service: str, who: str) -> Fault:
    """The n-th answer of a kind comes only when Order has waited too long for one, and is about to ask again."""
    return Fault(kind, "world", dice.choice(ANSWERS), dice.choice([1, 1, 2, 3]))


def _operator(dice: random.Random, kind: str, service: str, who: str) -> Fault:
    """Somebody mends the poisoned records, and has what was given up handled again, or throws what is parked away."""
    return Fault(kind, service, at_s=dice.uniform(0, 12), amount=dice.randint(1, 2))


def _poison(dice: random.Random, kind: str, service: str, who: str) -> Fault:
    """The handler fails with the n-th record of a kind: once, twice, or always (0)."""
    message = dice.choice(POISONED[service])
    return Fault(kind, service, message, dice.randint(1, 3), amount=dice.choice([1, 1, 2, 0]))


def _again(dice: random.Random, kind: str, service: str, who: str) -> Fault:
    """Somebody writes the n-th record of a kind once more."""
    message = dice.choice(POISONED[service])
    return Fault(kind, service, message, dice.randint(1, 4), at_s=dice.choice([0.0, dice.uniform(0, 1)]))


def _twice(dice: random.Random, kind: str, service: str, who: str) -> Fault:
    """The n-th record of a kind is on another partition, too, as a retry without a key would be: two processes get it at once."""
    return Fault(kind, "world", dice.choice(TWICE), dice.randint(1, 2))


def _crossed(dice: random.Random, kind: str, service: str, who: str) -> Fault:
    """When the n-th record of a kind is written, what went before it is written again at that moment, on another partition."""
    return Fault(kind, "world", dice.choice(list(CROSSED)), dice.randint(1, 2))


def _queue(dice: random.Random, instances: dict[str, int]) -> list[Fault]:
    """A record that fails, the same once more behind it, and an operator who acts just when a process does."""
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
    """Trouble with what stands around the services, from dice of its own: whatever is added here leaves the rest of a seed as it was."""
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
    """The dead letter topics of a service take nothing, and there are letters, until an operator mends them when all else is done."""
    message = dice.choice(POISONED[service])
    return [
        Fault(kind, service, at_s=dice.choice([0.0, dice.uniform(0, 1)])),
        Fault("poison", service, message, dice.randint(1, 2), amount=0),
        Fault("garbage", service, at_s=dice.uniform(0, BEGIN_WITHIN_S * 3), amount=dice.randint(1, 3)),
    ]


def _parked_at_restart(dice: random.Random, kind: str, service: str, who: str) -> list[Fault]:
    """Some poisoned records; when all are parked, the service dies and comes back so many seconds later, when they are overdue."""
    return [Fault(kind, service, at_s=dice.uniform(0, BEGIN_WITHIN_S), amount=dice.randint(4, 12))]


def _database(dice: random.Random, kind: str, service: str, who: str) -> list[Fault]:
    """For so many seconds."""
    return [Fault(kind, service, at_s=dice.uniform(0, BEGIN_WITHIN_S * 3), amount=dice.choice([1, 2, 5, 15]))]


def _transaction(dice: random.Random, kind: str, service: str, who: str) -> list[Fault]:
    """Somebody's transaction on an input topic, open for so many seconds and then aborted."""
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
    """A price changes so often, and the clocks of Stock's processes do not agree."""
    return [
        Fault(kind, "stock", at_s=dice.uniform(0, BEGIN_WITHIN_S), amount=dice.randint(2, 4)),
        Fault("clock jumps", "stock-1", at_s=0.0, amount=_jump_s(dice)),
    ]


def _dashboard(dice: random.Random, kind: str, service: str, who: str) -> list[Fault]:
    """Somebody cancels a captured payment at the gateway itself: all of it, half (2), or a third (3) of what is held."""
    return [Fault(kind, "gateway", at_s=dice.uniform(0, BEGIN_WITHIN_S * 4), amount=dice.choice([1, 1, 2, 3]))]


def _partly(dice: random.Random, kind: str, service: str, who: str) -> list[Fault]:
    """Somebody asks Payment for two equal parts of a payment."""
    return [Fault(kind, "payment", at_s=dice.uniform(0, BEGIN_WITHIN_S * 4))]


NEIGHBOURS: Final[dict[str, tuple[int, Any]]] = {
    "letters refused": (3, _letters_refused),
    "parked at a restart": (2, _parked_at_restart),
    "read-only": (3, _database),
    "database frozen": (3, _database),
    "transaction": (3, _transaction),
    "clock jumps": (3, _clock),
    "prices change": (2, _prices),
    "dashboard cancel": (6, _dashboard),
    "equal parts": (4, _partly),
}
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
