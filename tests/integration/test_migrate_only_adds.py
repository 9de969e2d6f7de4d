"""The last release runs on while its databases are migrated, so a step only adds: docs/evolution.md has the rules, and each finds its breach here.

`python -m tests.integration.test_migrate_only_adds` writes down the present steps as those of a release.
"""

import hashlib
import importlib
import json
from pathlib import Path
from typing import Final, LiteralString
from uuid import uuid4

import psycopg
import pytest

from ordersaga.devstack import DevStack
from ordersaga.messaging import migrating
from ordersaga.settings import SERVICES
from tests.integration.schema_changes import broken, schema

ROOT: Final = Path(__file__).parents[2] / "src" / "ordersaga"
RELEASED: Final = Path(__file__).with_name("released_steps.json")
UNUSED: Final[dict[str, str]] = {}
"""What a step takes away though a rule forbids it, and why the last release does not miss it. Emptied by each release."""


def homes() -> dict[str, Path]:
    return {"messaging": ROOT / "messaging", **{name: ROOT / name for name in SERVICES}}


def present() -> dict[str, dict[str, str]]:
    """The steps of each folder with the hash of each."""
    return {
        home: {
            path.stem: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted((folder / "migrations").glob("*.sql"))
        }
        for home, folder in homes().items()
    }


def released() -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = json.loads(RELEASED.read_text())
    return found


def database(stack: DevStack, service: str) -> str:
    name = f"adds_{service}_{uuid4().hex[:8]}"
    stack.create_databases([name])
    return stack.database_url(name)


def test_a_step_that_was_released_stays_as_it_is() -> None:
    now = present()
    changed = [
        f"{home}/migrations/{step}.sql"
        for home, steps in released().items()
        for step, digest in steps.items()
        if now[home].get(step) != digest
    ]
    assert not changed, "databases have these steps already: add a new one instead"


@pytest.mark.parametrize("service", SERVICES)
def test_what_is_new_since_the_last_release_only_adds(
    stack: DevStack, service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, package, read = database(stack, service), importlib.import_module(f"ordersaga.{service}"), migrating._read
    known = released()["messaging"].keys() | released()[service].keys()
    with monkeypatch.context() as then:
        then.setattr(migrating, "_read", lambda service: read(service).filter(lambda step: step.id in known))
        assert set(migrating.migrate(url, package)) == known
    with psycopg.connect(url, autocommit=True) as db:
        before = schema(db)
        new = migrating.migrate(url, package)
        sources = [
            (homes()[home] / "migrations" / f"{step}.sql").read_text()
            for home in ("messaging", service)
            for step in new
            if step in present()[home]
        ]
        found = [each for each in broken(before, schema(db), sources) if each not in UNUSED]
    assert not found, f"{', '.join(new)}: docs/evolution.md says what to do instead"


BREACHES: Final[dict[LiteralString, str]] = {
    "DROP TABLE timer": "timer.due_at is gone",
    "ALTER TABLE timer DROP due_at": "timer.due_at is gone",
    "ALTER TABLE timer RENAME due_at TO due": "timer.due_at is gone",
    "ALTER TABLE ledger RENAME TO book": "ledger.epoch is gone",
    "ALTER TABLE ledger ALTER epoch TYPE numeric": "ledger.epoch was bigint and is numeric",
    "ALTER TABLE ledger ALTER partition TYPE bigint": "all rows of ledger are written anew while nobody may use it",
    "ALTER TABLE timer ADD why text NOT NULL": "timer.why needs a value, which the last release does not give",
    "ALTER TABLE outbox ALTER key SET NOT NULL": "outbox.key needs a value that it did not need before",
    "ALTER TABLE product ALTER version DROP DEFAULT": "product.version has no default any more",
    "ALTER TABLE timer ADD CHECK (due_at > '2026-01-01')": "timer: timer_due_at_check is a new rule for what the last release writes",
    "CREATE UNIQUE INDEX one ON timer (due_at)": "timer: one is a new rule for what the last release writes",
    "ALTER TABLE movement ADD FOREIGN KEY (product_id) REFERENCES product": "movement: movement_product_id_fkey is a new rule",
    "DROP INDEX movement_balance_idx": "movement: movement_balance_idx, which ON CONFLICT may name, is gone or another",
    "DROP INDEX movement_balance_idx; CREATE UNIQUE INDEX movement_balance_idx ON movement (product_id, kind) WHERE quantity > 5": (
        "movement: movement_balance_idx, which ON CONFLICT may name, is gone or another"
    ),
    "ALTER TABLE timer ADD n float8 NOT NULL DEFAULT random()": "all rows of timer are written anew while nobody may use it",
    "CREATE INDEX late ON timer (due_at, key)": "nobody can write to timer while late is built",
    "ALTER TABLE product ADD more text;\nUPDATE product SET more = name": "nobody may use product while its rows are written",
}
FINE: Final[tuple[LiteralString, ...]] = (
    "CREATE TABLE more (n int PRIMARY KEY CHECK (n > 0)); CREATE INDEX more_idx ON more (n)",
    "ALTER TABLE timer ADD why text, ADD tries int NOT NULL DEFAULT 0",
    "DROP INDEX timer_due_idx",
    "ALTER TABLE outbox ALTER adopt_at DROP NOT NULL",
    "ALTER TABLE outbox ALTER topic SET DEFAULT ''",
    "ALTER TABLE movement DROP CONSTRAINT movement_quantity_check",
    "UPDATE product SET version = version + 1",
)


@pytest.fixture(scope="module")
def stocked(stack: DevStack) -> str:
    url = database(stack, "stock")
    migrating.migrate(url, importlib.import_module("ordersaga.stock"))
    return url


def findings(url: str, step: LiteralString) -> list[str]:
    with psycopg.connect(url) as db:
        before = schema(db)
        db.execute(step)
        found = broken(before, schema(db), [step])
        db.rollback()
    return found


@pytest.mark.parametrize("step", BREACHES)
def test_a_breach_is_found(stocked: str, step: LiteralString) -> None:
    found = findings(stocked, step)
    assert any(each.startswith(BREACHES[step]) for each in found), found


@pytest.mark.parametrize("step", FINE)
def test_what_only_adds_is_fine(stocked: str, step: LiteralString) -> None:
    assert findings(stocked, step) == []


if __name__ == "__main__":
    RELEASED.write_text(json.dumps(present(), indent=2) + "\n")
