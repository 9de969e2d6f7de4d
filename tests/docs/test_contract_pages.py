"""`docs/contract` says what the code says."""

import pytest

from tests.docs.contract_pages import FOLDER, pages


@pytest.fixture(scope="module")
def made() -> dict[str, str]:
    return pages()


def test_the_pages_of_the_contract_are_those_of_the_code(made: dict[str, str]) -> None:
    written = {path.name: path.read_text() for path in FOLDER.glob("*.md")}
    assert written.keys() == made.keys()
    for name, text in made.items():
        assert written[name] == text, f"docs/contract/{name} is not what the code says: `make contract` writes it again"


def test_no_row_of_a_table_is_broken(made: dict[str, str]) -> None:
    for name, text in made.items():
        columns = 0
        for line in text.splitlines():
            here = line.replace("\\|", "").count("|") if line.startswith("|") else 0
            assert not columns or here in (0, columns), (name, line)
            columns = here
