"""tools/mutate.py finds each kind of place, changes one at a time, and tells what lives."""

from __future__ import annotations

import ast
import gc
import importlib.util
import json
import shutil
import subprocess
import sys
import weakref
from pathlib import Path

from places import CHECKOUT

sys.path.insert(0, str(CHECKOUT / "tools"))
import mutants
import mutate
import mutate_bench

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
    count = len(list(mutants.changes(ast.parse(SOURCE))))
    made = [mutants.mutated(SOURCE, number) for number in range(count)]
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
    count = len(list(mutants.changes(ast.parse(source))))
    assert sorted(mutants.mutated(source, number)[1] for number in range(count)) == [3, 4]


def test_a_function_is_changed_where_it_is(tmp_path: Path) -> None:
    """For all who hold it; not where its default changes, which was made when it was."""
    (tmp_path / "part.py").write_text("def twice(x, times=2):\n    return x * times\n")
    spec = importlib.util.spec_from_file_location("part", tmp_path / "part.py")
    assert spec and spec.loader
    part = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(part)
    held, code = part.twice, part.twice.__code__
    of_what_has_gone = weakref.proxy(type("Gone", (), {})())
    assert gc.is_tracked(of_what_has_gone)
    answers = {}
    for number in range(len(list(mutants.changes(ast.parse((tmp_path / "part.py").read_text()))))):
        _, line, what = mutants.mutated((tmp_path / "part.py").read_text(), number)
        in_place = mutate_bench.put_in_place(mutants.Mutant("part.py", number, "part.py:1", line, what), tmp_path)
        answers[what] = in_place, held(6)
        part.twice.__code__ = code
    assert answers == {
        "2 -> 3": (False, 12),
        "return x * times -> pass": (True, None),
        "x * times -> x / times": (True, 3.0),
    }


def test_the_draw_is_the_same_for_a_seed() -> None:
    files = mutate.files_of("panoptic")
    assert mutants.draw(files, 5, 1) == mutants.draw(files, 5, 1) != mutants.draw(files, 5, 2)


def test_what_no_test_notices_lives_and_the_checkout_stays_as_it_is(tmp_path: Path) -> None:
    """A checkout of one file, one of whose functions has a test; another test fails as it is and is left out."""
    for folder in ("tools", "seg_perception/panoptic", "test/panoptic"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("mutants.py", "mutate.py", "mutate_bench.py"):
        shutil.copy(CHECKOUT / "tools" / name, tmp_path / "tools")
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
