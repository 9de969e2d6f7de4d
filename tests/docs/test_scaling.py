"""Our statements use of PostgreSQL what `engines.toml` has been looked up for, and `docs/scaling.md` says what it has."""

import pytest

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
            "statement without it, or look it up, add a row to tests/docs/engines.toml, and run `make scaling`."
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
    written = PAGE.read_text()
    assert {name for _, name, _ in PLACE.findall(written)} == scaling_page.parts().keys()
    assert document(written) == written, (
        "docs/scaling.md is not what the code says: `make scaling` writes its tables again"
    )
