"""Training as a user runs it: two steps, resume to four, export, and the same numbers in torch and ONNX Runtime."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from training_fixtures import known_test_networks, write_camvid  # noqa: E402, F401

from seg_perception import model_file  # noqa: E402
from seg_perception.cli import main  # noqa: E402
from seg_perception.datasets import Dataset  # noqa: E402
from seg_perception.labels import CAMVID, LabelClass, LabelSet  # noqa: E402
from seg_perception.panoptic.decoder import PanopticDecoder, PanopticSettings  # noqa: E402
from seg_perception.results import NetworkOutput, Wants  # noqa: E402
from seg_perception.training.config import load_config  # noqa: E402
from seg_perception.training.loop import checkpoint  # noqa: E402
from seg_perception.training.loop.trainer import Trainer  # noqa: E402
from seg_perception.training.networks import make_network  # noqa: E402
from seg_perception.writing import results_folder  # noqa: E402

CONFIG = """
network: pidnet_s
size_hw: [64, 96]
crop_hw: [64, 64]
batch_size: 2
steps: 4
validate_every: 4
checkpoint_every: 2
threads: 1
workers: 0
data: [{name: camvid, root: camvid, split: train}]
validation: {name: camvid, root: camvid, split: val}
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of four steps in one go, and one of two steps resumed to four."""
    root = tmp_path_factory.mktemp("training")
    write_camvid(root)
    (root / "config.yaml").write_text(CONFIG)
    common = ["train", "--config", str(root / "config.yaml"), "--data", str(root)]
    assert main([*common, "--out", str(root / "whole"), "--json", str(root / "whole.json")]) == 0
    assert main([*common, "--out", str(root / "parts"), "--stop-after", "2"]) == 0
    assert checkpoint.load(root / "parts/last.pt")["step"] == 2
    assert main([*common, "--out", str(root / "parts"), "--resume"]) == 0
    return root


def test_resumed_training_equals_training_in_one_go(trained: Path) -> None:
    whole, parts = (checkpoint.load(trained / run / "last.pt") for run in ("whole", "parts"))
    assert whole["step"] == parts["step"] == 4
    for name, value in whole["average"].items():
        assert torch.equal(value, parts["average"][name]), name


def test_validation_is_reported(trained: Path) -> None:
    metrics = json.loads((trained / "whole.json").read_text())
    assert set(metrics["iou"]) == set(CAMVID.names)
    assert 0 <= metrics["miou"] <= 1


def test_the_end_of_a_run_says_what_to_do_with_it(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, out = str(trained / "config.yaml"), str(tmp_path / "a run")
    words = ["train", "--config", config, "--data", str(trained), "--out", out]
    assert main([*words, "--stop-after", "2"]) == 0
    assert f"stopped after step 2: the same command with --resume goes on from {tmp_path}" in capsys.readouterr().out
    assert main([*words, "--resume"]) == 0
    (command,) = re.findall(r"^trained 4 steps; `seg_perception (.*)`", capsys.readouterr().out, re.MULTILINE)
    assert main(shlex.split(command)) == 0 and model_file.load(tmp_path / "a run" / "model.onnx").labels == CAMVID


def test_a_second_run_does_not_overwrite_the_first(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "--config", str(trained / "config.yaml"), "--data", str(trained), "--out", str(trained / "whole")]
    assert main(words) == 2
    assert "--resume" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (["--out", "{root}/whole"], "holds a training run already"),
        (["--out", "{root}/fresh", "--resume"], "there is no checkpoint .*fresh/last.pt"),
        (["--out", "{root}/fresh", "--start-from", "{root}/none.pt"], "there is no checkpoint .*none.pt"),
        (["--out", "{root}/fresh", "--start-from", "{root}/none.onnx"], "none.onnx"),
        (["--out", "{root}/fresh", "--config", "{root}/without.yaml"], "is not installed: pip install"),
        (["--out", "{root}/fresh", "--config", "{root}/pupil.yaml"], "there is no checkpoint .*teacher.pt"),
        (["--out", "{root}/fresh", "--config", "{root}/edges.yaml"], "boundary_cross_entropy needs a network that"),
    ],
)
def test_what_cannot_be_begun_with_is_told_before_the_data_are_read(
    trained: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    more: list[str],
    named: str,
) -> None:
    """Large data sets take minutes."""
    (trained / "without.yaml").write_text(CONFIG.replace("pidnet_s", "mobileseg\npretrained: no-such-package"))
    (trained / "pupil.yaml").write_text(CONFIG + f"distill: {{checkpoint: {trained}/teacher.pt}}\n")
    edges = "loss: {semantic: {ohem: 1.0, boundary_cross_entropy: 1.0}}\n"
    (trained / "edges.yaml").write_text(CONFIG.replace("pidnet_s", "mobileseg") + edges)

    def read(_: Dataset, index: int) -> None:
        raise AssertionError(f"the image {index} is read")

    monkeypatch.setattr(Dataset, "read", read)
    words = ["train", "--config", str(trained / "config.yaml"), "--data", str(trained)]
    assert main([*words, *(word.format(root=trained) for word in more)]) == 2
    assert re.search(named, capsys.readouterr().err)


def test_two_runs_do_not_write_into_one_folder(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Until the first has a checkpoint there is nothing else to tell of it; and each would go on from the other's."""
    words = ["train", "--config", str(trained / "config.yaml"), "--data", str(trained), "--out", str(tmp_path / "out")]
    with results_folder(tmp_path / "out"):
        assert main(words) == 2
    assert "another run writes into" in capsys.readouterr().err
    assert main([*words, "--stop-after", "1"]) == 0
    with results_folder(tmp_path / "out"):
        assert main([*words, "--resume"]) == 2
    assert "another run writes into" in capsys.readouterr().err


def test_a_second_stage_starts_from_the_averaged_weights_of_the_first(trained: Path) -> None:
    """With a learning rate of next to nothing the second stage must stay where the first ended."""
    config = trained / "still.yaml"
    config.write_text(CONFIG + "learning_rate: 1.0e-12\n")
    first = trained / "whole/last.pt"
    words = ["train", "--config", str(config), "--data", str(trained), "--out", str(trained / "second")]
    assert main([*words, "--stop-after", "1", "--start-from", str(first)]) == 0
    second, wanted = checkpoint.load(trained / "second/last.pt"), checkpoint.load(first)["average"]
    assert second["step"] == 1
    for name, _ in make_network("pidnet_s", len(CAMVID)).named_parameters():
        torch.testing.assert_close(second["weights"][name], wanted[name], msg=name)


def test_a_second_stage_of_other_classes_takes_those_of_the_same_name_and_all_else(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """CamVid's in another order, one written otherwise, one gone and two new ones: who adds a class has not to learn the others
    again."""
    kept = [c for c in reversed(CAMVID.classes) if c.name != "fence"]
    rows = [dataclasses.replace(c, name="Road" if c.name == "road" else c.name) for c in kept]
    rows.insert(3, LabelClass(0, "robot", (1, 2, 3)))
    rows.append(LabelClass(0, "lawn", (4, 5, 6)))
    own = LabelSet(tuple(dataclasses.replace(c, id=i) for i, c in enumerate(rows)))
    config = load_config(trained / "config.yaml", data_root=str(trained), allow_absent=["robot", "lawn"])
    trainer = Trainer(config, own, trained / "other")
    fresh = {name: value.clone() for name, value in trainer.network.state_dict().items()}
    capsys.readouterr()
    trainer.start_from(trained / "whole/last.pt")
    said = capsys.readouterr().out
    assert "10 of 12 classes go on from those of the same name; robot, lawn begin anew; left behind: fence" in said
    wanted = checkpoint.load(trained / "whole/last.pt")["average"]
    heads = ("semantic.classify", "auxiliary_loss_heads.0.3")
    of_classes = {f"{head}.{part}" for head in heads for part in ("weight", "bias")}
    assert of_classes == {name for name in fresh if fresh[name].shape != wanted[name].shape}
    for name, value in trainer.network.state_dict().items():
        assert torch.equal(value, trainer.average.state_dict()[name]), name
        if name not in of_classes:
            assert torch.equal(value, wanted[name]), name
            continue
        for label, row, begun in zip(own.classes, value, fresh[name], strict=True):
            is_new = label.name in ("robot", "lawn")
            assert torch.equal(row, begun if is_new else wanted[name][CAMVID.by_name(label.name.lower()).id]), label


def test_as_many_other_classes_are_others(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The shapes are the same, and no filter is that of another class."""
    own = LabelSet(tuple(dataclasses.replace(c, name=f"my {c.name}") for c in CAMVID.classes))
    config = load_config(trained / "config.yaml", data_root=str(trained), allow_absent=list(own.names))
    trainer = Trainer(config, own, trained / "other")
    fresh = trainer.network.semantic.classify.weight.detach().clone()
    trainer.start_from(trained / "whole/last.pt")
    assert torch.equal(trainer.network.semantic.classify.weight, fresh)
    assert "0 of 11 classes go on" in capsys.readouterr().out


def test_export_gives_the_same_numbers_and_masks_as_torch(trained: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    path = trained / "tiny.onnx"
    assert main(["export", "--checkpoint", str(trained / "whole/last.pt"), "--out", str(path)]) == 0
    info = model_file.load(path)
    assert (info.size_hw, info.grid_hw, info.batch, info.labels) == ((64, 96), (16, 24), None, CAMVID)

    image = np.random.default_rng(1).integers(0, 256, (1, 64, 96, 3), np.uint8)
    with torch.no_grad():
        network = checkpoint.averaged_network(checkpoint.load(trained / "whole/last.pt"))
        in_torch = [output.numpy() for output in network(torch.from_numpy(image))]
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    in_onnx = session.run(list(model_file.OUTPUTS), {model_file.INPUT: image})
    for name, wanted, found in zip(model_file.OUTPUTS, in_torch, in_onnx, strict=True):
        # weights are stored as float16
        np.testing.assert_allclose(found, wanted, rtol=0, atol=0.02 * max(1.0, np.abs(wanted).max()), err_msg=name)

    masks = []
    for arrays in (in_torch, in_onnx):
        decoder = PanopticDecoder(CAMVID, PanopticSettings())
        decoded = decoder.decode(NetworkOutput(*arrays), 0, (60, 90), info.stride, Wants())
        masks.append(decoded.semantic.copy())
    assert (masks[0] == masks[1]).mean() > 0.99


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--checkpoint", "missing.pt"], "missing.pt"),
        (["--checkpoint", "{good}", "--height", "100"], "multiples of 32"),
        (["--checkpoint", "{broken}"], "not a readable checkpoint"),
    ],
)
def test_export_refuses(trained: Path, capsys: pytest.CaptureFixture[str], words: list[str], named: str) -> None:
    (trained / "broken.pt").write_bytes(b"PK not really")
    paths = {"good": str(trained / "whole/last.pt"), "broken": str(trained / "broken.pt")}
    out = trained / "refused.onnx"
    assert main(["export", "--out", str(out), *(word.format(**paths) for word in words)]) == 2
    assert named in capsys.readouterr().err
    assert not out.exists()


def test_a_run_that_is_further_than_it_should_stop_says_so(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "--config", str(trained / "config.yaml"), "--data", str(trained), "--out", str(trained / "parts")]
    before = (trained / "parts/last.pt").read_bytes()
    assert main([*words, "--resume", "--stop-after", "2"]) == 2
    assert "--stop-after is 2, and the run is at step" in capsys.readouterr().err
    assert (trained / "parts/last.pt").read_bytes() == before


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "c.pt", {"network": "pidnet_s"})
    with pytest.raises(checkpoint.SegPerceptionError, match=r"'pidnet_s'.*'bisenetv2'"):
        checkpoint.load(tmp_path / "c.pt", "bisenetv2")


def test_a_failed_save_leaves_the_previous_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "last.pt"
    checkpoint.save(path, {"network": "pidnet_s", "step": 1})

    def full_disk(content: object, file: Path) -> None:
        Path(file).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(checkpoint.SegPerceptionError, match="previous one is whole"):
        checkpoint.save(path, {"network": "pidnet_s", "step": 2})
    monkeypatch.undo()
    assert torch.load(path, weights_only=True)["step"] == 1
    assert [file.name for file in tmp_path.iterdir()] == ["last.pt"]
