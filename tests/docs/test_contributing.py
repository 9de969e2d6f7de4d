"""CONTRIBUTING.md says how to run a part of the tests: it names every part, and each test file is in one."""

import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
IN_TWO_PARTS = {"tests/docs"}
"""The tests there that start nothing are fast, the others belong to the system."""


def parts() -> set[str]:
    return set(re.findall(r"^PART_(\w+) :=", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_every_part_of_the_makefile_is_in_the_table_and_no_other() -> None:
    table = (ROOT / "CONTRIBUTING.md").read_text().split("| `PART=` |")[1].split("\n\n")[0]
    rows = [name for line in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", line.split("|")[1])]
    assert Counter(rows) == Counter(parts())


@pytest.mark.processes
def test_each_test_file_is_in_one_part() -> None:
    printed = [
        "make",
        "-s",
        "--no-print-directory",
        "--eval",
        "parts: ; @echo '$(foreach part,$(names),$(PART_$(part)))'",
    ]
    named = subprocess.run(
        [*printed, f"names={' '.join(parts())}", "parts"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    given = [word for word in named.split() if word.startswith("tests/") and word not in IN_TWO_PARTS]
    files = [
        file.relative_to(ROOT).as_posix()
        for path in given
        for file in ((ROOT / path).rglob("test_*.py") if (ROOT / path).is_dir() else [ROOT / path])
    ]
    every = {file.relative_to(ROOT).as_posix() for file in (ROOT / "tests").rglob("test_*.py")}
    docs = {file for file in every if file.startswith("tests/docs/")}
    assert Counter(files) == Counter(every - docs)
