"""A discrete-event simulation of an order's way: turns of processes on cores, commits on disks, row locks, and the queues between them.

It knows no SQL and no JSON, but what a turn costs and what it waits for: a process takes all records that wait, at most a batch; computes;
locks, in Stock, the products of all its orders; has PostgreSQL work; commits; and publishes while the next turn begins. Deterministic
by its seed. An order has one product. Stock holds its locks from the middle of its own work until its commit, as its long turns do; short
turns, which compare instead, are taken as long ones.
"""

import bisect
import itertools
import random
import tomllib
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Any, Final, NamedTuple

import simpy

COSTS: Final[dict[str, Any]] = tomllib.loads((Path(__file__).parent / "costs.toml").read_text())
SLICE_MS: Final = 4.0
"""How long a job keeps a core while others wait for one."""
Steps = Generator[simpy.Event, Any, None]


class Layout(NamedTuple):
    """What runs where. `machines`: cores by name. The others say which machine has a part; several are taken in turn."""

    machines: dict[str, int]
    processes: dict[str, list[str]]
    """The machines of each service's processes, one entry a process."""
    databases: dict[str, list[str]]
    """The machines of each service's databases: one, a partition group each, or, in Stock, the nodes of a distributed one."""
    brokers: list[str]
    is_distributed: bool = False
    """Whether Stock's database is one over several nodes."""
    partitions: int = 12
    is_by_product: bool = False
    """Whether Stock's records have their product as key, so that one process has all of a product."""
    pace: float = 1.0
    """By how much all CPU costs are larger than on the measured machine."""


class Load(NamedTuple):
    """`orders_per_s` None: all orders wait at the beginning, placed and paid, as in `flow`."""

    orders: int
    orders_per_s: float | None = None
    products: int = 1000
    skew: float = 0.0
    """The exponent of Zipf's law; 0: all products alike."""
    pays_by_http: bool = False
    """False: the payment's result comes as a record, as in `rates`."""


class Outcome(NamedTuple):
    """What came of it. `busy`: for which share of the time each machine's cores, each disk, each service's processes and the hottest row were in use."""

    orders_per_s: float
    p50_ms: float
    p99_ms: float
    cpu_ms_per_order: float
    busy: dict[str, float]

    @property
    def fullest(self) -> str:
        """What is busy most."""
        return max(self.busy, key=lambda name: self.busy[name])


class Machine:
    """Cores, shared by all jobs, a slice at a time."""

    def __init__(self, env: simpy.Environment, cores: int, pace: float) -> None:
        self._env: Final = env
        self._cores: Final = simpy.Resource(env, cores)
        self._pace: Final = pace
        self.count: Final = cores
        self.busy_ms = 0.0

    def work(self, cost_ms: float) -> Steps:
        left = cost_ms * self._pace
        self.busy_ms += left
        while left > 0:
            with self._cores.request() as core:
                yield core
                now = min(left, SLICE_MS)
                yield self._env.timeout(now)
            left -= now


class Locks:
    """Row locks: who asks for rows gets all of them as soon as none is held or asked for before."""

    def __init__(self, env: simpy.Environment) -> None:
        self._env: Final = env
        self._held: Final[set[int]] = set()
        self._waiting: Final[list[tuple[frozenset[int], simpy.Event]]] = []
        self._hot_since = 0.0
        self.hot_ms = 0.0
        """How long the hottest product's row was locked."""

    def take(self, rows: frozenset[int]) -> simpy.Event:
        event = self._env.event()
        self._waiting.append((rows, event))
        self._grant()
        return event

    def give_back(self, rows: frozenset[int]) -> None:
        self._held.difference_update(rows)
        if 0 in rows:
            self.hot_ms += self._env.now - self._hot_since
        self._grant()

    def _grant(self) -> None:
        asked: set[int] = set(self._held)
        for each in list(self._waiting):
            rows, event = each
            if asked.isdisjoint(rows):
                self._waiting.remove(each)
                self._held.update(rows)
                if 0 in rows:
                    self._hot_since = self._env.now
                event.succeed()
            asked.update(rows)


class Inbox:
    """Records that wait for a process: (what, order)."""

    def __init__(self, env: simpy.Environment) -> None:
        self._env: Final = env
        self._records: list[tuple[str, int]] = []
        self._woken = env.event()

    def add(self, records: Iterable[tuple[str, int]]) -> None:
        self._records += records
        if self._records and not self._woken.triggered:
            self._woken.succeed()

    def some(self, limit: int) -> Generator[simpy.Event, Any, list[tuple[str, int]]]:
        if not self._records:
            self._woken = self._env.event()
            yield self._woken
        taken, self._records = self._records[:limit], self._records[limit:]
        return taken


class Simulation:
    """One run of a load through a layout."""

    def __init__(self, layout: Layout, load: Load, seed: int = 1) -> None:
        self.env: Final = simpy.Environment()
        self._layout: Final = layout
        self._load: Final = load
        random_ = random.Random(seed)
        self._machines: Final = {name: Machine(self.env, cores, layout.pace) for name, cores in layout.machines.items()}
        self._disks: Final = {name: simpy.Resource(self.env) for names in layout.databases.values() for name in names}
        self._disk_ms: Final = dict.fromkeys(self._disks, 0.0)
        self._locks: Final = Locks(self.env)
        self._inboxes: Final = {
            (service, n, http): Inbox(self.env)
            for service, places in layout.processes.items()
            for n in range(len(places))
            for http in (False, True)
        }
        self._loops: Final = {key[:2]: simpy.Resource(self.env) for key in self._inboxes}
        self._loop_ms: Final = dict.fromkeys(layout.processes, 0.0)
        weights = list(itertools.accumulate(1 / (rank + 1) ** load.skew for rank in range(load.products)))
        self._products: Final = [
            bisect.bisect_left(weights, random_.random() * weights[-1]) for _ in range(load.orders)
        ]
        self._gaps: Final = [random_.expovariate(1.0) for _ in range(load.orders)]
        self._placed: Final = [0.0] * load.orders
        self._latencies: Final[list[float]] = []
        self._known: Final[list[set[str]]] = [set() for _ in range(load.orders)]
        self._brokers: Final = itertools.cycle(layout.brokers)

    def run(self) -> Outcome:
        """Until each order is completed."""
        self._all = self.env.event()
        for service, n, http in self._inboxes:
            if not http or service in ("order", "payment"):
                self.env.process(self._turns(service, n, http))
        self.env.process(self._arrivals())
        self.env.run(until=self._all)
        return self._outcome()

    def _arrivals(self) -> Steps:
        if self._load.orders_per_s is None:
            orders = range(self._load.orders)
            self._send("stock", [("request", order) for order in orders])
            self._send("order", [("paid", order) for order in orders])
            # The process that writes these records is on the same machine.
            yield from self._machines[self._layout.brokers[0]].work(self._load.orders * 2 * COSTS["record"]["load"])
            return
        for order in range(self._load.orders):
            yield self.env.timeout(self._gaps[order] * 1000 / self._load.orders_per_s)
            self._placed[order] = self.env.now
            self._send("order", [("post", order)], http=True)

    def _send(self, service: str, records: list[tuple[str, int]], http: bool = False) -> None:
        """To the process that has each order's partition; a request to any."""
        count = len(self._layout.processes[service])
        ways = count if http else self._layout.partitions
        split: dict[int, list[tuple[str, int]]] = {}
        by_product = service == "stock" and self._layout.is_by_product
        for record in records:
            key = self._products[record[1]] if by_product else record[1]
            split.setdefault(key % ways % count, []).append(record)
        for n, part in split.items():
            self._inboxes[service, n, http].add(part)

    def _turns(self, service: str, n: int, http: bool) -> Steps:
        inbox = self._inboxes[service, n, http]
        while True:
            records = yield from inbox.some(COSTS["limits"]["batch_max"])
            yield from self._turn(service, n, records)

    def _turn(self, service: str, n: int, records: list[tuple[str, int]]) -> Steps:
        count, places = len(records), self._layout.databases[service]
        machine = self._machines[self._layout.processes[service][n]]
        cost = COSTS["turn"][service] + count * _of_record(service, records[0][0])
        row_cost = COSTS["record"]["postgres"] + (COSTS["request"]["place_postgres"] if records[0][0] == "post" else 0)
        yield from self._compute(service, n, machine, cost / 2)
        rows = frozenset(self._products[order] for _, order in records) if service == "stock" else frozenset()
        if rows:
            yield self._locks.take(rows)
        yield from self._compute(service, n, machine, cost / 2)
        nodes = places if service == "stock" and self._layout.is_distributed else [places[n % len(places)]]
        jobs = [self.env.process(self._stored(node, count / len(nodes), row_cost)) for node in nodes]
        yield self.env.all_of(jobs)
        if len(nodes) > 1:
            yield self.env.timeout(COSTS["machine"]["replica"])
        if rows:
            self._locks.give_back(rows)
        self.env.process(self._publish(service, records))

    def _compute(self, service: str, n: int, machine: Machine, cost_ms: float) -> Steps:
        """A process has one thread: its turns and its requests share it."""
        with self._loops[service, n].request() as turn:
            yield turn
            began = self.env.now
            yield from machine.work(cost_ms)
            self._loop_ms[service] += self.env.now - began

    def _stored(self, node: str, count: float, row_cost: float) -> Steps:
        machine = self._machines[node]
        yield from machine.work(COSTS["turn"]["postgres"] + count * row_cost)
        written = count * COSTS["record"]["wal_bytes"] / (COSTS["machine"]["wal_mb_per_s"] * 1000)
        with self._disks[node].request() as disk:
            yield disk
            yield self.env.timeout(written)
        self._disk_ms[node] += written
        yield self.env.timeout(
            COSTS["machine"]["fsync"] + (COSTS["machine"]["network"] if len(self._machines) > 1 else 0)
        )

    def _publish(self, service: str, records: list[tuple[str, int]]) -> Steps:
        out: dict[tuple[str, bool], list[tuple[str, int]]] = {}
        for what, order in records:
            for target, http, message in self._answers(service, what, order):
                out.setdefault((target, http), []).append((message, order))
        sent = sum(len(each) for (_, http), each in out.items() if not http)
        if sent:
            machine = self._machines[next(self._brokers)]
            yield from machine.work(COSTS["turn"]["kafka"] + sent * COSTS["record"]["kafka"])
            if len(self._machines) > 1:
                yield self.env.timeout(COSTS["machine"]["network"])
        for (target, http), each in out.items():
            if target == "end":
                self._finish([order for _, order in each])
            else:
                self._send(target, each, http)

    def _answers(self, service: str, what: str, order: int) -> list[tuple[str, bool, str]]:
        """What a turn sends for a record."""
        if what == "post":
            pays = ("payment", True, "confirm") if self._load.pays_by_http else ("order", False, "paid")
            return [("stock", False, "request"), pays]
        if service == "stock":
            return [("order", False, "reserved")]
        if service == "payment":
            return [("order", False, "paid")]
        if service == "delivery":
            return [("order", False, "started")]
        if what == "started":
            return [("end", False, "completed")]
        known = self._known[order]
        known.add(what)
        return [("delivery", False, "deliver")] if len(known) == 2 else []

    def _finish(self, orders: list[int]) -> None:
        now = self.env.now
        self._latencies.extend(now - self._placed[order] for order in orders)
        if len(self._latencies) == self._load.orders:
            self._all.succeed()

    def _outcome(self) -> Outcome:
        elapsed = self.env.now
        busy = {name: each.busy_ms / (elapsed * each.count) for name, each in self._machines.items()}
        busy |= {f"disk of {name}": each / elapsed for name, each in self._disk_ms.items()}
        busy["the hottest product's row"] = self._locks.hot_ms / elapsed
        for service, each in self._loop_ms.items():
            busy[f"processes of {service}"] = each / (elapsed * len(self._layout.processes[service]))
        latencies = sorted(self._latencies)
        return Outcome(
            self._load.orders / elapsed * 1000,
            latencies[len(latencies) // 2],
            latencies[len(latencies) * 99 // 100],
            sum(each.busy_ms for each in self._machines.values()) / self._load.orders,
            busy,
        )


def _of_record(service: str, what: str) -> float:
    costs = {"post": COSTS["request"]["place"], "confirm": COSTS["request"]["confirm"]}
    return float(costs[what] if what in costs else COSTS["record"][service])
