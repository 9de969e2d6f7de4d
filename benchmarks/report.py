"""What a benchmark is, and what its figures become: a table, `build/bench/NAME.json` with flat keys, a chart `NAME.svg`."""

import json
import re
import statistics
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import pygal
from pygal.style import CleanStyle
from rich.console import Console
from rich.table import Table

from ordersaga.devstack.system import System

FIGURES_CHARS_MAX: Final = 1_000

Figures = dict[str, float]

PACE_STEPS: Final = 3_000_000


class Size(NamedTuple):
    """How much to measure: orders per round, rounds per variant. `say` shows one line of progress. `system`: a running one to use
    instead of a new one, as the smoke test does."""

    orders: int
    rounds: int
    say: Callable[[str], None]
    system: System | None = None

    @property
    def warm_up(self) -> int:
        """Orders before the first round: two rounds, after which the broker's compiler, caches and prepared statements are at rest."""
        return 2 * self.orders

    @property
    def short_warm_up(self) -> int:
        """The same where a round takes long, or where only a service is new and its broker is not."""
        return max(self.orders // 5, 1)

    def settings(self, **more: Any) -> dict[str, Any]:
        """What a report says of how it was measured."""
        return {"orders": self.orders, "rounds": self.rounds, "warm_up_orders": self.warm_up, **more}


class Goal(NamedTuple):
    """What a flat key should reach: at least, or with `most` at most, this much. Shown beside what was measured, never enforced."""

    key: str
    value: float
    most: bool = False


@dataclass
class Report:
    """The rounds of each variant, in the order of the table. Keys of the first variant are written without its name.

    `main` is the figure whose spread is told; `charted` are those that the chart shows, by default `main` alone. With a `grid` of names and
    places, whose variants are called "NAME PLACE", the chart shows the first of them, a bar for each name at each place. `broken` is what the
    audit found, empty if all holds. `settings` says what the figures depend on.
    """

    main: str = "orders_per_s"
    rounds: dict[str, list[Figures]] = field(default_factory=dict)
    ratios: Figures = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    goals: Sequence[Goal] = ()
    charted: Sequence[str] = ()
    grid: tuple[Sequence[str], Sequence[str]] = ((), ())

    def add(self, variant: str, figures: Figures) -> None:
        """One round of one variant, and how fast the machine was just after it."""
        self.rounds.setdefault(variant, []).append(figures | {"machine_pace": pace()})

    def median(self, variant: str) -> Figures:
        """The median of each figure over the variant's rounds."""
        rounds = self.rounds[variant]
        return {key: statistics.median(figures[key] for figures in rounds) for key in rounds[0]}

    def ratio(self, name: str, over: str, under: str, figure: str | None = None) -> None:
        """Keep `ratio_NAME`: the median of one variant over that of another."""
        figure = figure or self.main
        self.ratios[f"ratio_{name}"] = self.median(over)[figure] / self.median(under)[figure]

    def columns(self) -> dict[str, Figures]:
        """The medians of each variant, the main figure with its spread behind it."""
        found = {}
        for variant, rounds in self.rounds.items():
            spread = [figures[self.main] for figures in rounds]
            middle = self.median(variant)
            head = {self.main: middle.pop(self.main)}
            found[variant] = head | {f"{self.main}_min": min(spread), f"{self.main}_max": max(spread)} | middle
        return found

    def flat(self) -> dict[str, Any]:
        """All of it under flat keys: `orders_per_s`, and `orders_per_s_VARIANT` for the others."""
        found: dict[str, Any] = {}
        for n, (variant, figures) in enumerate(self.columns().items()):
            found |= {f"{key}_{slug(variant)}" if n else key: _rounded(value) for key, value in figures.items()}
        found |= {key: _rounded(value) for key, value in self.ratios.items()}
        return found | {"settings": self.settings, "audit_broken": self.broken}


@dataclass(frozen=True)
class Bench:
    """One benchmark: its name for `BENCH=`, one line about it, and what is a sensible size."""

    name: str
    about: str
    run: Callable[[Size], Coroutine[Any, Any, Report]]
    orders: int = 20_000
    rounds: int = 3


def pace() -> float:
    """How many million steps of a plain loop this machine takes in a second at this moment. A shared one's pace changes by half within
    minutes, and every figure with it."""
    began = time.perf_counter()
    for _ in range(PACE_STEPS):
        pass
    return PACE_STEPS / (time.perf_counter() - began) / 1e6


def slug(text: str) -> str:
    """A variant's name as part of a key."""
    return re.sub(r"\W+", "_", text.lower()).strip("_")


def show(console: Console, bench: Bench, report: Report) -> None:
    """Print the figures as a table, one column for each variant, then ratios, goals and what the audit says."""
    columns = report.columns()
    console.print(f"\n[bold]{bench.name}[/]: {bench.about}", soft_wrap=True)
    table = Table()
    table.add_column("figure")
    for variant in columns:
        table.add_column(variant, justify="right")
    for key in dict.fromkeys(key for figures in columns.values() for key in figures):
        table.add_row(key, *(_shown(figures.get(key)) for figures in columns.values()))
    whole = console.measure(table, options=console.options.update(width=FIGURES_CHARS_MAX)).maximum
    console.width = max(console.width, whole)  # a name that is cut off says nothing; a long line can be scrolled
    console.print(table)
    for key, value in report.ratios.items():
        console.print(f"  {key}: {_shown(value)}")
    flat = report.flat()
    for goal in report.goals:
        if goal.key in flat:
            reached = flat[goal.key] <= goal.value if goal.most else flat[goal.key] >= goal.value
            wanted = f"{'at most' if goal.most else 'at least'} {_shown(goal.value)}"
            console.print(
                f"  goal: {goal.key} {wanted}: {_shown(flat[goal.key])}, {'reached' if reached else 'MISSED'}"
            )
    console.print(
        f"  settings: {', '.join(f'{key} {value}' for key, value in report.settings.items())}", soft_wrap=True
    )
    for line in report.broken:
        console.print(f"  BROKEN: {line}", style="bold red")
    if not report.broken:
        console.print("  audit: every invariant holds")


def write(folder: Path, bench: Bench, report: Report, machine: str) -> None:
    """Write the JSON and the chart."""
    folder.mkdir(parents=True, exist_ok=True)
    figures = report.flat() | {"machine": machine}
    (folder / f"{bench.name}.json").write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n")
    chart(report, f"{bench.name}: {bench.about}").render_to_file(str(folder / f"{bench.name}.svg"))


CHART: Final[dict[str, Any]] = {
    "js": [],  # a chart in a document runs no scripts and fetches none
    "style": CleanStyle,
    "height": 360,
    "print_values": True,
    "include_x_axis": True,
    "legend_at_bottom": True,
    "truncate_label": -1,
    "truncate_legend": -1,
    "value_formatter": lambda value: _shown(value),
}


def chart(report: Report, title: str) -> Any:
    """Bars of the charted figures, one group for each variant, or for each place of a grid."""
    names, places = report.grid
    keys = report.charted or [report.main]
    medians = {variant: report.median(variant) for variant in report.rounds}
    if names:
        bars = pygal.Bar(title=f"{keys[0]}. {title}", x_labels=places, **CHART)
        for name in names:
            bars.add(name, [medians.get(f"{name} {place}", {}).get(keys[0]) for place in places])
        return bars
    bars = pygal.Bar(title=title, x_labels=list(report.rounds), **CHART)
    for key in keys:
        bars.add(key, [figures.get(key) for figures in medians.values()])
    return bars


def _rounded(value: float) -> float:
    return round(value, 3) if isinstance(value, float) else value


def _shown(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:,.3f}".rstrip("0").rstrip(".")
