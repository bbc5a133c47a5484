"""Compressed video packet by packet: every codec, streams that begin or break between key frames, frames out of order."""

from __future__ import annotations

import functools
import sys
import tracemalloc
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from video_streams import HEIGHT, WIDTH, Packet, av, ffmpeg, foxglove, level, moving_picture, stream

from seg_perception.camera import video
from seg_perception.camera.messages import UNDECODABLE, WRONG_ENCODING, BadImageError, DecodedImage, ImageReader, to_rgb
from seg_perception.camera.preprocess import Preprocessor
from seg_perception.camera.video import NO_KEY_FRAME, VideoReader, codec_of, is_key_frame
from seg_perception.errors import SegPerceptionError
from seg_perception.results import Frame

CODECS = sorted(video.CODECS)


def play(packets: list[Packet], codec: str = "h264", reader: VideoReader | None = None) -> tuple[list[int], list[str]]:
    """Numbers of the frames that come out, whose level must be theirs, and the causes of those that do not."""
    reader, numbers, causes = reader or VideoReader(), list[int](), list[str]()

    def take(frames: Any) -> None:
        for number, decoded in frames:
            grey = ImageReader().read(decoded).to_rgb()[8:24, 8:24]
            assert np.abs(grey.astype(int) - level(number)).max() < 12, number
            numbers.append(number)

    for packet in packets:
        try:
            take(reader.read(foxglove(packet, codec), packet.number))
        except BadImageError as error:
            causes.append(error.cause)
    take(reader.rest())
    return numbers, causes


@pytest.mark.parametrize("codec", CODECS)
def test_every_codec_gives_its_pictures_under_their_own_stamps(codec: str) -> None:
    packets, reader, found = stream(codec, 12), VideoReader(), list[Any]()
    for packet in packets:
        found += reader.read(foxglove(packet, codec, packet.number * 10**8))
    found += reader.rest()
    assert [decoded.header.stamp.nanosec // 10**8 for _, decoded in found] == [number % 10 for number in range(12)]
    for number, (_, decoded) in enumerate(found):
        image = ImageReader().read(decoded)
        assert decoded.header.frame_id == "front" and image.size_hw == (HEIGHT, WIDTH)
        assert np.abs(image.to_rgb().astype(int) - moving_picture(number))[40:].mean() < 6


@pytest.mark.parametrize("codec", CODECS)
def test_key_frames_are_told_by_their_bytes(codec: str) -> None:
    packets = stream(codec, 12, gop=5)
    assert [is_key_frame(codec, packet.data) for packet in packets] == [packet.is_key for packet in packets]
    assert sum(packet.is_key for packet in packets) > 1


def test_a_packet_of_av1_whose_length_never_ends_costs_no_more_than_its_bytes() -> None:
    data = b"\x12" + b"\xff" * 50_000
    tracemalloc.start()
    try:
        assert not is_key_frame("av1", data)
        assert tracemalloc.get_traced_memory()[1] < 10_000, "numbers as long as the packet"
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("codec", CODECS)
def test_a_stream_that_begins_between_key_frames_waits_and_counts(codec: str) -> None:
    packets = stream(codec, 20, gop=10)[4:]
    reader = VideoReader()
    assert play(packets, codec, reader) == ([*range(10, 20)], [NO_KEY_FRAME] * 6)
    assert reader.skipped == 6


def test_frames_that_look_ahead_come_in_the_order_to_show_them() -> None:
    packets = stream("h264", 20, gop=20, b_frames=2)
    assert [packet.number for packet in packets][:4] == [0, 3, 1, 2]
    assert play(packets) == ([*range(20)], [])


@pytest.mark.parametrize("b_frames", [0, 2])
@pytest.mark.parametrize("lost", [1, 3, 10])
def test_after_a_lost_frame_it_waits_for_the_next_key_frame(lost: int, b_frames: int) -> None:
    """1: a frame that others are made of; 10: a key frame, or near one."""
    packets = stream("h264", 30, gop=10, b_frames=b_frames)
    which = next(k for k, packet in enumerate(packets) if packet.number == lost)
    if b_frames and lost == 1:
        which = 1  # the first frame that others lean on
    numbers, causes = play(packets[:which] + packets[which + 1 :])
    resumed = 20 if packets[which].is_key else 10
    assert set(range(resumed + 10 * (lost > 3), 30)) <= set(numbers) and NO_KEY_FRAME in causes
    assert len(numbers) + len(causes) == 29


def with_the_sequence_once(codec: str) -> list[Packet]:
    """30 frames of which the first alone brings what the decoder must know of all, and which begin anew every ten."""
    key_slice = {"h264": b"\0\0\1\x65", "h265": b"\0\0\1\x28"}[codec]
    packets = stream(codec, 30, gop=10)
    for k in (10, 20):
        packets[k] = packets[k]._replace(data=packets[k].data[packets[k].data.rindex(key_slice) :])
    return packets


@pytest.mark.parametrize("codec", ["h264", "h265"])
def test_damage_is_got_over_where_only_the_first_packet_brings_the_sequence(codec: str) -> None:
    packets = with_the_sequence_once(codec)
    assert play(packets, codec) == ([*range(30)], [])
    packets[3] = packets[3]._replace(data=packets[3].data[:3] + packets[3].data[9:])
    numbers, causes = play(packets, codec)
    assert numbers[-20:] == [*range(10, 30)] and UNDECODABLE in causes


@pytest.mark.parametrize("codec", ["h264", "h265"])
def test_the_sequence_may_come_in_a_packet_of_its_own(codec: str) -> None:
    packets = with_the_sequence_once(codec)
    sequence = video.sequence_of(codec, packets[0].data)
    alone = Packet(sequence, -1, True)
    packets[0] = packets[0]._replace(data=packets[0].data[len(sequence) :])
    numbers, causes = play([alone, *packets], codec)
    assert numbers == [*range(30)] and len(causes) == 1


def test_lost_frames_are_noticed_again_and_again_where_only_the_first_packet_brings_the_sequence() -> None:
    """As encoders of video hardware do unless they are told otherwise."""
    packets = with_the_sequence_once("h264")
    del packets[15], packets[5]
    assert play(packets) == ([*range(5), *range(10, 15), *range(20, 30)], [NO_KEY_FRAME] * 8)


def test_a_frame_that_no_other_needs_may_be_lost() -> None:
    packets = stream("h264", 20, gop=20, b_frames=2)
    last_b = next(k for k, packet in enumerate(packets) if packet.number == 2)
    numbers, causes = play(packets[:last_b] + packets[last_b + 1 :])
    assert causes == [] and len(numbers) == 19


def test_what_the_middleware_lost_is_waited_for() -> None:
    packets, reader = stream("vp9", 20, gop=10), VideoReader()
    for packet in packets[:3]:
        reader.read(foxglove(packet, "vp9"))
    reader.lose()
    assert play(packets[5:], "vp9", reader) == ([*range(10, 20)], [NO_KEY_FRAME] * 5)


def test_damage_is_named_and_the_stream_goes_on_at_the_next_key_frame() -> None:
    packets = stream("h264", 20, gop=10)
    packets[3] = packets[3]._replace(data=b"\0\0\1\x41" + bytes(60))
    numbers, causes = play(packets)
    assert set(range(10, 20)) <= set(numbers) and set(causes) <= {UNDECODABLE, NO_KEY_FRAME}


def test_neither_a_frame_that_the_decoder_painted_over_is_shown_nor_those_made_of_it() -> None:
    """All packets are there and the decoder raises nothing."""
    packets = stream("h264", 30, gop=10)
    data = bytearray(packets[4].data)
    data[len(data) // 3 : len(data) // 3 + 8] = b"\x5a\x33" * 4
    packets[4] = packets[4]._replace(data=bytes(data))
    assert play(packets) == ([*range(4), *range(10, 30)], [UNDECODABLE, *[NO_KEY_FRAME] * 5])


@pytest.mark.parametrize("codec", CODECS)
def test_no_damage_keeps_the_next_key_frame_from_being_shown(codec: str) -> None:
    """FFmpeg's decoder of VP9 has damage from which it never comes back, however often it is flushed."""
    packets = stream(codec, 9, gop=6)
    for end in range(4, 30):
        data = packets[2].data[:3] + packets[2].data[end:]
        numbers, _ = play([*packets[:2], packets[2]._replace(data=data), *packets[3:]], codec)
        assert numbers[-3:] == [6, 7, 8], f"bytes 3 to {end} of a packet were lost"


@functools.cache
def good(codec: str) -> list[Packet]:
    return stream(codec, 8, gop=4)


@settings(max_examples=40, deadline=None)
@given(codec=st.sampled_from(CODECS), seed=st.integers(0, 2**32 - 1))
def test_whatever_packets_hold_they_are_refused_or_decoded_and_good_ones_that_follow_are_shown(
    codec: str, seed: int
) -> None:
    """Bits flipped, most in the headers, parts cut out and doubled, packets of another codec."""
    rng, reader = np.random.default_rng(seed), VideoReader()
    for packet in good(codec):
        data, end = bytearray(packet.data), len(packet.data)
        a, b = sorted(int(place) for place in rng.integers(0, end, 2))
        kind = rng.choice(["flipped", "cut", "doubled", "other", "whole"])
        if kind == "flipped":
            for place in rng.integers(0, 64 if rng.random() < 0.7 else end, int(rng.choice([1, 5, 50]))):
                data[min(int(place), end - 1)] ^= 1 << int(rng.integers(8))
        elif kind == "cut":
            del data[a:b]
        elif kind == "doubled":
            data[b:b] = data[a:]
        elif kind == "other":
            data = bytearray(good(str(rng.choice(CODECS)))[0].data)
        with suppress(BadImageError):
            for _, decoded in reader.read(foxglove(Packet(bytes(data), packet.number, packet.is_key), codec)):
                assert ImageReader().read(decoded).to_rgb().ndim == 3
    shown = []
    for packet in good(codec):
        with suppress(BadImageError):
            shown += [number for number, _ in reader.read(foxglove(packet, codec), packet.number)]
    shown += [number for number, _ in reader.rest()]
    assert {4, 5, 6, 7} <= set(shown), shown


@pytest.mark.parametrize(
    ("words", "codec"),
    [
        ("h264", "h264"), ("libx264", "h264"), ("h264_nvenc;yuv420p;bgr8;bgr8", "h264"), ("H265", "h265"),
        ("hevc_vaapi", "h265"), ("libx265", "h265"), ("hevc;nv12;nv12;bgr8", "h265"), ("libsvtav1", "av1"), ("av1", "av1"),
        ("libvpx-vp9", "vp9"), ("avc1", "h264"),
    ],
)  # fmt: skip
def test_codecs_go_by_many_names(words: str, codec: str) -> None:
    packet = Packet(b"", 0, True)
    assert codec_of(foxglove(packet, words)) == codec_of(ffmpeg(packet, words)) == codec


def test_a_codec_that_is_not_read_is_said() -> None:
    with pytest.raises(BadImageError, match="codec 'theora', which is not read: h264") as refusal:
        VideoReader().read(foxglove(Packet(b"x", 0, True), "theora"))
    assert refusal.value.cause == WRONG_ENCODING


def test_a_machine_without_pyav_or_without_the_codec_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    (packet, *_) = stream("h264", 1)
    monkeypatch.setitem(video.CODECS, "h264", ("no_such_decoder",))
    with pytest.raises(SegPerceptionError, match=r"no decoder of h264: install a PyAV .*pip install 'av>="):
        VideoReader().read(foxglove(packet))
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(SegPerceptionError, match=r"PyAV, which is missing: pip install 'av>="):
        VideoReader().read(foxglove(packet))


def test_a_codec_that_changes_is_followed() -> None:
    reader = VideoReader()
    assert play(stream("h264", 3), "h264", reader)[0] == [0, 1, 2]
    assert play(stream("vp9", 3), "vp9", reader)[0] == [0, 1, 2]


@pytest.mark.parametrize(
    "pixels", ["yuv420p", "yuvj420p", "yuv422p", "yuv444p", "nv12", "yuv420p10le", "gray", "rgb24"]
)
def test_every_way_to_lay_pixels_out_gives_their_colours(pixels: str) -> None:
    rgb = moving_picture(0, 95, 161)
    frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format=pixels)
    found = video.raw_image_of(frame).to_rgb().astype(int)
    expected = np.repeat(np.rint(rgb @ (0.299, 0.587, 0.114))[..., None], 3, 2) if pixels == "gray" else rgb
    assert np.abs(found - expected)[:, 40:].mean() < 4 and np.abs(found - expected)[4:28, 4:28].max() < 4


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("bt709", [False, True])
def test_colours_are_mixed_by_the_standard_that_the_stream_names(full: bool, bt709: bool) -> None:
    """White, black and red by the standards' own definitions of Y, Cb and Cr."""
    from seg_perception.raw_image import yuv_matrix

    red, blue = (0.2126, 0.0722) if bt709 else (0.299, 0.114)
    for color in ((255, 255, 255), (0, 0, 0), (255, 0, 0), (10, 200, 90)):
        r, g, b = (value / 255 for value in color)
        y = red * r + (1 - red - blue) * g + blue * b
        u, v = (b - y) / (2 - 2 * blue), (r - y) / (2 - 2 * red)
        yuv = (255 * y, 128 + 255 * u, 128 + 255 * v) if full else (16 + 219 * y, 128 + 224 * u, 128 + 224 * v)
        np.testing.assert_allclose(yuv_matrix(full, bt709) @ (*yuv, 1.0), color, atol=0.6)


def test_a_decoded_frame_goes_to_the_network_without_rgb_of_its_size() -> None:
    (packet, *_) = stream("h264", 1)
    reader = VideoReader()
    ((_, decoded),) = [*reader.read(foxglove(packet)), *reader.rest()]
    assert isinstance(decoded, DecodedImage)
    small = Preprocessor((32, 64))(Frame(ImageReader().read(decoded)))
    difference = small.astype(int) - Preprocessor((32, 64))(Frame(to_rgb(decoded)))
    assert np.abs(difference).mean() < 1  # at edges, chroma of half the resolution is resized in another way
