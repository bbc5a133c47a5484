"""compare: hand-worked differences, intervals that hold what they promise, limits that stop a build."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from eval_fixtures import picture
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper
from ros_harness import make_tiny_model

from seg_perception import backends, cli, model_file
from seg_perception.errors import SegPerceptionError
from seg_perception.evaluation.compare import EXIT_BROKEN, Baseline
from seg_perception.files import write_image
from seg_perception.labels import CAMVID, VOID
from seg_perception.metrics import bootstrap
from seg_perception.metrics.differences import Difference, compare
from seg_perception.metrics.frame_scores import FrameScores
from seg_perception.metrics.limits import Limit
from seg_perception.metrics.per_frame import PerFrame
from seg_perception.metrics.run_report import RunReport
from seg_perception.metrics.scores import Scores
from seg_perception.pipeline import Pipeline
from seg_perception.reports import compare_page
from seg_perception.results import Frame, Truth

FRAMES = 40
PIXELS = 1000
"""Of each of the two classes in every frame of `numbers`."""


def numbers(misses: Sequence[int], classes: tuple[str, str] = ("road", "car"), **more: Any) -> dict[str, Any]:
    """A report of frames in which so many of the 1000 road pixels were taken for car, and nothing else is wrong."""
    missed = sum(misses)
    road = (PIXELS * len(misses) - missed) / (PIXELS * len(misses))
    car = PIXELS * len(misses) / (PIXELS * len(misses) + missed)
    rows = [
        {
            "name": f"{place:03}",
            "stamp_ns": place,
            "miou": 0.0,
            "confusion": [[0, 0, PIXELS - miss], [0, 1, miss], [1, 1, PIXELS]],
            "pq": {},
            "age_ms": None,
            "network_ms": None,
        }
        for place, miss in enumerate(misses)
    ]
    return {
        "source": "drive",
        "model": "tiny",
        "frames": len(misses),
        "miou": (road + car) / 2,
        "iou": {classes[0]: road, classes[1]: car},
        "pq": None,
        "fps": 20.0,
        "machine": {"cores": 2},
        "classes": list(classes),
        "per_frame": rows,
    } | more


def spread(mean: int, seed: int, frames: int = FRAMES) -> list[int]:
    """Misses of so many frames, about mean."""
    return np.random.default_rng(seed).integers(0, 2 * mean + 1, frames).tolist()


def saved(path: Path, content: dict[str, Any]) -> Path:
    path.write_text(json.dumps(content))
    return path


def run(*words: object) -> int:
    return cli.main(["compare", *map(str, words)])


def difference(a: dict[str, Any], b: dict[str, Any], **options: Any) -> dict[str, Difference]:
    return dict(compare(RunReport("A", a), RunReport("B", b), **options).differences)


def test_differences_are_worked_out_by_hand() -> None:
    # A: 100 of 1000 road pixels missed a frame: road 0.9, car 1000 / 1100; B: 200: road 0.8, car 1000 / 1200
    a, b = numbers([50, 150] * 10), numbers([200] * 20, fps=25.0)
    found = difference(a, b)
    expected = {
        "iou.road": 0.8 - 0.9,
        "iou.car": 1000 / 1200 - 1000 / 1100,
        "miou": (0.8 + 1000 / 1200) / 2 - (0.9 + 1000 / 1100) / 2,
        "fps": 5.0,
        "frames": 0,
    }
    assert {key: row.change for key, row in found.items()} == pytest.approx(expected)
    for key in ("iou.road", "iou.car", "miou"):
        assert found[key].low < found[key].change < found[key].high < 0 and found[key].is_clear
    assert (found["fps"].low, found["fps"].is_clear) == (None, False)  # one number a run has no spread


def test_equal_reports_differ_by_nothing(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.json", numbers(spread(100, 1)))
    assert run(path, path, "--json", tmp_path / "d.json", "--fail-if", "miou<-0.0", "--fail-if", "iou.car<-0.0") == 0
    told = json.loads((tmp_path / "d.json").read_text())
    assert {(row["difference"], row["low"], row["high"]) for row in told["differences"].values()} <= {
        (0.0, 0.0, 0.0),
        (0.0, None, None),
    }
    assert told["differences"]["miou"]["low"] == 0.0 and told["notes"] == []


def test_with_a_limit_labelled_frames_that_are_lost_break_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where what is left is better than ever."""
    old, new = numbers([100] * 20), numbers([50] * 20)
    for row in new["per_frame"][:3]:
        row["confusion"] = []
    a, b = saved(tmp_path / "a.json", old), saved(tmp_path / "b.json", new)
    assert run(a, b) == 0
    assert run(a, b, "--fail-if", "miou<-0.01", "--json", tmp_path / "d.json") == EXIT_BROKEN
    assert "3 labelled frames" in capsys.readouterr().err
    assert json.loads((tmp_path / "d.json").read_text())["lost_frames"] == 3
    assert run(b, a, "--fail-if", "miou<-0.5") == 0, "more is no loss"
    del new["per_frame"][:3]
    assert run(a, saved(tmp_path / "c.json", new), "--fail-if", "miou<-0.01") == EXIT_BROKEN


def test_frames_that_lost_their_objects_break_a_limit_and_pq_is_of_those_that_both_have(tmp_path: Path) -> None:
    old, new = (numbers([100] * 20, pq=0.5, pq_class={"car": 0.5}, thing_classes=["car"]) for _ in range(2))
    for report in (old, new):
        for place, row in enumerate(report["per_frame"]):
            row["pq"] = {"road": [0.9, 1, 0, 0], "car": [0.8, 1, place < 2, 0]}
    for row in new["per_frame"][:2]:
        row["pq"] = {}
    found = difference(old, new)
    assert found["pq"].change == 0.0 and found["pq_class.car"].a == pytest.approx(0.8)
    a, b = saved(tmp_path / "a.json", old), saved(tmp_path / "b.json", new)
    assert run(a, b) == 0 and run(a, b, "--fail-if", "miou<-0.01") == EXIT_BROKEN


def test_a_worse_model_is_caught(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = saved(tmp_path / "a.json", numbers([100] * 20)), saved(tmp_path / "b.json", numbers([200] * 20))
    out = tmp_path / "out"
    assert run(good, bad, "--fail-if", "miou<-0.01", "--fail-if", "iou.car>0.99", "--out", out) == EXIT_BROKEN == 3
    printed = capsys.readouterr()
    assert "broken: miou<-0.01 (the difference is -0.08" in printed.err and "kept: iou.car>0.99" in printed.out
    assert run(bad, good, "--fail-if", "miou<-0.01") == 0
    told = json.loads((out / "compare.json").read_text())
    assert [limit["broken"] for limit in told["limits"]] == [True, False]
    page = (out / "compare.html").read_text()
    assert "broken: miou&lt;-0.01" in page and page.count("data:image/png;base64,") == 1 and 'src="http' not in page


def test_a_number_with_a_sign_limits_the_difference_and_one_without_the_run(tmp_path: Path) -> None:
    a = saved(tmp_path / "a.json", numbers([100] * 20, age_ms={"p50": 60.0, "p95": 90.0}))
    b = saved(tmp_path / "b.json", numbers([100] * 20, age_ms={"p50": 60.0, "p95": 101.0}))
    for limit, code in {
        "age_ms.p95>100": 3,
        "age_ms.p95>101": 0,
        "age_ms.p95 > +10": 3,
        "age_ms.p95>+11.5": 0,
        "age_ms.p50<1e2": 3,
        "miou<-0.01": 0,
        "miou<.5": 0,
        "iou.road<0.95": 3,
    }.items():
        assert run(a, b, "--fail-if", limit) == code, limit
    assert run(b, a, "--fail-if", "age_ms.p95>100") == 0


@pytest.mark.parametrize("words", ["miou", "miou<", "<0.1", "miou<=0.1", "miou<-", "miou<0.1%", "miou=3", "a<1<2"])
def test_limits_that_say_nothing_are_refused(words: str) -> None:
    with pytest.raises(SegPerceptionError, match="KEY<NUMBER"):
        Limit.parse(words)


@given(st.floats(0, 1e6), st.sampled_from("<>"), st.sampled_from(["", "+", "-"]), st.floats(-1e6, 1e6))
def test_limits_say_what_they_mean(value: float, side: str, sign: str, number: float) -> None:
    limit = Limit.parse(f"iou.traffic light {side} {sign}{value!r}")
    assert (limit.key, limit.of_difference) == ("iou.traffic light", bool(sign))
    bound = -value if sign == "-" else value
    assert limit.is_broken(number) == (number < bound if side == "<" else number > bound)


def test_unknown_names_are_answered_with_the_nearest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = saved(tmp_path / "a.json", numbers([100] * 20))
    for limit, sentence in {
        "iou.cars<-0.01": "did you mean 'iou.car'?",
        "miuo<0.5": "did you mean 'miou'?",
        "pq<-0.01": "'pq', but the comparison has no such number",
        "pq<0.4": "has no value there",
    }.items():
        assert run(path, path, "--fail-if", limit) == 2
        assert sentence in capsys.readouterr().err


def test_files_that_are_no_reports_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = saved(tmp_path / "a.json", numbers([100] * 20))
    (tmp_path / "cut.json").write_text(good.read_text()[:200])
    (tmp_path / "deep.json").write_text("[" * 99999)
    broken = numbers([100] * 20)
    broken["per_frame"][3]["confusion"] = [[0, 3, 7]]
    for path, sentence in (
        (tmp_path / "none.json", "cannot be read"),
        (tmp_path / "cut.json", "is no JSON"),
        (tmp_path / "deep.json", "is no JSON"),
        (saved(tmp_path / "list.json", {"miou": 1}), "is no report"),
        (saved(tmp_path / "model.json", numbers([100] * 20, model=math.nan)), "model"),
        (saved(tmp_path / "source.json", numbers([100] * 20, source=["drive"])), "source"),
        (saved(tmp_path / "broken.json", broken), "the frames in"),
    ):
        assert run(good, path) == 2
        assert sentence in capsys.readouterr().err
    assert run(good, good, "--block", 0) == 2
    named = {key: value for key, value in numbers([100] * 20).items() if key != "source"}
    out = tmp_path / "compare.json"
    assert run(good, saved(tmp_path / "unnamed.json", named), "--json", out) == 0 and out.is_file()


def test_other_data_is_refused_unless_forced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = numbers(spread(100, 1))
    elsewhere, relabelled = numbers(spread(100, 2)), numbers(spread(100, 2))
    for row in elsewhere["per_frame"]:
        row["name"] = "other " + row["name"]
    relabelled["per_frame"][7]["confusion"][2][2] += 1
    unlike = numbers(spread(100, 2), source="another drive", per_frame=[])
    first = saved(tmp_path / "a.json", a)
    for content, sentence in (
        (elsewhere, "no frame in common"),
        (relabelled, "1 frames, '007' the first, have other labels"),
        (unlike, "of another drive"),
    ):
        other = saved(tmp_path / "b.json", content)
        assert run(first, other) == 2
        assert sentence in capsys.readouterr().err
        with pytest.raises(SegPerceptionError, match=sentence):
            difference(a, content)
        assert run(first, other, "--force", "--json", tmp_path / "d.json") == 0
        row = json.loads((tmp_path / "d.json").read_text())["differences"]["miou"]
        assert row["difference"] == pytest.approx(content["miou"] - a["miou"], abs=1e-5)


def test_whole_numbers_of_both_have_an_interval_that_is_none() -> None:
    """As a tool leaves them that writes 10.0 as 10: `jq . report.json`."""
    rows = {"age_ms.p50": Difference(10, 12, 1.25, 2.75), "frames": Difference(3, 4)}
    assert [compare_page._cells(row) for row in rows.values()] == [
        ("10", "12", "+2", "[+1.25, +2.75]"),
        ("3", "4", "+1", ""),
    ]


def test_pairs_make_intervals_narrower() -> None:
    hard = spread(400, 1)  # frames differ much, the models little
    a, b = numbers(hard), numbers([miss + 20 for miss in hard])
    paired = difference(a, b)["miou"]
    for row in b["per_frame"]:
        row["name"] = "other " + row["name"]
    result = compare(RunReport("A", a), RunReport("B", b), force=True)
    apart = result.differences["miou"]
    assert paired.change == pytest.approx(apart.change)
    assert 10 * (paired.high - paired.low) < apart.high - apart.low
    assert paired.is_clear and not apart.is_clear
    assert "nothing is paired" in result.notes[0]


def test_frames_that_only_one_report_holds_are_left_out() -> None:
    a, b = numbers([100] * 20 + [900] * 3), numbers([100] * 20)
    b["per_frame"].reverse()
    result = compare(RunReport("A", a), RunReport("B", b))
    assert (result.differences["miou"].change, result.differences["miou"].a) == (0.0, pytest.approx(b["miou"]))
    assert "the 20 labelled frames" in result.notes[0] and "3 of A, 0 of B" in result.notes[0]


def test_label_sets_share_what_they_both_name() -> None:
    # road alone is in both: 100 of 1000 missed, then 200; what is labelled car or truck counts nowhere
    a, b = numbers([100] * 20, ("road", "car")), numbers([200] * 20, ("road", "truck"), ap=0.5)
    result = compare(RunReport("A", a), RunReport("B", b))
    assert result.differences["iou.road"].change == pytest.approx(-0.1)
    assert result.differences["miou"].change == pytest.approx(-0.1)
    assert set(result.differences) == {"frames", "miou", "iou.road", "fps"}
    assert "'car' (A), 'truck' (B)" in result.notes[0]


def test_a_class_of_few_frames_has_no_interval() -> None:
    a, b = numbers([100] * 20), numbers([100] * 20)
    for content, hits in ((a, 900), (b, 600)):
        content["classes"].append("sign")
        content["iou"]["sign"] = hits / 1000
        for row in content["per_frame"][:2]:
            row["confusion"] += [[2, 2, hits], [2, 3, 1000 - hits]]
    found = difference(a, b)
    assert found["iou.sign"].change == pytest.approx(-0.3)
    assert found["iou.sign"].low is None and found["iou.road"].low == 0.0
    assert difference(numbers([100] * 9), numbers([200] * 9))["miou"].low is None


def test_times_have_intervals_of_their_percentiles() -> None:
    a, b = numbers([100] * 200), numbers([100] * 200)
    generator = np.random.default_rng(5)
    for content, mean in ((a, 50.0), (b, 60.0)):
        ages = generator.normal(mean, 5.0, 200)
        for row, age in zip(content["per_frame"], ages.tolist()):
            row["age_ms"] = age
        content["age_ms"] = {"p50": float(np.median(ages)), "max": float(ages.max())}
    found = difference(a, b)
    row = found["age_ms.p50"]
    assert row.change == pytest.approx(b["age_ms"]["p50"] - a["age_ms"]["p50"])
    # standard error of the difference of two medians: 5 sqrt(pi / 2 / 200 * 2) = 0.63
    assert row.low < row.change < row.high and 2 * 1.96 * 0.4 < row.high - row.low < 2 * 1.96 * 0.9
    assert found["age_ms.max"].low is None  # no bootstrap of a maximum


def camvid_report(seed: int, frames: int = 6) -> tuple[dict[str, Any], Scores]:
    """Random masks with instances, judged by the evaluation's own metrics."""
    scores, generator = Scores(CAMVID), np.random.default_rng(seed)
    rows = PerFrame(scores)
    for number in range(frames):
        true = np.random.default_rng(number).choice(np.array([0, 3, 4, 8, 9, VOID], np.uint8), (8, 9)).repeat(3, 0)
        answer = np.where(generator.random(true.shape) < 0.3, generator.integers(0, 11, true.shape), true)
        ones = np.ones(true.shape, np.uint16)
        scores.add(answer.astype(np.uint8), ones, Truth(true, ones))
        rows.add(f"{number}", number, instances=True)
    found = {
        "source": "random",
        "model": "tiny",
        **scores.summary(),
        "classes": list(CAMVID.names),
        "per_frame": rows.rows,
    }
    return found, scores


@pytest.mark.parametrize(
    "change",
    [
        {"confusion": [[0, 0, 10**400]]},
        {"confusion": [[0, 0, math.inf]]},
        {"pq": {"road": [10**400, 1, 0, 0]}},
        {"age_ms": "late"},
    ],
)
def test_frames_that_hold_no_numbers_are_named(
    change: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content, _ = camvid_report(1)
    times = {"age_ms": {f"p{share}": 5.0 for share in (50, 95, 99)}}
    rows = [{**row, "age_ms": 5.0} for _ in range(400) for row in content["per_frame"][:1]]
    good = saved(tmp_path / "a.json", {**content, **times, "per_frame": rows})
    bad = saved(tmp_path / "b.json", {**content, **times, "per_frame": [rows[0] | change, *rows[1:]]})
    assert run(good, bad) == 2
    told = capsys.readouterr().err
    assert str(bad) in told and "write the report again" in told and "Traceback" not in told


@pytest.mark.parametrize("value", [math.inf, math.nan, 10**400, True, "fast"])
def test_what_is_no_number_is_not_compared(value: Any) -> None:
    a, b = {"model": "m", "miou": 0.5, "fps": value}, {"model": "m", "miou": 0.6, "fps": 3.0}
    assert set(difference(a, b)) == {"miou"}


@pytest.mark.parametrize("names", [0.5, [1], [["car"]], None])
def test_what_is_no_list_of_classes_tells_no_parts(names: Any) -> None:
    (a, _), (b, _) = camvid_report(1), camvid_report(2)
    assert "pq_things" not in {
        key for key, row in difference({**a, "thing_classes": names}, b).items() if row.low is not None
    }


def test_sums_of_all_frames_are_the_metrics_of_the_report() -> None:
    (a, _), (b, _) = camvid_report(1), camvid_report(2)
    found = difference(a, b)
    exact = ["miou", "pixel_accuracy", "dice", "drivable_iou", "drivable_false_positives", "pq", "sq", "rq"]
    exact += [f"{name}_{part}" for name in ("pq", "sq", "rq") for part in ("things", "stuff")]
    for content, side in ((a, "a"), (b, "b")):
        report = RunReport(side, content)
        places = np.arange(len(report.labelled))
        words = {"things": content["thing_classes"], "drivable": content["drivable_classes"], "panoptic": True}
        scores = FrameScores(report, places, report.classes, **words)(np.ones((1, len(places))))
        for key in exact:
            assert scores[key][0] == pytest.approx(content[key], abs=1e-12), key
            assert getattr(found[key], side) == pytest.approx(content[key], abs=1e-12), key
        for part in ("iou", "dice_class", "pq_class"):
            for name, value in content[part].items():
                expected = math.nan if value is None else value
                assert scores[f"{part}.{name}"][0] == pytest.approx(expected, abs=1e-12, nan_ok=True), (part, name)


def test_many_choices_of_frames_are_measured_as_one_by_one() -> None:
    report = RunReport("A", camvid_report(3)[0])
    scores = FrameScores(report, np.arange(6), report.classes)
    weights = bootstrap.weights(np.random.default_rng(0), 6, 4, block=1)
    together = scores(weights)
    for place, counts in enumerate(weights.astype(int)):
        again = FrameScores(report, np.repeat(np.arange(6), counts), report.classes)(np.ones((1, 6)))
        for key, values in again.items():
            np.testing.assert_allclose(together[key][place], values[0], rtol=1e-12)


@settings(deadline=None)
@given(st.integers(1, 30), st.integers(1, 12), st.integers(0, 99))
def test_resamples_hold_as_many_frames_as_there_are(frames: int, block: int, seed: int) -> None:
    weights = bootstrap.weights(np.random.default_rng(seed), frames, 5, block)
    assert weights.shape == (5, frames) and (weights.sum(axis=1) == frames).all() and weights.min() >= 0


def test_blocks_are_of_neighbours() -> None:
    windows = [np.roll([1, 1, 1, 1, 0, 0, 0, 0], shift) for shift in range(8)]
    possible = {tuple(one + other) for one in windows for other in windows}
    rows = {tuple(row) for row in bootstrap.weights(np.random.default_rng(0), 8, 500, block=4)}
    assert rows == possible
    # neighbours that are alike: drawing them together shows the doubt that drawing each by itself hides
    misses = np.repeat(spread(200, 3, 10), 10).tolist()
    a, b = numbers([200] * 100), numbers(misses)
    narrow, wide = difference(a, b)["miou"], difference(a, b, block=10)["miou"]
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)


@settings(deadline=None)
@given(st.lists(st.floats(0, 1e3), min_size=1, max_size=12), st.sampled_from([0, 50, 95, 99, 100]), st.integers(0, 99))
def test_percentiles_of_a_resample_are_those_of_its_values(values: list[float], share: int, seed: int) -> None:
    weights = bootstrap.weights(np.random.default_rng(seed), len(values), 3, block=1)
    found = bootstrap.percentiles_statistic(values, {"p": share})(weights)["p"]
    for row, counts in zip(found, weights.astype(int)):
        assert row == pytest.approx(np.percentile(np.repeat(values, counts), share), abs=1e-9)


def test_intervals_hold_the_true_difference_about_as_often_as_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """Road pixels are missed with a rate that differs from frame to frame, in A by 0.10 on average, in B by 0.15. Over
    endless frames road has IoU 1 - rate and car 1 / (1 + rate), so the difference in mIoU is known."""
    monkeypatch.setattr(bootstrap, "RESAMPLES", 400)
    true = ((0.85 + 1 / 1.15) - (0.90 + 1 / 1.10)) / 2
    generator = np.random.default_rng(11)
    held, trials = 0, 120
    for _ in range(trials):
        common = generator.random(60)  # a hard frame is hard for both
        rates = [mean * (0.5 * common + 0.75 + 0.5 * (generator.random(60) - 0.5)) for mean in (0.10, 0.15)]
        a, b = (RunReport("", numbers(generator.binomial(PIXELS, rate).tolist())) for rate in rates)
        scores = [FrameScores(report, np.arange(60), report.classes) for report in (a, b)]
        low, high = bootstrap.intervals(scores[0], scores[1], (60, 60), paired=True)["miou"]
        held += low <= true <= high
    assert 0.88 <= held / trials <= 0.995


def test_a_baseline_is_checked_before_and_judged_after(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.json", numbers([100] * 20))
    with pytest.raises(SegPerceptionError, match="did you mean 'miou'"):
        Baseline(path, ["miu<-0.01"])
    baseline = Baseline(path, ["miou<-0.01"])
    assert baseline.judge(numbers([200] * 20), tmp_path / "out") == EXIT_BROKEN
    assert (tmp_path / "out" / "compare.html").is_file()
    assert baseline.judge(numbers([100] * 20), tmp_path / "out") == 0


def write_data(folder: Path, model: Path) -> None:
    """A data set laid out as CamVid, labelled by the model itself."""
    info = model_file.load(model)
    pipeline = Pipeline(info, backends.choose(info, backend="onnxruntime", log=print))
    for number in range(12):
        rgb = picture(number)
        write_image(folder / "val" / "images" / f"{number:03}.png", rgb)
        write_image(folder / "val" / "labels" / f"{number:03}.png", pipeline.run(Frame(rgb)).panoptic.semantic)


def write_worse_model(path: Path, model: Path) -> None:
    """The same model, but blind to the sky."""
    spoilt = onnx.load(str(model))
    weights = next(tensor for tensor in spoilt.graph.initializer if tensor.name == "to_logits")
    values = numpy_helper.to_array(weights).copy()
    values[CAMVID.by_name("sky").id] = -1.0
    weights.CopyFrom(numpy_helper.from_array(values, "to_logits"))
    model_file.save(spoilt, path)


def test_evaluate_stops_a_worse_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, worse = make_tiny_model(tmp_path / "tiny.onnx"), tmp_path / "worse.onnx"
    write_worse_model(worse, model)
    write_data(tmp_path / "data", model)
    data = ["evaluate", "--dataset", "camvid", "--root", str(tmp_path / "data"), "--backend", "onnxruntime"]
    before, limit = str(tmp_path / "before" / "report.json"), ["--fail-if", "miou<-0.01"]
    assert cli.main([*data, "--model", str(model), "--out", str(tmp_path / "before")]) == 0
    again = [*data, "--baseline", before, *limit]
    assert cli.main([*again, "--model", str(model), "--out", str(tmp_path / "again")]) == 0
    row = json.loads((tmp_path / "again" / "compare.json").read_text())["differences"]["miou"]
    assert (row["a"], row["difference"], row["low"], row["high"]) == (1.0, 0.0, 0.0, 0.0)
    assert cli.main([*again, "--model", str(worse), "--out", str(tmp_path / "after")]) == EXIT_BROKEN
    assert "broken: miou<-0.01" in capsys.readouterr().err
    told = json.loads((tmp_path / "after" / "compare.json").read_text())
    assert told["differences"]["miou"]["high"] < 0 and told["notes"] == []
    for words, sentence in (
        (limit, "give --baseline"),
        (["--baseline", before, "--fail-if", "mou<-0.01"], "did you mean 'miou'?"),
    ):
        assert cli.main([*data, *words, "--model", "none.onnx", "--out", str(tmp_path / "none")]) == 2
        assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(("frames", "known"), [(30, {"p50"}), (40, {"p50", "p95"}), (200, {"p50", "p95", "p99"})])
def test_rare_percentiles_of_few_frames_have_no_interval_and_say_so(
    tmp_path: Path, frames: int, known: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = numbers([100] * frames), numbers([100] * frames)
    for content, seed in ((a, 1), (b, 2)):
        ages = np.random.default_rng(seed).lognormal(3, 0.4, frames)
        for row, age in zip(content["per_frame"], ages.tolist()):
            row["age_ms"] = age
        content["age_ms"] = {f"p{share}": float(np.percentile(ages, share)) for share in (50, 95, 99)}
    found = difference(a, b)
    assert {name for name in ("p50", "p95", "p99") if found[f"age_ms.{name}"].low is not None} == known
    assert all(found[f"age_ms.{name}"].too_few_frames == (name not in known) for name in ("p50", "p95", "p99"))
    assert run(saved(tmp_path / "a.json", a), saved(tmp_path / "b.json", b), "--out", tmp_path / "out") == 0
    assert ("too few frames" in capsys.readouterr().out) == (known != {"p50", "p95", "p99"})
    assert (">too few frames<" in (tmp_path / "out" / "compare.html").read_text()) == (len(known) < 3)
    if frames == 200:
        assert difference(a, b, block=5)["age_ms.p99"].too_few_frames, "of blocks there are fewer"


@pytest.mark.parametrize(
    "content",
    ["[]", "[1, 2]", "3", "null", '"text"', '{"model": "m", "classes": 5}', '{"model": "m", "per_frame": 7}',
     '{"model": "m", "iou": [1], "per_frame": [3]}', '{"model": "m", "per_frame": null}'],
)  # fmt: skip
def test_what_is_no_report_is_named_whatever_it_is(
    tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = saved(tmp_path / "a.json", numbers([100] * 4)), tmp_path / "b.json"
    bad.write_text(content)
    for pair in ((good, bad), (bad, good)):
        assert run(*pair) == 2
        (sentence,) = capsys.readouterr().err.splitlines()
        assert "b.json" in sentence


def test_a_limit_may_name_a_class_whatever_it_is_called() -> None:
    for name in ("iou.<b>bold</b>", "iou.a < b", "iou.$x$", "iou.100 %"):
        limit = Limit.parse(f"{name} < 0.5")
        assert (limit.key, limit.above, limit.value) == (name, False, 0.5)
