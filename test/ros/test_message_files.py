"""The message definitions say of every field what it is measured in."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from places import CHECKOUT

FILES = sorted((CHECKOUT / "seg_perception_msgs" / "msg").glob("*.msg"))
FIELD = re.compile(r"(?P<type>[\w/]+(\[\])?) (?P<name>\w+)")


def fields_with_comments(text: str) -> dict[str, str]:
    """Comment of each field: the lines right above it; fields without a line between them share theirs."""
    found: dict[str, str] = {}
    comment, ended = "", False
    for line in text.splitlines():
        if line.startswith("#"):
            comment = line if ended or not comment else f"{comment}\n{line}"
            ended = False
        elif not line:
            comment = ""
        else:
            match = FIELD.fullmatch(line)
            assert match is not None, line
            found[match["name"]] = comment
            ended = True
    return found


def units(comment: str) -> list[str]:
    return re.findall(r"\[([^\]]+)\]", comment)


def test_all_messages_are_built() -> None:
    listed = re.findall(r'"msg/(\w+)\.msg"', (FILES[0].parents[1] / "CMakeLists.txt").read_text())
    assert sorted(listed) == [path.stem for path in FILES] and len(FILES) >= 6


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_field_says_its_unit(path: Path) -> None:
    fields = fields_with_comments(path.read_text())
    assert fields
    assert [name for name, comment in fields.items() if not units(comment)] == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_unit_in_a_name_is_the_one_in_brackets(path: Path) -> None:
    for name, comment in fields_with_comments(path.read_text()).items():
        for ending, unit in (("_m", "m"), ("_m2", "m^2"), ("_px", "px")):
            if name.endswith(ending):
                assert any(re.split(r"[, ]", words)[0] == unit for words in units(comment)), name


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_number_that_is_not_whole_says_what_nan_means(path: Path) -> None:
    text = path.read_text()
    about_all = text.split("\n\n")[0]
    for name, comment in fields_with_comments(text).items():
        if re.search(rf"^float\d\d {name}$", text, re.MULTILINE):
            assert "NaN" in comment + about_all, name


def test_a_field_without_a_unit_is_noticed() -> None:
    text = "# About [m] all.\n\n# A length.\nfloat32 a\n\n# Two lengths [m].\nfloat32 b\nfloat32 c\n\nfloat32 d\n"
    fields = fields_with_comments(text)
    assert [name for name, comment in fields.items() if not units(comment)] == ["a", "d"]
