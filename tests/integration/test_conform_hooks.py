"""SQL hooks of `ordersaga conform` against a real PostgreSQL."""

import json
from collections.abc import AsyncIterator
from uuid import uuid4

import asyncpg
import pytest

from ordersaga.conformance import hooks as hooks_module
from ordersaga.conformance.hooks import HookFailed, Hooks
from ordersaga.devstack import DevStack

ID = "8b91c74c-f28d-4f11-823a-8e727ff052c2"
NAMES = [
    "키보드",
    "it's",
    '"; DROP TABLE product; --',
    "back\\slash",
    "$name and $$ and %s",
    "two\nlines",
    "'; SELECT 1; --",
]


class Shelf:
    """A partner's database."""

    def __init__(self, url: str, db: asyncpg.Connection) -> None:
        self.url, self.db = url, db

    async def call(self, statement: str, **values: object) -> object:
        async with Hooks({"seed": f"{self.url} {statement}"}, {}, None) as hooks:
            return (await hooks.call("seed", {"productId": ID, "quantity": 5, **values})).body


@pytest.fixture
async def shelf(stack: DevStack) -> AsyncIterator[Shelf]:
    name = f"partner_{uuid4().hex[:8]}"
    stack.create_databases([name])
    url = stack.database_url(name)
    db = await asyncpg.connect(url)
    await db.execute("CREATE TABLE product (id uuid PRIMARY KEY, quantity int, name text, lines jsonb)")
    yield Shelf(url, db)
    await db.close()


INSERT = "INSERT INTO product (id, quantity, name) VALUES ($productId, $quantity, $name)"


@pytest.mark.parametrize("name", NAMES)
async def test_a_value_arrives_as_it_is_and_is_no_sql(shelf: Shelf, name: str) -> None:
    assert await shelf.call(INSERT, name=name) == []
    assert [tuple(row) for row in await shelf.db.fetch("SELECT id::text, quantity, name FROM product")] == [
        (ID, 5, name)
    ]


async def test_a_list_arrives_as_json(shelf: Shelf) -> None:
    items = [{"productId": ID, "name": "it's 키보드"}]
    await shelf.call("INSERT INTO product (id, lines) VALUES ($productId, $items)", items=items)
    assert json.loads(await shelf.db.fetchval("SELECT lines::text FROM product")) == items


async def test_what_a_statement_returns_is_its_answer(shelf: Shelf) -> None:
    said = await shelf.call(f'{INSERT} RETURNING id AS "productId", quantity', name="x")
    assert said == [{"productId": ID, "quantity": "5"}]


async def test_a_hook_may_have_several_statements(shelf: Shelf) -> None:
    await shelf.call(f"{INSERT}; UPDATE product SET quantity = quantity + 1; SELECT 1", name="x")
    assert await shelf.db.fetchval("SELECT quantity FROM product") == 6


@pytest.mark.parametrize(
    "statement, said",
    [
        ("INSERT INTO produkt VALUES ($productId)", 'relation "produkt" does not exist'),
        ("INSERT INTO product (id, quantity) VALUES ($productId, $name)", "invalid input syntax for type integer"),
        ("INSRT INTO product VALUES ($productId)", 'syntax error at or near "INSRT"'),
        ("INSERT INTO product VALUES ($product)", r"there is no value \$product; there are"),
        ("SELECT pg_sleep(60)", r"the hook seed did not end within 0\.5 s"),
        ("SELECT pg_sleep(60); SELECT 1", r"the hook seed did not end within 0\.5 s"),
    ],
)
async def test_a_statement_that_fails_says_why(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, statement: str, said: str
) -> None:
    monkeypatch.setattr(hooks_module, "HOOK_S", 0.5)
    with pytest.raises(HookFailed, match=said):
        await shelf.call(statement, name="x")


@pytest.mark.parametrize("url", ["postgresql://nobody@127.0.0.1:1/none", "postgresql://127.0.0.1:99999/none"])
async def test_a_database_that_does_not_answer_is_named_as_the_hooks(url: str) -> None:
    async with Hooks({"seed": f"{url} SELECT 1"}, {}, None) as hooks:
        with pytest.raises(HookFailed, match="the hook seed failed"):
            await hooks.call("seed", {})
