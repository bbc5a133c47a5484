"""benchmark: the table is complete, its sums are sums, and the naive path computes the same mask."""

from __future__ import annotations

import argparse
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ros_harness import make_tiny_model

from seg_perception import backends, cli, model_file
from seg_perception.benchmark import benchmark
from seg_perception.benchmark.benchmark import WARM_UP_FRAMES, drivable_shares
from seg_perception.benchmark.naive import LeanMasks, naive_masks, speedups
from seg_perception.camera.preprocess import Preprocessor
from seg_perception.camera_model import CameraModel, CameraPose
from seg_perception.ground.drivable import DrivableExtractor
from seg_perception.labels import CAMVID
from seg_perception.panoptic.decoder import PanopticSettings
from seg_perception.pipeline import Pipeline
from seg_perception.reports import benchmark_report
from seg_perception.results import Frame, Panoptic, Wants
from seg_perception.synthetic.drive import SyntheticDrive, random_scene


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("model") / "tiny.onnx")


def test_every_stage_is_timed_and_compared(tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = f"benchmark --mode offline --model {model} --size 320x192 --frames 5 --against naive --json {tmp_path}/b"
    assert cli.main(words.split()) == 0
    numbers = json.loads((tmp_path / "b").read_text())
    stages = ("preprocess", "network", "decode", "drivable", "tracking")
    stages += ("naive_preprocess", "naive_network", "naive_decode")
    stages += ("lean_preprocess", "lean_network", "lean_decode")
    assert tuple(numbers["stages_ms"]) == stages
    for values in (*numbers["stages_ms"].values(), numbers["total_ms"]):
        assert 0 <= values["p50"] <= values["p95"] <= values["p99"] <= values["max"]
    assert numbers["overhead_ms"]["p50"] <= numbers["total_ms"]["p50"]
    assert numbers["decode_ms"]["p50"] == numbers["stages_ms"]["decode"]["p50"]
    assert (
        min(
            numbers[f"{way}_{part}_speedup"] for way in ("lean", "naive") for part in ("decode", "overhead", "pipeline")
        )
        > 0
    )
    assert isinstance(numbers["rss_growth_mb"], float)
    assert (numbers["frames"], numbers["size"]) == (5, "320x192")
    assert tuple(numbers["drivable_ms"]) == ("areas", "grid", "free_space", "maps")
    for values in numbers["drivable_ms"].values():
        assert 0 < values["p50"] <= values["p95"]
    printed = capsys.readouterr().out
    assert all(f"\n{stage} " in printed for stage in (*stages, "total"))
    assert all(f"\n  drivable: {name} " in printed for name in ("areas", "grid", "free_space"))


def test_each_share_is_of_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    drive = SyntheticDrive(320, 192)
    masks = [Panoptic(f.semantic, f.instance, np.zeros_like(f.semantic), ()) for f in map(drive.frame, (0, 9))]
    asked: list[tuple[bool, ...]] = []
    poses: list[CameraPose] = []
    place = DrivableExtractor.set_camera

    def spy_extract(extractor: DrivableExtractor, panoptic: Panoptic, wants: Wants) -> None:
        assert extractor.ground_problem is None and any(panoptic is mask for mask in masks)
        asked.append((wants.areas, wants.grid, wants.free_space))

    def spy_place(
        extractor: DrivableExtractor, camera: CameraModel, pose: CameraPose, mask_hw: tuple[int, int]
    ) -> None:
        poses.append(pose)
        place(extractor, camera, pose, mask_hw)

    monkeypatch.setattr(DrivableExtractor, "extract", spy_extract)
    monkeypatch.setattr(DrivableExtractor, "set_camera", spy_place)
    assert set(drivable_shares(CAMVID, drive, masks, 4)) == {"areas", "grid", "free_space", "maps"}
    runs = 4 + WARM_UP_FRAMES
    one_by_one = [(True, False, False)] * runs + [(False, True, False)] * runs + [(False, False, True)] * runs
    assert asked == one_by_one + [(False, False, True)] * runs  # the last ones fill the maps, at another pose each
    assert len(poses) == 1 + runs and all(a != b for a, b in pairwise(poses))  # or nothing is made anew


def test_the_naive_path_gives_the_pipelines_semantic_mask(model: Path) -> None:
    info = model_file.load(model)
    backend = backends.choose(info, backend="onnxruntime", log=print)
    # nothing removed from the mask, so that both are the plain argmax
    settings = PanopticSettings(min_stuff_area=0, min_confidence=0.0)
    rgb = random_scene(np.random.default_rng(1), 192, 320)[0]
    ours = Pipeline(info, backend, panoptic=settings).run(Frame(rgb)).panoptic.semantic
    logits = backend.infer(Preprocessor(info.size_hw)(Frame(rgb))).semantic_logits[0]
    semantic, instance = naive_masks(logits, (320, 192), info.labels)
    assert np.mean(semantic != ours) < 1e-3  # ties and rounding
    things = info.labels.is_thing[semantic]
    np.testing.assert_array_equal(instance > 0, things)
    lean = LeanMasks(info.labels)
    lean(logits[::-1].copy(), (320, 192))
    for found, expected in zip(lean(logits, (320, 192)), (semantic, instance), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_speedups_are_of_medians_over_the_same_frames() -> None:
    samples = {
        "preprocess": [1.0, 1.0, 1.0],
        "network": [10.0, 10.0, 40.0],
        "decode": [2.0, 2.0, 50.0],
        "drivable": [1.0, 1.0, 1.0],
        "naive_preprocess": [3.0, 3.0, 3.0],
        "naive_network": [10.0, 10.0, 10.0],
        "naive_decode": [20.0, 17.0, 25.0],
    }
    # ours: decode 2, all but the network 4, in all 14; theirs: 20, 23, 33
    naive = {"naive_decode_speedup": 10.0, "naive_overhead_speedup": 5.75, "naive_pipeline_speedup": 2.36}
    assert speedups({**samples, "lean_decode": [1.0] * 3}, "naive_") == naive


def test_all_shipped_models_make_a_page_of_results(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark, "shipped_files", lambda: [model])

    def live(arguments: argparse.Namespace, size_wh: tuple[int, int]) -> dict[str, Any]:
        assert (arguments.model, size_wh) == (model, (320, 192))
        ages = {"p50": 20.2, "p95": 31.0, "max": 44.7}
        return {"end_to_end_fps": 41.5, "age_ms": ages, "end_to_end": {"overhead_ms": 6.54}}

    parser = argparse.ArgumentParser()
    benchmark.add_arguments(parser)
    words = ["--all", "--out", str(tmp_path), "--size", "320x192", "--frames", "3"]
    assert benchmark.run(parser.parse_args(words), live) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"README.md", "roofline.md", "tiny.json"}
    numbers = json.loads((tmp_path / "tiny.json").read_text())
    page = (tmp_path / "README.md").read_text()
    assert page == benchmark_report.markdown({"tiny": numbers})
    (row,) = (line for line in page.splitlines() if "tiny" in line)
    assert f"| 6.5 | {numbers['pipeline_fps']} | 41.5 | 20 / 31 / 45 |" in row
    assert numbers["machine"]["cpu"] in page


@pytest.mark.parametrize(
    "words",
    [
        ["--size", "640"],
        ["--size", "0x0"],
        ["--size", "1" * 5000 + "x720"],
        ["--size", "65536x65536"],
        ["--size", "16x4096"],
        ["--frames", "0"],
        ["--rate", "nan"],
        ["--seconds", "0"],
        ["--cameras", "0"],
        ["--cameras", "2", "--mode", "offline"],
        ["--all"],
    ],
    ids=" ".join,
)
def test_sizes_and_counts_that_make_no_sense_are_refused(
    model: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["benchmark", "--model", str(model), *words]) == 2
    assert words[0] in capsys.readouterr().err
