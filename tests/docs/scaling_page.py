"""The tables of `docs/scaling.md` that come from code: `make scaling` writes them into the page, and a test compares.

Each stands between `<!-- NAME -->` and `<!-- end -->`; the text around them is written by hand.
"""

import re
import sys
from pathlib import Path
from typing import Any, Final

from benchmarks.scaling import layouts
from tests.docs.sql_constructs import SOURCE, TABLE, constructs_of, named, short_turn_of_stock

PAGE: Final = Path(__file__).parents[2] / "docs/scaling.md"
ENGINES: Final[dict[str, dict[str, Any]]] = TABLE.pop("engines")
PLACE: Final = re.compile(r"(<!-- ([\w ]+) -->\n).*?(<!-- end -->)", re.DOTALL)
WORST_FIRST: Final = ("no", "if", "?", "yes")
TURN: Final = {
    "messaging/ledger.sql": ("take_partitions", "fence", "fence_at_end"),
    "messaging/outbox_rows.sql": ("outbox_block", "outbox_block_at_end"),
    "messaging/outbox.sql": ("outbox_of_partitions", "delete_outbox"),
    "messaging/looking.sql": ("left_by_others",),
    "messaging/backlog.sql": ("backlog",),
}
"""What the runtime sends for Stock without a failure, beside Stock's own statements."""


def constructs() -> str:
    """Each construct with its verdicts."""
    in_stock = {name for _, parts in of_stock() for name in parts}
    head = ["of PostgreSQL", *(engine["name"] for engine in ENGINES.values()), ""]
    rows = [
        [f"**{name}**" if name in in_stock else name, *(row[key] for key in ENGINES), row["note"]]
        for name, row in TABLE.items()
    ]
    return _table(head, rows)


def of_stock() -> list[tuple[str, frozenset[str]]]:
    """Stock's statements and those of a turn, by name."""
    texts = {f"`{name}`": text for name, text in named(SOURCE / "stock/queries.sql").items()}
    for file, names in TURN.items():
        found = named(SOURCE / file)
        texts |= {f"`{name}` of `{file}`": found[name] for name in names}
    texts["a short turn, as one statement"] = short_turn_of_stock()
    return [(name, constructs_of(text, name)) for name, text in texts.items()]


def stock() -> str:
    """Each statement of Stock with the worst verdict of its constructs, and those that have it."""
    rows = []
    for name, parts in of_stock():
        verdicts = (
            "yes" if " of `messaging/" in name and engine.get("coordinator") else _verdict(parts, key)
            for key, engine in ENGINES.items()
        )
        rows.append([name, *verdicts])
    return _table(["statement", *(engine["name"] for engine in ENGINES.values())], rows)


def _verdict(parts: frozenset[str], engine: str) -> str:
    verdicts = {part: TABLE[part][engine] for part in sorted(parts)}
    versions = sorted(set(verdicts.values()) - set(WORST_FIRST))
    worst = next((each for each in WORST_FIRST[:-1] if each in verdicts.values()), versions[-1] if versions else "yes")
    names = ", ".join(part for part, verdict in verdicts.items() if verdict == worst)
    return worst if worst in ("yes", "?") else f"{worst}: {names}"


def pages() -> str:
    """The pages of the engines that were read."""
    lines = []
    for engine in ENGINES.values():
        links = "; ".join(f"[{title}]({address})" for title, address in engine["pages"])
        lines.append(f"- {engine['name']}: {links}\n")
    return "".join(lines)


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n".replace("|  |", "| |") for line in lines)


def parts() -> dict[str, str]:
    """What stands between the marks, by name, as far as it takes seconds."""
    return {
        "constructs": constructs(),
        "statements of Stock": stock(),
        "pages": pages(),
        "validation": _table(
            ["", "measured", "simulated", "off by", "may be off by"], list(layouts.rows_of_validation())
        ),
    }


def long_parts() -> dict[str, str]:
    """The rest: a minute."""
    rates = [f"{rate:,}/s, p50 / p99 in ms" for rate in layouts.RATES]
    needs = [
        "orders/s",
        "layout",
        "cores of the services",
        "of PostgreSQL",
        "of Kafka",
        "WAL, MB/s",
        "into Kafka, MB/s",
    ]
    return {
        "layouts": _table(["layout", "orders/s at most", "fullest then", *rates], list(layouts.rows_of_layouts())),
        "needs": _table(needs, list(layouts.rows_of_needs())),
    }


def document(text: str, made: dict[str, str]) -> str:
    """The page with these of its tables."""
    return PLACE.sub(lambda found: f"{found[1]}\n{made[found[2]]}\n{found[3]}" if found[2] in made else found[0], text)


if __name__ == "__main__":
    PAGE.write_text(document(PAGE.read_text(), parts() | ({} if "--quick" in sys.argv else long_parts())))
