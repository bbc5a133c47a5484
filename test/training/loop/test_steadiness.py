"""Learning to answer steadily: how images move, what the loss says of two answers, and a network that learns by it."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from training_fixtures import TINY_CONFIG, known_test_networks, write_camvid  # noqa: E402, F401

from seg_perception.errors import SegPerceptionError  # noqa: E402
from seg_perception.labels import CAMVID  # noqa: E402
from seg_perception.training.config import TrainConfig, load_config  # noqa: E402
from seg_perception.training.loop.steadiness import moved, moves, next_frames, steady_losses  # noqa: E402
from seg_perception.training.loop.trainer import Trainer  # noqa: E402
from seg_perception.training.loss_settings import LossSettings  # noqa: E402
from seg_perception.training.networks.heads import TrainingOutput  # noqa: E402
from seg_perception.training.steady_settings import SteadySettings  # noqa: E402

STILL = SteadySettings(shift_px=0.0, scale=0.0, noise=0.0, light=0.0)
SIZE = (32, 48)


def motion(dx: float, dy: float, scale: float = 1.0, width: int = SIZE[1], height: int = SIZE[0]) -> torch.Tensor:
    """Pixels come from so far to the right and below."""
    return torch.tensor([[[scale, 0, 2 * dx / width], [0, scale, 2 * dy / height]]])


def answer(
    logits: torch.Tensor, heatmap: torch.Tensor | None = None, offset: torch.Tensor | None = None
) -> TrainingOutput:
    nothing = torch.zeros_like(logits[:, :1])
    offset = nothing.repeat(1, 2, 1, 1) if offset is None else offset
    return TrainingOutput(logits, nothing if heatmap is None else heatmap, offset, nothing)


def losses_of(first: TrainingOutput, second: TrainingOutput, theta: torch.Tensor) -> dict[str, float]:
    """Of labels whose last class is a thing, each part by itself."""
    is_thing = torch.arange(first.logits.shape[1]) == first.logits.shape[1] - 1
    weights = LossSettings(center=1.0, offset=1.0)
    return {name: loss.item() for name, loss in steady_losses(first, second, theta, is_thing, weights).items()}


def steady_loss(first: torch.Tensor, second: torch.Tensor, theta: torch.Tensor) -> float:
    """Of classes alone."""
    return losses_of(answer(first), answer(second), theta)["steady"]


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def test_an_image_that_moves_by_whole_pixels_is_the_same_pixels_elsewhere() -> None:
    image = torch.rand(1, 3, *SIZE)
    found = moved(image, motion(3, -2))
    torch.testing.assert_close(found[:, :, 2:, :-3], image[:, :, :-2, 3:], atol=1e-4, rtol=0)
    torch.testing.assert_close(moved(image, motion(0, 0)), image, atol=1e-5, rtol=0)


def test_a_grid_moves_as_its_image_does() -> None:
    """8 px are a cell of a grid of stride 8: what is averaged before and after is the same."""
    image = torch.rand(1, 1, *SIZE)
    cells = torch.nn.functional.avg_pool2d(image, 8)
    found = moved(cells, motion(8, 0))
    torch.testing.assert_close(found[..., :-1], torch.nn.functional.avg_pool2d(moved(image, motion(8, 0)), 8)[..., :-1])


def test_motion_is_as_large_as_the_settings_say() -> None:
    theta = moves(SteadySettings(shift_px=6.0, scale=0.1), 4000, SIZE, torch.device("cpu"))
    shift_px = theta[:, :, 2].abs() * torch.tensor(SIZE[::-1]) / 2
    assert 5.9 < shift_px.max() <= 6.0 + 1e-4 and shift_px[:, 0].mean() == pytest.approx(3.0, rel=0.05)
    assert torch.equal(theta[:, 0, 0], theta[:, 1, 1]) and not theta[:, 0, 1].any() and not theta[:, 1, 0].any()
    assert 0.9 <= theta[:, 0, 0].min() < 0.902 and 1.098 < theta[:, 0, 0].max() <= 1.1


def test_the_next_frame_of_a_camera_that_stands_still_is_the_same() -> None:
    images = torch.randint(0, 256, (2, *SIZE, 3), dtype=torch.uint8)
    theta = moves(STILL, 2, SIZE, torch.device("cpu"))
    assert torch.equal(next_frames(images, theta, STILL), images)


def test_the_next_frame_has_the_noise_and_the_light_that_is_asked_for() -> None:
    images = torch.full((400, *SIZE, 3), 128, dtype=torch.uint8)
    theta = moves(STILL, len(images), SIZE, torch.device("cpu"))
    noisy = next_frames(images, theta, dataclasses.replace(STILL, noise=9.0)).float().std(dim=(1, 2, 3))
    assert 0 < noisy.min() < 3 and 6 < noisy.max() < 10
    lit = next_frames(images, theta, dataclasses.replace(STILL, light=0.1)).float().mean(dim=(1, 2, 3))
    assert 115 <= lit.min() < 117 and 139 < lit.max() <= 141
    white = torch.full((8, *SIZE, 3), 255, dtype=torch.uint8)
    assert next_frames(white, theta[:8], dataclasses.replace(STILL, light=0.5)).min() > 120, "no level runs over"


def test_the_loss_of_two_answers_by_hand() -> None:
    """Of probabilities 0.8 and 0.2 against 0.5 and 0.5: both divergences halved are 0.5 * 0.3 * ln 4."""
    first = torch.tensor([0.8, 0.2]).log().view(1, 2, 1, 1).expand(1, 2, 4, 6)
    second = torch.zeros(1, 2, 4, 6)
    assert steady_loss(first, second, motion(0, 0)) == pytest.approx(0.15 * math.log(4), rel=1e-5)
    assert steady_loss(first, first + 3, motion(0, 0)) == pytest.approx(0, abs=1e-6)


def test_only_cells_that_both_frames_show_count() -> None:
    """By half of its width the answer moves out of sight: what is said there is asked of nobody."""
    first, second = torch.zeros(1, 2, 4, 6), torch.zeros(1, 2, 4, 6)
    second[0, 0, :, 3:] = 9.0
    assert steady_loss(first, second, motion(3, 0, width=6, height=4)) == pytest.approx(0, abs=1e-6)
    assert steady_loss(first, second, motion(-3, 0, width=6, height=4)) > 1
    assert steady_loss(first, second, motion(60, 0, width=6, height=4)) == 0, "and none at all is no fault"


def test_an_answer_that_moves_with_the_image_costs_nothing_and_one_that_stays_does() -> None:
    logits = torch.nn.functional.avg_pool2d(torch.randn(1, 3, 36, 52), 5, 1) * 9
    theta = motion(1.5, 0.5)
    assert steady_loss(logits, moved(logits, theta), theta) == pytest.approx(0, abs=1e-5)
    assert steady_loss(logits, logits, theta) > 0.1


def test_centres_and_offsets_move_with_the_image_and_lengths_grow_with_it() -> None:
    """An image that is shown 1.25 times as large has offsets 1.25 times as long."""
    scale, smooth = 1 / 1.25, torch.nn.functional.avg_pool2d
    theta = motion(1.5, 0.5, scale=scale)
    logits = smooth(torch.randn(1, 3, 36, 52), 5, 1) * 9
    heatmap, offset = smooth(torch.randn(1, 1, 36, 52), 5, 1), smooth(torch.randn(1, 2, 36, 52), 5, 1) * 40
    first = answer(logits, heatmap, offset)
    as_moved = torch.logit(moved(torch.sigmoid(heatmap), theta)), moved(offset, theta) * 1.25
    right = losses_of(first, answer(moved(logits, theta), *as_moved), theta)
    assert all(loss == pytest.approx(0, abs=1e-4) for loss in right.values())
    wrong = losses_of(first, answer(moved(logits, theta), heatmap, moved(offset, theta)), theta)
    assert wrong["steady_center"] > 1e-4 and wrong["steady_offset"] > 1


def test_offsets_count_where_there_are_things() -> None:
    """By hand: of 24 cells 4 are things, and one of those is told 3 px too low and 1 too far to the right."""
    logits, offset = torch.zeros(1, 2, 4, 6), torch.zeros(1, 2, 4, 6)
    logits[0, 0], logits[0, 1, 0, :4] = 1.0, 2.0
    offset[0, :, 0, 1] = torch.tensor([3.0, 1.0])
    offset[0, :, 3, 3] = 50.0
    still = motion(0, 0, width=6, height=4)
    assert losses_of(answer(logits), answer(logits, None, offset), still)["steady_offset"] == pytest.approx(
        1.0, rel=1e-4
    )


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("steady")
    write_camvid(folder)
    (folder / "config.yaml").write_text(f"{TINY_CONFIG}steady: {{weight: 2.0}}\n")
    return folder


def config_of(root: Path, **changes: Any) -> TrainConfig:
    return dataclasses.replace(load_config(root / "config.yaml", data_root=str(root)), **changes)


def test_training_learns_it_and_a_resumed_run_repeats_it(root: Path, tmp_path: Path) -> None:
    whole = Trainer(config_of(root), CAMVID, tmp_path / "whole")
    losses = [whole.one_step(batch) for batch in whole.batches(4)]
    assert all(one[name] > 0 for one in losses for name in ("steady", "steady_center", "steady_offset"))
    first = Trainer(config_of(root), CAMVID, tmp_path / "parts")
    first.train(2)
    rest = Trainer(config_of(root), CAMVID, tmp_path / "parts")
    rest.resume()
    assert [rest.one_step(batch) for batch in rest.batches(4)] == losses[2:]


def test_a_weight_of_0_is_without_it(root: Path, tmp_path: Path) -> None:
    """Images that cost nothing would still move the statistics of batch normalisation, and a step's time."""
    configs = config_of(root, steady=None), config_of(root, steady=SteadySettings(weight=0.0))
    without, none = (Trainer(config, CAMVID, tmp_path) for config in configs)
    assert without.one_step(next(without.batches(1))) == none.one_step(next(none.batches(1)))
    ours, theirs = without.network.state_dict(), none.network.state_dict()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


def test_it_goes_with_frames_without_labels(root: Path, tmp_path: Path) -> None:
    """Each kind of image is judged by its own loss: the second showing of one that stands still is the first."""
    both = "unlabelled: {sources: [camvid/val/images], batch_size: 2, ramp_steps: 0, threshold: 0.0}\n"
    still = "steady: {shift_px: 0, scale: 0, noise: 0, light: 0}\n"
    (tmp_path / "c.yaml").write_text(f"{TINY_CONFIG}{both}{still}")
    trainer = Trainer(load_config(tmp_path / "c.yaml", data_root=str(root)), CAMVID, tmp_path / "out")
    losses = [trainer.one_step(batch) for batch in trainer.batches(2)]
    assert all(one["steady"] == pytest.approx(0, abs=1e-6) and one["unlabelled"] > 0 for one in losses)


def test_a_network_that_has_learnt_it_is_steadier(root: Path, tmp_path: Path) -> None:
    """Of labels that say nothing (they are the same stripes for any noise), steadiness alone is left to learn."""
    found = []
    for weight in (0.0, 20.0):
        torch.manual_seed(0)
        settings = SteadySettings(weight=weight, noise=20.0)
        trainer = Trainer(config_of(root, steady=settings, steps=25), CAMVID, tmp_path / str(weight))
        for batch in trainer.batches(25):
            trainer.one_step(batch)
        torch.manual_seed(1)
        images = torch.randint(0, 256, (4, 64, 64, 3), dtype=torch.uint8)
        theta = moves(settings, 4, (64, 64), torch.device("cpu"))
        with torch.no_grad():
            first, second = (
                trainer.network.eval().training_outputs(one).logits
                for one in (images, next_frames(images, theta, settings))
            )
        found.append(steady_loss(first, second, theta))
    assert found[1] < 0.7 * found[0]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("{weight: -1}", r"steady\.weight is -1\.0, allowed is 0\.0 to 100\.0"),
        ("{shift_px: 65}", r"steady\.shift_px is 65\.0, allowed is 0\.0 to 64\.0"),
        ("{shift: 3}", r"steady\.shift.*did you mean 'shift_px'"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, words: str, message: str) -> None:
    (tmp_path / "c.yaml").write_text(f"{TINY_CONFIG}steady: {words}\n")
    with pytest.raises(SegPerceptionError, match=message):
        load_config(tmp_path / "c.yaml")
