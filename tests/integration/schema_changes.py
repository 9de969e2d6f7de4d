"""The tables of a database before and after a migration, and what of it the last release would feel."""

import re
from collections.abc import Iterator, Sequence
from typing import Any, LiteralString, NamedTuple

import psycopg

Row = tuple[Any, ...]
ALONE = "-- transactional: false"
"""Begins a step whose statements have a transaction each."""


class Schema(NamedTuple):
    """The tables of a database, by name."""

    columns: dict[str, tuple[str, bool, bool]]
    """The type of each column, whether it must have a value, and whether it has one where none is given."""
    rules: dict[str, str]
    """Constraints and unique indexes, each with its definition."""
    indexes: dict[str, str]
    """The table of each other index."""
    files: dict[str, int]
    """Where the rows of each table are. Another place: all of them were written anew, and the table was locked as long."""


def schema(db: psycopg.Connection[Row]) -> Schema:
    def found(query: LiteralString) -> list[Row]:
        return db.execute(query).fetchall()

    return Schema(
        {
            f"{table}.{column}": (kind, needed, given)
            for table, column, kind, needed, given in found(
                """
                SELECT relname, attname, format_type(atttypid, atttypmod), attnotnull, atthasdef OR attidentity <> ''
                FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
                WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND attnum > 0 AND NOT attisdropped AND relname !~ 'yoyo'
                """
            )
        },
        {
            f"{table}: {rule}": said
            for table, rule, said in found(
                """
                SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
                WHERE connamespace = 'public'::regnamespace AND contype <> 'n'
                UNION SELECT indrelid::regclass::text, indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index
                WHERE indisunique AND indrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace)
                ORDER BY 1, 2, 3  -- a constraint and its index have one name: always the constraint stays
                """
            )
        },
        dict(found("SELECT indexname, tablename FROM pg_indexes WHERE schemaname = 'public'")),
        dict(
            found(
                "SELECT relname, relfilenode FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
            )
        ),
    )


def broken(before: Schema, after: Schema, sources: Sequence[str] = ()) -> list[str]:
    """A sentence for each change that the last release, or its users, would feel. `sources`: the SQL of each step."""
    whole = "\n".join(sources)
    return [
        *_of_columns(before, after),
        *_of_rules(before, after),
        *_of_locks(before, after, whole),
        *_of_rows(before, sources),
    ]


def _of_columns(before: Schema, after: Schema) -> Iterator[str]:
    for name in sorted(before.columns.keys() - after.columns.keys()):
        yield f"{name} is gone"
    for name, (kind, needed, given) in sorted(after.columns.items()):
        if name in before.columns:
            was_kind, was_needed, was_given = before.columns[name]
            if kind != was_kind:
                yield f"{name} was {was_kind} and is {kind}"
            if needed and not was_needed:
                yield f"{name} needs a value that it did not need before"
            if was_given and not given:
                yield f"{name} has no default any more"
        elif name.partition(".")[0] in before.files and needed and not given:
            yield f"{name} needs a value, which the last release does not give"


def _of_rules(before: Schema, after: Schema) -> Iterator[str]:
    for name, said in sorted(before.rules.items()):
        if ("UNIQUE" in said or "PRIMARY KEY" in said) and after.rules.get(name) != said:
            yield f"{name}, which ON CONFLICT may name, is gone or another"
    for name, said in sorted(after.rules.items()):
        if name.partition(":")[0] in before.files and before.rules.get(name) != said:
            yield f"{name} is a new rule for what the last release writes: {said}"


def _of_locks(before: Schema, after: Schema, sources: str) -> Iterator[str]:
    for name, place in sorted(before.files.items()):
        if after.files.get(name, place) != place:
            yield f"all rows of {name} are written anew while nobody may use it"
    for name, table in sorted(after.indexes.items()):
        if table in before.files and name not in before.indexes and not re.search(rf"CONCURRENTLY\s+{name}\b", sources):
            yield f"nobody can write to {table} while {name} is built: CREATE INDEX CONCURRENTLY, alone in its step"


def _of_rows(before: Schema, sources: Sequence[str]) -> Iterator[str]:
    """ALTER TABLE locks a table against everybody until its transaction ends, which is that of its step."""
    for source in sources:
        if not source.startswith(ALONE):
            altered, filled = (
                set(re.findall(rf"^ *{what} (\w+)", source, re.MULTILINE)) for what in ("ALTER TABLE", "UPDATE")
            )
            for table in sorted(altered & filled & before.files.keys()):
                yield f"nobody may use {table} while its rows are written: UPDATE in a step of its own"
