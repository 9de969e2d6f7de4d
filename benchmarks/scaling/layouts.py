"""The layouts of docs/scaling.md, from one machine to a distributed Stock, and their tables."""

from collections.abc import Iterator
from functools import cache
from typing import Any, Final

from benchmarks.scaling.simulation import COSTS, Layout, Load, Outcome, Simulation

SERVICES: Final = ("order", "stock", "payment", "delivery")
ALL_AT_ONCE: Final = 1e9
"""So many orders a second that all wait, which shows the most that a layout does."""
RATES: Final = (1_000, 10_000, 100_000)


def one_machine(cores: int, processes: int, pace: float = 1.0) -> Layout:
    """Everything on one machine, with as many processes of each service."""
    return Layout(
        {"machine": cores},
        {name: ["machine"] * processes for name in SERVICES},
        {name: ["machine"] for name in SERVICES},
        ["machine"],
        pace=pace,
    )


def spread(
    processes: dict[str, int], databases: dict[str, tuple[int, int]], brokers: int, stock_nodes: bool = False
) -> Layout:
    """Machines of four cores for the processes, and for each database one of its own. `databases`: how many, and their cores."""
    machines: dict[str, int] = {}
    places = {name: [f"machine of {name} {n // 4 + 1}" for n in range(count)] for name, count in processes.items()}
    for each in places.values():
        machines |= dict.fromkeys(each, 4)
    stores = {name: [f"database {name} {n + 1}" for n in range(count)] for name, (count, _) in databases.items()}
    for name, each in stores.items():
        machines |= dict.fromkeys(each, databases[name][1])
    kafka = [f"broker {n + 1}" for n in range(brokers)]
    machines |= dict.fromkeys(kafka, 8)
    partitions = max(COSTS["limits"]["partitions"], *processes.values())
    return Layout(machines, places, stores, kafka, stock_nodes, partitions)


def _databases(groups: int, cores: int, stock: tuple[int, int]) -> dict[str, tuple[int, int]]:
    return {name: stock if name == "stock" else (groups, cores) for name in SERVICES}


MANY: Final = {"order": 48, "stock": 12, "payment": 192, "delivery": 24}
LAYOUTS: Final[dict[str, Layout]] = {
    "one machine of 2 cores": one_machine(2, 2),
    "one machine of 32 cores": one_machine(32, 12),
    "four databases of 16 cores, 3 brokers": spread(
        {"order": 12, "stock": 4, "payment": 24, "delivery": 4}, _databases(1, 16, (1, 16)), 3
    ),
    "8 partition groups, one Stock of 32 cores, 6 brokers": spread(MANY, _databases(8, 8, (1, 32)), 6),
    "the same with Stock distributed over 8 nodes": spread(MANY, _databases(8, 8, (8, 16)), 6, stock_nodes=True),
    "that, and Stock's records keyed by product (not built)": spread(
        MANY, _databases(8, 8, (8, 16)), 6, stock_nodes=True
    )._replace(is_by_product=True),
}


def shop(orders: int, orders_per_s: float) -> Load:
    """Customers of a catalogue by Zipf's law: the most wanted product is in 8 of 100 orders."""
    return Load(orders, orders_per_s, products=100_000, skew=1.0, pays_by_http=True)


@cache
def most(name: str) -> Outcome:
    """What a layout does when more orders wait than it can do."""
    layout = LAYOUTS[name]
    orders = 20_000 if layout.machines.get("machine") == 2 else 150_000
    return Simulation(layout, shop(orders, ALL_AT_ONCE)).run()


@cache
def at(name: str, rate: int) -> Outcome | None:
    """A layout at a rate; None: it does not do so many."""
    if most(name).orders_per_s < rate:
        return None
    return Simulation(LAYOUTS[name], shop(max(rate, 2_000), float(rate))).run()


def rows_of_layouts() -> Iterator[list[str]]:
    """Each layout with what it does at most, what is full then, and its latencies at each rate."""
    for name in LAYOUTS:
        yield row_of(name)


def row_of(name: str) -> list[str]:
    """The row of one layout."""
    top = most(name)
    cells = [name, _round(top.orders_per_s), f"{kind(top.fullest)}, {top.busy[top.fullest]:.0%}"]
    for rate in RATES:
        outcome = at(name, rate)
        cells.append("no" if outcome is None else f"{outcome.p50_ms:.0f} / {outcome.p99_ms:.0f}")
    return cells


def rows_of_needs() -> Iterator[list[str]]:
    """What each rate needs: the first layout that does it, and the cores that are busy then."""
    for rate in RATES:
        able = next((name for name in LAYOUTS if most(name).orders_per_s >= rate), None)
        outcome = at(able, rate) if able else None
        size = COSTS["record"]["wal_bytes"] * 5
        wal, kafka = f"{rate * size / 1e6:.0f}", f"{rate * COSTS['limits']['kafka_bytes'] / 1e6:.0f}"
        if able is None or outcome is None:
            yield [f"{rate:,}", "none of these", "", "", "", wal, kafka]
            continue
        layout = LAYOUTS[able]
        used = dict.fromkeys(("services", "PostgreSQL", "Kafka"), 0.0)
        for machine, cores in layout.machines.items():
            part = (
                "PostgreSQL"
                if machine.startswith("database")
                else "Kafka"
                if machine.startswith("broker")
                else "services"
            )
            used[part] += outcome.busy[machine] * cores
        alone = len(layout.machines) == 1
        cores_of = [f"{used['services']:.1f} of all", "", ""] if alone else [f"{each:.1f}" for each in used.values()]
        yield [f"{rate:,}", able, *cores_of, wal, kafka]


@cache
def predicted() -> dict[str, float]:
    """What the simulation says of layouts that were measured."""
    backlog, apart = one_machine(2, 2), one_machine(2, 1)
    flow = Simulation(backlog, Load(10_000)).run().orders_per_s
    rated = {rate: Simulation(apart, Load(rate * 20, float(rate))).run() for rate in (10, 50, 100)}
    return {
        "flow": flow,
        "slow": Simulation(backlog._replace(pace=3.76), Load(10_000)).run().orders_per_s,
        "hot": Simulation(backlog, Load(10_000, products=1)).run().orders_per_s / flow,
        **{f"cpu_{rate}": rated[rate].cpu_ms_per_order for rate in rated},
        **{f"p50_{rate}": rated[rate].p50_ms for rate in rated},
    }


def rows_of_validation() -> Iterator[list[str]]:
    """Measured and predicted, side by side."""
    for name, row in measured().items():
        said = predicted()[name]
        yield [
            row["says"],
            _figure(row["value"]),
            _figure(said),
            f"{said / row['value'] - 1:+.0%}",
            f"{row['error']:.0%}",
        ]


def measured() -> dict[str, Any]:
    """The figures of layouts that exist."""
    found: dict[str, Any] = COSTS["measured"]
    return found


def kind(name: str) -> str:
    """What is full, without its number."""
    return name.rstrip("0123456789 ")


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}" if value < 2 else f"{value:.1f}"


def _round(value: float) -> str:
    """Three digits are more than the simulation knows."""
    step = 10 ** max(len(f"{value:.0f}") - 2, 0)
    return f"{round(value / step) * step:,}"
