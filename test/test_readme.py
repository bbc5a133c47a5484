"""What README and docs state is so: tables are those of the code, as `python -m seg_perception.ros.parameters` prints
them for pasting, and links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from places import CHECKOUT

from seg_perception.datasets import DATASETS
from seg_perception.ros.parameters import parameter_table
from seg_perception.ros.topics import topic_table

PAGES = [CHECKOUT / "README.md", CHECKOUT / "ARCHITECTURE.md", *sorted((CHECKOUT / "docs").glob("*.md"))]


@pytest.mark.parametrize(("name", "table"), [("parameters", parameter_table()), ("topics", topic_table())])
def test_the_page_of_the_interface_holds_the_table_of_the_code(name: str, table: str) -> None:
    text = (CHECKOUT / "docs" / "interface.md").read_text()
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    assert text.count(start) == text.count(end) == 1
    assert text.split(start)[1].split(end)[0].strip() == table


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)", page.read_text()) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_page_can_be_reached_from_the_readme() -> None:
    readme = (CHECKOUT / "README.md").read_text()
    assert [page.name for page in PAGES if f"({page.relative_to(CHECKOUT)})" not in readme] == ["README.md"]


def test_the_first_screen_shows_it_and_how_to_start() -> None:
    screen = "\n".join((CHECKOUT / "README.md").read_text().splitlines()[:30])
    assert "![" in screen and screen.count("```") == 4
    assert all(command in screen for command in ("make run ", "make run INPUT=", "colcon build", "ros2 launch"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_tests_that_a_page_names_are_there(page: Path) -> None:
    named = re.findall(r"\btest/[\w/.*-]+\.py", page.read_text())
    assert [name for name in named if not any(CHECKOUT.glob(name))] == []


def names_in(page: str, heading: str) -> set[str]:
    """What the first column of the first table below a heading names."""
    _, found, text = (CHECKOUT / "docs" / page).read_text().partition(f"\n## {heading}\n")
    assert found
    table = re.search(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert table is not None
    return {name for line in table[0].splitlines() for name in re.findall(r"`(\w+)`", line.split("|")[1])}


def test_the_page_of_training_has_every_data_set_and_network() -> None:
    assert names_in("training.md", "Data sets") == DATASETS.keys()
    pytest.importorskip("torch", reason="networks need torch")
    from seg_perception.training.networks import NETWORKS

    assert names_in("training.md", "Networks") == NETWORKS.keys()
