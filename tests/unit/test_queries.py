"""Each named query has a line that says what it is for, and each module calls the queries of its own file, all of them."""

import re
from pathlib import Path

import pytest

import ordersaga
from ordersaga.messaging.queries import file_of

SOURCE = Path(ordersaga.__file__).parent
MODULES = [each for each in SOURCE.rglob("*.py") if "queries(__file__)" in each.read_text()]
FILES = sorted(each for each in SOURCE.rglob("*.sql") if each.parent.name != "migrations")


def named(path: Path) -> dict[str, list[str]]:
    """The lines of each query after its name."""
    _, *texts = path.read_text().split("-- name: ")
    return {re.split(r"\W", text)[0]: text.splitlines()[1:] for text in texts}


def users(path: Path) -> str:
    """The code of the modules that have their queries from a file."""
    return "\n".join(each.read_text() for each in MODULES if file_of(str(each)) == path)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_each_query_says_what_it_is_for_and_is_called_by_its_own_module(path: Path) -> None:
    code = users(path)
    for name, lines in named(path).items():
        assert lines[0].startswith("-- "), f"{name} does not say what it is for"
        assert re.search(rf"sql\.{name}\b", code), f"{name} is not called by its module"


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_each_module_calls_only_queries_of_its_own_file(module: Path) -> None:
    called = set(re.findall(r"(?<![\w.])sql\.(\w+)", module.read_text()))
    assert called <= named(file_of(str(module))).keys()
