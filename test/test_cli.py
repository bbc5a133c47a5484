"""The command line: every verb tells what it does and how, and answers mistakes with a sentence."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from places import CHECKOUT

from seg_perception.cli import main
from seg_perception.errors import EXIT_ERROR, EXIT_INTERRUPTED
from seg_perception.libraries import LIBRARIES, NEEDED, missing, pip_install
from seg_perception.verbs import VERBS

TOLD_TWICE = """
import os, signal, sys, types
from seg_perception import cli
from seg_perception.verbs import Verb
verb = types.ModuleType("slow")
verb.add_arguments = lambda parser: None
def run(arguments):
    try:
        os.kill(os.getpid(), int(sys.argv[1]))
        signal.pause()
    except KeyboardInterrupt:
        os.kill(os.getpid(), int(sys.argv[1]))
        print("reported")
    return 130
verb.run = run
sys.modules["slow"] = verb
cli.VERBS["slow"] = Verb("slow", "")
sys.exit(cli.main(["slow"]))
"""


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_signal_that_comes_twice_at_once_is_one(number: int) -> None:
    """A shell and the kernel both tell of a terminal's end, and timeout signals the program and then its whole group: what
    was done is reported all the same."""
    words = [sys.executable, "-c", TOLD_TWICE, str(int(number))]
    done = subprocess.run(words, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (130, "reported\n"), done.stderr


@pytest.mark.parametrize("cause", [KeyboardInterrupt, ValueError])
def test_ctrl_c_within_a_compiled_loop_is_ctrl_c(cause: type[BaseException], monkeypatch: pytest.MonkeyPatch) -> None:
    """Python makes a SystemError of what is raised in a call of Numba's that goes on and returns something."""

    def run(arguments: object) -> int:
        try:
            raise cause
        except cause as error:
            raise SystemError("CPUDispatcher(_first_feet) returned a result with an exception set") from error

    monkeypatch.setattr("seg_perception.evaluation.compare.run", run)
    if cause is KeyboardInterrupt:
        assert main(["compare", "a.json", "b.json"]) == EXIT_INTERRUPTED
        return
    with pytest.raises(SystemError):
        main(["compare", "a.json", "b.json"])


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", [["--help"], ["benchmark", "--roofline"], ["predict", "--help"]])
def test_a_reader_that_has_seen_enough_is_no_error(words: list[str], unbuffered: str) -> None:
    """`… | head -1`: what is printed may wait for the interpreter's end, where a broken pipe is a traceback and exit code 120."""
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "seg_perception", *words]
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run(command, cwd=CHECKOUT, env=environment, stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert done.stderr == b"" and done.returncode in (0, EXIT_ERROR)


def test_what_cannot_be_printed_is_told() -> None:
    command = [sys.executable, "-m", "seg_perception", "benchmark", "--roofline"]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, cwd=CHECKOUT, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == EXIT_ERROR
    (line,) = done.stderr.splitlines()
    assert "No space left on device" in line


@pytest.mark.parametrize("verb", VERBS)
def test_help_has_an_example_and_machine_readable_results(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([verb, "--help"])
    text = capsys.readouterr().out
    assert stopped.value.code == 0
    assert f"  seg_perception {verb} --" in text
    assert "--json" in text or verb == "dashboard", "a page has no results"
    assert "exit codes of every verb" in text and "130 stopped" in text


def test_every_verb_has_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"  {verb} " in text and known.summary in text for verb, known in VERBS.items())


def test_mistakes_are_answered_with_the_nearest_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predct"]) == EXIT_ERROR
    assert "did you mean 'predict'?" in capsys.readouterr().err
    assert main([]) == EXIT_ERROR


@pytest.mark.parametrize(
    "words",
    [
        ["evaluate", "--model", "M.onnx", "--bag", "", "--out", "o"],
        ["predict", "--model", "M.onnx", "--images=", "--out", "o"],
        ["label", "pick", "--input", "", "--out", "o"],
        ["compare", "", "b.json"],
    ],
)
def test_an_empty_word_is_not_the_folder_one_is_in(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """`--bag "$BAG"` where BAG is not set: a path without letters is the present folder, and an input without a name was the
    rendered drive."""
    assert main(words) == EXIT_ERROR
    (line,) = capsys.readouterr().err.splitlines()
    assert "is empty" in line and next((word for word in words if word.startswith("--i")), "").rstrip("=") in line


@pytest.mark.parametrize("split", [["--split", ""], ["--split="]])
def test_a_data_set_may_have_no_splits(split: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["make-bag", "--dataset", "coco_polygons", "--root", str(tmp_path), *split, "--out", str(tmp_path / "bag")]
    assert main(words) == EXIT_ERROR
    assert f"there is no folder {tmp_path / 'images'}" in capsys.readouterr().err


def test_a_name_that_is_no_utf8_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """OpenCV ends the process by a segmentation fault where it is given one."""
    words = ["make-bag", "--video", os.fsdecode(b"stra\xdfe.mp4"), "--out", "o"]
    assert main(words) == EXIT_ERROR
    (line,) = capsys.readouterr().err.splitlines()
    assert "stra\\udcdfe.mp4 is not written in UTF-8" in line


SAYS = """
import sys, types
from seg_perception import cli
from seg_perception.verbs import Verb
verb = types.ModuleType("says")
verb.add_arguments = lambda parser: None
verb.run = lambda arguments: print("Stra\\xdfe \\udce4") or 0
sys.modules["says"] = verb
cli.VERBS["says"] = Verb("says", "")
sys.exit(cli.main(["says"]))
"""


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_a_letter_that_a_terminal_lacks_stops_nothing(encoding: str) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-c", SAYS], cwd=CHECKOUT, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode() == ("Stra\\xdfe \\udce4\n" if encoding == "ascii" else "Straße \\udce4\n")


LACKING = """
import sys
class Lacking:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {lacking!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Lacking())
from seg_perception.cli import main
sys.exit(main({words!r}))
"""


def without(lacking: set[str], words: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    """The command line where some packages are not installed."""
    command = [sys.executable, "-c", LACKING.format(lacking=lacking, words=words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)


@pytest.mark.parametrize("verb", VERBS)
def test_a_robot_with_nothing_from_pip_gets_a_sentence_from_every_verb(verb: str, tmp_path: Path) -> None:
    lacking = {"tqdm", "jinja2", "rosbags", "psutil", "matplotlib", "onnx", "onnxruntime", "numba", "lz4", "torch"}
    done = without(lacking, [verb, "--help"], tmp_path)
    if done.returncode == 0:  # nothing of it is needed to tell what the verb does
        return
    assert done.returncode == EXIT_ERROR
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"seg_perception {verb}: the package '")
    if "torch" not in line:
        assert "pip install" in line and all(f"'{NEEDED[name]}'" in line for name in ("tqdm", "jinja2", "rosbags"))


@pytest.mark.parametrize("verb", ["train", "export", "inspect-data"])
def test_help_of_what_needs_torch_needs_none(verb: str, tmp_path: Path) -> None:
    done = without({"torch"}, [verb, "--help"], tmp_path)
    assert (done.returncode == 0 and "--config" in done.stdout) or "--checkpoint" in done.stdout, done.stderr
    missing = without(
        {"torch"}, ["train", "--config", str(CHECKOUT / "config/train/camvid_pidnet_s.yaml"), "--out", "o"], tmp_path
    )
    assert missing.returncode == EXIT_ERROR and "'torch'" in missing.stderr and "Traceback" not in missing.stderr


@pytest.mark.parametrize("verb", ["run", "evaluate", "benchmark"])
def test_a_verb_that_needs_ros_says_so_where_there_is_none(verb: str, tmp_path: Path) -> None:
    words = {
        "run": ["run"],
        "evaluate": ["evaluate", "--model", "m", "--bag", "b", "--out", "o", "--mode", "live"],
        "benchmark": ["benchmark", "--model", "m", "--mode", "live"],
    }
    done = without({"rclpy", "nav_msgs", "sensor_msgs", "seg_perception_msgs"}, words[verb], tmp_path)
    assert done.returncode == EXIT_ERROR
    (line,) = done.stderr.splitlines()
    assert "is missing: install ROS 2" in line or "cannot be used" in line


def test_a_folder_of_message_sources_is_not_taken_for_the_messages(tmp_path: Path) -> None:
    (tmp_path / "seg_perception_msgs" / "msg").mkdir(parents=True)
    program = (
        "import sys; sys.path[:] = [p for p in sys.path if 'install' not in p]\n"
        "from seg_perception.cli import main; sys.exit(main(['run']))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == EXIT_ERROR
    (line,) = done.stderr.splitlines()
    assert line.startswith("seg_perception run: the package '") and "install ROS 2" in line


def test_what_to_install_names_the_range_and_all_else_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seg_perception.libraries.missing", lambda modules: ["tqdm", "backports.zstd"])
    assert pip_install("tqdm") == "pip install 'tqdm>=4.57' 'backports.zstd>=1.0'"
    assert pip_install("rosbags.image").startswith("pip install 'rosbags-image>=0.10' ")
    assert pip_install("torch.nn") == f"pip install '{LIBRARIES['torch']}'"
    assert pip_install("shapely.geometry") == "pip install 'shapely'"


def test_missing_tells_packages_from_their_parts() -> None:
    assert missing(["json", "json.decoder", "no_such_package", "no_such_package.part"]) == [
        "no_such_package",
        "no_such_package.part",
    ]
