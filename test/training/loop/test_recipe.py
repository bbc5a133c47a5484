"""The recipe: schedules, optimisers, averages, precisions, noise, divergence, a teacher, TensorBoard."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import signal
import sys
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from training_fixtures import TINY_CONFIG, known_test_networks, write_camvid  # noqa: E402, F401

from seg_perception.cli import main  # noqa: E402
from seg_perception.errors import SegPerceptionError  # noqa: E402
from seg_perception.labels import CAMVID, LabelSet  # noqa: E402
from seg_perception.training.config import DistillSettings, TrainConfig, load_config  # noqa: E402
from seg_perception.training.data.stream import TrainingStream  # noqa: E402
from seg_perception.training.loop import checkpoint  # noqa: E402
from seg_perception.training.loop.distillation import affinity_difference, softened_divergence  # noqa: E402
from seg_perception.training.loop.optimisation import (  # noqa: E402
    GradScaler,
    learning_rate,
    make_optimiser,
    move_average,
)
from seg_perception.training.loop.trainer import Trainer  # noqa: E402
from seg_perception.training.loop.training_log import TrainingLog  # noqa: E402


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recipe")
    write_camvid(folder)
    (folder / "config.yaml").write_text(TINY_CONFIG)
    return folder


def config_of(root: Path, **changes: Any) -> TrainConfig:
    return dataclasses.replace(load_config(root / "config.yaml", data_root=str(root)), **changes)


def trained(config: TrainConfig, out: Path, until: int = 4) -> Trainer:
    trainer = Trainer(config, CAMVID, out)
    trainer.train(until)
    return trainer


def losses_of(config: TrainConfig, out: Path, steps: int) -> list[float]:
    trainer = Trainer(config, CAMVID, out)
    return [trainer.one_step(batch)["loss"] for batch in trainer.batches(steps)]


def assert_equal_weights(a: Trainer, b: Trainer) -> None:
    for part in ("network", "average"):
        ours, theirs = getattr(a, part).state_dict(), getattr(b, part).state_dict()
        assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


def test_learning_rates_by_hand(root: Path) -> None:
    """Highest 0.08 in 4 steps, 2 of them warm-up: factors 1/2, 1, 1, 1 on the schedule at 0, 1/4, 1/2, 3/4."""
    config = config_of(root, learning_rate=0.08, schedule="poly", poly_power=2.0)
    assert [learning_rate(config, i, i / 4) for i in range(5)] == pytest.approx([0.04, 0.045, 0.02, 0.005, 0])
    config = config_of(root, learning_rate=0.08)  # (1 + cos) / 2 is 1, 0.853553, 0.5, 0.146447, 0
    assert [learning_rate(config, i, i / 4) for i in range(5)] == pytest.approx([0.04, 0.06828427, 0.04, 0.01171573, 0])


def test_minutes_shape_the_schedule_and_end_training(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock that moves 15 s at every look, which is once a step: a minute is four steps, at shares 0, 1/4, 1/2, 3/4."""
    clock = itertools.count(0, 15)
    monkeypatch.setattr("seg_perception.training.loop.trainer.time.monotonic", lambda: next(clock))
    monkeypatch.setattr("seg_perception.training.loop.trainer.LOG_EVERY", 1)
    trainer = Trainer(config_of(root, minutes=1.0, steps=1, warm_up_steps=0, learning_rate=0.08), CAMVID, tmp_path)
    rates, one_step = [], trainer.one_step

    def watched(batch: Mapping[str, torch.Tensor]) -> dict[str, float]:
        losses = one_step(batch)
        rates.append(trainer.optimiser.param_groups[0]["lr"])
        return losses

    monkeypatch.setattr(trainer, "one_step", watched)
    trainer.train(2)
    assert trainer.done == 0.5
    resumed = Trainer(trainer.config, CAMVID, tmp_path)
    resumed.resume()
    assert (resumed.step, resumed.trained_s) == (2, 30.0)
    trainer.train(100)
    assert trainer.done == 1 and trainer.step == 4
    assert rates == pytest.approx([0.08, 0.06828427, 0.04, 0.01171573])
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["seconds"] for row in rows if "seconds" in row] == [15, 30, 45, 60]
    assert checkpoint.load(tmp_path / "last.pt")["step"] == checkpoint.load(tmp_path / "best.pt")["step"] == 4
    trainer.train(100)
    assert trainer.step == 4, "what is done is not trained further"


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_moves_as_worked_out_by_hand(root: Path, nesterov: bool) -> None:
    """Gradient 1 twice, rate 0.1, momentum 0.5: velocities 1 and 1.5; Nesterov looks ahead by half a velocity more."""
    config = config_of(root, optimiser="sgd", momentum=0.5, nesterov=nesterov, learning_rate=0.1, weight_decay=0.0)
    layer = torch.nn.Conv2d(1, 1, 1)
    torch.nn.init.zeros_(layer.weight)
    optimiser = make_optimiser(layer, config)
    for _ in range(2):
        layer.weight.grad = torch.ones_like(layer.weight)
        optimiser.step()
    assert layer.weight.item() == pytest.approx(-0.1 * ((1 + 0.5) + (1 + 0.75) if nesterov else 1 + 1.5))


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_only_convolutions_decay(root: Path, name: str) -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 1), torch.nn.BatchNorm2d(3))
    decaying, others = make_optimiser(network, config_of(root, optimiser=name, weight_decay=0.1)).param_groups
    assert (decaying["weight_decay"], others["weight_decay"]) == (0.1, 0)
    assert [p.shape for p in decaying["params"]] == [(3, 2, 1, 1)]
    assert len(others["params"]) == 3


def test_the_average_forgets_its_first_steps_sooner() -> None:
    """After one step it moves by 1 - 2/11, after many by 1 - decay; counters are copied."""
    mean, now = torch.nn.BatchNorm1d(1), torch.nn.BatchNorm1d(1)
    torch.nn.init.constant_(now.weight, 12.0)
    now.num_batches_tracked.fill_(7)
    move_average(mean, now, decay=0.9, step=1)
    assert mean.weight.item() == pytest.approx(1 + 9 / 11 * 11)
    assert mean.num_batches_tracked.item() == 7
    move_average(mean, now, decay=0.9, step=1000)
    assert mean.weight.item() == pytest.approx(10 + 0.1 * 2)


def test_the_same_seed_gives_the_same_losses(root: Path) -> None:
    first, second = (losses_of(config_of(root, network="noisy"), root / "none", 2) for _ in range(2))
    assert first == second
    assert losses_of(config_of(root, network="noisy", seed=1), root / "none", 2) != first


def test_a_resumed_run_repeats_noise_and_momentum_exactly(root: Path, tmp_path: Path) -> None:
    config = config_of(root, network="noisy", optimiser="sgd", nesterov=True, schedule="poly")
    whole = trained(config, tmp_path / "whole")
    trained(config, tmp_path / "parts", until=2)
    torch.rand(5)  # what else the process drew meanwhile must not matter
    resumed = Trainer(config, CAMVID, tmp_path / "parts")
    resumed.resume()
    assert (resumed.step, resumed.metrics) == (2, {})
    resumed.train(4)
    assert_equal_weights(whole, resumed)
    assert resumed.best == whole.best and resumed.metrics == whole.metrics


def test_validation_data_are_opened_once(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some tools write a file an image, and their image into it: of thousands that is gigabytes."""
    opened = []
    open_source = TrainConfig.open_source
    monkeypatch.setattr(TrainConfig, "open_source", lambda *words: opened.append(words[1].split) or open_source(*words))
    trained(config_of(root, validate_every=1), tmp_path)
    assert sorted(opened) == ["train", "val"]


def test_a_checkpoint_says_what_was_trained_on_what_and_how_well(root: Path, tmp_path: Path) -> None:
    config = config_of(root)
    trainer = trained(config, tmp_path)
    content = checkpoint.load(tmp_path / "best.pt")
    assert json.loads(json.dumps(content["config"])) == content["config"]
    assert (content["config"]["learning_rate"], content["config"]["data"][0]["name"]) == (0.01, "camvid")
    assert content["metrics"] == trainer.metrics and set(content["metrics"]["iou"]) == set(CAMVID.names)
    # a checkpoint from before these were kept resumes too
    checkpoint.save(
        tmp_path / "last.pt", {k: v for k, v in content.items() if k not in ("config", "metrics", "scaler")}
    )
    again = Trainer(config, CAMVID, tmp_path)
    again.resume()
    assert_equal_weights(trainer, again)


def test_resume_refuses_what_is_no_continuation(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = config_of(root)
    trained(config, tmp_path, until=1)
    with pytest.raises(SegPerceptionError, match="trained by adamw, the configuration names sgd"):
        Trainer(dataclasses.replace(config, optimiser="sgd"), CAMVID, tmp_path).resume()
    trainer = Trainer(config, LabelSet(CAMVID.classes[:5]), tmp_path)
    with pytest.raises(SegPerceptionError, match="other classes"):
        trainer.resume()
    content = checkpoint.load(tmp_path / "last.pt")
    content["weights"].popitem()
    checkpoint.save(tmp_path / "last.pt", content)
    with pytest.raises(SegPerceptionError, match="another version of the network"):
        Trainer(config, CAMVID, tmp_path).resume()


def test_a_gpu_that_torch_lets_not_compute_in_bfloat16_is_told(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    with pytest.raises(SegPerceptionError, match="bf16 is not for this GPU"):
        Trainer(config_of(root, precision="bf16"), CAMVID, tmp_path)


def test_images_that_judge_and_are_trained_on_too_are_told(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = config_of(root)
    Trainer(config, CAMVID, tmp_path)
    assert "trained on too" not in capsys.readouterr().out
    Trainer(dataclasses.replace(config, validation=config.data[0]), CAMVID, tmp_path)
    assert "3 of the 3 images of validation are trained on too" in capsys.readouterr().out


def test_what_is_said_of_the_same_classes_may_change(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A colour, or what it costs to drive there: the weights mean the same, and were refused or thrown away."""
    config = config_of(root)
    trained(config, tmp_path, until=1)
    corrected = LabelSet(tuple(dataclasses.replace(c, color=(1, 2, c.id), drivable_cost=9) for c in CAMVID.classes))
    resumed = Trainer(config, corrected, tmp_path)
    resumed.resume()
    assert "other settings than before: what is said of the classes" in capsys.readouterr().out
    resumed.train(2)
    assert LabelSet.from_json(checkpoint.load(tmp_path / "last.pt")["labels"]) == corrected
    begun = Trainer(config, CAMVID, tmp_path / "begun")
    begun.start_from(tmp_path / "last.pt")
    assert torch.equal(begun.network.semantic.classify.weight, resumed.average.semantic.classify.weight)
    Trainer(dataclasses.replace(config, distill=DistillSettings(str(tmp_path / "last.pt"))), CAMVID, tmp_path / "pupil")


def test_resume_names_settings_that_changed(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = config_of(root)
    trained(config, tmp_path, until=1)
    Trainer(dataclasses.replace(config, steps=8, clip_norm=1.0), CAMVID, tmp_path).resume()
    assert "other settings than before: steps, clip_norm" in capsys.readouterr().out


def test_a_resumed_run_decays_and_gathers_momentum_as_the_configuration_says_now(root: Path, tmp_path: Path) -> None:
    """The optimiser's state holds both: they were told to have changed, and had not."""
    config = config_of(root, optimiser="sgd")
    trained(config, tmp_path, until=1)
    changed = dataclasses.replace(config, weight_decay=0.5, momentum=0.3, nesterov=True)
    resumed = Trainer(changed, CAMVID, tmp_path)
    resumed.resume()
    groups = resumed.optimiser.param_groups
    assert [(g["weight_decay"], g["momentum"], g["nesterov"]) for g in groups] == [(0.5, 0.3, True), (0.0, 0.3, True)]
    assert len(resumed.optimiser.state) == sum(len(group["params"]) for group in groups), "what it remembers stays"


@pytest.mark.parametrize("state", [{}, {"param_groups": [], "state": {}}, {"param_groups": 3, "state": {}}])
def test_an_optimisers_state_that_is_another_s_is_refused(root: Path, tmp_path: Path, state: dict[str, Any]) -> None:
    config = config_of(root)
    trained(config, tmp_path, until=1)
    content = checkpoint.load(tmp_path / "last.pt")
    checkpoint.save(tmp_path / "last.pt", {**content, "optimiser": state})
    with pytest.raises(SegPerceptionError, match="holds no state of this optimiser"):
        Trainer(config, CAMVID, tmp_path).resume()


@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
@pytest.mark.parametrize(
    "damaged",
    [
        lambda old: old.reshape(-1)[:1] if old.numel() > 1 else torch.zeros(0),
        lambda old: torch.full_like(old, float("nan")),
        lambda old: torch.empty_like(old, device="meta"),
        lambda old: "x",
    ],
    ids=["shape", "nan", "meta", "text"],
)
def test_a_state_of_the_optimiser_that_fits_no_weight_is_refused(
    root: Path, tmp_path: Path, optimiser: str, damaged: Callable[[Any], Any]
) -> None:
    """torch takes it, and stops in its own words at the next step, or spreads one number over a layer."""
    config = config_of(root, optimiser=optimiser)
    trained(config, tmp_path, until=1)
    whole = checkpoint.load(tmp_path / "last.pt")
    for name, old in whole["optimiser"]["state"][0].items():
        state = {**whole["optimiser"]["state"], 0: {**whole["optimiser"]["state"][0], name: damaged(old)}}
        checkpoint.save(tmp_path / "last.pt", {**whole, "optimiser": {**whole["optimiser"], "state": state}})
        with pytest.raises(SegPerceptionError, match="holds no state of this optimiser"):
            Trainer(config, CAMVID, tmp_path).resume()


def test_divergence_stops_with_the_step_and_the_loss_and_keeps_the_last_checkpoint(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The heatmap that the fourth step compares with is not a number."""
    from seg_perception.training.data.stream import TrainingStream

    whole = TrainingStream.__getitem__

    def broken(self: TrainingStream, i: int) -> dict[str, Any]:
        item = whole(self, i)
        return {**item, "heatmap": item["heatmap"] * float("nan")} if i // 4 == 3 else item

    monkeypatch.setattr(TrainingStream, "__getitem__", broken)
    words = ["train", "--config", str(root / "config.yaml"), "--data", str(root), "--out", str(tmp_path)]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert "step 3: the loss is not finite, its worst part is center (nan)" in said
    assert "--resume" in said
    content = checkpoint.load(tmp_path / "last.pt")
    assert content["step"] == 2
    assert all(torch.isfinite(value).all() for value in content["weights"].values())


def test_a_broken_image_is_named_in_one_sentence_from_a_worker_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_camvid(tmp_path)
    (tmp_path / "config.yaml").write_text(TINY_CONFIG.replace("workers: 0", "workers: 1"))
    trainer = Trainer(config_of(tmp_path, cache_gb=0.0), CAMVID, tmp_path / "out")
    for image in (tmp_path / "camvid/train/images").iterdir():
        image.write_bytes(image.read_bytes()[:200])
    with pytest.raises(SegPerceptionError, match=r"^\S+\.png is truncated after 200 bytes: copy it again$"):
        next(trainer.batches(1))


def test_a_worker_that_is_killed_and_a_gpu_without_room_are_told_in_a_sentence(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As where memory ends, or in a container with little shared memory."""
    whole = TrainingStream.__getitem__

    def killed(self: TrainingStream, i: int) -> dict[str, Any]:
        if i > 3:  # of the second batch, so that no checkpoint is being written
            os.kill(os.getpid(), signal.SIGKILL)
        return whole(self, i)

    config = tmp_path / "config.yaml"
    config.write_text(TINY_CONFIG.replace("workers: 0", "workers: 1"))
    words = ["train", "--config", str(config), "--data", str(root), "--out"]
    with monkeypatch.context() as patched:
        patched.setattr(TrainingStream, "__getitem__", killed)
        assert main([*words, str(tmp_path / "a")]) == 2
    said = capsys.readouterr().err
    assert "a process that loads images ended" in said and "cache_gb" in said and "Traceback" not in said
    for cause in (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."), MemoryError("no room")):
        monkeypatch.setattr(Trainer, "one_step", Mock(side_effect=cause))
        assert main([*words, str(tmp_path / "b")]) == 2
        said = capsys.readouterr().err
        assert "memory is too small" in said and "batch_size" in said and "Traceback" not in said
    monkeypatch.setattr(Trainer, "one_step", Mock(side_effect=RuntimeError("a fault of ours")))
    with pytest.raises(RuntimeError, match="a fault of ours"):
        main([*words, str(tmp_path / "c")])


def test_half_precision_computes_the_same_loss_roughly_and_keeps_float32_weights(root: Path) -> None:
    plain = losses_of(config_of(root), root / "none", 3)
    trainer = Trainer(config_of(root, precision="bf16"), CAMVID, root / "none")
    half = [trainer.one_step(batch)["loss"] for batch in trainer.batches(3)]
    assert half != plain
    assert half == pytest.approx(plain, rel=0.02)
    assert {p.dtype for p in trainer.network.parameters()} == {torch.float32}


def test_fp16_is_refused_without_a_gpu(root: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(SegPerceptionError, match="fp16 needs a GPU"):
        Trainer(config_of(root, precision="fp16"), CAMVID, root / "none")


def test_a_scaled_gradient_that_overflows_costs_a_step_and_divergence_stops(root: Path) -> None:
    """fp16 scales the loss; on the CPU the scaler works on float32, which a scale of 1e38 overflows just the same."""
    if "device" not in GradScaler.__init__.__code__.co_varnames:
        pytest.skip("this torch scales on GPUs alone")
    trainer, plain = (Trainer(config_of(root), CAMVID, root / "none") for _ in range(2))
    trainer.scaler = GradScaler("cpu", init_scale=2.0**10)
    for batch in trainer.batches(1):
        assert trainer.one_step(batch) == plain.one_step(batch)
    before = {name: value.clone() for name, value in trainer.network.named_parameters()}
    for name, value in plain.network.named_parameters():  # a scale of a power of two changes nothing
        torch.testing.assert_close(before[name], value, rtol=1e-4, atol=1e-6, msg=name)

    trainer.scaler = GradScaler("cpu", init_scale=3e38)
    for batch in trainer.batches(2):
        trainer.one_step(batch)
    assert trainer.scaler.get_scale() == pytest.approx(1.5e38)
    assert all(torch.equal(value, before[name]) for name, value in trainer.network.named_parameters())

    trainer.scaler = GradScaler("cpu", init_scale=1.0)
    next(trainer.network.parameters()).register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(SegPerceptionError, match="step 2: the gradient is not finite"):
        trainer.one_step(next(trainer.batches(3)))


def test_softened_divergence_by_hand() -> None:
    """Logits ln 9 and 0 at temperature 2 are shares 3/4 and 1/4; the student says half and half: KL = 0.75 ln 1.5 +
    0.25 ln 0.5 = 0.130812, times 4; equal logits give 0."""
    teacher = torch.tensor([np.log(9.0), 0.0]).view(1, 2, 1, 1)
    student = torch.zeros(1, 2, 1, 1)
    assert softened_divergence(student, teacher, 2.0).item() == pytest.approx(4 * 0.130812, rel=1e-5)
    assert softened_divergence(teacher, teacher, 2.0).item() == pytest.approx(0, abs=1e-7)


def test_affinities_by_hand() -> None:
    """Two places, 4 cells wide each: alike in the teacher (cosine 1), at right angles in the student (0): of the four
    pairs the two of different places differ by 1. Lengths and numbers of channels do not matter."""
    teacher = torch.ones(1, 3, 4, 8)
    student = torch.zeros(1, 2, 4, 8)
    student[:, 0, :, :4], student[:, 1, :, 4:] = 7.0, 2.0
    assert affinity_difference(student, teacher).item() == pytest.approx(0.5)
    assert affinity_difference(5 * teacher[:, :1], teacher).item() == pytest.approx(0, abs=1e-7)


def test_features_are_learned_beside_the_answers(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "teacher/last.pt"
    trained(config_of(root), path.parent, until=1)
    student = Trainer(
        config_of(root, seed=1, distill=DistillSettings(str(path), weight=2.0, features=300.0)), CAMVID, tmp_path
    )
    batch = next(student.batches(1))
    steps = [student.one_step(batch)["distill_features"] for _ in range(8)]
    assert steps[-1] < 0.8 * steps[0]
    plain = Trainer(config_of(root, seed=1, distill=DistillSettings(str(path))), CAMVID, tmp_path)
    assert "distill_features" not in plain.one_step(batch)


def test_a_student_learns_from_a_frozen_teacher(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "teacher/last.pt"
    trained(config_of(root), path.parent, until=1)
    content = checkpoint.load(path)
    content["average"]["semantic.classify.bias"][3] = 4.0  # a teacher that is decided
    checkpoint.save(path, content)
    settings = DistillSettings(str(path), weight=3.0)
    student = Trainer(config_of(root, seed=1, distill=settings), CAMVID, tmp_path / "student")
    assert student.teacher is not None
    batch = next(student.batches(1))
    steps = [student.one_step(batch) for _ in range(8)]
    assert steps[-1]["distill_semantic"] < 0.7 * steps[0]["distill_semantic"]
    assert steps[0]["loss"] == pytest.approx(sum(v for k, v in steps[0].items() if k != "loss"), rel=1e-5)
    with torch.no_grad():
        logits, heatmap, offset = checkpoint.averaged_network(content)(batch["image"])
    answer = student.teacher.answer(batch["image"])
    torch.testing.assert_close(answer[:3], (logits, torch.logit(heatmap), offset), rtol=1e-4, atol=1e-4)

    with pytest.raises(SegPerceptionError, match=r"last\.pt knows other classes"):
        Trainer(config_of(root, distill=settings), LabelSet(CAMVID.classes[:5]), tmp_path / "refused")


class Board:
    """Stands for SummaryWriter and remembers."""

    made: list[Board] = []  # noqa: RUF012

    def __init__(self, folder: str, purge_step: int) -> None:
        self.purge_step, self.curves, self.pictures, self.closed = purge_step, {}, [], False
        self.made.append(self)

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.curves[name, step] = value

    def add_image(self, name: str, image: Any, step: int, dataformats: str) -> None:
        self.pictures.append((step, image.shape, image.dtype, dataformats))

    def close(self) -> None:
        self.closed = True


def test_tensorboard_gets_losses_rates_classes_and_a_picture(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", types.SimpleNamespace(SummaryWriter=Board))
    monkeypatch.setattr("seg_perception.training.loop.trainer.LOG_EVERY", 2)
    trainer = trained(config_of(root), tmp_path)
    board = Board.made[-1]
    assert board.closed and board.purge_step == 1
    assert board.pictures == [(4, (60, 80, 3), np.uint8, "HWC")]
    assert board.curves["learning_rate", 2] == learning_rate(trainer.config, 1, 1 / trainer.config.steps)
    assert board.curves["validation/miou", 4] == trainer.metrics["miou"]
    assert {f"iou/{name}" for name in CAMVID.names} <= {name for name, _ in board.curves}
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [2, 4, 4]
    assert board.curves["loss/center", 2] == rows[0]["center"]


def test_without_tensorboard_that_is_said_once_and_the_log_is_there(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    trained(config_of(root), tmp_path)
    assert capsys.readouterr().out.count("pip install tensorboard") == 1
    assert json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])["validation"]["miou"] >= 0


def test_the_log_of_a_resumed_run_is_that_of_an_unbroken_one(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ended after step 3, with a checkpoint of step 2, and a line that a full disk cut off."""
    monkeypatch.setattr("seg_perception.training.loop.trainer.LOG_EVERY", 1)
    config = config_of(root)
    trained(config, tmp_path, until=2)
    log = tmp_path / "log.jsonl"
    with log.open("a") as file:
        file.write('{"step": 3, "seconds": 9.0, "loss": 1.0}\n{"step": 4, "secon')
    resumed = Trainer(config, CAMVID, tmp_path)
    resumed.resume()
    resumed.train(4)
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 4] and rows[2]["seconds"] < 9


def test_lines_of_the_log_that_are_none_are_left_out(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    rows = ['{"step": 2}', '{"step": 1' + "0" * 400 + "}", "[" * 100_000, '{"step": null}', '{"step": 3, "loss": 1']
    log.write_text("\n".join(rows))
    TrainingLog(tmp_path, 4).close()
    assert log.read_text() == '{"step": 2}\n'


def test_a_full_disk_stops_the_log_with_a_sentence(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("there is no /dev/full here")
    (tmp_path / "log.jsonl").symlink_to(full)
    monkeypatch.setattr("seg_perception.training.loop.trainer.LOG_EVERY", 1)
    words = ["train", "--config", str(root / "config.yaml"), "--data", str(root), "--out", str(tmp_path)]
    assert main(words) == 2
    assert "log.jsonl cannot be written (No space left on device): free the disk" in capsys.readouterr().err
