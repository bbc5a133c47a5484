"""Two processes on the CPU, started by torchrun as on any machine, train as one does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="training needs torch")
if not torch.distributed.is_available():
    pytest.skip("this torch was built for one process", allow_module_level=True)

from places import TESTS  # noqa: E402
from training_fixtures import TINY_CONFIG, known_test_networks, write_camvid  # noqa: E402, F401

from seg_perception.cli import main  # noqa: E402
from seg_perception.errors import SegPerceptionError  # noqa: E402
from seg_perception.training.distributed import joined_processes, world_size  # noqa: E402
from seg_perception.training.loop import checkpoint  # noqa: E402
from seg_perception.writing import results_folder  # noqa: E402

PROGRAM = TESTS / "training_fixtures.py"
RECIPE = """
optimiser: sgd
nesterov: true
schedule: poly
clip_norm: 1.0
loss: {semantic: {cross_entropy: 0.5, focal: 0.5}, auxiliary: {hard_cross_entropy: 1.0}, hardest: 1.0}
"""
"""Losses that do not choose among the pixels: what chooses does so in every process by itself."""


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    root = tmp_path_factory.mktemp("distributed")
    write_camvid(root, 4)
    (root / "config.yaml").write_text(TINY_CONFIG + RECIPE)
    return ["train", "--config", str(root / "config.yaml"), "--data", str(root)]


def torchrun(words: list[str]) -> subprocess.CompletedProcess[str]:
    """Two processes with one thread each, to their end."""
    with started(words) as process:
        out, err = process.communicate(timeout=600)
    return subprocess.CompletedProcess(words, process.returncode, out, err)


def started(words: list[str]) -> subprocess.Popen[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(PROGRAM)]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONPATH": os.pathsep.join([str(PROGRAM.parents[1]), os.environ.get("PYTHONPATH", "")]),
    }
    return subprocess.Popen(
        launcher + words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_two_processes_train_as_one(words: list[str], tmp_path: Path) -> None:
    """Every weight and every running statistic after four steps in one process, and after two in one that two others
    continue; their shares of a batch hold different numbers of labelled pixels. float32 sums in another order, hence the
    tolerance: 1e-4 of the value or 1e-6."""
    for out, further in (("one", ["--json", str(tmp_path / "one.json")]), ("two", ["--stop-after", "2"])):
        assert main([*words, "--out", str(tmp_path / out), *further]) == 0
    done = torchrun([*words, "--out", str(tmp_path / "two"), "--resume", "--json", str(tmp_path / "two.json")])
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("mIoU") == 1  # one process alone validates and speaks
    one, two = (checkpoint.load(tmp_path / run / "last.pt") for run in ("one", "two"))
    assert one["step"] == two["step"] == 4
    for part in ("weights", "average"):
        for name, value in one[part].items():
            torch.testing.assert_close(two[part][name], value, rtol=1e-4, atol=1e-6, msg=f"{part} {name}")
    reports = [json.loads((tmp_path / f"{run}.json").read_text()) for run in ("one", "two")]
    assert reports[0]["miou"] == pytest.approx(reports[1]["miou"], rel=0.02)


def child_of(pid: int, rank: int) -> int:
    """The process of this rank that torchrun has started."""
    for child in map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()):
        if f"RANK={rank}".encode() in Path(f"/proc/{child}/environ").read_bytes().split(b"\0"):
            return child
    raise AssertionError("there is no such process")


@pytest.mark.parametrize("to", ["torchrun", "first", "second", "broken images"])
def test_processes_end_between_the_same_two_steps_and_what_they_learnt_is_kept(
    to: str, words: list[str], tmp_path: Path
) -> None:
    """By Ctrl-C, by a signal to one of them, or where one of them cannot go on: the others met its end within a step, and no
    step since the last checkpoint was kept."""
    config = Path(words[words.index("--config") + 1]).read_text()
    for old, new in (("steps: 4", "steps: 100000"), ("checkpoint_every: 2", "checkpoint_every: 100000")):
        assert old in config
        config = config.replace(old, new)
    (tmp_path / "config.yaml").write_text(config + "cache_gb: 0\n")
    write_camvid(tmp_path, 4)
    more = ["--config", str(tmp_path / "config.yaml"), "--data", str(tmp_path), "--out", str(tmp_path / "out")]
    log = tmp_path / "out/log.jsonl"
    with started([*words, *more]) as process:
        try:
            while process.poll() is None and not (log.exists() and log.read_text()):
                time.sleep(0.05)
            assert process.poll() is None, process.communicate()
            if to == "broken images":
                for path in (tmp_path / "camvid/train/images").iterdir():
                    path.write_bytes(b"")
            else:
                pid = process.pid if to == "torchrun" else child_of(process.pid, ("first", "second").index(to))
                os.kill(pid, signal.SIGINT)
            out, err = process.communicate(timeout=300)
        finally:
            process.kill()
    assert process.returncode != 0
    saved = checkpoint.load(tmp_path / "out/last.pt")
    assert saved["step"] >= 20, err[-3000:]
    if to != "broken images":
        assert f"stopped after step {saved['step']}: the same command with --resume goes on" in out
    else:
        assert ".png is not an image" in err
    assert "Connection closed" not in err
    ends = ["--data", words[words.index("--data") + 1], "--resume", "--steps", str(saved["step"])]
    assert main([*words, *more, *ends]) == 0 and (tmp_path / "out/best.pt").exists()


@pytest.mark.parametrize("is_held", [False, True], ids=["trained", "held by another run"])
def test_what_the_first_process_refuses_is_a_sentence_in_each(is_held: bool, words: list[str], tmp_path: Path) -> None:
    """The others met its end in the middle of a broadcast, and told a traceback of that."""
    (tmp_path / "last.pt").touch()
    with results_folder(tmp_path) if is_held else nullcontext():
        done = torchrun([*words, "--out", str(tmp_path)])
    told = "another run writes into" if is_held else "holds a training run already"
    assert done.returncode != 0 and told in done.stderr
    assert "Connection closed" not in done.stderr and "broadcast" not in done.stderr


def test_a_batch_that_cannot_be_divided_is_refused(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("seg_perception.training.loop.device.world_size", lambda: 3)
    assert main([*words, "--out", str(tmp_path)]) == 2
    assert "batch_size 4 cannot be divided among 3 processes" in capsys.readouterr().err


def test_one_image_a_process_needs_shared_statistics(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("seg_perception.training.loop.device.world_size", lambda: 4)
    config = tmp_path / "alone.yaml"
    config.write_text(Path(words[words.index("--config") + 1]).read_text() + "sync_batch_norm: false\n")
    changed = [*words]
    changed[words.index("--config") + 1] = str(config)
    assert main([*changed, "--out", str(tmp_path / "out")]) == 2
    assert "sync_batch_norm" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("size", "others", "told"),
    [
        ("4", {}, "WORLD_SIZE=4 without RANK, LOCAL_RANK, MASTER_ADDR, MASTER_PORT: start training by torchrun"),
        ("two", {"RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "a", "MASTER_PORT": "1"}, "WORLD_SIZE=two which is no"),
        ("2", {"RANK": "0", "MASTER_ADDR": "a", "MASTER_PORT": "1"}, "without LOCAL_RANK: start"),
    ],
)
def test_a_cluster_that_sets_the_number_of_processes_and_starts_none_is_told(
    size: str, others: dict[str, str], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"WORLD_SIZE": size, **others}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SegPerceptionError, match=told), joined_processes():
        pass


def test_an_empty_number_of_processes_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "")
    with joined_processes():
        assert world_size() == 1
