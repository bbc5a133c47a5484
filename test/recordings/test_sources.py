"""Where frames come from: what each source gives, and one sentence for what cannot be read."""

from __future__ import annotations

import os
import struct
import sys
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import cv2
import image_messages
import numpy as np
import pytest
from eval_fixtures import SIZE_HW, label_mask, picture, slow_down, truncate, write_images, write_labels, write_video

from seg_perception.camera.messages import ImageReader
from seg_perception.datasets import dataset
from seg_perception.errors import SegPerceptionError
from seg_perception.files import is_whole, read_mask, read_rgb, write_image
from seg_perception.ground.ego_mask import EgoMask
from seg_perception.labels import CAMVID, VOID
from seg_perception.metrics.false_ground import FalseGround
from seg_perception.recordings.bag_labels import stems_by_number
from seg_perception.recordings.containers import missing_bytes
from seg_perception.recordings.dataset_source import DatasetSource
from seg_perception.recordings.make import write_bag
from seg_perception.recordings.open_source import open_source
from seg_perception.recordings.projections import Projections
from seg_perception.recordings.sources import FolderSource, LabelFolder, SyntheticSource
from seg_perception.synthetic.tracked_drive import TrackedDrive
from seg_perception.writing import written_aside


def test_video_gives_its_frames_at_its_rate_and_again(tmp_path: Path) -> None:
    path = tmp_path / "drive.mp4"
    write_video(path, 5, rate_hz=20.0)
    source = open_source(str(path))
    assert (source.kind, source.rate_hz, source.total) == ("video", 20.0, 5)
    for _ in range(2):
        frames = list(source)
        assert [item.frame.stamp_ns for item in frames] == [number * 50_000_000 for number in range(5)]
        for number, item in enumerate(frames):
            assert np.abs(item.frame.rgb.astype(int) - picture(number)).mean() < 12
    assert source.problems == []


def test_a_video_of_changing_rate_has_the_stamps_of_its_container(tmp_path: Path) -> None:
    """Five frames of 50 ms, then five of 150 ms; as a bag too."""
    path = tmp_path / "drive.mp4"
    write_video(path, 10, rate_hz=20.0)
    slow_down(path, frames=5, times=3)
    source = open_source(str(path))
    stamps_ms = [item.frame.stamp_ns / 1e6 for item in source]
    assert stamps_ms == pytest.approx([0, 50, 100, 150, 200, 250, 400, 550, 700, 850], abs=1)
    write_bag(source, tmp_path / "bag", "mcap")
    stamps_ns = [item.frame.stamp_ns for item in open_source(str(tmp_path / "bag"))]
    assert [(stamp_ns - stamps_ns[0]) / 1e6 for stamp_ns in stamps_ns] == pytest.approx(stamps_ms, abs=1)


def test_a_rendered_drive_says_where_its_camera_is_so_that_false_ground_is_measured_in_metres() -> None:
    """The camera of a hard drive shakes, so each frame has its own pose."""
    source = DatasetSource("synthetic_drive", None, "hard", CAMVID)
    item = next(iter(source))
    drive = TrackedDrive(0)
    assert (source.camera, source.pose) == (drive.camera, drive.pose_at(17))
    assert item.truth is not None
    projection = Projections().of(source, item.truth)
    assert projection is not None
    tally = FalseGround(CAMVID)
    tally.add(np.full_like(item.truth.semantic, CAMVID.by_name("road").id), item.truth.semantic, projection)
    assert tally.summary()["false_patch_of"] == 1


def test_a_rendered_set_without_an_end_gives_scenes_from_all_over_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """20,000 scenes took hours; a set of 60 is given whole."""
    monkeypatch.setattr(dataset, "RENDERED_SCENES", 3)
    source = DatasetSource("synthetic", None, "val", CAMVID)
    assert source.total == 3
    assert [item.name for item in source] == ["scene_000000", "scene_006667", "scene_013334"]
    assert source.notes == ["synthetic val: 3 of its 20000 scenes are rendered, from all over it"]
    monkeypatch.undo()
    assert DatasetSource("synthetic", None, "val", CAMVID).total == 100
    assert DatasetSource("synthetic_drive", None, "val", CAMVID).total == 60


def test_an_avi_whose_frames_look_ahead_is_shown_at_its_rate(tmp_path: Path) -> None:
    """An AVI has no times to show frames at: those of the packets came out mixed, 1 ns and 100 ms apart."""
    av = pytest.importorskip("av", reason="the file is written by PyAV")
    path = tmp_path / "drive.avi"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=20, options={"bf": "3", "b_strategy": "0"})
        stream.height, stream.width, stream.pix_fmt = *SIZE_HW, "yuv420p"
        for number in range(12):
            frame = av.VideoFrame.from_ndarray(picture(number), format="rgb24")
            frame.pts = number
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    stamps_ms = [item.frame.stamp_ns / 1e6 for item in open_source(str(path))]
    assert stamps_ms == pytest.approx([50 * number for number in range(12)], abs=1)


def write_avi(path: Path, frames: int, told: int) -> None:
    """An AVI whose stream header says that it has so many frames."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 20.0, SIZE_HW[::-1])
    for number in range(frames):
        writer.write(picture(number))
    writer.release()
    data = bytearray(path.read_bytes())
    place = data.find(b"strh") + 8 + 32
    data[place : place + 4] = told.to_bytes(4, "little")
    path.write_bytes(data)


def test_a_whole_video_of_fewer_frames_than_it_says_is_not_broken(tmp_path: Path) -> None:
    write_avi(tmp_path / "a.avi", frames=20, told=30)
    source = open_source(str(tmp_path / "a.avi"))
    assert source.total == 30 and len(list(source)) == 20
    assert source.problems == [] and "about 30 frames, it has 20" in source.notes[0]


@pytest.mark.parametrize(
    ("boxes", "missing"),
    [
        ([(b"ftyp", 20), (b"moov", 30), (b"mdat", 100)], 0),
        ([(b"ftyp", 20), (b"mdat", 0)], 0),  # to the end, as a live recording
    ],
)
def test_boxes_say_what_a_video_lacks(tmp_path: Path, boxes: list[tuple[bytes, int]], missing: int) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"".join(size.to_bytes(4, "big") + name + bytes(max(0, size - 8)) for name, size in boxes))
    assert missing_bytes(path) == missing
    if boxes[-1][1]:
        path.write_bytes(path.read_bytes()[:-33])
        assert missing_bytes(path) == 33


def element(kind: bytes, length: bytes, content: bytes = b"") -> bytes:
    return kind + length + content


EBML = element(b"\x1a\x45\xdf\xa3", b"\x84", b"mkv!")
CLUSTER = element(b"\x1f\x43\xb6\x75", b"\x40\xc8", element(b"\xa3", b"\x40\xc5", bytes(197)))


@pytest.mark.parametrize(
    "content",
    [
        EBML + element(b"\x18\x53\x80\x67", b"\x01" + (2 * len(CLUSTER)).to_bytes(7, "big"), 2 * CLUSTER),
        EBML + element(b"\x18\x53\x80\x67", b"\x01" + b"\xff" * 7, 2 * CLUSTER),  # of a recorder that was killed
        3 * (b"\x47" + bytes(187)),
        3 * (bytes(4) + b"\x47" + bytes(187)),
    ],
    ids=["matroska", "open matroska", "ts", "m2ts"],
)
def test_elements_and_packets_say_what_a_video_lacks(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a"
    path.write_bytes(content)
    assert missing_bytes(path) == 0
    packets = path.read_bytes() * 3 if content[:1] != b"\x1a" else content
    path.write_bytes(packets[:-33])
    assert missing_bytes(path) == 33


def test_elements_whose_length_is_open_and_other_bytes_say_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a"
    live = EBML + element(b"\x18\x53\x80\x67", b"\x01" + b"\xff" * 7, element(CLUSTER[:4], b"\xff", b"\xa3\x82ab"))
    for content in (live, EBML + bytes(50), b"\x00\x00\x01\xba" + bytes(700), b""):
        path.write_bytes(content)
        assert missing_bytes(path) == 0


def encode(path: Path, container: str, codec: str, frames: int = 40) -> None:
    av = pytest.importorskip("av", reason="PyAV is not installed: pip install av")
    with av.open(str(path), "w", format=container) as file:
        stream = file.add_stream(codec, 20, options={"g": "10", "deadline": "realtime", "cpu-used": "8"})
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        noise = np.random.default_rng(0).integers(0, 40, (240, 320, 3), np.uint8)
        for number in range(frames):
            rgb = np.roll(picture(1, (240, 320)) // 2 + noise, 3 * number, axis=1)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        file.mux(stream.encode(None))


@pytest.mark.parametrize(
    ("container", "codec"),
    [("mp4", "libx264"), ("mp4", "libvpx-vp9"), ("matroska", "libx264"), ("webm", "libvpx")],
)
def test_what_cannot_be_decoded_amid_a_video_is_told_in_every_container(
    tmp_path: Path, container: str, codec: str
) -> None:
    """Frames beyond the damage are played where the decoder finds back."""
    path = tmp_path / f"a.{container}"
    encode(path, container, codec)
    whole = open_source(str(path))
    assert len(list(whole)) == 40 and whole.problems == whole.notes == []
    data = bytearray(path.read_bytes())
    third = len(data) // 3
    data[third : 2 * third] = bytes(third)
    path.write_bytes(data)
    source = open_source(str(path))
    left = len(list(source))
    assert 0 < left < 40
    (problem,) = source.problems
    assert "is damaged" in problem and f"{left} frames are left" in problem and source.notes == []


def spoil(path: Path, numbers: Sequence[int], whole: bool = False) -> None:
    """Change some bytes amid those of the frames of these numbers, in the order of the file, or all to zero."""
    av = pytest.importorskip("av", reason="PyAV is not installed: pip install av")
    with av.open(str(path)) as file:
        places = [(packet.pos, packet.size) for packet in file.demux(file.streams.video[0]) if packet.size]
    data = bytearray(path.read_bytes())
    for number in numbers:
        begin, size = places[number]
        if whole:
            data[begin : begin + size] = bytes(size)
        else:
            data[begin + size // 3 : begin + size // 3 + 8] = b"\x5a\x33" * 4
    path.write_bytes(data)


@pytest.mark.parametrize(("container", "codec"), [("mp4", "libx264"), ("matroska", "libx264"), ("mp4", "mpeg4")])
def test_frames_that_the_decoder_paints_over_are_counted_and_told(tmp_path: Path, container: str, codec: str) -> None:
    """None is missing, so nothing else tells."""
    path = tmp_path / "a"
    encode(path, container, codec)
    spoil(path, [5, 23])
    source = open_source(str(path))
    assert len(list(source)) == 40
    (problem,) = source.problems
    assert "is damaged" in problem and "2 of its 40 frames" in problem and "the first is frame 5" in problem


@pytest.mark.parametrize(("container", "codec"), [("mp4", "libx264"), ("mp4", "libvpx-vp9"), ("mp4", "mpeg4")])
def test_a_last_frame_that_cannot_be_decoded_is_told(tmp_path: Path, container: str, codec: str) -> None:
    path = tmp_path / "a"
    encode(path, container, codec)
    spoil(path, [39], whole=True)
    source = open_source(str(path))
    assert 36 <= len(list(source)) < 40 and source.notes == []
    (problem,) = source.problems
    assert "is damaged" in problem


def test_a_video_that_begins_between_key_frames_is_whole_from_the_first_one_on(tmp_path: Path) -> None:
    """As a recorder that was started amid a stream leaves it."""
    av = pytest.importorskip("av", reason="PyAV is not installed: pip install av")
    encode(tmp_path / "a", "mpegts", "libx264")
    with av.open(str(tmp_path / "a")) as file:
        place = next(packet.pos for number, packet in enumerate(file.demux(file.streams.video[0])) if number == 4)
    data = (tmp_path / "a").read_bytes()
    tables = data.find(b"\x47\x40\x11") // 188 * 188  # the service description, and the two tables behind it
    (tmp_path / "b").write_bytes(data[tables : tables + 3 * 188] + data[place // 188 * 188 :])
    source = open_source(str(tmp_path / "b"))
    assert len(list(source)) == 30 and source.problems == []


def test_a_video_whose_title_is_no_utf_8_is_read(tmp_path: Path) -> None:
    av = pytest.importorskip("av", reason="PyAV makes the video")
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as file:
        file.metadata["title"] = "Stra\u00dfe"
        stream = file.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(3):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 60 * number, np.uint8))
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    data = path.read_bytes()
    assert data.count("Stra\u00dfe".encode()) == 1
    path.write_bytes(data.replace("Stra\u00dfe".encode(), b"Stra\xdfee"))
    assert len(list(open_source(str(path)))) == 3


def test_what_pyav_cannot_open_is_read_by_opencv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    av = pytest.importorskip("av", reason="PyAV is what cannot open it")
    write_avi(tmp_path / "a.avi", 4, 4)

    def refuse(*given: object, **named: object) -> None:
        raise av.error.InvalidDataError(1, "no")

    monkeypatch.setattr(av, "open", refuse)
    assert len(list(open_source(str(tmp_path / "a.avi")))) == 4


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_a_video_that_was_filmed_upright_is_shown_upright(
    tmp_path: Path, turn: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its container holds the turn, in a matrix; PyAV gives the frames as they lie, OpenCV turns them."""
    encode(tmp_path / "a", "mp4", "libx264", frames=2)
    data = (tmp_path / "a").read_bytes()
    one = 1 << 16
    plain = struct.pack(">9i", one, 0, 0, 0, one, 0, 0, 0, 1 << 30)
    cos, sin = {90: (0, one), 180: (-one, 0), 270: (0, -one)}[turn]
    place = data.rfind(plain)
    (tmp_path / "a").write_bytes(
        data[:place] + struct.pack(">9i", cos, sin, 0, -sin, cos, 0, 0, 0, 1 << 30) + data[place + 36 :]
    )
    frames = [item.frame.rgb for item in open_source(str(tmp_path / "a"))]
    monkeypatch.setitem(sys.modules, "av", None)
    others = [item.frame.rgb for item in open_source(str(tmp_path / "a"))]
    assert len(frames) == 2 and frames[0].shape == ((240, 320, 3) if turn == 180 else (320, 240, 3))
    assert all((one == other).all() for one, other in zip(frames, others, strict=True))


@pytest.mark.parametrize(("container", "codec"), [("matroska", "libx264"), ("mpegts", "libx264"), ("webm", "libvpx")])
def test_a_video_that_was_cut_off_is_told_in_every_container(tmp_path: Path, container: str, codec: str) -> None:
    path = tmp_path / "a"
    encode(path, container, codec)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10 // 188 * 188 + 100])
    source = open_source(str(path))
    assert 0 < len(list(source)) < 40
    (problem,) = source.problems
    assert f"{missing_bytes(path)} bytes before its end" in problem


def test_a_folder_is_played_in_the_order_that_people_count_in(tmp_path: Path) -> None:
    for name in ("a10.png", "a2.png", "a1.png", "b.png", "a02.png", "7.png", "10.png"):
        write_image(tmp_path / name, picture(0))
    names = [item.name for item in open_source(str(tmp_path))]
    assert names == ["7.png", "10.png", "a1.png", "a02.png", "a2.png", "a10.png", "b.png"]


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_an_image_of_16_bits_is_seen_by_the_bits_in_use(tmp_path: Path, bits: int) -> None:
    grey = (picture(3).astype(np.uint16) * 257) >> (16 - bits)
    grey[0, 0] = (1 << bits) - 1
    write_image(tmp_path / "a.png", grey[..., 0])
    assert np.abs(read_rgb(tmp_path / "a.png")[1:].astype(int) - picture(3)[1:, :, :1]).max() <= 1
    cv2.imwrite(str(tmp_path / "b.png"), grey[..., ::-1])
    assert np.abs(read_rgb(tmp_path / "b.png")[1:].astype(int) - picture(3)[1:]).max() <= 1


@pytest.mark.parametrize("bits", [12, 16])
def test_a_dark_image_of_16_bits_is_as_dark_beside_a_bright_one(tmp_path: Path, bits: int) -> None:
    """By its own maximum it was up to 64 times as bright as the image before it. Scaled as ImageReader does it."""
    white = (1 << bits) - 1
    dark, bright = np.full((4, 4), 500, np.uint16), np.full((4, 4), white, np.uint16)
    for name, image in (("a", dark), ("b", bright), ("c", dark)):
        write_image(tmp_path / f"{name}.png", image)
    (tmp_path / "d.png").write_bytes(b"no image")
    os.mkfifo(tmp_path / "e.png")
    assert [int(read_rgb(tmp_path / f"{name}.png")[0, 0, 0]) for name in "abc"] == [
        round(500 * 255 / white),
        255,
        round(500 * 255 / white),
    ]
    reader = ImageReader(bit_depth=bits)
    sent = image_messages.message("mono16", dark, (4, 4))
    assert reader.to_rgb(sent)[0, 0, 0] == read_rgb(tmp_path / "a.png")[0, 0, 0]


def test_limit_and_rate_are_taken_from_the_user(tmp_path: Path) -> None:
    path = tmp_path / "drive.mp4"
    write_video(path, 5)
    source = open_source(str(path), rate_hz=4.0, frames=2)
    assert (source.rate_hz, source.total, len(list(source))) == (4.0, 2, 2)


def test_folder_gives_images_by_name_with_their_labels(tmp_path: Path) -> None:
    write_images(tmp_path / "images", 3)
    write_labels(tmp_path / "labels", 3, void=11)
    frames = list(open_source(str(tmp_path), void=[11]))
    assert [item.name for item in frames] == ["000.png", "001.png", "002.png"]
    for number, item in enumerate(frames):
        np.testing.assert_array_equal(item.frame.rgb, picture(number))
        assert item.truth is not None and item.truth.instance is None
        np.testing.assert_array_equal(item.truth.semantic, label_mask(number))
        assert (item.truth.semantic[number] == VOID).all()


def test_an_image_with_a_long_name_and_no_label_is_one_without_a_label(tmp_path: Path) -> None:
    """Its name with `_labels` behind it would be longer than any may be."""
    write_image(tmp_path / "images" / f"{'a' * 250}.png", picture(0))
    (tmp_path / "labels").mkdir()
    (item,) = open_source(str(tmp_path))
    assert item.truth is None


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_names_whose_accents_are_written_otherwise_are_one(tmp_path: Path, form: Literal["NFC", "NFD"]) -> None:
    """As after a zip that a Mac made; only one of the two files has gone that way."""
    plain = "straße_grün"
    write_image(tmp_path / "images" / f"{unicodedata.normalize(form, plain)}.png", picture(0))
    other = unicodedata.normalize("NFD" if form == "NFC" else "NFC", plain)
    write_image(tmp_path / "labels" / f"{other}_labels.png", label_mask(0))
    source = open_source(str(tmp_path))
    (item,) = source
    assert item.truth is not None and source.problems == []


def test_labels_and_instances_may_lie_elsewhere_and_be_named_as_predict_names_them(tmp_path: Path) -> None:
    write_images(tmp_path / "images", 1)
    instance = np.arange(48 * 64, dtype=np.uint16).reshape(48, 64)
    write_image(tmp_path / "out" / "000_labels.png", label_mask(0))
    write_image(tmp_path / "out" / "000_instances.png", instance)
    labels = LabelFolder(tmp_path / "out", tmp_path / "out")
    (item,) = open_source(str(tmp_path / "images"), labels=labels)
    assert item.truth is not None and item.truth.instance is not None
    np.testing.assert_array_equal(item.truth.instance, instance)


@pytest.mark.parametrize("ending", [".png", ".jpg"])
def test_a_truncated_image_is_named_and_the_others_are_given(tmp_path: Path, ending: str) -> None:
    paths = write_images(tmp_path / "images", 3, ending)
    truncate(paths[1])
    source = open_source(str(tmp_path / "images"))
    assert [item.name for item in source] == [paths[0].name, paths[2].name]
    (problem,) = source.problems
    assert str(paths[1]) in problem and "truncated" in problem


def test_a_thumbnail_does_not_make_a_truncated_jpeg_whole(tmp_path: Path) -> None:
    whole = cv2.imencode(".jpg", picture(0))[1].tobytes()
    thumbnail = cv2.imencode(".jpg", picture(1)[:8, :8])[1].tobytes()
    segment = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    with_thumbnail = whole[:2] + segment + whole[2:]
    assert is_whole(with_thumbnail)
    assert is_whole(with_thumbnail + bytes(512))  # cameras pad
    assert not is_whole(with_thumbnail[:-40])


def test_a_video_that_ends_early_is_told(tmp_path: Path) -> None:
    path = tmp_path / "drive.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    for number in range(20):
        writer.write(picture(number))
    writer.release()
    data = path.read_bytes()
    source = open_source(str(path))
    path.write_bytes(data[: len(data) // 2])
    assert 0 < len(list(source)) < 20
    (problem,) = source.problems
    assert f"{missing_bytes(path)} bytes before its end" in problem and missing_bytes(path) >= len(data) // 2


def test_what_cannot_be_read_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.mp4").write_text("no video")
    for words, part in (
        (str(tmp_path / "missing.mp4"), "there is no file"),
        (str(tmp_path / "text.mp4"), "cannot be read as a video"),
        (str(tmp_path / "empty"), "holds no images"),
        ("/dev/video87", "/dev/video87 cannot be opened"),
        (str(tmp_path / "missing.mcap"), "there is no bag"),
    ):
        with pytest.raises(SegPerceptionError, match=part) as caught:
            open_source(words)
        assert "\n" not in str(caught.value)


def test_a_folder_that_is_there_is_no_camera_of_that_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_images(tmp_path / "2024", 1)
    monkeypatch.chdir(tmp_path)
    assert open_source("2024").kind == "folder"
    with pytest.raises(SegPerceptionError, match="/dev/video2025"):
        open_source("2025")


def test_labels_belong_to_folders(tmp_path: Path) -> None:
    path = tmp_path / "drive.mp4"
    write_video(path, 1)
    write_labels(tmp_path / "labels", 1)
    with pytest.raises(SegPerceptionError, match="belong to images of a folder"):
        open_source(str(path), labels=LabelFolder(tmp_path / "labels"))


def test_files_that_are_no_masks_are_refused(tmp_path: Path) -> None:
    write_image(tmp_path / "color.png", picture(0))
    with pytest.raises(SegPerceptionError, match="one channel"):
        read_mask(tmp_path / "color.png", np.uint8)
    write_image(tmp_path / "deep.png", np.full((2, 2), 700, np.uint16))
    with pytest.raises(SegPerceptionError, match="uint16"):
        read_mask(tmp_path / "deep.png", np.uint8)
    (tmp_path / "nothing.png").touch()
    with pytest.raises(SegPerceptionError, match=r"nothing\.png"):
        read_rgb(tmp_path / "nothing.png")


def test_a_file_that_fails_half_way_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text("old")
    with pytest.raises(RuntimeError), written_aside(path) as aside:
        aside.write_text("half")
        raise RuntimeError
    assert [file.name for file in tmp_path.iterdir()] == ["report.json"]
    assert path.read_text() == "old"


def test_without_input_the_synthetic_drive_comes_with_all_that_is_true_of_it() -> None:
    source = open_source(None, frames=2)
    frames = list(source)
    assert (source.kind, source.total, len(frames), source.labels) == ("synthetic", 2, 2, CAMVID)
    assert source.camera is not None and source.pose is not None
    height, width = frames[0].frame.rgb.shape[:2]
    assert (source.camera.width, source.camera.height) == (width, height)
    for item in frames:
        assert item.truth is not None and item.truth.instance is not None
        assert item.truth.semantic.shape == (height, width)
    assert frames[0].frame.stamp_ns < frames[1].frame.stamp_ns


def test_a_prepared_drive_gives_the_same_frames_from_disk(tmp_path: Path) -> None:
    source = SyntheticSource(3)
    drawn = list(source)
    source.prepare(tmp_path)
    for _ in range(2):
        for have, want in zip(source, drawn, strict=True):
            assert (have.name, have.frame.stamp_ns) == (want.name, want.frame.stamp_ns)
            assert have.free_distance_m == want.free_distance_m
            np.testing.assert_array_equal(have.frame.rgb, want.frame.rgb)
            assert have.truth is not None and want.truth is not None
            np.testing.assert_array_equal(have.truth.semantic, want.truth.semantic)
            np.testing.assert_array_equal(have.truth.instance, want.truth.instance)
    assert drawn[0].free_distance_m is not None
    source.close()
    assert list(tmp_path.iterdir()) == []


def test_label_images_that_belong_to_no_image_are_told(tmp_path: Path) -> None:
    write_images(tmp_path / "images", 3)
    write_labels(tmp_path / "labels", 3)
    (tmp_path / "labels" / "002.png").rename(tmp_path / "labels" / "frame_002.png")
    (tmp_path / "labels" / "001.png").rename(tmp_path / "labels" / "001_labels.png")
    for source in (FolderSource(tmp_path), FolderSource(tmp_path / "images", LabelFolder(tmp_path / "labels"))):
        assert [item.truth is not None for item in source] == [True, True, False]
        (problem,) = source.problems
        assert "1 of its 3 masks belong to no image" in problem and "frame_002.png" in problem


@pytest.mark.parametrize("ending", [None, ".PNG", ".jpg"])
def test_a_folder_without_label_images_is_refused_where_it_is_named(tmp_path: Path, ending: str | None) -> None:
    write_images(tmp_path / "images", 2)
    write_labels(tmp_path / "labels", 1)
    for file in (tmp_path / "labels").iterdir():
        file.unlink() if ending is None else file.rename(file.with_suffix(ending))
    with pytest.raises(SegPerceptionError, match=r"labels holds no label images: .*\.png"):
        LabelFolder(tmp_path / "labels")
    assert not FolderSource(tmp_path).has_labels  # nobody named it


def test_masks_of_objects_in_the_folder_of_the_labels_are_no_labels(tmp_path: Path) -> None:
    """As predict writes both into one folder."""
    write_images(tmp_path / "images", 2)
    write_labels(tmp_path / "out", 2)
    for number in range(2):
        (tmp_path / "out" / f"{number:03}.png").rename(tmp_path / "out" / f"{number:03}_labels.png")
        cv2.imwrite(str(tmp_path / "out" / f"{number:03}_instances.png"), np.zeros((48, 64), np.uint16))
    source = FolderSource(tmp_path / "images", LabelFolder(tmp_path / "out", tmp_path / "out"))
    assert all(item.truth is not None for item in source) and source.problems == []


def test_the_own_vehicle_of_a_source_counts_as_unlabelled(tmp_path: Path) -> None:
    write_images(tmp_path / "images", 1)
    write_labels(tmp_path / "labels", 1)
    source = FolderSource(tmp_path)
    (before,) = source
    image = np.zeros((24, 32), np.uint8)
    image[18:] = 255
    assert cv2.imwrite(str(tmp_path / "ego.png"), image)
    source.ego = EgoMask.read(tmp_path / "ego.png")
    (item,) = source
    assert before.truth is not None and item.truth is not None
    assert (item.truth.semantic[36:] == VOID).all() and (before.truth.semantic[36:] != VOID).any()
    assert (item.truth.semantic[:36] == before.truth.semantic[:36]).all()
    assert cv2.imwrite(str(tmp_path / "ego.png"), image[:, :16])
    source.ego = EgoMask.read(tmp_path / "ego.png")
    with pytest.raises(SegPerceptionError, match="is 16x24 px and the camera's images 64x48 px"):
        list(source)


def test_a_camera_sends_at_its_own_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    class Camera(SyntheticSource):
        def __init__(self, device: str) -> None:
            super().__init__(1)
            self.live = True

    monkeypatch.setattr("seg_perception.recordings.open_source.DeviceSource", Camera)
    assert open_source("/dev/video7").live
    with pytest.raises(SegPerceptionError, match="--rate is for what was recorded"):
        open_source("/dev/video7", rate_hz=5.0)


def test_hidden_files_of_a_mac_are_no_labels(tmp_path: Path) -> None:
    """On disks of other systems one lies beside each file."""
    write_images(tmp_path / "images", 2)
    write_labels(tmp_path / "labels", 2)
    for label in list((tmp_path / "labels").iterdir()):
        label.with_name(f"._{label.name}").write_bytes(b"\0\5\x16\7")
    source = FolderSource(tmp_path)
    assert [item.truth is not None for item in source] == [True, True] and source.problems == []
    numbered = LabelFolder(tmp_path / "labels")
    for number, label in enumerate(sorted(path for path in (tmp_path / "labels").iterdir() if path.name[0] != ".")):
        label.rename(label.with_name(f"{number}.png"))
    assert stems_by_number(numbered) == {0: "0", 1: "1"}
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "._1.png").write_bytes(b"\0\5\x16\7")
    with pytest.raises(SegPerceptionError, match="holds no label images"):
        LabelFolder(tmp_path / "hidden")
