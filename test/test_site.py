"""The site: links lead to where pages are in it, and a link that leads nowhere fails the build."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import build_site
import pytest

needs_sphinx = pytest.mark.skipif(importlib.util.find_spec("furo") is None, reason="sphinx and furo are not installed")


@pytest.mark.parametrize(
    ("source", "text", "wanted"),
    [
        ("README.md", "[a](docs/ground.md#nav2)", "[a](ground.md#nav2)"),
        ("docs/ground.md", "[a](../README.md)", "[a](index.md)"),
        ("docs/ground.md", "[a](tracking.md)", "[a](tracking.md)"),
        ("models/README.md", "[a](../docs/training.md)", "[a](training.md)"),
        ("README.md", "![a road](docs/highway.jpg)", "![a road](highway.jpg)"),
        ("README.md", "[the node](seg_perception/ros/node.py) runs", "the node runs"),
        ("README.md", "[a](https://example.org/x) [b](#here) [c](docs/gone.md)", None),
    ],
)
def test_a_link_leads_to_the_pages_place(source: str, text: str, wanted: str | None) -> None:
    assert build_site.moved(text, source) == (text if wanted is None else wanted)


def test_every_page_is_in_the_contents() -> None:
    named = {f"{name}.md" for names in build_site.CONTENTS.values() for name in names} | {"index.md"}
    assert named == set(build_site.pages().values())


@needs_sphinx
def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    assert build_site.main(tmp_path / "site") == 0
    assert (tmp_path / "site" / "troubleshooting.html").is_file()


@needs_sphinx
def test_a_link_that_leads_nowhere_fails_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lay_out = build_site.lay_out

    def with_a_bad_link(folder: Path) -> None:
        lay_out(folder)
        for name in build_site.pages().values():  # two pages are enough, and quick
            if name not in ("index.md", "robot.md"):
                (folder / name).write_text("# Left out\n")
        (folder / "robot.md").write_text("# Robot\n[gone](nowhere.md)\n")

    monkeypatch.setattr(build_site, "lay_out", with_a_bad_link)
    assert build_site.main(tmp_path / "site") != 0
