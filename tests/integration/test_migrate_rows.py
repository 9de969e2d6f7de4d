"""Steps of a migration that rewrite rows: what a database of before had is what the newest code reads."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
import yoyo

import ordersaga
from ordersaga import order, stock
from ordersaga.devstack import DevStack
from ordersaga.messaging import migrating
from ordersaga.messaging.migrating import migrate
from ordersaga.stock.listing import parts, search_text

LETTERS = [UUID(int=n) for n in range(1, 6)]
ORDER, OTHER = uuid4(), uuid4()
LETTER = """INSERT INTO dead_letter (id, status, topic, partition, record_offset, order_key, header_names, header_values, cause, reason, attempts, at, imported_from)
            VALUES (%s, %s, 'order-created', 3, %s, %s, '{}', '{}', 'ValueError', 'poison', 5, now(), %s)"""
ACT = """INSERT INTO operator_act (at, who, what, target, why, "before", "after") VALUES (now(), 'op', %s, %s, 'why', '{}', '{}')"""
Rows = list[tuple[Any, ...]]
Connection = psycopg.Connection[tuple[Any, ...]]


def letters_with_statuses(db: Connection) -> None:
    for number, (status, imported) in enumerate(
        [("RESOLVED", "order-created-dlt"), ("RESOLVED", None), ("OPEN", "order-created-dlt"), ("DISCARDED", "x-dlt")]
    ):
        db.execute(LETTER, (LETTERS[number], status, number, ORDER, imported))


def letters_are_published(db: Connection) -> None:
    assert db.execute("SELECT status FROM dead_letter ORDER BY id").fetchall() == [
        ("PUBLISHED",), ("RESOLVED",), ("OPEN",), ("DISCARDED",)
    ]  # fmt: skip
    db.execute("UPDATE dead_letter SET status = 'PUBLISHED'")
    with pytest.raises(psycopg.errors.CheckViolation):
        db.execute("UPDATE dead_letter SET status = 'PUBLISHD'")


def letters_were_decided_now(db: Connection) -> None:
    found = db.execute(
        "SELECT decided_at IS NULL OR decided_at > now() - interval '1 hour', decided_at IS NULL, status FROM dead_letter"
    )
    assert {(status, is_null) for right, is_null, status in found if right} == {
        ("PUBLISHED", False), ("RESOLVED", False), ("OPEN", True), ("DISCARDED", False)
    }  # fmt: skip


def acts(db: Connection) -> None:
    db.execute(LETTER, (LETTERS[0], "DISCARDED", 7, ORDER, None))
    db.execute(LETTER, (LETTERS[1], "OPEN", 8, None, None))
    for what, target in (
        ("discard", LETTERS[0]), ("skip", "order-created/3/7"), ("skip", "order-created/3/8"), ("cancel", OTHER), ("pause", "order-created/3"),
    ):  # fmt: skip
        db.execute(ACT, (what, str(target)))


def acts_have_their_orders(db: Connection) -> None:
    found = db.execute("SELECT order_key FROM operator_act ORDER BY id").fetchall()
    assert found == [(ORDER,), (ORDER,), (None,), (OTHER,), (None,)]


def sagas(db: Connection) -> None:
    paid = '{"payments": [{"paymentKey": "one"}, {"paymentKey": "two"}, {"paymentKey": "one"}]}'
    for order_id, facts in ((ORDER, paid), (OTHER, '{"payments": []}'), (uuid4(), "{}")):
        db.execute("INSERT INTO saga (order_id, status, facts) VALUES (%s, 'PENDING', %s)", (order_id, facts))


def orders_are_found_by_their_payments(db: Connection) -> None:
    found = db.execute("SELECT payment_key, order_id FROM order_payment ORDER BY 1").fetchall()
    assert found == [("one", ORDER), ("two", ORDER)]


def products(db: Connection) -> None:
    db.execute("INSERT INTO product (product_id, name, price) VALUES (%s, '  Ｋeyboard \t 키보드 ', 1)", (ORDER,))


def products_are_listed(db: Connection) -> None:
    rows = db.execute("SELECT product_id, active, search_text, search_parts FROM listing").fetchall()
    ((product, active, text, found),) = rows
    assert (product, active, text) == (ORDER, True, search_text("  Ｋeyboard \t 키보드 ", None))
    assert set(found) == set(parts(text))


def orders(db: Connection) -> None:
    for n, (name, product) in enumerate([("  Canvas  bag & 2 others", OTHER), ("", ORDER), *[("cup", OTHER)] * 1_000]):
        row = (UUID(int=n + 1), uuid4(), name)
        db.execute(
            "INSERT INTO orders (order_id, customer_id, order_name, total_amount, recipient, placed_at, pay_before) VALUES (%s, %s, %s, 1, '{}', now(), now())",
            row,
        )
        facts = json.dumps({"lines": [{"productId": str(product)}]})
        db.execute("INSERT INTO saga (order_id, status, facts) VALUES (%s, 'FAILED', %s)", (row[0], facts))


def orders_are_found_by_their_words(db: Connection) -> None:
    found = [set(row[0]) for row in db.execute("SELECT search_words FROM orders ORDER BY order_id")]
    assert found[:2] == [{"canvas", "bag", "2", "others", str(OTHER)}, {str(ORDER)}]
    assert found[2:] == [{"cup", str(OTHER)}] * 1_000, "those of the second thousand, too"


STEPS: dict[str, tuple[Any, Callable[[Connection], None], Callable[[Connection], None]]] = {
    "0004.outbox_lease_and_letters": (stock, letters_with_statuses, letters_were_decided_now),
    "0006.acts_of_orders": (stock, acts, acts_have_their_orders),
    "0013.published_letters": (stock, letters_with_statuses, letters_are_published),
    "0102.listing": (stock, products, products_are_listed),
    "0103.search": (order, sagas, orders_are_found_by_their_payments),
    "0108.search_words_of_before": (order, orders, orders_are_found_by_their_words),
}
"""By step, a service that has it, the rows that were there before it, and what must hold after the newest."""


@pytest.mark.parametrize("step", STEPS)
def test_rows_of_before_are_what_the_newest_code_reads(
    stack: DevStack, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    service, plant, holds = STEPS[step]
    name = f"rows_{uuid4().hex[:8]}"
    stack.create_databases([name])
    url = stack.database_url(name)
    with monkeypatch.context() as before, psycopg.connect(url, autocommit=True) as db:
        before.setattr(
            migrating,
            "read_migrations",
            lambda *folders: yoyo.read_migrations(*folders).filter(lambda each: each.id < step),
        )
        migrate(url, service)
        plant(db)
    assert step in migrate(url, service)
    with psycopg.connect(url, autocommit=True) as db:
        holds(db)


def test_each_step_that_rewrites_rows_has_such_rows() -> None:
    """A new table's first rows are not of before."""
    rewrites = re.compile(r"^ *(?:UPDATE|DELETE|INSERT INTO \w+(?: \([\w, ]+\))?\nSELECT)\b", re.MULTILINE)
    files = Path(ordersaga.__path__[0]).glob("*/migrations/*.sql")
    assert {file.stem for file in files if rewrites.search(file.read_text())} == STEPS.keys()
