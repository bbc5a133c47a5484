"""Every command that README and docs show, in a text too, is one that the program takes: its verb and options are parsed
as written. `test_page_commands.py` runs them."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import re
import subprocess

import pytest
from pages import COMMANDS, PAGES, Command, in_text
from places import CHECKOUT

from seg_perception.verbs import VERBS

TAKEN = list({command.text: command for command in (*COMMANDS, *in_text()) if command.words}.values())
NODE = "segmentation"
"""What `ros2 run` starts that is no verb."""


def test_there_are_commands_of_every_verb() -> None:
    assert {command.words[0] for command in TAKEN} >= set(VERBS)


@pytest.mark.parametrize("command", TAKEN, ids=lambda command: f"{command.page}: {command.text}")
def test_a_command_is_taken_as_it_is_written(command: Command) -> None:
    verb, *words = command.words
    if verb == NODE:
        return
    assert verb in VERBS
    try:
        module = importlib.import_module(VERBS[verb].module)
    except ModuleNotFoundError as error:
        pytest.skip(f"{verb} needs {error.name}")
    parser = argparse.ArgumentParser(exit_on_error=False)
    module.add_arguments(parser)
    parser.parse_args(words)


def test_make_knows_every_target_that_a_page_shows() -> None:
    makefile = (CHECKOUT / "Makefile").read_text()
    targets = {command.text.split()[1] for command in COMMANDS if command.text.startswith("make ")}
    assert targets
    for target in targets:
        assert re.search(rf"^{re.escape(target)}:", makefile, re.MULTILINE), target
        dry = subprocess.run(["make", "-n", target], cwd=CHECKOUT, capture_output=True, text=True, check=False)
        assert dry.returncode == 0, dry.stderr


def test_a_module_that_a_page_runs_is_there() -> None:
    modules = {name for page in PAGES for name in re.findall(r"python -m (seg_perception[.\w]*\w)", page.read_text())}
    assert "seg_perception.play.timeline" in modules
    assert [name for name in modules if importlib.util.find_spec(name) is None] == []
