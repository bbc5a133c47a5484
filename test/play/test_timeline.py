"""The drawing of how frames lie in time."""

from __future__ import annotations

from pathlib import Path

import pytest

from seg_perception.play.timeline import Span, gantt, main


def test_a_place_is_a_line_and_a_column_is_a_share_of_the_time() -> None:
    """Ten columns for 10 s: frame 11's network from 0 to 4 s, its publishing from 4 to 7 s beside 12's network."""
    spans = [
        Span("publish", 11, 104.0, 107.0),
        Span("network", 11, 100.0, 104.0),
        Span("network", 12, 104.0, 108.0),
        Span("publish", 12, 108.0, 110.0),
    ]
    assert gantt(spans, 10) == [
        "network  |11112222  |",
        "publish  |    111 22|",
    ]


@pytest.mark.parametrize("words", [("--cameras", "0"), ("--network-ms", "fast"), ("--more-ms", "1")])
def test_what_cannot_be_measured_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, str]
) -> None:
    assert main(["--model", str(tmp_path / "missing.onnx"), *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("timeline: ") and (words[0] in line or "missing.onnx" in line)
