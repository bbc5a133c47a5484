"""Image conversion: every encoding, padded rows, odd sizes, both byte orders, damaged messages; and what goes out."""

from __future__ import annotations

import array
import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from image_messages import encode, message, picture
from numpy.typing import NDArray

from seg_perception.camera import messages
from seg_perception.camera.depth import read_depth
from seg_perception.camera.encodings import ENCODINGS, encoding_note, find_layout
from seg_perception.camera.messages import BadImageError, ImageReader, check_image, to_rgb
from seg_perception.camera.video import codec_of
from seg_perception.errors import SegPerceptionError

BAYER = {"rggb": "RGGB", "bggr": "BGGR", "gbrg": "GBRG", "grbg": "GRBG"}
SIZES = [(6, 8), (5, 8), (6, 7), (5, 7)]


def expected(encoding: str, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.repeat(rgb[..., :1], 3, axis=2) if encoding in ("mono8", "mono16", "8UC1") else rgb


def is_deep(encoding: str) -> bool:
    return ENCODINGS[encoding].dtype is np.uint16


def tolerance(encoding: str) -> int:
    """Of a grey level: subsampled chroma and interpolated Bayer pixels are not the picture's own."""
    name = ENCODINGS[encoding].name
    exact = is_deep(encoding) or name in ("rgb8", "bgr8", "rgba8", "bgra8", "mono8")
    return 0 if exact and not name.startswith("bayer") else 2 if name == "nv24" else 16


@pytest.mark.parametrize("hw", SIZES)
@pytest.mark.parametrize("padding", [0, 6])
@pytest.mark.parametrize("encoding", sorted(ENCODINGS))
def test_every_encoding_gives_the_picture(encoding: str, padding: int, hw: tuple[int, int]) -> None:
    rgb = picture(*hw)
    for big in (False, True) if is_deep(encoding) else (False,):
        got = to_rgb(message(encoding, encode(encoding, rgb), hw, padding, big))
        assert got.dtype == np.uint8 and got.shape == (*hw, 3)
        inner = np.s_[1:-1, 1:-1] if encoding.startswith("bayer") else np.s_[:]
        difference = np.abs(got[inner].astype(int) - expected(encoding, rgb)[inner])
        assert difference.max() <= tolerance(encoding), f"big-endian {big}"


@pytest.mark.parametrize(
    "encoding", sorted(set(ENCODINGS) - {"nv12", "nv21", "nv24", "8UC1", "8UC3", "8UC4", "16UC3", "16UC4"})
)
def test_same_pixels_as_the_bridges(encoding: str) -> None:
    """On plain images, which rosbags-image reads too. It cuts 16 bit down where we round, hence one grey level."""
    bridge = pytest.importorskip("rosbags.image", reason="rosbags-image is not installed")
    rgb = picture(10, 12)
    sent = message(encoding, encode(encoding, rgb), (10, 12))
    theirs = bridge.image_to_cvimage(sent, "rgb8")
    assert np.abs(to_rgb(sent).astype(int) - theirs).max() <= int(is_deep(encoding))


def test_same_pixels_as_cv_bridge() -> None:
    bridge = pytest.importorskip("cv_bridge", reason="cv_bridge is not installed: it comes with ROS, not from PyPI")
    from sensor_msgs.msg import Image

    compared = []
    for encoding in ENCODINGS:
        plain = message(encoding, encode(encoding, picture(10, 12)), (10, 12))
        sent = Image(encoding=encoding, height=10, width=12, step=plain.step, data=plain.data)
        try:
            theirs = bridge.CvBridge().imgmsg_to_cv2(sent, "rgb8")
        except bridge.CvBridgeError:  # which encodings it reads differs between distributions
            continue
        assert np.array_equal(to_rgb(plain), theirs), encoding
        compared.append(encoding)
    assert {"bgr8", "mono8", "mono16", "yuv422", "bayer_rggb8", "bayer_rggb16"} <= set(compared)


@pytest.mark.parametrize("encoding", ["mono16", "bayer_rggb16", "bayer_grbg16"])
@pytest.mark.parametrize("padding", [1, 3])
def test_rows_of_16_bit_may_begin_at_odd_bytes(encoding: str, padding: int) -> None:
    hw, rng = (20, 30), np.random.default_rng(0)
    values = rng.integers(0, 2**16, hw, dtype=np.uint16)
    rows = values.view(np.uint8)
    padded = np.pad(rows, ((0, 0), (0, padding)))
    plain, odd = (
        SimpleNamespace(encoding=encoding, height=20, width=30, step=data.shape[1], is_bigendian=0, data=data.tobytes())
        for data in (rows, padded)
    )
    assert np.array_equal(to_rgb(odd), to_rgb(plain))


@pytest.mark.parametrize("padding", [0, 6, 7])
@pytest.mark.parametrize("encoding", ["rgb16", "rgba16", "bgra16"])
def test_colours_of_16_bit_leave_their_message_as_it_is(encoding: str, padding: int) -> None:
    sent = message(encoding, encode(encoding, picture(6, 8)), (6, 8), padding)
    before, reader = bytes(sent.data), ImageReader(bit_depth=12)
    for _ in range(2):
        reader.read(sent)
    assert bytes(sent.data) == before
    assert reader.brightest is not None and reader.brightest < 65535  # not the opacity


OTHER_NAMES = {
    "BGR8": "bgr8", "RGB8": "rgb8", "MONO8": "mono8", "YUYV": "yuyv", "YUY2": "yuyv", "UYVY": "uyvy", "NV12": "nv12",
    "NV24": "nv24", "GREY": "mono8", "Y16 ": "mono16", "BA81": "bayer_bggr8", "RGGB": "bayer_rggb8", "RGB3": "rgb8",
    "CV_8UC3": "8UC3", "8uc1": "8UC1",
}  # fmt: skip


@pytest.mark.parametrize(("given", "meant"), sorted(OTHER_NAMES.items()))
def test_other_names_are_read_with_a_note(given: str, meant: str) -> None:
    sent = message(meant, encode(meant, picture(6, 8)), (6, 8))
    expected = to_rgb(sent)
    sent.encoding = given
    assert np.array_equal(to_rgb(sent), expected)
    assert np.array_equal(getattr(ImageReader().read(sent), "size_hw", (6, 8)), (6, 8))
    layout = find_layout(given)
    assert layout is not None and f"'{given}'" in encoding_note(given) and layout.name in encoding_note(given)


def test_names_of_sensor_msgs_need_no_note_unless_they_leave_colours_open() -> None:
    noted = {name for name in ENCODINGS if encoding_note(name)}
    assert noted == {"8UC3", "8UC4", "16UC3", "16UC4"} and "bgr8" in encoding_note("8UC3")


def test_16uc1_is_a_picture_only_where_that_is_asked_for() -> None:
    sent = message("16UC1", encode("mono16", picture(6, 8)), (6, 8))
    assert "depth" in str(refused(sent)) and "image_16uc1_is_grey" in str(refused(sent))
    grey = ImageReader(grey_16uc1=True).read(sent)
    assert np.array_equal(grey, np.repeat(picture(6, 8)[..., :1], 3, axis=2))
    check_image(sent, grey_16uc1=True)


@pytest.mark.parametrize("encoding", ["32FC1", "16SC1", "64FC3", "8SC2"])
def test_numbers_are_no_picture(encoding: str) -> None:
    error = refused(message(encoding, encode("mono8", picture(4, 4)), (4, 4)))
    assert error.cause == messages.WRONG_ENCODING and "shows no picture" in str(error)


@pytest.mark.parametrize("encoding", ["mono16", "bayer_rggb16"])
def test_white_is_what_the_bits_in_use_make_it(encoding: str) -> None:
    values = np.repeat(np.array([0, 4095], np.uint16), 8)[:, None].repeat(8, axis=1)
    sent = SimpleNamespace(encoding=encoding, height=16, width=8, step=16, is_bigendian=0, data=values.tobytes())
    full, twelve = ImageReader(), ImageReader(bit_depth=12)
    full.read(sent)
    assert full.brightest == 4095
    assert to_rgb(sent).max() == 16 and twelve.to_rgb(sent)[-3].min() == 255
    eight = SimpleNamespace(encoding="mono8", height=1, width=1, step=1, is_bigendian=0, data=b"x")
    full.read(eight)
    assert full.brightest is None


def test_rgb8_is_a_view_of_the_message() -> None:
    sent = message("rgb8", encode("rgb8", picture(4, 6)), (4, 6), padding=2)
    got = to_rgb(sent)
    sent.data[0] = 201
    assert got[0, 0, 0] == 201


@pytest.mark.parametrize("encoding", ["bgr8", "mono16", "yuv422", "nv12", "bayer_rggb8"])
def test_a_reader_reuses_its_buffer_until_the_size_changes(encoding: str) -> None:
    reader = ImageReader()
    first = reader.to_rgb(message(encoding, encode(encoding, picture(6, 8)), (6, 8)))
    assert np.shares_memory(first, reader.to_rgb(message(encoding, encode(encoding, picture(6, 8)), (6, 8))))
    assert reader.to_rgb(message(encoding, encode(encoding, picture(8, 10)), (8, 10))).shape == (8, 10, 3)


def test_encodings_may_alternate() -> None:
    reader, rgb = ImageReader(), picture(6, 8)
    for encoding in [*ENCODINGS, *reversed(ENCODINGS)]:
        got = reader.to_rgb(message(encoding, encode(encoding, rgb), (6, 8)))
        assert np.array_equal(got, to_rgb(message(encoding, encode(encoding, rgb), (6, 8)))), encoding


def refused(sent: Any) -> BadImageError:
    with pytest.raises(BadImageError) as caught:
        to_rgb(sent)
    return caught.value


def test_unknown_encoding_names_the_nearest() -> None:
    error = refused(message("rgb9", encode("rgb8", picture(4, 4)), (4, 4)))
    assert error.cause == messages.WRONG_ENCODING
    assert str(error) == "the image has the encoding 'rgb9', which is not read: did you mean 'rgb8'?"


@pytest.mark.parametrize("hw", [(0, 4), (4, 0), (0, 0)])
def test_an_image_without_pixels_is_empty(hw: tuple[int, int]) -> None:
    assert refused(message("rgb8", encode("rgb8", picture(4, 4)), hw)).cause == messages.EMPTY


@pytest.mark.parametrize("padding", [0, 6])
@pytest.mark.parametrize("encoding", sorted(ENCODINGS))
def test_one_byte_too_few_is_truncated(encoding: str, padding: int) -> None:
    sent = message(encoding, encode(encoding, picture(5, 8)), (5, 8), padding)
    tail = 2 * padding if encoding == "nv24" else padding
    sent.data = sent.data[: len(sent.data) - tail]  # the last row's padding may be missing
    assert to_rgb(sent).shape == (5, 8, 3)
    del sent.data[-1:]
    assert refused(sent).cause == messages.TRUNCATED


def test_a_step_shorter_than_a_row_is_truncated() -> None:
    sent = message("bgr8", encode("bgr8", picture(4, 6)), (4, 6))
    sent.step = 17
    error = refused(sent)
    assert error.cause == messages.TRUNCATED
    assert str(error) == "step is 17, but a row of 6 pixels of bgr8 takes 18 bytes"


def compressed(kind: str, rgb: NDArray[np.uint8]) -> Any:
    _, encoded = cv2.imencode(kind, rgb[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, 101] if kind == ".webp" else [])
    return SimpleNamespace(format=f"rgb8; {kind[1:]} compressed bgr8", data=array.array("B", encoded.tobytes()))


def test_png_and_lossless_webp_are_exact_and_jpeg_near() -> None:
    rgb = picture(48, 64)
    for kind in (".png", ".webp"):
        assert np.array_equal(to_rgb(compressed(kind, rgb)), rgb)
    assert np.abs(to_rgb(compressed(".jpg", rgb)).astype(int) - rgb).mean() < 3


@pytest.mark.parametrize("bits", [12, 16])
def test_a_png_of_16_bits_is_read_as_the_image_that_it_was_made_of(bits: int) -> None:
    """OpenCV alone gives the upper 8 bits, so a camera of 12 was black whatever its bits were said to be."""
    values = np.random.default_rng(1).integers(0, 1 << bits, (24, 32, 3)).astype(np.uint16)
    reader = ImageReader(bit_depth=bits)
    for encoding, array_ in (("bgr16", values), ("mono16", values[..., 0])):
        png = cv2.imencode(".png", array_)[1].tobytes()
        sent = SimpleNamespace(format=f"{encoding}; png compressed {encoding}", data=array.array("B", png))
        raw = message(encoding, array_.reshape(24, -1), (24, 32))
        expected_rgb = ImageReader(bit_depth=bits).to_rgb(raw)
        np.testing.assert_array_equal(reader.to_rgb(sent), expected_rgb)
        np.testing.assert_array_equal(reader.read(sent), expected_rgb)
        assert reader.brightest == int(array_[::8].max())


def test_a_png_of_16uc1_is_a_picture_only_where_that_is_asked_for() -> None:
    png = cv2.imencode(".png", np.full((16, 16), 3000, np.uint16))[1].tobytes()
    sent = SimpleNamespace(format="16UC1; png compressed ", data=array.array("B", png))
    assert refused(sent).cause == messages.WRONG_ENCODING
    assert ImageReader(grey_16uc1=True, bit_depth=12).to_rgb(sent).shape == (16, 16, 3)


@pytest.mark.parametrize("kind", [".png", ".jpg", ".webp"])
def test_damaged_compressed_images_are_named(kind: str) -> None:
    whole = compressed(kind, picture(48, 64))
    assert refused(SimpleNamespace(format=kind, data=whole.data[: len(whole.data) // 2])).cause == messages.TRUNCATED
    assert refused(SimpleNamespace(format=kind, data=array.array("B"))).cause == messages.EMPTY
    assert refused(SimpleNamespace(format=kind, data=array.array("B", b"GIF89a"))).cause == messages.WRONG_ENCODING
    spoilt = slice(12, -12) if kind == ".webp" else slice(4, -12)
    middle = array.array("B", whole.data)
    middle[spoilt] = array.array("B", bytes(len(middle[spoilt])))
    assert refused(SimpleNamespace(format=kind, data=middle)).cause == messages.UNDECODABLE


def test_trailing_zeros_of_a_usb_camera_are_no_damage() -> None:
    sent = compressed(".jpg", picture(48, 64))
    sent.data.extend([0] * 1000)
    assert to_rgb(sent).shape == (48, 64, 3)


LONG = "x" * 1_000_000
DEEP = SimpleNamespace(frame_id=LONG)


@pytest.mark.parametrize(
    "read",
    [
        lambda: to_rgb(message(LONG, encode("rgb8", picture(4, 4)), (4, 4))),
        lambda: to_rgb(message(f"{' ' * len(LONG)}rgb8", encode("rgb8", picture(4, 4))[:1], (4, 4))),
        lambda: to_rgb(SimpleNamespace(format=LONG, data=b"")),
        lambda: to_rgb(SimpleNamespace(format=LONG, data=b"GIF89a")),
        lambda: to_rgb(SimpleNamespace(format=LONG, data=compressed(".jpg", picture(48, 64)).data[:-99])),
        lambda: to_rgb(SimpleNamespace(format=LONG, data=b"\xff\xd8\xff\xd9")),
        lambda: codec_of(SimpleNamespace(format=LONG, timestamp=0)),
        lambda: read_depth(SimpleNamespace(encoding=LONG), (4, 4), ""),
        lambda: read_depth(
            SimpleNamespace(encoding="16UC1", height=4, width=4, step=8, header=DEEP), (4, 4), "y" + LONG
        ),
        lambda: messages.CameraModel.from_matrices(4, 4, LONG, [1.0], np.eye(3).ravel(), np.eye(3).ravel(), [0.0] * 12),
        lambda: messages.CameraModel.from_matrices(
            4, 4, f"plumb{'_' * len(LONG)}bob", [1.0] * 9, np.eye(3).ravel(), np.eye(3).ravel(), [0.0] * 12
        ),
    ],
)
def test_a_text_that_comes_with_a_message_is_not_repeated_at_length(read: Callable[[], object]) -> None:
    """The sentence stands in every diagnostics message from then on."""
    with pytest.raises(SegPerceptionError) as caught:
        read()
    assert len(str(caught.value)) < 1000


def test_camera_info_becomes_a_camera_model() -> None:
    info = SimpleNamespace(
        width=640,
        height=480,
        distortion_model="plumb_bob",
        d=array.array("d", [0.1, 0.0, 0.0, 0.0, 0.0]),
        k=np.array([500.0, 0, 320, 0, 510, 240, 0, 0, 1]),
        r=np.eye(3).ravel(),
        p=np.array([400.0, 0, 310, 0, 0, 410, 230, 0, 0, 0, 1, 0]),
        binning_x=2,
        binning_y=0,
        roi=SimpleNamespace(x_offset=40, y_offset=20, width=600, height=400, do_rectify=False),
    )
    camera = messages.to_camera_model(info)
    # 40 columns are cut off at the left, then two make one: the middle's column 320 is 280 + 0.5, halved, less 0.5.
    assert (camera.width, camera.height) == (300, 400)
    np.testing.assert_allclose(camera.K, ((250, 0, 139.75), (0, 510, 220), (0, 0, 1)))
    assert math.isclose(camera.distortion[0], 0.1)
    rectified = messages.to_camera_model(info, rectified=True)
    np.testing.assert_allclose(rectified.K, ((200, 0, 134.75), (0, 410, 210), (0, 0, 1)))
    assert rectified.distortion == ()
    for name in ("k", "p"):
        setattr(info, name, np.zeros(len(getattr(info, name))))
    for is_rectified, words in ((False, "focal length"), (True, "no P")):
        with pytest.raises(SegPerceptionError, match=words):
            messages.to_camera_model(info, is_rectified)


@pytest.mark.parametrize("big", [False, True])
def test_the_bytes_of_16_bit_values_are_put_in_order(big: bool) -> None:
    """Values whose two bytes differ: 255 / 65535 of each, rounded."""
    values = np.array([[0x1234, 0x8000], [0x00FF, 0xFF00]], np.uint16)
    got = to_rgb(message("mono16", values, (2, 2), big=big))
    assert got[..., 0].tolist() == [[18, 128], [1, 254]]
