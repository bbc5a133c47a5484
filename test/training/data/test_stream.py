"""The training stream: image i is the same whoever makes it, memory is bounded, scenes are rendered seldom; and the
benchmark that times all this."""

from __future__ import annotations

import dataclasses
import json
import pickle
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the stream gives tensors")

from seg_perception.cli import main  # noqa: E402
from seg_perception.datasets import Sample  # noqa: E402
from seg_perception.errors import SegPerceptionError  # noqa: E402
from seg_perception.labels import CAMVID, LabelSet  # noqa: E402
from seg_perception.training.config import DataSource, DistillSettings, TrainConfig, load_config  # noqa: E402
from seg_perception.training.data.scene_store import SCENE_WINDOW, SceneStore  # noqa: E402
from seg_perception.training.data.stream import TrainingStream  # noqa: E402
from seg_perception.training.data.targets import PartialLabels  # noqa: E402
from seg_perception.training.data.unusable import PassedOver  # noqa: E402
from seg_perception.training.loop import throughput  # noqa: E402

CONFIG = """
size_hw: [64, 96]
crop_hw: [64, 64]
batch_size: 2
steps: 4
workers: 1
threads: 1
loss: {class_balance: 0.5, largest_class_weight: 2.5}
data:
  - {name: camvid, root: camvid, split: train, share: 0.7}
  - {name: synthetic, root: "", share: 0.3}
validation: {name: camvid, root: camvid, split: train}
"""
SKY, ROAD, CAR, UNLABELLED = 0, 3, 8, 11


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three images of noise in CamVid's layout: of 64 rows 32 are sky, 8 road, 8 car and 16 void."""
    folder = tmp_path_factory.mktemp("stream")
    rng = np.random.default_rng(0)
    rows = np.repeat(np.array([SKY, ROAD, CAR, UNLABELLED], np.uint8), [32, 8, 8, 16])
    for part in ("images", "labels"):
        (folder / "camvid/train" / part).mkdir(parents=True)
    for i in range(3):
        cv2.imwrite(str(folder / f"camvid/train/images/{i}.png"), rng.integers(0, 256, (64, 80, 3), np.uint8))
        cv2.imwrite(str(folder / f"camvid/train/labels/{i}.png"), rows[:, None].repeat(80, 1))
    (folder / "c.yaml").write_text(CONFIG)
    return folder


def stream_of(root: Path) -> TrainingStream:
    return TrainingStream(load_config(root / "c.yaml", data_root=str(root)), CAMVID, 100)


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_an_image_is_the_same_whatever_was_read_before(root: Path) -> None:
    """Forwards, backwards, after 1000 others' scenes, and in a worker that was spawned."""
    first = stream_of(root)
    wanted = [first[i] for i in range(8)]
    second = stream_of(root)
    second.class_weights()
    second[9000]
    assert all(same(second[i], wanted[i]) for i in reversed(range(8)))
    spawned = pickle.loads(pickle.dumps(second))
    assert same(spawned[3], wanted[3])
    assert not same(wanted[0], wanted[1])


def test_an_item_holds_what_the_losses_need(root: Path) -> None:
    item = stream_of(root)[0]
    shapes = {name: (tuple(value.shape), value.dtype) for name, value in item.items()}
    assert shapes == {
        "image": ((64, 64, 3), torch.uint8),
        "codes": ((64, 64), torch.uint8),
        "edge": ((64, 64), torch.uint8),
        "heatmap": ((16, 16), torch.float32),
        "heatmap_known": ((16, 16), torch.bool),
        "offset": ((2, 16, 16), torch.float32),
        "offset_known": ((16, 16), torch.bool),
    }


def test_class_weights_follow_the_rarity_of_the_real_labels(root: Path) -> None:
    """Shares of the labelled rows: sky 2/3, road and car 1/6 each. The median is 1/6, so sky weighs (1/4) ** 0.5 and
    the two others 1, as do classes that never occur; void weighs nothing."""
    weights = stream_of(root).class_weights()
    assert (weights.shape, weights.dtype) == ((256,), np.float32)
    assert weights[[SKY, ROAD, CAR]].tolist() == [0.5, 1.0, 1.0]
    assert (weights[1:3] == 1).all() and weights[255] == 0


def test_labels_of_one_class_alone_are_refused_unless_a_teacher_knows_others(root: Path) -> None:
    """The network would say it everywhere, and its scores would be perfect."""
    for i in range(3):
        (root / "camvid/only/images").mkdir(parents=True, exist_ok=True)
        (root / "camvid/only/labels").mkdir(exist_ok=True)
        shutil.copy(root / f"camvid/train/images/{i}.png", root / "camvid/only/images")
        label = np.full((64, 80), UNLABELLED, np.uint8)
        label[40:] = ROAD
        cv2.imwrite(str(root / f"camvid/only/labels/{i}.png"), label)
    config = load_config(root / "c.yaml", data_root=str(root))
    absent = tuple(name for name in CAMVID.names if name != "road")
    config = dataclasses.replace(config, data=(DataSource("camvid", "camvid", "only"),), allow_absent=absent)
    with pytest.raises(SegPerceptionError, match=r"the labels teach road alone, .*`classes: \{255: "):
        TrainingStream(config, CAMVID, 8).class_weights()
    TrainingStream(dataclasses.replace(config, distill=DistillSettings("t.pt")), CAMVID, 8).class_weights()


def test_an_image_that_breaks_later_is_told_and_the_next_one_taken(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of more than are read at the start one would end a run somewhere in the night; where all are, as when a disk is gone, or a
    whole hundredth, it ends."""
    shutil.copytree(root / "camvid", tmp_path / "camvid")
    config = load_config(root / "c.yaml", data_root=str(tmp_path), cache_gb=0.0)
    config = dataclasses.replace(config, data=config.data[:1])
    stream = TrainingStream(config, CAMVID, 100)
    stream[0]  # which looks for objects to paste
    images = sorted((tmp_path / "camvid/train/images").iterdir())
    images[1].write_bytes(b"")
    for i in range(30):
        assert stream[i]["image"].shape == (64, 64, 3)
    said = capsys.readouterr().err
    assert said.count("1.png is not an image") == said.count("the next image is taken in its place") == 1
    for path in images:
        path.write_bytes(b"")
    with pytest.raises(SegPerceptionError, match=r"\d\.png is not an image"):
        stream[0]


def test_no_more_images_are_passed_over_than_single_files() -> None:
    def read(number: int) -> int:
        if number % 3 == 0:
            raise SegPerceptionError(f"{number} is damaged")
        return number

    passed = PassedOver("a set", 3000)
    for index in range(60):
        assert passed.read(index, read) == index + (index % 3 == 0)
    with pytest.raises(SegPerceptionError, match="90 is damaged"):
        for index in range(60, 3000):
            passed.read(index, read)


class Counted:
    """A data set of `count` images of one pixel that remembers what was read of it."""

    meaning = {0: ("sky",)}  # noqa: RUF012

    def __init__(self, count: int, *, rendered: bool = False) -> None:
        self._count, self._rendered = count, rendered
        self.read: list[int] = []

    def path(self, index: int) -> Path | None:
        return None if self._rendered else Path(f"{index}.png")

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Sample:
        self.read.append(index)
        return Sample(str(index), np.full((1, 1, 3), index, np.uint8), np.zeros((1, 1), np.uint8))


def test_the_first_images_are_kept_as_far_as_there_is_room() -> None:
    """A scene of one pixel has 3 + 1 + 2 bytes, so 20 bytes hold three."""
    data = Counted(5)
    store = SceneStore([data], PartialLabels(CAMVID), 20e-9)  # type: ignore[list-item]
    for index in [0, 1, 2, 3, 0, 1, 2, 3, 4, 0]:
        assert store.read(0, index).rgb[0, 0, 0] == index
    assert data.read == [0, 1, 2, 3, 3, 4]
    assert [scene.rgb[0, 0, 0] for scene in store.evenly(0, 3)] == [0, 2, 4]
    assert len(list(store.evenly(0, 9))) == 5


def test_a_spawned_worker_has_room_of_its_own() -> None:
    data = Counted(5)
    store = SceneStore([data], PartialLabels(CAMVID), 20e-9)  # type: ignore[list-item]
    for index in range(3):
        store.read(0, index)
    spawned = pickle.loads(pickle.dumps(store))
    spawned.datasets[0].read.clear()
    for index in [3, 4, 3, 4, 0, 0]:
        spawned.read(0, index)
    assert spawned.datasets[0].read == [3, 4, 0]


def test_a_rendered_scene_serves_several_times_and_is_then_forgotten(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With scene_uses 4 and half of the items rendered, 800 items show 400 scenes; the window moves on by 100, so that
    at most 100 + its own length are rendered, none of them twice."""
    data = Counted(1000, rendered=True)
    monkeypatch.setattr(TrainConfig, "open_source", lambda self, source, labels: data)
    stream = TrainingStream(load_config(root / "c.yaml"), LabelSet(CAMVID.classes), 800)
    stream._shares[:] = 0.5
    rng = np.random.default_rng(0)
    asked = [stream._index(0, i, rng) for i in range(0, 800, 2)]
    for index in asked:
        assert stream._store.read(0, index).rgb[0, 0, 0] == index % 256
    assert len(asked) == 400
    assert len(data.read) == len(set(data.read)) == len(set(asked)) <= 100 + SCENE_WINDOW
    assert max(asked) - min(asked) >= 90
    assert len(stream._store._rendered) <= SCENE_WINDOW


def test_the_benchmark_times_loader_and_training_in_turn(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(throughput, "ROUNDS", 1)
    monkeypatch.setattr(throughput, "WARM_UP_IMAGES", 4)
    monkeypatch.setattr(throughput, "SHORTEST_TRAINING_S", 0.0)
    words = ["benchmark", "--training", "--config", root / "c.yaml", "--data", root, "--json", tmp_path / "t.json"]
    threads = torch.get_num_threads()
    try:
        assert main(list(map(str, words))) == 0
    finally:
        torch.set_num_threads(threads)  # the configuration's would outlast this test
    numbers = json.loads((tmp_path / "t.json").read_text())
    loader, training = numbers["loader_images_per_s"], numbers["training_images_per_s"]
    assert loader > 0 and training > 0
    assert numbers["loader_speedup"] == pytest.approx(loader / training, rel=0.05)
    assert 0.05 < numbers["peak_memory_gb"] < 20
    assert (numbers["workers"], numbers["batch_size"], numbers["network"]) == (1, 2, "pidnet_s")
    assert "loader_speedup" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["t.json"]


@pytest.mark.parametrize(
    "words", [[], ["--training"], ["--training", "--config", "c.yaml", "--model", "m.onnx"]], ids=len
)
def test_a_benchmark_of_nothing_or_of_two_things_is_refused(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["benchmark", *words]) == 2
    assert "--config" in capsys.readouterr().err
