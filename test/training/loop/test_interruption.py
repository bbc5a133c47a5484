"""Runs that are stopped where nobody planned it: Ctrl-C in a step, in validation, or a shorter run asked for afterwards."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from training_fixtures import TINY_CONFIG, known_test_networks, write_camvid  # noqa: E402, F401

from seg_perception.cli import main  # noqa: E402
from seg_perception.errors import EXIT_ERROR, EXIT_INTERRUPTED  # noqa: E402
from seg_perception.signals import ENDS  # noqa: E402
from seg_perception.training.data.stream import TrainingStream  # noqa: E402
from seg_perception.training.loop import checkpoint, interruption  # noqa: E402
from seg_perception.training.loop.interruption import held_back  # noqa: E402
from seg_perception.training.loop.optimisation import move_average  # noqa: E402

SELDOM = TINY_CONFIG.replace("checkpoint_every: 2", "checkpoint_every: 100").replace("tiny", "noisy")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("interrupted")
    write_camvid(folder)
    (folder / "config.yaml").write_text(SELDOM)
    return folder


@pytest.fixture(autouse=True)
def own_signals() -> Iterator[None]:
    """The command line sets those of the process."""
    before = {number: signal.getsignal(number) for number in ENDS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def words(root: Path, out: Path) -> list[str]:
    return ["train", "--config", str(root / "config.yaml"), "--data", str(root), "--out", str(out)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_ctrl_c_within_a_step_keeps_all_steps_and_the_run_goes_on_as_if_unbroken(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int
) -> None:
    """Weights of the third step have moved, their average has not."""

    def interrupted(average: Any, network: Any, decay: float, step: int) -> None:
        if step == 3:
            os.kill(os.getpid(), number)
        move_average(average, network, decay, step)

    with monkeypatch.context() as patched:
        patched.setattr("seg_perception.training.loop.trainer.move_average", interrupted)
        assert main(words(root, tmp_path / "parts")) == EXIT_INTERRUPTED
    assert "stopped after step 3: the same command with --resume goes on" in capsys.readouterr().out
    assert checkpoint.load(tmp_path / "parts/last.pt")["step"] == 3
    assert main([*words(root, tmp_path / "parts"), "--resume"]) == 0
    assert main(words(root, tmp_path / "whole")) == 0
    parts, whole = (checkpoint.load(tmp_path / run / "last.pt") for run in ("parts", "whole"))
    for part in ("weights", "average"):
        assert [name for name, value in whole[part].items() if not torch.equal(value, parts[part][name])] == []
    assert parts["metrics"] == whole["metrics"]


def test_sigterm_that_goes_to_the_processes_that_load_images_too_keeps_all_steps(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As timeout, systemd and Slurm send it."""

    def interrupted(average: Any, network: Any, decay: float, step: int) -> None:
        if step == 3:
            workers = [process.pid for process in multiprocessing.active_children() if process.pid]
            assert len(workers) == 2
            # By another process: torch's workers make light of what their own parent sends.
            subprocess.run(["kill", "-TERM", *map(str, (os.getpid(), *workers))], check=True)
            for pid in workers:
                os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        move_average(average, network, decay, step)

    monkeypatch.setattr("seg_perception.training.loop.trainer.move_average", interrupted)
    (tmp_path / "config.yaml").write_text(SELDOM.replace("workers: 0", "workers: 2"))
    assert main([*words(root, tmp_path / "out"), "--config", str(tmp_path / "config.yaml")]) == EXIT_INTERRUPTED
    assert checkpoint.load(tmp_path / "out/last.pt")["step"] == 3


@pytest.mark.parametrize(
    ("error", "code"), [(KeyboardInterrupt(), EXIT_INTERRUPTED), (MemoryError("no room"), EXIT_ERROR)]
)
def test_what_was_kept_from_being_validated_is_validated_when_the_run_goes_on(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int
) -> None:
    def interrupted(*_: object) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr("seg_perception.training.loop.trainer.validate", interrupted)
        assert main(words(root, tmp_path)) == code
    assert checkpoint.load(tmp_path / "last.pt")["step"] == 4 and not (tmp_path / "best.pt").exists()
    for _ in range(2):  # the second time there is nothing left to do
        assert main([*words(root, tmp_path), "--resume"]) == 0
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    (validated,) = (row["validation"]["miou"] for row in rows if "validation" in row)
    for name in ("last.pt", "best.pt"):
        assert checkpoint.load(tmp_path / name)["best"] == validated


def test_a_step_that_is_interrupted_at_once_is_not_said_to_be_kept(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As by a second Ctrl-C; the run of SELDOM saves nothing before its end, that of TINY_CONFIG its second step."""

    def interrupted(average: Any, network: Any, decay: float, step: int) -> None:
        if step == 3:
            raise KeyboardInterrupt
        move_average(average, network, decay, step)

    monkeypatch.setattr("seg_perception.training.loop.trainer.move_average", interrupted)
    assert main(words(root, tmp_path / "seldom")) == EXIT_INTERRUPTED
    assert "stopped after" not in capsys.readouterr().out
    (tmp_path / "config.yaml").write_text(TINY_CONFIG)
    assert main([*words(root, tmp_path / "often"), "--config", str(tmp_path / "config.yaml")]) == EXIT_INTERRUPTED
    assert "stopped after step 2: " in capsys.readouterr().out
    assert checkpoint.load(tmp_path / "often/last.pt")["step"] == 2


@pytest.mark.parametrize(("split", "broken_at"), [("train", 8), ("val", 4)])
def test_what_was_trained_before_a_broken_image_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], split: str, broken_at: int
) -> None:
    """The third step, or the validation before it, finds it."""
    write_camvid(tmp_path)
    seldom = SELDOM.replace("validate_every: 100", "validate_every: 2") + "cache_gb: 0\n"
    (tmp_path / "config.yaml").write_text(seldom)
    assert main([*words(tmp_path, tmp_path / "out"), "--stop-after", "1"]) == 0
    images = {path: path.read_bytes() for path in (tmp_path / "camvid" / split / "images").iterdir()}
    read = TrainingStream.__getitem__

    def breaking(self: TrainingStream, i: int) -> Any:
        if i == broken_at:
            for path, content in images.items():
                path.write_bytes(content[:200])
        return read(self, i)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(TrainingStream, "__getitem__", breaking)
        assert main([*words(tmp_path, tmp_path / "out"), "--resume"]) == 2
    assert "is truncated" in capsys.readouterr().err
    assert checkpoint.load(tmp_path / "out/last.pt")["step"] == 2
    for path, content in images.items():
        path.write_bytes(content)
    assert main([*words(tmp_path, tmp_path / "out"), "--resume"]) == 0
    assert main(words(tmp_path, tmp_path / "whole")) == 0
    parts, whole = (checkpoint.load(tmp_path / run / "last.pt")["average"] for run in ("out", "whole"))
    assert [name for name, value in whole.items() if not torch.equal(value, parts[name])] == []


def test_a_run_that_is_to_end_where_it_is_is_validated(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It said `export --checkpoint best.pt`, and there was none."""
    assert main([*words(root, tmp_path), "--stop-after", "3"]) == 0
    assert main([*words(root, tmp_path), "--resume", "--steps", "3"]) == 0
    assert "trained 3 steps" in capsys.readouterr().out
    assert checkpoint.load(tmp_path / "best.pt")["step"] == 3


def test_a_checkpoint_of_before_that_was_kept_counts_as_validated(root: Path, tmp_path: Path) -> None:
    assert main([*words(root, tmp_path), "--stop-after", "3"]) == 0
    content = checkpoint.load(tmp_path / "last.pt")
    checkpoint.save(tmp_path / "last.pt", {key: value for key, value in content.items() if key != "validated"})
    assert main([*words(root, tmp_path), "--resume"]) == 0
    assert checkpoint.load(tmp_path / "last.pt")["validated"] == 4


def test_a_signal_waits_for_the_end_of_the_block_and_a_second_one_later_does_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(interruption, "AGAIN_S", 0.0)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup has it
    reached = []
    with pytest.raises(KeyboardInterrupt), held_back():
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGINT)
        reached.append("first")
        os.kill(os.getpid(), signal.SIGINT)
        reached.append("second")
    assert reached == ["first"] and capsys.readouterr().err.count("Ctrl-C once more stops at once") == 1
    monkeypatch.setattr(interruption, "AGAIN_S", 1e9)
    with pytest.raises(KeyboardInterrupt), held_back():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        reached.append("end")
    assert reached == ["first", "end"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with pytest.raises(ValueError, match="a fault"), held_back():
        os.kill(os.getpid(), signal.SIGINT)
        raise ValueError("a fault")


def test_in_another_thread_nothing_changes() -> None:
    done = []

    def work() -> None:
        with held_back():
            done.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [signal.getsignal(signal.SIGINT)]
