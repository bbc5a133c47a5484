"""The command line: every verb tells what it does and how, and answers mistakes with a sentence."""

from __future__ import annotations

import pytest

from seg_perception.cli import SUMMARIES, VERBS, main
from seg_perception.errors import EXIT_ERROR


@pytest.mark.parametrize("verb", VERBS)
def test_help_has_an_example_and_machine_readable_results(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    if verb in ("train", "export"):
        pytest.importorskip("torch", reason=f"{verb} needs torch")
    if verb == "run":
        pytest.importorskip("rclpy", reason="run needs ROS 2")
    with pytest.raises(SystemExit) as stopped:
        main([verb, "--help"])
    text = capsys.readouterr().out
    assert stopped.value.code == 0
    assert f"  python -m seg_perception {verb} --" in text and "--json" in text


def test_every_verb_has_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert set(SUMMARIES) == set(VERBS)
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(verb in text for verb in VERBS)


def test_mistakes_are_answered_with_the_nearest_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predct"]) == EXIT_ERROR
    assert "did you mean 'predict'?" in capsys.readouterr().err
    assert main([]) == EXIT_ERROR
