"""Each command of ours that a document tells a reader to type: there is such a command, and it has these options."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.core import TyperGroup

from ordersaga.cli.main import commands
from tests.docs.test_readme import DOCUMENTS, ROOT

SHELL = re.compile(r"^ *```(?:sh)?\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"^    (.*)$", re.MULTILINE)
SPAN = re.compile(r"`([^`]+)`")
TYPED = re.compile(r"(?:^|\s|\.venv/bin/)ordersaga ((?:--?)?[a-z][^\n|&;#]*)")
ROOT_COMMAND: Any = typer.main.get_command(commands())


def typed(text: str) -> Iterator[list[str]]:
    """The words after `ordersaga`, of each command in a block or a span."""
    shell = SHELL.findall(text)
    rest = SHELL.sub("", text)
    pieces = [*shell, *INDENTED.findall(rest), *(" ".join(each.split()) for each in SPAN.findall(rest))]
    for piece in pieces:
        for words in TYPED.findall(piece.replace("\\\n", " ")):
            try:
                yield shlex.split(words)
            except ValueError:  # a sentence with an apostrophe
                continue


def fault(words: list[str]) -> str | None:
    """What is wrong with a command; None: nothing."""
    command, left = ROOT_COMMAND, list(words)
    options = _options(command)
    while left:
        word = left.pop(0)
        if word.startswith("--"):
            name, given, _ = word.partition("=")
            if name not in options:
                return f"{' '.join(words)}: {command.name} has no option {name}"
            if not options[name] and not given and left:
                left.pop(0)  # its value
        elif isinstance(command, TyperGroup):
            if word not in command.commands:
                return f"{' '.join(words)}: there is no command {word}"
            command = command.commands[word]
            options |= _options(command)
    return None


def _options(command: Any) -> dict[str, bool]:
    """The names of a command's options, and whether each is a flag."""
    found = {"--help": True}
    for each in command.params:
        if each.param_type_name == "option":
            found |= dict.fromkeys([*each.opts, *each.secondary_opts], each.is_flag)
    return found


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_each_command_of_a_document_is_there_with_its_options(document: Path) -> None:
    text = document.read_text()
    wrong = [said for words in typed(text) if (said := fault(words))]
    assert not wrong


def test_the_documents_have_commands_and_a_wrong_one_is_named() -> None:
    assert sum(len(list(typed(document.read_text()))) for document in DOCUMENTS) > 100
    assert fault(["orders", "show", "ID"]) is None
    assert fault(["dead-letters", "--via-http", "http://localhost", "list", "--topic=a"]) is None
    assert fault(["orders", "shwo", "ID"]) == "orders shwo ID: there is no command shwo"
    assert fault(["verify", "--lives", "0"]) == "verify --lives 0: verify has no option --lives"
