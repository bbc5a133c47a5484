import tracemalloc

import cv2
import numpy as np
import pytest
from image_messages import encode, message

from seg_perception.camera.encodings import ENCODINGS
from seg_perception.camera.messages import ImageReader, to_rgb
from seg_perception.camera.preprocess import Preprocessor, halvings
from seg_perception.errors import SegPerceptionError
from seg_perception.raw_image import RawImage
from seg_perception.results import Frame

SENT_AS_IS = sorted(name for name, layout in ENCODINGS.items() if name != "rgb8" and layout.dtype is np.uint8)
"""Encodings that the network's image is made of without RGB of the camera's size."""


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


# Images as the camera sent them


def _smooth(height, width):
    """Colours that change slowly and lie well within what yuv can say."""
    coarse = np.random.default_rng(3).integers(60, 190, (3, 4, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def _sent(encoding, height=240, width=360, padding=0):
    return message(encoding, encode(encoding, _smooth(height, width)), (height, width), padding)


def _no_conversion():
    raise AssertionError("the whole image was converted to RGB")


@pytest.mark.parametrize("padding", [0, 8])
@pytest.mark.parametrize("encoding", SENT_AS_IS)
def test_what_was_sent_gives_the_pixels_of_its_rgb_without_converting_it(encoding, padding):
    sent = _sent(encoding, padding=padding)
    image = ImageReader().read(sent)
    direct = Preprocessor((64, 96))(Frame(RawImage(image.size_hw, image.planes, image.mix, _no_conversion)))
    converted = Preprocessor((64, 96))(Frame(to_rgb(sent)))
    difference = direct.astype(int) - converted
    assert np.abs(difference).max() <= 4 and np.sqrt(np.mean(difference**2)) < 1


@pytest.mark.parametrize("encoding", sorted(ENCODINGS))
def test_a_frames_rgb_is_that_of_its_message(encoding):
    sent = _sent(encoding, 10, 12)
    frame = Frame(ImageReader().read(sent))
    assert frame.size_hw == (10, 12) and np.array_equal(frame.rgb, to_rgb(sent))


@pytest.mark.parametrize("size", [(41, 60), (40, 61), (40, 60), (1, 1), (1, 4)])
@pytest.mark.parametrize("encoding", sorted(ENCODINGS))
def test_odd_and_small_images_give_exactly_what_their_rgb_gives(encoding, size):
    sent = _sent(encoding, *size, padding=5 if ENCODINGS[encoding].dtype is np.uint8 else 4)
    direct = Preprocessor((64, 96))(Frame(ImageReader().read(sent)))
    assert np.array_equal(direct, Preprocessor((64, 96))(Frame(to_rgb(sent))))


@pytest.mark.parametrize("kind", [".png", ".jpg"])
def test_compressed_images_change_places_of_colours_at_the_networks_size(kind):
    rgb = _smooth(240, 360)
    _, encoded = cv2.imencode(kind, rgb[..., ::-1])
    sent = message("mono8", encoded.reshape(1, -1), (1, encoded.size))
    sent.format = kind
    frame = Frame(ImageReader().read(sent))
    assert np.array_equal(Preprocessor((64, 96))(frame), Preprocessor((64, 96))(Frame(to_rgb(sent))))
    assert np.array_equal(frame.rgb, to_rgb(sent))


def test_cameras_that_alternate_in_size_and_encoding_do_not_disturb_each_other():
    preprocess, reader = Preprocessor((64, 96)), ImageReader()
    for encoding in [*ENCODINGS, *reversed(ENCODINGS)]:
        sent = _sent(encoding)
        alone = Preprocessor((64, 96))(Frame(ImageReader().read(sent)))
        assert np.array_equal(preprocess(Frame(reader.read(sent))), alone), encoding


@pytest.mark.parametrize("encoding", ["rgb8", *SENT_AS_IS])
def test_a_frame_takes_no_memory_that_grows_with_the_image(encoding):
    preprocess, reader, sent = Preprocessor((64, 96)), ImageReader(), _sent(encoding)
    preprocess(Frame(reader.read(sent)))
    tracemalloc.start()
    try:
        for _ in range(3):
            preprocess(Frame(reader.read(sent)))
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4_000 < 64 * 96 and kept < 1_000


@pytest.mark.parametrize(("ratio", "count"), [(0.5, 0), (1, 0), (2, 0), (2.02, 1), (4, 1), (4.02, 2), (8, 2)])
def test_the_bilinear_resize_shrinks_at_most_twofold(ratio, count):
    assert halvings(round(100 * ratio), 100) == count


@pytest.mark.parametrize("size", [(1, 40_000), (40_000, 1), (3, 5_000), (64, 9_000), (20_000, 96), (5_000, 40)])
def test_an_image_of_any_shape_takes_memory_that_is_linear_in_its_pixels(size):
    """1x65535 went through a picture of two thousand million pixels."""
    preprocess, frame = Preprocessor((64, 96)), Frame(np.full((*size, 3), 90, np.uint8))
    tracemalloc.start()
    try:
        assert (preprocess(frame) == 90).all()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak <= 4 * (frame.rgb.size + 64 * 96 * 3)


def test_a_side_that_grows_is_as_smooth_as_one_that_shrinks():
    """Stripes along the long side of a picture that is narrower than the network, and a ramp across."""
    rgb = np.zeros((1024, 48, 3), np.uint8)
    rgb[::2] = np.arange(0, 240, 5, dtype=np.uint8)[:, None]
    image = Preprocessor((64, 96))(Frame(rgb))[0].astype(int)
    expected = cv2.resize(rgb[::2] // 2, (96, 64), interpolation=cv2.INTER_LINEAR).astype(int)
    assert np.abs(image - expected).max() <= 2
