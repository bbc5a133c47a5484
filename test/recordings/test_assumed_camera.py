"""A calibration in words: what it means, and what cannot be meant."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from eval_fixtures import write_images

from seg_perception.errors import SegPerceptionError
from seg_perception.ground.geometry import GroundProjection
from seg_perception.recordings.assumed_camera import EXAMPLE, AssumedCamera, assume
from seg_perception.recordings.sources import FolderSource, SyntheticSource


def test_words_are_degrees_and_metres() -> None:
    """90 degrees across 640 px: f = 320. 45 degrees down from 2 m: the middle is 2 m ahead."""
    camera = AssumedCamera.parse("hfov=90 height=2 pitch=45")
    model, pose = camera.model(640, 360), camera.pose()
    np.testing.assert_allclose(model.K, ((320.0, 0, 319.5), (0, 320.0, 179.5), (0, 0, 1)))
    assert (pose.x, pose.y, pose.z) == (0, 0, 2) and pose.pitch == pytest.approx(math.pi / 4)
    ground = GroundProjection(model, pose, (360, 640)).pixels_to_ground(np.array([[319.5, 179.5]]))
    np.testing.assert_allclose(ground, [[2.0, 0.0]], atol=1e-9)


def test_it_says_what_it_assumes() -> None:
    assert str(AssumedCamera.parse(EXAMPLE)) == "hfov 60 deg, height 1.4 m, pitch 2 deg"
    assert str(AssumedCamera(60, 1, 0, -1, 3)) == "hfov 60 deg, height 1 m, pitch 0 deg, roll -1 deg, yaw 3 deg"


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ("hfov=60", "lacks its height"),
        ("height=1.4", "lacks its hfov"),
        ("", "lacks its hfov"),
        ("hfov=60 heigth=1.4", "did you mean 'height'"),
        ("hfov=60 height=high", "'high'"),
        ("hfov=60 height", "''"),
        ("hfov=0 height=1.4", "1 to 170"),
        ("hfov=60 height=-1", "height is -1 m"),
        ("hfov=60 height=nan", "height is nan m"),
        ("hfov=60 height=1 pitch=100", "-90 to 90"),
    ],
)
def test_what_cannot_be_meant_is_one_sentence(words: str, part: str) -> None:
    with pytest.raises(SegPerceptionError, match=part):
        AssumedCamera.parse(words)


def test_a_source_without_calibration_takes_it(tmp_path: Path) -> None:
    write_images(tmp_path / "images", 2)
    source = FolderSource(tmp_path / "images")
    assume(source, AssumedCamera(60, 1.4, 2))
    assert source.camera is not None and (source.camera.width, source.camera.height) == (64, 48)
    assert source.pose is not None and source.pose.z == 1.4
    assert len(list(source)) == 2


def test_a_source_with_its_own_and_a_camera_that_sees_no_ground_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SegPerceptionError, match="brings its own calibration"):
        assume(SyntheticSource(1), AssumedCamera(60, 1.4))
    write_images(tmp_path / "images", 1)
    with pytest.raises(SegPerceptionError, match="sees no ground"):
        assume(FolderSource(tmp_path / "images"), AssumedCamera(60, 1.4, -80))
