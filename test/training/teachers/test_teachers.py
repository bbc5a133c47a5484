"""Teachers: how regions become masks, and the real networks of torchvision and transformers with random weights, which say
nothing true."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="teachers need torch")

from seg_perception.cli import main  # noqa: E402
from seg_perception.errors import SegPerceptionError  # noqa: E402
from seg_perception.files import read_mask  # noqa: E402
from seg_perception.labels import CAMVID, CITYSCAPES, VOID  # noqa: E402
from seg_perception.training.teachers.base import Region, classes_of, painted  # noqa: E402
from seg_perception.training.teachers.mask_transformer import MaskTransformer  # noqa: E402

ROAD, CAR = 3, 8


def region(rows: list[list[int]], category: int, score: float) -> Region:
    return Region(np.array(rows, bool), category, score)


def test_the_surer_region_is_in_front_and_things_have_numbers() -> None:
    regions = [
        region([[1, 1, 0, 0]], 5, 0.9),
        region([[1, 1, 1, 0]], 6, 0.7),
        region([[0, 1, 1, 0]], 5, 0.8),
        region([[1, 1, 1, 1]], 99, 0.99),
    ]
    semantic, instance = painted(regions, {5: CAR, 6: ROAD}, CAMVID, (1, 4))
    assert semantic.tolist() == [[CAR, CAR, CAR, VOID]]
    assert instance.tolist() == [[2, 2, 1, 0]]
    stuff, none = painted([region([[1, 0]], 6, 0.5), region([[0, 1]], 5, 0.4)], {5: CAR, 6: ROAD}, CAMVID, (1, 2))
    assert (stuff.tolist(), none.tolist()) == ([[ROAD, CAR]], [[0, 1]])


def test_categories_become_classes_by_their_names() -> None:
    """A truck is a car to CamVid's set, where a wall is a building; a banana is nothing."""
    assert classes_of({0: "road", 2: "Truck", 7: "banana"}, CAMVID) == {0: ROAD, 2: CAR}
    with pytest.raises(SegPerceptionError, match="no category of the teacher"):
        classes_of({1: "banana", 2: "zebra crossing light"}, CAMVID)


class TwoQueries(torch.nn.Module):
    """Of an image of any size: the left half is category 1 with 0.9, all of it category 0 with 0.6."""

    config = SimpleNamespace(id2label={0: "road", 1: "car"}, model_type="mask2former")

    def forward(self, pixel_values: torch.Tensor) -> SimpleNamespace:
        self.seen = tuple(pixel_values.shape)
        logits = torch.tensor([[[0.05, 0.9, 0.05], [0.6, 0.1, 0.3], [0.2, 0.1, 0.7]]]).log()
        masks = torch.full((1, 3, 2, 4), 9.0)
        masks[0, 0, :, 2:] = -9.0
        return SimpleNamespace(class_queries_logits=logits, masks_queries_logits=masks)


def test_each_pixel_is_of_one_query_and_what_lost_most_of_itself_is_dropped() -> None:
    """Road keeps half of what it sees, less than 0.8; the third query is no object."""
    model = TwoQueries()
    regions = MaskTransformer(model, 64, 0.5)(np.zeros((30, 60, 3), np.uint8))
    assert model.seen == (1, 3, 32, 64)
    assert [(found.category, round(found.score, 2)) for found in regions] == [(1, 0.9)]
    assert regions[0].mask[:, :25].all() and not regions[0].mask[:, 35:].any()


def write_images(folder: Path) -> None:
    folder.mkdir()
    for name in ("a", "b"):
        noise = np.random.default_rng(ord(name)).integers(0, 256, (48, 64, 3), np.uint8)
        cv2.imwrite(str(folder / f"{name}.png"), noise)


def teach(folder: Path, *words: str) -> int:
    base = ["teach", "--images", str(folder / "images"), "--labels", "cityscapes", "--out", str(folder / "out")]
    return main([*base, *words])


def assert_masks(folder: Path) -> None:
    for name in ("a", "b"):
        semantic = read_mask(folder / "out" / f"{name}_labels.png", np.uint8)
        instance = read_mask(folder / "out" / f"{name}_instances.png", np.uint16)
        assert semantic.shape == instance.shape == (48, 64)
        assert set(np.unique(semantic)) <= {*range(len(CITYSCAPES)), VOID}


def test_mask2former_with_random_weights_labels_a_folder(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="mask2former needs transformers")
    swin = transformers.SwinConfig(
        embed_dim=8,
        depths=[1, 1, 1, 1],
        num_heads=[1, 1, 1, 1],
        window_size=2,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    config = transformers.Mask2FormerConfig(
        backbone_config=swin, hidden_dim=32, feature_size=32, mask_feature_size=32, num_queries=6, encoder_layers=1,
        decoder_layers=2, dim_feedforward=16, encoder_feedforward_dim=16, num_attention_heads=2,
        id2label={0: "road", 1: "car", 2: "person"},
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.Mask2FormerForUniversalSegmentation(config).save_pretrained(tmp_path / "weights")
    write_images(tmp_path / "images")
    words = ("--teacher", "mask2former", "--weights", str(tmp_path / "weights"), "--threshold", "0", "--long-side", "0")
    assert teach(tmp_path, *words) == 0
    assert_masks(tmp_path)


def test_mask_rcnn_with_random_weights_labels_a_folder(tmp_path: Path) -> None:
    detection = pytest.importorskip("torchvision.models.detection", reason="mask_rcnn needs torchvision")
    torch.manual_seed(0)
    network = detection.maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=3)
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    (tmp_path / "names.txt").write_text("background\ncar\nperson\n")
    write_images(tmp_path / "images")
    weights = ("--teacher", "mask_rcnn", "--long-side", "96", "--weights", str(tmp_path / "weights.pth"))
    assert teach(tmp_path, *weights, "--categories", str(tmp_path / "names.txt"), "--threshold", "0.3") == 0
    assert_masks(tmp_path)
    assert teach(tmp_path, *weights) == 2, "91 categories of COCO do not fit weights of 3"


def test_an_image_that_cannot_be_read_is_named_and_the_others_are_labelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Sky:
        categories = {7: "sky"}  # noqa: RUF012

        def __call__(self, rgb: np.ndarray) -> list[Region]:
            return [Region(np.ones(rgb.shape[:2], np.bool_), 7, 1.0)]

    monkeypatch.setattr("seg_perception.training.teachers.teach._teacher", lambda arguments: Sky())
    write_images(tmp_path / "images")
    (tmp_path / "images" / "aa.png").write_text("no image")
    assert teach(tmp_path, "--teacher", "eomt", "--weights", str(tmp_path)) == 1
    assert "aa.png" in capsys.readouterr().err
    assert_masks(tmp_path)
    words = ["--teacher", "eomt", "--weights", str(tmp_path), "--out", str(tmp_path / "images")]
    (tmp_path / "images" / "a_labels.png").write_bytes(b"drawn by hand")
    assert teach(tmp_path, *words) == 2 and "is one of the images" in capsys.readouterr().err


def test_what_is_not_there_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_images(tmp_path / "images")
    assert teach(tmp_path, "--teacher", "mask2former", "--weights", str(tmp_path / "nowhere")) == 2
    assert "there are no weights" in capsys.readouterr().err
    pytest.importorskip("transformers", reason="mask2former needs transformers")
    assert teach(tmp_path, "--teacher", "mask2former", "--weights", str(tmp_path / "images")) == 2
    assert "holds no model that transformers can open" in capsys.readouterr().err
