"""Our statements use of PostgreSQL what `engines.toml` has been looked up for, and `docs/scaling.md` says what it has."""

from collections.abc import Iterator

import pytest
import simpy

from benchmarks.scaling import layouts
from benchmarks.scaling.simulation import Load, Locks, Simulation
from tests.docs import scaling_page
from tests.docs.scaling_page import ENGINES, PAGE, PLACE, WORST_FIRST, document
from tests.docs.sql_constructs import TABLE, Statement, Unknown, constructs_of, statements


@pytest.fixture(scope="module")
def found() -> list[Statement]:
    return statements()


def test_every_construct_of_our_statements_was_looked_up_for_every_engine(found: list[Statement]) -> None:
    for each in found:
        unknown = each.constructs - TABLE.keys()
        assert not unknown, (
            f"{each.where}: {each.name} uses {', '.join(sorted(unknown))}, of which docs/scaling.md does not say which engine takes it. Write the "
            "statement without it, or look it up, add a row to tests/docs/engines.toml, and run `make scaling ARGS=--quick`."
        )
    for name, row in TABLE.items():
        assert row.keys() == {*ENGINES, "note"}, name
        for key in ENGINES:
            assert row[key] in WORST_FIRST or row[key][0].isdigit(), (name, key)
        assert row["note"] or "if" not in row.values(), f"{name}: the note says under which condition"


def test_no_row_is_of_a_construct_that_no_statement_has(found: list[Statement]) -> None:
    used = set().union(*(each.constructs for each in found))
    assert used == TABLE.keys()


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT 1 FROM product FOR SHARE",
        "MERGE INTO product p USING price r ON p.product_id = r.product_id WHEN MATCHED THEN DELETE",
        "SELECT pg_sleep(1)",
        "CREATE INDEX i ON product USING hash (product_id)",
        "CREATE TRIGGER t AFTER INSERT ON product EXECUTE FUNCTION f()",
        "CREATE UNLOGGED TABLE t (a int) WITH (autovacuum_enabled = off)",
        "SELECT a::tsvector FROM t",
        "ALTER TABLE t ALTER COLUMN a TYPE bigint",
        "LOCK TABLE product",
        "CREATE TABLE t (a int, EXCLUDE USING gist (a WITH =))",
    ],
)
def test_a_statement_with_something_new_is_refused_and_told_what_to_do(statement: str) -> None:
    with pytest.raises(Unknown, match=r"engines\.toml"):
        constructs_of(statement, "stock/queries.sql: new")


@pytest.mark.parametrize(
    ("statement", "names"),
    [
        ("SELECT a FROM t WHERE order_id = $1 FOR UPDATE", {"FOR UPDATE of one row"}),
        ("SELECT a FROM t WHERE order_id = ANY ($1) FOR UPDATE", {"FOR UPDATE of several rows"}),
        ("SELECT a FROM t WHERE order_id = $1 OR b FOR UPDATE", {"FOR UPDATE of several rows"}),
        ("SELECT a FROM t WHERE due < $1 FOR UPDATE SKIP LOCKED", {"FOR UPDATE of several rows", "SKIP LOCKED"}),
        ("WITH a AS (DELETE FROM t RETURNING 1) SELECT 1 FROM a", {"WITH that changes rows"}),
        ("SELECT s.xmin::text FROM saga s", {"system column xmin"}),
        ("SELECT 1", set()),
    ],
)
def test_a_construct_is_found_wherever_it_stands(statement: str, names: set[str]) -> None:
    assert constructs_of(statement) == names


def test_statements_in_python_are_seen_with_those_of_files(found: list[Statement]) -> None:
    by_file = {(each.where, name) for each in found for name in each.constructs}
    assert ("messaging/instance.py", "advisory lock") in by_file
    assert ("messaging/database.py", "COPY") in by_file
    assert ("messaging/listening.py", "LISTEN and NOTIFY") in by_file
    assert len(found) > 250


def test_the_page_has_the_tables_that_the_code_makes() -> None:
    written, made = PAGE.read_text(), scaling_page.parts()
    names = [name for _, name, _ in PLACE.findall(written)]
    assert sorted(names) == sorted([*made, "layouts", "needs"])
    assert document(written, made) == written, (
        "docs/scaling.md is not what the code says: `make scaling ARGS=--quick` writes its tables again"
    )


def test_the_page_has_what_the_simulation_says_of_the_first_layout() -> None:
    row = f"| {' | '.join(layouts.row_of('one machine of 2 cores'))} |"
    assert row in PAGE.read_text(), (
        f"docs/scaling.md is not what the simulation says: `make scaling` writes it again; now {row}"
    )


@pytest.mark.parametrize("name", layouts.measured())
def test_the_simulation_is_as_near_to_what_was_measured_as_the_page_says(name: str) -> None:
    row = layouts.measured()[name]
    assert abs(layouts.predicted()[name] / row["value"] - 1) <= row["error"]


def test_the_same_seed_is_the_same_run_and_another_is_not() -> None:
    layout, load = layouts.one_machine(2, 1), Load(200, 50.0)
    assert Simulation(layout, load).run() == Simulation(layout, load).run()
    assert Simulation(layout, load, seed=2).run() != Simulation(layout, load).run()


def test_rows_are_locked_by_one_turn_at_a_time_and_in_turn() -> None:
    env = simpy.Environment()
    locks, ended = Locks(env), []

    def turn(name: str, rows: set[int]) -> Iterator[simpy.Event]:
        yield locks.take(frozenset(rows))
        yield env.timeout(1)
        locks.give_back(frozenset(rows))
        ended.append((name, env.now))

    for name, rows in (
        ("first", {0, 1}),
        ("waits for its row", {1, 2}),
        ("waits behind the other", {2}),
        ("free", {3}),
    ):
        env.process(turn(name, rows))  # type: ignore[arg-type]
    env.run()
    assert ended == [("first", 1), ("free", 1), ("waits for its row", 2), ("waits behind the other", 3)]
    assert locks.hot_ms == 1


def test_twice_the_cores_are_nearly_twice_the_orders_and_a_hot_row_is_not() -> None:
    load = Load(10_000, products=1)
    two, four = (Simulation(layouts.one_machine(cores, 2), load).run() for cores in (2, 4))
    assert 1.4 < four.orders_per_s / two.orders_per_s <= 2
    many = Simulation(layouts.one_machine(64, 12), load).run()
    assert many.orders_per_s < 8 * two.orders_per_s
    assert many.busy["the hottest product's row"] > many.busy["machine"]
