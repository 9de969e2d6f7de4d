"""What `make audit` says of pip-audit's answer: silence of PyPI is told from packages that are well, and from those that are not."""

import json
from typing import Any

import pytest

from tests.deploy.audit import judged

WELL = {"name": "one", "version": "1.0", "vulns": []}
ILL = {"name": "two", "version": "2.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2.1"]}]}
SILENT = {"name": "three", "skip_reason": "Dependency not found on PyPI and could not be audited: three (3.0)"}


@pytest.mark.parametrize(
    ("packages", "code", "words"),
    [
        ([WELL], 0, ["none of 1 packages"]),
        ([WELL, ILL], 1, ["two 2.0: PYSEC-1, fixed in 2.1"]),
        ([WELL, SILENT], 2, ["PyPI says nothing of 1 of 2 packages", "three"]),
        ([ILL, SILENT], 1, ["PYSEC-1", "PyPI says nothing of 1 of 2"]),
        ([SILENT] * 9, 2, ["nothing of 9 of 9", "three, three, three, three, three ..."]),
    ],
)
def test_each_answer_has_its_exit_code(packages: list[dict[str, Any]], code: int, words: list[str]) -> None:
    found, told = judged(json.dumps({"dependencies": packages}), "")
    assert found == code
    assert all(each in "\n".join(told) for each in words)


@pytest.mark.parametrize("said", ["", "No JSON", "{}"])
def test_without_a_connection_the_error_is_told_and_no_traceback(said: str) -> None:
    code, told = judged(said, "Traceback (most recent call last):\n  File x\nProxyError: refused\n")
    assert (code, told) == (2, ["PyPI could not be asked, so nothing is known of any package: ProxyError: refused"])
