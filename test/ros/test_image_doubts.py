"""What a camera says of the shape in which the network sees it."""

import pytest
from places import CHECKOUT

from seg_perception import model_file
from seg_perception.ros.image_doubts import shape_hint


@pytest.fixture(scope="module")
def loaded():
    return model_file.load(CHECKOUT / "models" / "driving_mobileseg.onnx")


def test_a_camera_that_an_engine_squeezes_is_told_with_the_size_that_would_not(loaded):
    hint = shape_hint((375, 1242), loaded.at(loaded.size_hw), loaded)
    better = loaded.size_for((375, 1242))
    assert "1242x375" in hint and f"[{better[1]}, {better[0]}]" in hint
    assert shape_hint((375, 1242), loaded.at(better), loaded) == ""


@pytest.mark.parametrize("image_hw", [(720, 1024), (704, 1024)])
def test_a_camera_of_about_the_engines_shape_is_not(loaded, image_hw):
    assert shape_hint(image_hw, loaded.at((352, 512)), loaded) == ""


def test_a_file_of_one_size_has_no_better_one(loaded):
    assert shape_hint((375, 1242), loaded.at(loaded.size_hw), None) == ""
