"""Two processes on the CPU, started by torchrun as on any machine, train as one does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
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
    """Two processes with one thread each."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(PROGRAM)]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONPATH": os.pathsep.join([str(PROGRAM.parents[1]), os.environ.get("PYTHONPATH", "")]),
    }
    return subprocess.run(launcher + words, env=environment, capture_output=True, text=True, timeout=600, check=False)


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
