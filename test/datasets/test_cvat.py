"""CVAT's XML, as its exporter and its documentation have it."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_datasets import photo
from test_tools import numbers, picture

from seg_perception.datasets import open_dataset
from seg_perception.errors import SegPerceptionError
from seg_perception.labels import CAMVID

IMAGE = '<image id="0" name="a.png" {more} width="4" height="4">{shapes}</image>'
ROAD = (
    '<polygon label="Road" source="manual" occluded="0" points="0.0,0.0;4.0,0.0;4.0,4.0;0.0,4.0" z_order="0"></polygon>'
)
BOX = '<box label="car" source="manual" occluded="0" xtl="0.0" ytl="0.0" xbr="2.0" ybr="2.0" z_order="{z}"{more}></box>'


def xml(root: Path, *shapes: str, more: str = "", extra: str = "") -> Path:
    photo(root / "images" / "a.png", 4, 4)
    image = IMAGE.format(more=more, shapes="\n".join(shapes))
    text = (
        f'<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>{image}{extra}</annotations>\n'
    )
    (root / "annotations.xml").write_text(text)
    return root


def test_shapes_of_all_kinds_lie_as_their_z_order_says(tmp_path: Path) -> None:
    mask = '<mask label="tree" occluded="0" rle="1, 2, 1" left="2" top="2" width="2" height="2" z_order="2"></mask>'
    line = '<polyline label="pole" occluded="0" points="0,0;3,3" z_order="9"></polyline>'
    xml(tmp_path, BOX.format(z=1, more=""), ROAD, mask, line)
    assert picture(tmp_path, "cvat") == ["ccrr", "ccrr", "rrrt", "rrtr"]
    (remark,) = open_dataset("cvat", tmp_path, "", CAMVID).read(0).remarks
    assert "have no area" in remark.kind and "shape 4 ('pole')" in remark.where
    xml(tmp_path, BOX.format(z=-1, more=""), ROAD)
    assert picture(tmp_path, "cvat") == ["rrrr"] * 4


def test_boxes_turn_around_their_middle_and_an_ellipse_is_filled(tmp_path: Path) -> None:
    box = '<box label="car" xtl="1.0" ytl="0.0" xbr="3.0" ybr="4.0" rotation="90.0" z_order="0"></box>'
    xml(tmp_path, box)
    assert picture(tmp_path, "cvat") == ["....", "cccc", "cccc", "...."]
    xml(tmp_path, '<ellipse label="tree" cx="2.00" cy="2.00" rx="2.00" ry="1.00" z_order="0"></ellipse>')
    rows = picture(tmp_path, "cvat")
    assert rows[0] == rows[3] == "...." and rows[1].strip(".") and rows[2].strip(".")


def test_a_box_that_nobody_turned_is_upright(tmp_path: Path) -> None:
    xml(tmp_path, BOX.format(z=0, more="").replace("2.0", "90.0"))
    path = tmp_path / "annotations.xml"
    path.write_text(path.read_text().replace('width="4" height="4"', 'width="100" height="100"'))
    photo(tmp_path / "images/a.png", 100, 100)
    label = open_dataset("cvat", tmp_path, "", CAMVID)[0].label
    assert (label[:90, :90] == 0).all() and (label == 0).sum() == 8100


def test_a_group_is_one_thing(tmp_path: Path) -> None:
    second = BOX.format(z=0, more=' group_id="5"').replace('xtl="0.0"', 'xtl="3.0"').replace('xbr="2.0"', 'xbr="4.0"')
    xml(
        tmp_path,
        BOX.format(z=0, more=' group_id="5"'),
        second,
        BOX.format(z=1, more="").replace('ybr="2.0"', 'ybr="1.0"'),
    )
    found = numbers(tmp_path, "cvat")
    assert found[1][0] == found[1][3] != found[0][0]


def test_a_split_is_a_subset_and_an_image_without_a_shape_is_missing(tmp_path: Path) -> None:
    extra = '<image id="1" name="sub/b.png" subset="val" width="4" height="4"></image>'
    xml(tmp_path, ROAD, more='subset="train"', extra=extra)
    assert picture(tmp_path, "cvat", "train") == ["rrrr"] * 4
    with pytest.raises(SegPerceptionError, match=r"1 images have no label, the first is sub/b\.png"):
        open_dataset("cvat", tmp_path, "", CAMVID)
    with pytest.raises(SegPerceptionError, match=r"no shape of the subset 'val' \(there are: train, val\)"):
        open_dataset("cvat", tmp_path, "val", CAMVID)


@pytest.mark.parametrize(
    ("shapes", "told"),
    [
        ((), "holds no shape in any image"),
        ((ROAD.replace("4.0,4.0", "4.0"),), "no list of x and y"),
        ((ROAD.replace("4.0,4.0", "4.0,x"),), "no list of x and y"),
        (
            ('<mask label="a" rle="1, 2" left="0" top="0" width="2" height="2"></mask>',),
            "the runs have 3 pixels, not 2 x 2",
        ),
        (('<mask label="a" rle="0, 4" left="3" top="0" width="2" height="2"></mask>',), "shape 1"),
        (('<box label="car" xtl="0"></box>',), "is damaged"),
    ],
)
def test_what_cannot_be_used_is_named(shapes: tuple[str, ...], told: str, tmp_path: Path) -> None:
    with pytest.raises(SegPerceptionError, match=told):
        open_dataset("cvat", xml(tmp_path, *shapes), "", CAMVID, unlike_is_void=True)[0]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("<annotations><image", "no whole XML"),
        ('<annotations><track id="0"></track></annotations>', "is of a video"),
        ('<annotations><image name="a.png" height="x"></image></annotations>', "no number as its height"),
    ],
)
def test_another_file_is_named(text: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "annotations.xml").write_text(text)
    with pytest.raises(SegPerceptionError, match=told):
        open_dataset("cvat", tmp_path, "", CAMVID)


def test_an_image_of_another_size_is_refused(tmp_path: Path) -> None:
    xml(tmp_path, ROAD)
    photo(tmp_path / "images" / "a.png", 4, 6)
    with pytest.raises(SegPerceptionError, match=r"drawn on an image of 4x4, which is 6x4 now|4x4.*4x6"):
        open_dataset("cvat", tmp_path, "", CAMVID)[0]
