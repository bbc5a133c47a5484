"""Every option is obeyed or refused: numbers out of range, and options beside what they do not fit, before anything runs."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

import pytest

from seg_perception import options
from seg_perception.cli import main
from seg_perception.errors import SegPerceptionError
from seg_perception.verbs import VERBS
from seg_perception.writing import user_path

NEEDS = {"train": "torch", "export": "torch", "run": "rclpy"}


def parser_of(verb: str) -> argparse.ArgumentParser:
    if verb in NEEDS:
        pytest.importorskip(NEEDS[verb], reason=f"{verb} needs {NEEDS[verb]}")
    parser = argparse.ArgumentParser()
    importlib.import_module(VERBS[verb].module).add_arguments(parser)
    return parser


@pytest.mark.parametrize("verb", VERBS)
def test_no_option_takes_a_number_unchecked(verb: str) -> None:
    """Every number is read by what knows its option and its limits, and says no to what is none."""
    for action in parser_of(verb)._actions:
        assert action.type not in (int, float), action.option_strings
        if getattr(action.type, "__module__", "") != options.__name__:
            continue
        for text in ("nan", "-7", "x", "", "9" * 30, "1e300"):  # the last two overflowed, deep inside
            with pytest.raises(SegPerceptionError, match=rf"^{action.option_strings[-1]} is {text}: give a"):
                action.type(text)


@pytest.mark.parametrize("verb", VERBS)
def test_no_path_is_taken_as_it_stands(verb: str) -> None:
    """A shell leaves the ~ of `--out=~/results` alone, and the results would go to a folder of that name."""
    for action in parser_of(verb)._actions:
        assert action.type is not Path, action.option_strings


def test_a_path_may_begin_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_path("~/results") == tmp_path / "results" and user_path("a/~") == Path("a/~")
    assert main(["compile", "--json=~/told.json"]) == 0 and (tmp_path / "told.json").is_file()
    with pytest.raises(SegPerceptionError, match="no such user"):
        user_path("~nobody at all/x")


EVALUATE = ["evaluate", "--model", "m.onnx", "--out", "out"]
DATASET = [*EVALUATE, "--dataset", "camvid", "--root", "data"]
BAG = [*EVALUATE, "--bag", "drive.mcap"]
MAKE = ["make-bag", "--out", "bag"]
TRAIN = ["train", "--config", "c.yaml", "--out", "out"]
EXPORT = ["export", "--checkpoint", "c.pt", "--out", "m.onnx"]
BUILD = ["build-engine", "--model", "m.onnx"]
BENCHMARK = ["benchmark", "--mode", "offline"]
RUN = ["run"]

NUMBERS = [
    *(
        (DATASET, words)
        for words in ("--threads -5", "--threads 0", "--jobs 0", "--stride 0", "--start nan", "--end 0")
    ),
    *(
        (BAG, words)
        for words in (
            "--void 300",
            "--void -1",
            "--label-tolerance nan",
            "--rate 0 --mode live",
            "--rate inf",
            "--domain 233",
        )
    ),
    *((["compare", "a", "b"], words) for words in ("--block 0", "--block x")),
    *((MAKE, words) for words in ("--synthetic 0", "--synthetic 1 --rate nan", "--images i --void 256")),
    *((TRAIN, words) for words in ("--steps 0", "--minutes 0", "--minutes nan", "--stop-after 0", "--stop-after -1")),
    *((EXPORT, words) for words in ("--height 0", "--width -32", "--shares nan", "--shares -1")),
    *((BUILD, words) for words in ("--batch 0",)),
    *((BENCHMARK, words) for words in ("--frames 0", "--rate 0", "--seconds -1", "--cameras 0")),
    *((RUN, words) for words in ("--frames 0", "--rate nan", "--void 256", "--start-timeout 0")),
    *((["check-ground"], words) for words in ("--frames 0", "--threads 0")),
    *((["predict", "--model", "m", "--images", "i", "--out", "o"], words) for words in ("--threads 0",)),
]

BESIDE = [
    *(
        (DATASET, words)
        for words in (
            *("--topic /a", "--label-topic /a", "--instance-topic /a", "--label-tolerance 1", "--labels d"),
            *(
                "--instances d",
                "--void 3",
                "--start 1",
                "--end 9",
                "--stride 2",
                "--annotate b",
                "--rerun b",
                "--jobs 2",
            ),
            *("--runner ray", "--address a", "--rate 2", "--clock", "--fail-if miou<0"),
        )
    ),
    *((BAG, words) for words in ("--root d", "--split test", "--jobs 2", "--runner ray", "--address a", "--rate 2")),
    *(
        (BAG, words)
        for words in ("--instances d", "--clock", "--labels d --label-topic /a", "--labels d --instance-topic /a")
    ),
    *(([*BAG, "other.mcap"], words) for words in ("--annotate b", "--rerun b", "--runner ray --jobs 2", "--address a")),
    *((DATASET, words) for words in ("--domain 3", "--backend onnxruntime --precision fp16")),
    *((DATASET, words) for words in ("--backend tensorrt --threads 2", "--backend tensorrt --providers A")),
    *(
        ([*MAKE, "--video", "v.mp4"], words)
        for words in ("--root d", "--split x", "--label-set cityscapes", "--labels d")
    ),
    *(([*MAKE, "--synthetic", "3"], words) for words in ("--void 3", "--instances d")),
    *(([*MAKE, "--dataset", "camvid"], words) for words in ("--void 3", "--labels d")),
    *(([*MAKE, "--images", "i"], words) for words in ("--root d", "--instances d")),
    *((TRAIN, words) for words in ("--resume --start-from x.pt", "--steps 5 --minutes 1")),
    *((EXPORT, words) for words in ("--root d", "--split x")),
    *((BUILD, words) for words in ("--out e --engine-cache d", "--compute-capability 8.6 --engine-cache d")),
    *((BENCHMARK, words) for words in ("--metrics --roofline", "--metrics --against naive", "--all --training")),
    *((BENCHMARK, words) for words in ("--model m --out d", "--model m --config c", "--model m --data d")),
    *(
        (BENCHMARK, words)
        for words in ("--model m --rate 5", "--model m --seconds 5", "--model m --cameras 2", "--model m --domain 3")
    ),
    *((BENCHMARK, words) for words in ("--roofline --frames 5", "--training --config c --size 64x64")),
    *((BENCHMARK, words) for words in ("--training --config c --model m", "--metrics --model m", "--metrics --out d")),
    *((RUN, words) for words in ("--instances d", "--topic /a", "--void 3")),
]


@pytest.mark.parametrize(
    ("words", "more"), NUMBERS + BESIDE, ids=lambda part: part if isinstance(part, str) else part[0]
)
def test_what_does_not_fit_is_refused_and_named(
    words: list[str], more: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    parser_of(words[0])
    monkeypatch.chdir(tmp_path)
    assert main([*words, *more.split()]) == 2
    (sentence,) = capsys.readouterr().err.splitlines()
    assert any(word in sentence for word in more.split() if word.startswith("--")), sentence
    assert not any(tmp_path.iterdir()), "nothing was begun"


def test_numbers_are_read_within_their_limits() -> None:
    assert options.whole("--n", 0, 255)("255") == 255
    assert options.number("--s", above=0)("0.5") == 0.5 and options.number("--s", least=0)("0") == 0.0
    assert options.number("--end", above=0, infinite=True)("inf") == float("inf")
    assert options.rate("--rate")("0.001") == 0.001 and options.rate("--rate")("1000") == 1000
    for text in ("1e-300", "1e4"):
        with pytest.raises(SegPerceptionError, match=f"--rate is {text}: give a number from 0.001 to 1000"):
            options.rate("--rate")(text)
    for text in ("0", "nan", "inf", "1e999"):
        with pytest.raises(SegPerceptionError, match=f"--s is {text}: give a number, more than 0"):
            options.number("--s", above=0)(text)


def test_options_are_given_when_they_are_not_their_default() -> None:
    def add(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--a", type=options.whole("--a", 1), default=1)
        parser.add_argument("--b", action="append", default=[])

    parser = argparse.ArgumentParser()
    add(parser)
    assert options.given(parser.parse_args(["--b", "x"]), add) == {"b": "--b"}
    with pytest.raises(SegPerceptionError, match="--a and --b are too much"):
        options.refuse({"a": "--a", "b": "--b"}, ("a", "b", "c"), "too much")
