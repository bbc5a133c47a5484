"""The commands that README and the pages beside it show."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from places import CHECKOUT

from seg_perception.verbs import VERBS

PAGES = [
    *(CHECKOUT / name for name in ("README.md", "SECURITY.md", "CONTRIBUTING.md")),
    CHECKOUT / "models" / "README.md",
    *sorted((CHECKOUT / "docs").glob("*.md")),
]
PROGRAM = re.compile(
    r"^(?:(?:\.venv/bin/)?python3? -m seg_perception|(?:\.venv/bin/)?seg_perception|ros2 run seg_perception) "
)
NEEDS = re.compile(r"\bneeds (a robot|a GPU|a Ray cluster)\b")
"""In a command's comment, or in one on a line of its own, which is of all that follows in its block."""


@dataclass(frozen=True)
class Command:
    """One command as a page shows it. needs: what a reader is told that it needs, empty where any machine will do."""

    page: str
    text: str
    needs: str = ""

    @property
    def words(self) -> list[str]:
        """Of the program, its verb first; empty where it is another program's."""
        return shlex.split(PROGRAM.sub("", self.text)) if PROGRAM.match(self.text) else []


def of_page(page: Path) -> Iterator[Command]:
    """Of the table of verbs, where it is there, and of the blocks without a language of their own, continued lines joined."""
    yield from of_table(page)
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE):
        if language not in ("", "bash", "sh", "console"):
            continue
        all_need = ""
        for line in block.replace("\\\n", " ").splitlines():
            text, _, comment = re.sub(r"(^|\s)#", "\0", line, count=1).partition("\0")
            found = NEEDS.search(comment)
            if text.strip():
                yield Command(page.name, " ".join(text.split()), found[1] if found else all_need)
            elif found:
                all_need = found[1]


def of_table(page: Path) -> Iterator[Command]:
    """Of the table of verbs, which leaves the program's name out."""
    verbs = "|".join(map(re.escape, VERBS))
    for row in re.findall(rf"^\| `(?:{verbs})` \| (.*) \|$", page.read_text(), re.MULTILINE):
        found = NEEDS.search(row)
        for text in re.findall(rf"`((?:{verbs})(?: [^`]*)?)`", row):
            if found is None or " " in text:
                yield Command(page.name, f"seg_perception {text}", found[1] if found else "")


def in_text() -> Iterator[Command]:
    """Of the program, between the words of a page, where all of it is there."""
    for page in PAGES:
        for text in re.findall(r"`([^`\n]+)`", page.read_text()):
            if PROGRAM.match(text) and " --" in text and not re.search("[<…]", text):
                yield Command(page.name, text)


COMMANDS = list(dict.fromkeys(command for page in PAGES for command in of_page(page)))
