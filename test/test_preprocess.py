import cv2
import numpy as np
import pytest

from seg_perception.errors import SegPerceptionError
from seg_perception.preprocess import Preprocessor
from seg_perception.results import Frame


def _picture(height, width, seed=0):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def test_an_image_of_the_networks_size_comes_through_unchanged():
    rgb = _picture(64, 96)
    images = Preprocessor((64, 96))(Frame(rgb))
    assert images.shape == (1, 64, 96, 3) and images.dtype == np.uint8
    assert np.array_equal(images[0], rgb)


@pytest.mark.parametrize("size", [(64, 96), (37, 51), (127, 191), (129, 193), (720, 1280), (1080, 1920), (64, 960)])
def test_every_size_lands_where_area_averaging_puts_it(size):
    rgb = _picture(*size)
    images = Preprocessor((64, 96))(Frame(rgb))
    interpolation = cv2.INTER_AREA if size[0] > 64 else cv2.INTER_LINEAR
    expected = cv2.resize(rgb, (96, 64), interpolation=interpolation)
    assert np.abs(images[0].astype(int) - expected).mean() < 2


def test_shrinking_does_not_skip_pixels():
    """One white column in eight, to an eighth of the width: an eighth of white, which sampling would miss or overdo."""
    for column in range(8):
        rgb = np.zeros((512, 768, 3), np.uint8)
        rgb[:, column::8] = 255
        image = Preprocessor((64, 96))(Frame(rgb))[0, :, 1:-1]
        assert image.min() >= 29 and image.max() <= 35, column


def test_left_stays_left_and_red_stays_red():
    rgb = np.zeros((200, 300, 3), np.uint8)
    rgb[:, :150, 0] = 255
    image = Preprocessor((64, 96))(Frame(rgb))[0]
    assert (image[:, :40, 0] > 250).all() and not image[:, 56:].any() and not image[..., 1:].any()


def test_the_buffer_is_reused_and_follows_a_change_of_the_cameras_size():
    preprocess = Preprocessor((64, 96))
    first = preprocess(Frame(_picture(100, 150)))
    kept = first.copy()
    again = preprocess(Frame(_picture(300, 450)))
    assert again is first
    assert np.array_equal(preprocess(Frame(_picture(100, 150))), kept)


def test_rows_with_padding_are_read_as_they_are():
    padded = np.full((100, 160, 3), 7, np.uint8)
    view = padded[:, :150]
    view[:] = _picture(100, 150)
    preprocess = Preprocessor((64, 96))
    kept = preprocess(Frame(np.ascontiguousarray(view))).copy()
    assert np.array_equal(preprocess(Frame(view)), kept)


def test_an_empty_image_is_refused_with_its_size():
    with pytest.raises(SegPerceptionError, match="640x0"):
        Preprocessor((64, 96))(Frame(np.zeros((0, 640, 3), np.uint8)))
