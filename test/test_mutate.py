"""tools/mutate.py finds each kind of place, changes one at a time, and tells what lives."""

from __future__ import annotations

import ast
import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

from places import CHECKOUT

spec = importlib.util.spec_from_file_location("mutate", CHECKOUT / "tools" / "mutate.py")
assert spec and spec.loader
mutate = importlib.util.module_from_spec(spec)
sys.modules["mutate"] = mutate
spec.loader.exec_module(mutate)

SOURCE = '''"""A file."""
import math

HALF: "1 + 1" = 0.5

def share(part: int, whole: int) -> float:
    """Of a whole."""
    if whole <= 0 and part:
        raise ValueError("none")
    return part / whole

def unseen(x):
    return x * 3
'''


def test_every_kind_of_place_is_changed_and_no_type_or_word() -> None:
    count = len(list(mutate.changes(ast.parse(SOURCE))))
    made = [mutate.mutated(SOURCE, number) for number in range(count)]
    assert sorted(what for _, _, what in made) == sorted(
        [
            "0.5 -> 1.5",
            "whole <= 0 and part -> not (whole <= 0 and part)",
            "whole <= 0 and part -> whole <= 0 or part",
            "whole <= 0 -> whole < 0",
            "0 -> 1",
            "raise ValueError('none') -> pass",
            "return part / whole -> pass",
            "part / whole -> part * whole",
            "return x * 3 -> pass",
            "x * 3 -> x / 3",
            "3 -> 4",
        ]
    )
    plain = ast.unparse(ast.parse(SOURCE))
    for source, line, _ in made:
        assert ast.unparse(ast.parse(source)) != plain and 4 <= line <= 13


def test_a_function_within_another_is_changed_once() -> None:
    source = "def outer(x):\n    def inner(y):\n        return y\n    return inner(x)\n"
    count = len(list(mutate.changes(ast.parse(source))))
    assert sorted(mutate.mutated(source, number)[1] for number in range(count)) == [3, 4]


def test_the_draw_is_the_same_for_a_seed() -> None:
    files = mutate.files_of("panoptic")
    assert mutate.draw(files, 5, 1) == mutate.draw(files, 5, 1) != mutate.draw(files, 5, 2)


def test_what_no_test_notices_lives_and_the_checkout_stays_as_it_is(tmp_path: Path) -> None:
    """A checkout of one file, one of whose functions has a test; another test fails as it is and is left out."""
    for folder in ("tools", "seg_perception/panoptic", "test/panoptic"):
        (tmp_path / folder).mkdir(parents=True)
    shutil.copy(CHECKOUT / "tools" / "mutate.py", tmp_path / "tools")
    decoder = tmp_path / "seg_perception/panoptic/decoder.py"
    decoder.write_text(SOURCE)
    for package in ("seg_perception", "seg_perception/panoptic"):
        (tmp_path / package / "__init__.py").write_text("")
    (tmp_path / "test/panoptic/test_decoder.py").write_text(
        "from seg_perception.panoptic import decoder\n\n"
        "def test_half_of_two():\n    assert decoder.share(1, 2) == decoder.HALF\n\n"
        "def test_nothing():\n    raise AssertionError\n"
    )
    (tmp_path / "test/panoptic/test_finite.py").write_text("")
    command = [sys.executable, "tools/mutate.py", "panoptic", "--json", "living.json"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0 and run.stdout.startswith("1 tests, "), run.stdout + run.stderr
    assert run.stdout.endswith("11 mutants, 6 live, 45% killed\n"), run.stdout
    assert {"x * 3 -> x / 3", "whole <= 0 -> whole < 0"} < {
        one["what"] for one in json.loads((tmp_path / "living.json").read_text())
    }
    assert decoder.read_text() == SOURCE
    (tmp_path / "living.json").write_text("[]")
    again = subprocess.run(
        [*command[:3], "--again", "living.json"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert again.returncode == 0 and again.stdout.endswith("0 mutants, 0 live\n"), again.stdout + again.stderr
