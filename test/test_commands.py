"""Every command that README and docs show is one that the program takes: its verb and options are parsed as written;
what is cheap is run; what needs a robot is named here."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from places import CHECKOUT

from seg_perception.cli import VERBS

PAGES = [CHECKOUT / "README.md", CHECKOUT / "models" / "README.md", *sorted((CHECKOUT / "docs").glob("*.md"))]
PROGRAM = re.compile(
    r"^(?:(?:\.venv/bin/)?python3? -m seg_perception|(?:\.venv/bin/)?seg_perception|ros2 run seg_perception) "
)
ELSEWHERE = (
    "ros2 launch", "ros2 topic", "ros2 param", "ros2 lifecycle", "rosdep ", "ros2 run", "colcon", "source ", "pip ", "export ",
    "docker ", "torchrun", "sudo ", "apt", "git ", "cd ", "rviz2", "nvidia-smi", "df ", "ip ", ".venv/bin/torchrun", ". ",
)  # fmt: skip
"""Begins what needs a robot, another program or a machine of its own."""


def code_lines(page: Path) -> Iterator[str]:
    """Lines of the page's code blocks without a language of their own, continued ones joined, without comments."""
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE):
        if language in ("", "bash", "sh", "console"):
            for line in block.replace("\\\n", " ").splitlines():
                line = re.sub(r"\s+#.*$", "", line).strip()
                if line and not line.startswith("#"):
                    yield line


def commands() -> Iterator[tuple[str, str]]:
    """(page, command) of the program, from code blocks and from the table of verbs."""
    for page in PAGES:
        for line in code_lines(page):
            if PROGRAM.match(line):
                yield page.name, PROGRAM.sub("", line)
    verbs = "|".join(map(re.escape, VERBS))
    for row in re.findall(
        rf"^\| `(?:{verbs})` \| (.*) \|$", (CHECKOUT / "docs" / "commands.md").read_text(), re.MULTILINE
    ):
        yield "commands.md", re.findall(r"`([^`]+)`", row)[0]


COMMANDS = sorted(set(commands()))


def test_there_are_commands_of_every_verb() -> None:
    assert {command.split()[0] for _, command in COMMANDS} >= set(VERBS)


@pytest.mark.parametrize(("page", "command"), COMMANDS, ids=lambda words: words)
def test_a_command_is_taken_as_it_is_written(page: str, command: str) -> None:
    verb, *words = shlex.split(command.replace("…", ""))
    assert verb in VERBS, f"{page}: {command}"
    try:
        module = importlib.import_module(VERBS[verb])
    except ModuleNotFoundError as error:
        pytest.skip(f"{verb} needs {error.name}")
    parser = argparse.ArgumentParser(exit_on_error=False)
    module.add_arguments(parser)
    if "…" in command:  # an excerpt: what is there must be known
        known = set(parser._option_string_actions)
        assert {word for word in words if word.startswith("--")} <= known, f"{page}: {command}"
        return
    try:
        parser.parse_args(words)
    except SystemExit as stopped:
        raise AssertionError(f"{page}: {command}") from stopped


def test_make_knows_every_target_that_a_page_shows() -> None:
    makefile = (CHECKOUT / "Makefile").read_text()
    targets = {
        line.split()[1]
        for page in PAGES
        for line in code_lines(page)
        if line.startswith("make ") and len(line.split()) > 1
    }
    assert targets
    for target in targets:
        assert re.search(rf"^{re.escape(target)}:", makefile, re.MULTILINE), target
        dry = subprocess.run(["make", "-n", target], cwd=CHECKOUT, capture_output=True, text=True, check=False)
        assert dry.returncode == 0, dry.stderr


def test_whatever_else_a_page_shows_is_of_a_robot() -> None:
    others = [
        line
        for page in PAGES
        for line in code_lines(page)
        if not PROGRAM.match(line) and not line.startswith(("make ", *ELSEWHERE))
    ]
    assert others == []


def test_a_module_that_a_page_runs_is_there() -> None:
    modules = {name for page in PAGES for name in re.findall(r"python -m (seg_perception[.\w]*\w)", page.read_text())}
    assert "seg_perception.play.timeline" in modules
    assert [name for name in modules if importlib.util.find_spec(name) is None] == []
