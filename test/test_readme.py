"""The README's tables are those of the code; `python -m seg_perception.ros.parameters` prints them for pasting."""

from __future__ import annotations

from pathlib import Path

import pytest

from seg_perception.ros.parameters import parameter_table
from seg_perception.ros.topics import topic_table

README = Path(__file__).resolve().parents[1] / "README.md"


@pytest.mark.parametrize(("name", "table"), [("parameters", parameter_table()), ("topics", topic_table())])
def test_the_readme_holds_the_table_of_the_code(name: str, table: str) -> None:
    text = README.read_text()
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    assert text.count(start) == text.count(end) == 1
    assert text.split(start)[1].split(end)[0].strip() == table
