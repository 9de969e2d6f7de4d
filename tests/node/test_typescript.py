"""The TypeScript types: tsc takes them, takes every example as one of its message, and refuses what is none."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ordersaga.contracts.codec import encode
from ordersaga.contracts.examples import EXAMPLES
from ordersaga.contracts.topics import TOPICS
from tests.commands import type_command
from tests.node.conftest import Node

pytestmark = pytest.mark.processes

Compile = Callable[[str], str]


@pytest.fixture
def compiled(node: Node, tools: Path, tmp_path: Path) -> Compile:
    """Compiles a module that imports the types, and returns what tsc complains about."""
    said = type_command(["contracts", "typescript", "--out", str(tmp_path)], {})
    assert said.code == 0, said

    def compile(source: str) -> str:
        (tmp_path / "using.ts").write_text(f'import type {{ Topics }} from "./ordersaga.js";\n{source}')
        strict = ["--strict", "--noEmit", "--target", "es2022", "--module", "nodenext", "--exactOptionalPropertyTypes"]
        done = node(tools / "node_modules" / "typescript" / "bin" / "tsc", *strict, tmp_path / "using.ts")
        return done.stdout + done.stderr

    return compile


def test_every_example_is_one_of_its_message(compiled: Compile) -> None:
    values = {topic.name: json.loads(encode(EXAMPLES[topic.message])) for topic in TOPICS}
    assert compiled(f"export const all: Topics = {json.dumps(values)};") == ""


@pytest.mark.parametrize(
    "wrong",
    [
        '"stock-response-topic": { orderId: "x", status: "MAYBE" }',
        '"stock-response-topic": { status: "SUCCESS" }',
        '"order-created": { orderId: "x", products: [{ productId: "y", quantity: "1" }] }',
        '"no-topic": {}',
    ],
)
def test_what_is_no_message_is_refused(compiled: Compile, wrong: str) -> None:
    assert "error TS" in compiled(f"export const one: Partial<Topics> = {{ {wrong} }};")
