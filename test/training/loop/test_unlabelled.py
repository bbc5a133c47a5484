"""Frames without labels: where they come from, what the averaged network says of them, and what that costs."""

from __future__ import annotations

import dataclasses
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from bag_fixtures import PERIOD_NS, pictures, write  # noqa: E402
from training_fixtures import TINY_CONFIG, known_test_networks, write_camvid  # noqa: E402, F401

from seg_perception.errors import SegPerceptionError  # noqa: E402
from seg_perception.labels import CAMVID  # noqa: E402
from seg_perception.training.config import TrainConfig, load_config  # noqa: E402
from seg_perception.training.data.unlabelled import UnlabelledFrames, UnlabelledStream, rectangle  # noqa: E402
from seg_perception.training.loop import checkpoint, consistency  # noqa: E402
from seg_perception.training.loop.trainer import Trainer  # noqa: E402
from seg_perception.training.networks.heads import TrainingOutput  # noqa: E402
from seg_perception.training.unlabelled_settings import UnlabelledSettings  # noqa: E402


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unlabelled")
    write_camvid(folder)
    (folder / "config.yaml").write_text(
        f"{TINY_CONFIG}unlabelled: {{sources: [camvid/val/images], batch_size: 2, ramp_steps: 2, threshold: 0.0}}\n"
    )
    return folder


def config_of(root: Path, **changes: Any) -> TrainConfig:
    return dataclasses.replace(load_config(root / "config.yaml", data_root=str(root)), **changes)


def test_frames_of_a_folder_and_of_a_bag(root: Path, tmp_path: Path) -> None:
    """Ten frames of a bag, 0.1 s apart; every 0.25 s gives 0, 0.3, 0.6, 0.9, of which two are wanted. Of a bag whose clock
    goes back both parts are taken."""
    bag = write(tmp_path / "bag", pictures(10))
    folder = root / "camvid/val/images"
    frames = UnlabelledFrames(UnlabelledSettings((str(folder), str(bag)), every_s=0.25, frames=2), Path())
    alone = UnlabelledFrames(UnlabelledSettings((str(bag),), every_s=0.0), Path())
    assert (len(frames), len(alone)) == (5, 10)
    apart = [np.abs(frames[4].astype(int) - alone[i]).mean() for i in range(10)]
    assert int(np.argmin(apart)) == 3
    earlier = [(topic, kind, message, time_ns + 20 * PERIOD_NS) for topic, kind, message, time_ns in pictures(6)]
    back = write(tmp_path / "back", pictures(6, first=10) + earlier)
    assert len(UnlabelledFrames(UnlabelledSettings((str(back),), every_s=0.25), Path())) == 4
    with pytest.raises(SegPerceptionError, match=r"unlabelled: .*empty holds no image|empty"):
        (tmp_path / "empty").mkdir()
        UnlabelledFrames(UnlabelledSettings((str(tmp_path / "empty"),)), Path())


def test_bags_without_metadata_and_jobs_are_read_and_a_topic_is_of_bags_alone(root: Path, tmp_path: Path) -> None:
    """As a recorder leaves a bag that was killed, and `label pick` a folder."""
    bag = write(tmp_path / "bag", pictures(3))
    (bag / "metadata.yaml").unlink()
    shutil.copytree(root / "camvid/val/images", tmp_path / "job" / "images")
    images = len(list((tmp_path / "job" / "images").iterdir()))
    settings = UnlabelledSettings(("bag", "job"), every_s=0.0, topic=pictures(1)[0][0])
    assert len(UnlabelledFrames(settings, tmp_path)) == 3 + images
    with pytest.raises(SegPerceptionError, match=r"unlabelled.topic is for bags"):
        UnlabelledFrames(dataclasses.replace(settings, sources=("job",)), tmp_path)


def test_a_broken_frame_is_told_once_and_the_next_one_taken(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One of thousands would end a run somewhere in the night, and again wherever it goes on."""
    shutil.copytree(root / "camvid/val/images", tmp_path / "images")
    frames = UnlabelledFrames(UnlabelledSettings(("images",)), tmp_path)
    assert len(frames) == 3
    whole = [frames[index] for index in range(3)]
    for number in (1, 2):
        (tmp_path / f"images/{number}.png").write_bytes((tmp_path / f"images/{number}.png").read_bytes()[:100])
    for _ in range(2):
        assert np.array_equal(frames[1], whole[0]) and np.array_equal(frames[0], whole[0])
    said = capsys.readouterr().err
    assert said.count("1.png is truncated") == said.count("2.png is truncated") == 1 and "next image is taken" in said
    (tmp_path / "images/0.png").unlink()
    with pytest.raises(SegPerceptionError, match=r"\d\.png"):
        frames[0]


def test_a_frame_is_the_same_whatever_was_read_before(root: Path) -> None:
    config = config_of(root)
    assert config.unlabelled is not None
    one, other = (UnlabelledStream(config, config.unlabelled, 100) for _ in range(2))
    wanted = [one[i] for i in range(3)]
    for i in reversed(range(3)):
        again = other[i]
        assert all(torch.equal(again[name], value) for name, value in wanted[i].items())
    weak, strong = wanted[0]["weak"].float(), wanted[0]["strong"].float()
    assert weak.shape == strong.shape == (64, 64, 3) and not torch.equal(weak, strong)


def test_rectangles_have_the_size_and_frequency_that_are_asked_for() -> None:
    shares = np.array([rectangle(np.random.default_rng(i), (60, 80), 0.5).mean() for i in range(400)])
    assert (shares > 0).mean() == pytest.approx(0.5, abs=0.08)
    assert shares[shares > 0].min() > 0.01 and shares.max() <= 0.41
    assert not rectangle(np.random.default_rng(0), (60, 80), 0.0).any()


class Answers(torch.nn.Module):
    """Of two images of 8x8 at stride 4: the first is class 1 with confidence 0.7, the second class 0 with 0.95."""

    def training_outputs(self, image: torch.Tensor) -> TrainingOutput:
        probability = torch.tensor([[0.3, 0.7], [0.95, 0.05]])[:, :, None, None].expand(2, 2, 2, 2)
        return TrainingOutput(probability.log(), *(torch.zeros(0),) * 3)


def frames_of(mixed: torch.Tensor, inside: torch.Tensor) -> dict[str, torch.Tensor]:
    images = torch.stack([torch.full((8, 8, 3), 10), torch.full((8, 8, 3), 20)]).byte()
    return {"weak": images, "strong": images, "mixed": mixed, "inside": inside}


def test_pseudo_labels_are_mixed_as_their_images_are() -> None:
    """The first image's upper left cell comes from the second one, whose lower right cell shows no image."""
    mixed, inside = torch.zeros(2, 8, 8, dtype=torch.bool), torch.ones(2, 8, 8, dtype=torch.bool)
    mixed[0, :4, :4] = True
    inside[1, 4:, 4:] = False
    frames = frames_of(mixed, inside)
    assert consistency.mixed_images(frames)[0, :, :, 0].unique().tolist() == [10, 20]
    classes, sure, seen = consistency.pseudo_labels(Answers(), frames, 0.9)
    assert classes.tolist() == [[[0, 1], [1, 1]], [[0, 0], [0, 0]]]
    assert sure.tolist() == [[[True, False], [False, False]], [[True, True], [True, False]]]
    assert seen.tolist() == [[[True, True], [True, True]], [[True, True], [True, False]]]


def test_only_sure_cells_teach_and_all_count() -> None:
    """Two sure cells of the four inside: (log 2 + log 4) / 4."""
    logits = torch.tensor([[0.5, 0.25, 0.1, 0.9, 0.9], [0.5, 0.75, 0.9, 0.1, 0.1]]).log()[None, :, None]
    classes = torch.zeros(1, 1, 5, dtype=torch.int64)
    sure = torch.tensor([[[True, True, False, False, False]]])
    inside = torch.tensor([[[True, True, True, True, False]]])
    loss = consistency.consistency_loss(logits, classes, sure, inside)
    assert loss.item() == pytest.approx(3 * math.log(2) / 4)
    assert consistency.consistency_loss(logits, classes, sure & False, inside & False).item() == 0
    logits = torch.randn(1, 2, 1, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: consistency.consistency_loss(x, classes, sure, inside), (logits,))


def test_the_weight_grows_evenly() -> None:
    settings = UnlabelledSettings(("a",), weight=2.0, ramp_steps=4)
    assert [consistency.ramped_weight(settings, i) for i in (0, 1, 4, 9)] == [0, 0.5, 2, 2]
    assert consistency.ramped_weight(dataclasses.replace(settings, ramp_steps=0), 0) == 2


def test_training_learns_from_them_and_a_resumed_run_repeats_it(root: Path, tmp_path: Path) -> None:
    whole = Trainer(config_of(root), CAMVID, tmp_path / "whole")
    losses = [whole.one_step(batch) for batch in whole.batches(4)]
    assert losses[0]["unlabelled"] == 0 and losses[1]["unlabelled"] > 0
    first = Trainer(config_of(root), CAMVID, tmp_path / "parts")
    first.train(2)
    rest = Trainer(config_of(root), CAMVID, tmp_path / "parts")
    rest.resume()
    assert [rest.one_step(batch) for batch in rest.batches(4)] == losses[2:]
    assert "unlabelled images" in checkpoint.load(tmp_path / "parts/last.pt")["data"]


def test_labelled_outputs_are_those_of_the_labelled_images() -> None:
    parts = [torch.arange(6.0).view(6, 1, 1, 1) for _ in range(4)]
    output, second, rest = consistency.split(TrainingOutput(*parts, (parts[0],), parts[0]), 3, 2, 1)
    assert (second.logits.flatten().tolist(), rest.heatmap_logits.flatten().tolist()) == ([3, 4], [5])
    assert all(part.flatten().tolist() == [0, 1, 2] for part in (*output[:4], *output.auxiliary_logits, output[5]))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("{sources: []}", r"unlabelled\.sources names nothing"),
        ("{sources: [a], threshold: 1.5}", r"unlabelled\.threshold is 1\.5, allowed is 0\.0 to 1\.0"),
        ("{sources: [a], treshold: 0.5}", r"unlabelled\.treshold.*did you mean 'threshold'"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, words: str, message: str) -> None:
    (tmp_path / "c.yaml").write_text(f"{TINY_CONFIG}unlabelled: {words}\n")
    with pytest.raises(SegPerceptionError, match=message):
        load_config(tmp_path / "c.yaml")


def test_a_source_that_is_not_there_is_told_before_training(root: Path, tmp_path: Path) -> None:
    config = config_of(root, unlabelled=UnlabelledSettings(("nowhere",)))
    with pytest.raises(SegPerceptionError, match="nowhere"):
        Trainer(config, CAMVID, tmp_path)
