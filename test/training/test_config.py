"""The training configuration fails early and names what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from places import CHECKOUT

from seg_perception.errors import SegPerceptionError

pytest.importorskip("yaml")

from seg_perception.cli import main
from seg_perception.training.config import TrainConfig, load_config

GOOD = "data: [{name: camvid, root: camvid}]\nvalidation: {name: camvid, root: camvid}\n"
SHIPPED = sorted((CHECKOUT / "config/train").glob("*.yaml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_configurations_load(path: Path) -> None:
    config = load_config(path)
    assert config.data and len(config.open_labels()) > 1


def test_values_and_overrides(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(GOOD + "learning_rate: 2e-3\nloss: {center: 5}\ndistill: {checkpoint: a.pt}\n")
    config = load_config(path, steps=7, data_root=None)
    assert config.distill is not None and config.distill.checkpoint == "a.pt"
    assert (config.learning_rate, config.loss.center, config.steps) == (2e-3, 5.0, 7)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("learning_rat: 1", "'learning_rat'.*'learning_rate'"),
        ("loss: {centre: 1}", "'loss.centre'.*'center'"),
        ("batch_size: many", "'batch_size' is 'many'"),
        ("batch_size: 1", "batch_size is 1: it must be at least 2"),
        ("crop_hw: [100, 96]", "multiples of 32"),
        ("crop_hw: [96]", "list of 2"),
        ("data: [{root: x}]", "'data.name' is missing"),
        ("steps: true", "'steps' is True"),
        ("data: [", "no valid YAML"),
        ("data: " + "[" * 9999, "no valid YAML"),
        ("optimiser: adamv", "optimiser is 'adamv'.*'adamw'"),
        ("schedule: polly", "schedule is 'polly'.*'poly'"),
        ("precision: half", "precision is 'half'.*known: bf16, fp16, fp32"),
        ("learning_rate: .inf", "learning_rate is inf"),
        ("learning_rate: 1e300", r"learning_rate is 1e\+300: it must be greater than 0 and at most 1000"),
        ("ema_decay: 1", "ema_decay is 1.0: it must be at least 0 and less than 1"),
        ("clip_norm: -1", "clip_norm is -1.0: it must be at least 0"),
        ("nesterov: true", "nesterov is a kind of momentum"),
        ("minutes: -1", "minutes is -1.0: it must be at least 0"),
        ("distill: {checkpoint: x, features: -1}", "distill.features is -1.0: it must be at least 0"),
        ("distill: {weight: 1}", "'distill.checkpoint' is missing"),
        ("distill: {checkpoint: x, temperatur: 1}", "'distill.temperatur'.*'temperature'"),
        ("distill: {checkpoint: x, temperature: 0.5}", "distill.temperature is 0.5: it must be at least 1"),
        ("learning_rate: 1" + "0" * 400, "'learning_rate' is a number of hundreds of digits"),
        ("data_root: 2026-02-30", "no valid YAML: day is out of range"),
        ("seed: !!timestamp x", "no valid YAML"),
        ("seed: 18446744073709551616", "seed is 18446744073709551616: it must be at most"),
    ],
)
def test_refused(tmp_path: Path, text: str, named: str) -> None:
    path = tmp_path / "c.yaml"
    given = text.split(":")[0]
    path.write_text("".join(line + "\n" for line in GOOD.splitlines() if not line.startswith(given)) + text)
    with pytest.raises(SegPerceptionError, match=named) as caught:
        load_config(path)
    assert str(path) in str(caught.value)


def test_a_key_that_stands_twice_is_refused(tmp_path: Path) -> None:
    """YAML's reader takes the last one and says nothing."""
    path = tmp_path / "c.yaml"
    path.write_text(GOOD + "steps: 100\nloss: {center: 1}\nsteps: 9000\n")
    with pytest.raises(SegPerceptionError, match=r"key 'steps' stands twice.*line 5"):
        load_config(path)
    path.write_text("data: [&a {name: camvid, root: x}]\nvalidation: {<<: *a, root: y}\n")
    assert load_config(path).validation.root == "y"


def test_what_is_no_mapping_is_named_as_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(GOOD + "loss: null\n")
    with pytest.raises(SegPerceptionError, match="'loss' must hold keys"):
        load_config(path)


def test_a_home_folder_is_one_beside_a_data_root_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "own.yaml").write_text("[{name: road, color: [1, 2, 3]}]")
    path = tmp_path / "c.yaml"
    path.write_text(
        "labels: ~/own.yaml\ndata_root: data\ndata: [{name: folder, root: ~/mine}]\nvalidation: {name: folder}"
    )
    config = load_config(path)
    assert config.root_of(config.data[0]) == tmp_path / "mine" and config.open_labels().names == ("road",)


def test_steps_of_the_command_count_beside_minutes_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = []

    def trainer(config: TrainConfig, *_: object) -> None:
        seen.append((config.steps, config.minutes))
        raise SegPerceptionError("enough")

    pytest.importorskip("torch")
    monkeypatch.setattr("seg_perception.training.loop.trainer.Trainer", trainer)
    path = tmp_path / "c.yaml"
    path.write_text(GOOD + "minutes: 120\nsteps: 5\n")
    for words in (["--steps", "3"], ["--minutes", "2"], []):
        assert main(["train", "--config", str(path), "--out", str(tmp_path / "out"), *words]) == 2
    assert seen == [(3, 0.0), (5, 2.0), (5, 120.0)]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SegPerceptionError, match=r"nowhere\.yaml"):
        load_config(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize("text", ["share: .nan", "share: nan", "share: .inf", "share: 0", "share: -1"])
def test_a_share_is_a_part_of_something(tmp_path: Path, text: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(f"validation: {{name: camvid}}\ndata: [{{name: camvid, {text}}}]")
    with pytest.raises(SegPerceptionError, match="share"):
        load_config(path)


@pytest.mark.parametrize("key", ["learning_rate", "weight_decay", "momentum", "clip_norm", "minutes", "cache_gb"])
@pytest.mark.parametrize("value", [".nan", "nan"])
def test_no_number_of_a_configuration_may_be_none(tmp_path: Path, key: str, value: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(f"validation: {{name: camvid}}\ndata: [{{name: camvid}}]\n{key}: {value}")
    with pytest.raises(SegPerceptionError, match=key):
        load_config(path)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("{swapped_by_mirror: [[sky, road], [road, tree]]}", "names a class twice"),
        ("{swapped_by_mirror: [[sky, sky]]}", "names a class twice"),
        ("{mirror: false, swapped_by_mirror: [[sky, road]]}", "of no use"),
        ("{mirror: 1}", "expected bool"),
        ("{swapped_by_mirror: [[sky]]}", "list of 2"),
    ],
)
def test_what_a_mirror_swaps_is_checked(tmp_path: Path, text: str, named: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(GOOD + f"augment: {text}")
    with pytest.raises(SegPerceptionError, match=named):
        load_config(path)
    path.write_text(GOOD + "augment: {swapped_by_mirror: [[sky, road]]}")
    assert load_config(path).augment.swapped_by_mirror == (("sky", "road"),)
