"""Every promise names tests that are there, and no page promises by a test that cannot run."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest
from places import CHECKOUT

PAGE = (CHECKOUT / "docs" / "promises.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| (\*\*.+) \| (`test/.+`) \|$", re.MULTILINE)
NAMED = re.compile(r"`(test/[\w/]+\.py)::(test_\w+)`")


FAULTS = [
    line
    for table in (CHECKOUT / "docs" / "reliability.md").read_text(encoding="utf-8").split("| fault |")[1:]
    for line in table.partition("\n\n")[0].splitlines()[2:]
]


def promises() -> Iterator[tuple[str, str, str]]:
    for sentence, tests in [*ROW.findall(PAGE), *(line.rsplit(" | ", 1) for line in FAULTS)]:
        for file, name in NAMED.findall(tests):
            yield sentence.partition(" | ")[0], file, name


def test_every_fault_has_a_test() -> None:
    assert len(FAULTS) > 50
    assert [line for line in FAULTS if not NAMED.search(line.rsplit(" | ", 1)[1])] == []


def test_every_row_is_a_promise_with_a_test() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith(("| promise", "| ---"))]
    assert len(rows) == len(ROW.findall(PAGE)) > 30
    assert all(NAMED.search(row) for row in rows)
    assert all(re.fullmatch(r"`[^`]+`(, `[^`]+`)*", tests) for _, tests in ROW.findall(PAGE))


@pytest.mark.parametrize(("sentence", "file", "name"), list(promises()))
def test_the_test_is_there_and_runs(sentence: str, file: str, name: str) -> None:
    path = CHECKOUT / file
    assert path.is_file(), f"{sentence} is held by {file}, which is gone"
    functions = {node.name: node for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)}
    assert name in functions, f"{sentence} is held by {file}::{name}, which is gone"
    marks = [ast.unparse(decorator) for decorator in functions[name].decorator_list]
    assert not any(mark.startswith(("pytest.mark.skip(", "pytest.mark.xfail")) for mark in marks)
