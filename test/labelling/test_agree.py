"""`label agree`: two exports of one job, and what their annotators do not agree on."""

from __future__ import annotations

import json
import re
from pathlib import Path

import cv2
import pytest
from street import proposed, write_job

from seg_perception.cli import main


@pytest.fixture
def exports(tmp_path: Path) -> tuple[Path, Path]:
    """The same by CVAT and by labelme; the second calls the tree of image b a building and draws a car of c too large."""
    job = write_job(tmp_path / "job", ["a", "b", "c"])
    assert main(proposed(job, tmp_path / "ann", "cvat")) == 0
    assert main(proposed(job, tmp_path / "ben", "labelme")) == 0
    path = tmp_path / "ben" / "b.json"
    path.write_text(path.read_text().replace('"label": "tree"', '"label": "building"'))
    path = tmp_path / "ben" / "c.json"
    content = json.loads(path.read_text())
    content["shapes"][-1]["points"] = [[93, 46], [122, 46], [122, 72], [93, 72]]
    path.write_text(json.dumps(content))
    return tmp_path / "ann", tmp_path / "ben"


def words(first: Path, second: Path, out: Path, *more: str) -> list[str]:
    return [
        "label",
        "agree",
        "--first",
        str(first),
        "--second",
        str(second),
        "--labels",
        "camvid",
        "--out",
        str(out),
        *more,
    ]


def test_the_worst_image_is_first_and_the_classes_are_named(
    exports: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(*exports, tmp_path / "out")) == 0
    assert re.search(r"3 images: mIoU 0\.\d+, PQ 0\.\d+, kappa 0\.9\d+", capsys.readouterr().out)
    content = json.loads((tmp_path / "out" / "agreement.json").read_text())
    assert [frame["name"] for frame in content["frames"]] == ["b", "c", "a"]
    assert content["frames"][-1]["agreed"] == 1.0
    assert set(content["confused"][0]["classes"]) == {"tree", "building"}
    by_class = {row["name"]: row for row in content["classes"]}
    assert by_class["building"]["iou"] == 0 and by_class["building"]["boundary_distance_px"] is None
    assert 0 < by_class["car"]["boundary_distance_px"] < 2 and by_class["car"]["pq"] > 0.9
    page = (tmp_path / "out" / "index.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 6 and "b: " in page and "a: 100" not in page
    assert not re.search(r"(src|href)=\"(?!data:)", page)


def test_an_image_that_only_one_labelled_hides_none_of_the_worst(exports: tuple[Path, Path], tmp_path: Path) -> None:
    path = exports[1] / "a.json"
    content = json.loads(path.read_text())
    content["shapes"] = [{**content["shapes"][0], "label": "void"}]
    path.write_text(json.dumps(content))
    assert main(words(*exports, tmp_path / "out", "--worst", "1")) == 0
    frames = json.loads((tmp_path / "out" / "agreement.json").read_text())["frames"]
    assert [(frame["name"], frame["agreed"] is None) for frame in frames] == [("b", False), ("c", False), ("a", True)]
    assert "b: " in (tmp_path / "out" / "index.html").read_text()


def test_it_is_the_same_the_other_way_round(exports: tuple[Path, Path], tmp_path: Path) -> None:
    for out, pair in (("one", exports), ("two", exports[::-1])):
        assert main(words(*pair, tmp_path / out, "--worst", "0")) == 0
    one, two = (
        json.loads((tmp_path / out / "agreement.json").read_text(), parse_float=lambda text: round(float(text), 9))
        for out in ("one", "two")
    )
    assert one == two


def test_what_one_of_them_did_not_label_is_told(
    exports: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (exports[1] / "a.json").unlink()
    image = cv2.imread(str(exports[1] / "c.png"))
    cv2.imwrite(str(exports[1] / "c.png"), image[:80])
    content = json.loads((exports[1] / "c.json").read_text())
    (exports[1] / "c.json").write_text(json.dumps({**content, "imageHeight": 80}))
    content = json.loads((exports[1] / "b.json").read_text())
    content["shapes"].append({"label": "car", "points": [[1, 1], [9, 9]], "shape_type": "polygon"})
    (exports[1] / "b.json").write_text(json.dumps(content))
    assert main(words(*exports, tmp_path / "out")) == 1
    error = capsys.readouterr().err
    assert re.search(r"1 shapes have fewer than 3 points.*shape \d+ \('car'\) of .*b\.json", error)
    assert "1 images were labelled by the first alone, the first is a" in error
    assert "c is 144x96 in the first and 144x80 in the second" in error


def test_two_jobs_without_a_common_image_are_refused(
    exports: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write_job(tmp_path / "other", ["x"])
    assert main(proposed(other, tmp_path / "x", "coco")) == 0
    assert main(words(exports[0], tmp_path / "x", tmp_path / "out")) == 2
    assert "no image in common: the first has a, b, the second x" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
