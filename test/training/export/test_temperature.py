"""Temperature: found again where it is known, exact in the graph, and refused where it cannot be."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from fakes import tiny_model
from hypothesis import given, settings
from hypothesis import strategies as st

from seg_perception import model_file
from seg_perception.backends.graph.edits import outputs_of
from seg_perception.backends.graph.half import to_half
from seg_perception.backends.onnx_runtime import OnnxRuntimeBackend
from seg_perception.cli import main
from seg_perception.errors import SegPerceptionError
from seg_perception.labels import CAMVID
from seg_perception.results import NetworkOutput
from seg_perception.training.export import temperature

SIZE_HW, GRID_HW = (64, 96), (16, 24)
FRAMES = 6
CLASSES = len(CAMVID)


def write_set(root: Path) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """CamVid's layout with frames that the fake below knows by their first pixel. Logits, and labels drawn by them."""
    rng = np.random.default_rng(0)
    logits, labels = [], []
    for part in ("images", "labels"):
        (root / "val" / part).mkdir(parents=True)
    for i in range(FRAMES):
        drawn = rng.normal(0, 2, (CLASSES, *GRID_HW)).astype(np.float32)
        odds = np.exp(drawn) / np.exp(drawn).sum(0)
        label = (odds.cumsum(0) < rng.random(GRID_HW)).sum(0).clip(0, CLASSES - 1).astype(np.uint8)
        logits.append(drawn)
        labels.append(label)
        image = np.full((*SIZE_HW, 3), i, np.uint8)
        cv2.imwrite(str(root / "val" / f"images/{i}.png"), image)
        cv2.imwrite(str(root / "val" / f"labels/{i}.png"), np.kron(label, np.ones((4, 4), np.uint8)))
    return logits, labels


class Known:
    """Logits of each frame, times a factor: as sure as the labels were drawn where that is 1."""

    def __init__(self, logits: list[np.ndarray], factor: float) -> None:
        self._logits, self._factor = logits, factor

    def infer(self, images: np.ndarray) -> NetworkOutput:
        logits = self._factor * self._logits[int(images[0, 0, 0, 0])][None]
        zero = np.zeros((1, 1, *GRID_HW), np.float32)
        return NetworkOutput(logits.astype(np.float32), zero, np.zeros((1, 2, *GRID_HW), np.float32))


@pytest.mark.parametrize("factor", [0.4, 1.0, 3.0])
def test_a_known_temperature_is_found_again(tmp_path: Path, factor: float) -> None:
    logits, _ = write_set(tmp_path / "camvid")
    found = temperature.fit(Known(logits, factor), SIZE_HW, ("camvid", tmp_path / "camvid", "val"), CAMVID)
    assert found == pytest.approx(factor, rel=0.06)


def test_labels_that_the_network_has_not_learned_are_refused(tmp_path: Path) -> None:
    logits, _ = write_set(tmp_path / "camvid")
    against = [-drawn for drawn in logits]
    with pytest.raises(SegPerceptionError, match="not what the network has learned"):
        temperature.fit(Known(against, 1.0), SIZE_HW, ("camvid", tmp_path / "camvid", "val"), CAMVID)


def test_a_category_that_is_like_no_class_is_unlabelled_as_for_evaluate(tmp_path: Path) -> None:
    """It was refused with a line for a configuration, which export has not."""
    logits, _ = write_set(tmp_path)
    for path in (tmp_path / "val/labels").iterdir():
        label = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        label[:8] = CLASSES
        cv2.imwrite(str(tmp_path / f"val/{path.stem}_mask.png"), label)
        (tmp_path / "val/images" / path.name).rename(tmp_path / "val" / path.name)
    rows = "\n".join(f"{number}, {name}" for number, name in enumerate((*CAMVID.names, "lamp post base")))
    (tmp_path / "val/_classes.csv").write_text(f"Pixel Value, Class\n{rows}\n")
    found = temperature.fit(Known(logits, 2.0), SIZE_HW, ("roboflow_masks", tmp_path, "val"), CAMVID)
    assert found == pytest.approx(2.0, rel=0.1)


@given(st.floats(-2.0, 2.0))
@settings(max_examples=30, deadline=None)
def test_the_valley_is_found(lowest: float) -> None:
    assert temperature._lowest(lambda x: (x - lowest) ** 2, -3.0, 3.0) == pytest.approx(lowest, abs=1e-6)


@pytest.mark.parametrize("words", ["warm", "nan", "0", "-1", "1e9", "inf"])
def test_words_that_are_no_temperature_are_refused(words: str) -> None:
    with pytest.raises(SegPerceptionError, match="write fit, or a number"):
        temperature.parse(words)


def test_logits_in_the_file_are_divided_and_divided_again(tmp_path: Path) -> None:
    tiny_model(tmp_path / "m.onnx")
    image = np.random.default_rng(0).integers(0, 256, (1, *SIZE_HW, 3), np.uint8)
    raw = OnnxRuntimeBackend(model_file.load(tmp_path / "m.onnx")).infer(image)
    words = ["export", "--fixed-size", "--temperature"]
    assert main([*words, "2.0", "--model", str(tmp_path / "m.onnx"), "--out", str(tmp_path / "t.onnx")]) == 0
    assert main([*words, "1.5", "--model", str(tmp_path / "t.onnx"), "--out", str(tmp_path / "u.onnx")]) == 0
    for name, divided_by in (("t", 2.0), ("u", 3.0)):
        info = model_file.load(tmp_path / f"{name}.onnx")
        found = OnnxRuntimeBackend(info).infer(image)
        assert info.temperature == pytest.approx(divided_by)
        assert info.parity["pixels_changed"] < 0.001  # weights are stored as float16
        np.testing.assert_allclose(found.semantic_logits * divided_by, raw.semantic_logits, rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(found.center_offset, raw.center_offset, rtol=1e-3, atol=1e-2)
    nodes = [node.name for node in onnx.load(str(tmp_path / "u.onnx")).graph.node]
    assert nodes.count("temperature") == 1


def test_a_fit_without_labels_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny_model(tmp_path / "m.onnx")
    words = ["export", "--model", str(tmp_path / "m.onnx"), "--out", str(tmp_path / "o.onnx"), "--temperature", "fit"]
    assert main(words) == 2
    assert "give --dataset" in capsys.readouterr().err
    assert not (tmp_path / "o.onnx").exists()


def test_a_float16_graph_of_a_divided_one_is_divided_again(tmp_path: Path) -> None:
    tiny_model(tmp_path / "tiny.onnx")
    _, plain = model_file.read(tmp_path / "tiny.onnx")
    once = to_half(temperature.tempered(plain, 2.0), [])
    images = [np.random.default_rng(0).integers(0, 256, (1, *SIZE_HW, 3), np.uint8)]
    (before,), (after,) = (outputs_of(model, images) for model in (once, temperature.tempered(once, 4.0)))
    np.testing.assert_allclose(after[0], before[0] / 4, rtol=1e-6)
