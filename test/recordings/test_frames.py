"""Bags of every format, several topics, excerpts, labels by stamp or from a folder, and what is odd about a recording."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest
from bag_fixtures import (
    COMPRESSED,
    IMAGE,
    PERIOD_NS,
    START_NS,
    TEXT,
    TYPES,
    TYPES1,
    Message,
    compressed,
    image,
    pictures,
    write,
    write_ros1,
)
from eval_fixtures import label_mask, picture
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import CompressionMode, StoragePlugin

from seg_perception.errors import SegPerceptionError
from seg_perception.labels import VOID
from seg_perception.recordings.frames import PENDING_FRAMES, BagSource, Excerpt, image_topics
from seg_perception.recordings.sources import LabelFolder, SourceFrame


def number_of(item: SourceFrame) -> int:
    return (item.frame.stamp_ns - START_NS) // PERIOD_NS


def time_of(number: int) -> int:
    return START_NS + number * PERIOD_NS


def labels(
    numbers: list[int], topic: str = "/front/label", values: dict[int, int] | None = None, delay_ns: int = 0
) -> list[Message]:
    """Masks of the pictures of these numbers; values: which mask instead."""
    masks = {number: label_mask((values or {}).get(number, number)) for number in numbers}
    return [
        (topic, IMAGE, image(mask, "mono8", time_of(number)), time_of(number) + delay_ns)
        for number, mask in masks.items()
    ]


@pytest.mark.parametrize("storage", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
@pytest.mark.parametrize("compression", [None, CompressionMode.FILE, CompressionMode.MESSAGE, CompressionMode.STORAGE])
def test_every_form_of_rosbag2_gives_the_same(
    tmp_path: Path, storage: StoragePlugin, compression: CompressionMode | None
) -> None:
    if storage is StoragePlugin.SQLITE3 and compression is CompressionMode.STORAGE:
        compression = None
    messages = [pair for both in zip(pictures(4), labels([0, 1, 2, 3]), strict=True) for pair in both]
    source = BagSource(write(tmp_path / "bag", messages, storage, compression))
    frames = list(source)
    assert (source.total, len(frames), source.problems, source.notes) == (4, 4, [], [])
    for number, item in enumerate(frames):
        np.testing.assert_array_equal(item.frame.rgb, picture(number))
        assert item.truth is not None
        np.testing.assert_array_equal(item.truth.semantic, label_mask(number))


@pytest.mark.parametrize("compression", [None, Writer1.CompressionFormat.BZ2, Writer1.CompressionFormat.LZ4])
def test_ros_1_bags_give_the_same(tmp_path: Path, compression: Writer1.CompressionFormat | None) -> None:
    masks = [
        ("/front/label", IMAGE, image(label_mask(number), "mono8", time_of(number), types=TYPES1), time_of(number))
        for number in range(4)
    ]
    messages = [*pictures(4, types=TYPES1), *masks]
    source = BagSource(write_ros1(tmp_path / "drive.bag", messages, compression))
    for number, item in enumerate(source):
        np.testing.assert_array_equal(item.frame.rgb, picture(number))
        assert item.truth is not None
        np.testing.assert_array_equal(item.truth.semantic, label_mask(number))
    assert source.total == 4 and source.problems == []


def test_topics_are_those_asked_for_or_every_camera(tmp_path: Path) -> None:
    messages = [
        *pictures(3, "/left/image_raw"),
        *pictures(2, "/front/image_raw"),
        *labels([0, 1, 2, 3], "/front/label"),
        *pictures(4, "/segmentation/segmentation_mask"),
        ("/chatter", TEXT, TYPES.types[TEXT](data="hello"), START_NS),
    ]
    path = write(tmp_path / "bag", messages)
    assert image_topics(path) == ["/left/image_raw"]
    assert image_topics(path, everything=True) == ["/front/image_raw", "/left/image_raw"]
    assert image_topics(path, ["/front/image_raw", "/left/image_raw", "/front/image_raw"]) == [
        "/front/image_raw",
        "/left/image_raw",
    ]
    with pytest.raises(SegPerceptionError, match=r"no topic /right/image_raw, its topics are /chatter \(std.*/front"):
        image_topics(path, ["/right/image_raw"])
    with pytest.raises(SegPerceptionError, match=r"/chatter of .* is a std_msgs/msg/String, no image"):
        BagSource(path, "/front/image_raw", label_topic="/chatter")
    assert all(item.truth is None for item in BagSource(path, "/left/image_raw"))


def test_topics_beside_the_images_that_are_of_another_type_are_left_out_and_told(tmp_path: Path) -> None:
    names = ("/front/label", "/front/instance", "/front/camera_info", "/tf_static")
    others = [(name, TEXT, TYPES.types[TEXT](data="hello"), START_NS) for name in names]
    source = BagSource(write(tmp_path / "bag", [*others, *pictures(2)]))
    assert [item.truth for item in source] == [None, None]
    assert (source.camera, source.pose, source.problems) == (None, None, [])
    assert [note.split(" of ")[0] for note in source.notes] == list(names)
    assert all("is a std_msgs/msg/String, no " in note for note in source.notes)


def test_labels_of_16_bits_are_told_and_an_excerpt_of_nothing_too(tmp_path: Path) -> None:
    wide = image(label_mask(0).astype(np.uint16), "mono16", START_NS)
    path = write(tmp_path / "bag", [*pictures(2), ("/front/label", IMAGE, wide, START_NS)])
    source = BagSource(path)
    assert [item.truth for item in source] == [None, None]
    (problem,) = source.problems
    assert "/front/label at 1000000000 ns: labels have 16 bits" in problem
    nothing = BagSource(path, excerpt=Excerpt(start_s=5.0))
    assert list(nothing) == []
    (problem,) = nothing.problems
    assert "none of its 2 images is in the excerpt, the bag is 0.1 s long" in problem


def test_label_and_instance_topics_may_be_anywhere_and_are_png_or_raw(tmp_path: Path) -> None:
    instance = np.arange(48 * 64, dtype=np.uint16).reshape(48, 64)
    messages = [
        *pictures(1),
        ("/truth/semantic", COMPRESSED, compressed(label_mask(0), START_NS), START_NS + 5),
        ("/truth/objects", IMAGE, image(instance, "mono16", START_NS), START_NS + 6),
    ]
    path = write(tmp_path / "bag", messages)
    source = BagSource(path, label_topic="/truth/semantic", instance_topic="/truth/objects", void=[3])
    (item,) = source
    assert item.truth is not None and item.truth.instance is not None
    expected = label_mask(0)
    assert (expected == 3).any()
    np.testing.assert_array_equal(item.truth.semantic, np.where(expected == 3, np.uint8(VOID), expected))
    np.testing.assert_array_equal(item.truth.instance, instance)


@pytest.mark.parametrize("names", ["stamps", "numbers"])
def test_labels_of_a_folder_belong_by_stamp_or_by_number(tmp_path: Path, names: str) -> None:
    path = write(tmp_path / "bag", [*pictures(6), *labels([0, 1, 2, 3, 4, 5], values=dict.fromkeys(range(6), 9))])
    (tmp_path / "labels").mkdir()
    for number in (1, 4):
        name = str(time_of(number)) if names == "stamps" else f"{number:06}_labels"
        cv2.imwrite(str(tmp_path / "labels" / f"{name}.png"), label_mask(number))
    for excerpt in (Excerpt(), Excerpt(start_s=0.1, stride=3)):
        frames = list(BagSource(path, labels=LabelFolder(tmp_path / "labels"), excerpt=excerpt))
        found = {number_of(item): item.truth for item in frames if item.truth}
        assert list(found) == [1, 4]
        for number, truth in found.items():
            np.testing.assert_array_equal(truth.semantic, label_mask(number))
    cv2.imwrite(str(tmp_path / "labels" / "left_000001.png"), label_mask(0))
    with pytest.raises(SegPerceptionError, match="left_000001"):
        BagSource(path, labels=LabelFolder(tmp_path / "labels"))


def test_an_excerpt_is_from_start_to_end_every_nth(tmp_path: Path) -> None:
    path = write(
        tmp_path / "bag", sorted([*pictures(20), *labels(list(range(20)), delay_ns=PERIOD_NS * 3)], key=lambda m: m[3])
    )
    source = BagSource(path, excerpt=Excerpt(start_s=0.5, end_s=1.5, stride=4))
    frames = list(source)
    assert [number_of(item) for item in frames] == [5, 9, 13]
    assert [item.name for item in frames][:1] == ["frame 5 at 1.500 s"]
    for item in frames:  # their labels were recorded after the excerpt's end, too
        assert item.truth is not None
        np.testing.assert_array_equal(item.truth.semantic, label_mask(number_of(item)))
    assert (
        BagSource(path, excerpt=Excerpt(stride=3)).total == len(list(BagSource(path, excerpt=Excerpt(stride=3)))) == 7
    )
    with pytest.raises(SegPerceptionError, match="--start"):
        Excerpt(start_s=5, end_s=5)
    with pytest.raises(SegPerceptionError, match="--stride"):
        Excerpt(stride=0)


def test_stamps_that_jump_back_or_repeat_and_sizes_that_change_are_told_and_labels_still_fit(tmp_path: Path) -> None:
    # the clock is set back after picture 2; picture 5 has the stamp of picture 4
    stamps = [10, 11, 12, 3, 4, 4, 5]
    messages: list[Message] = []
    for number, stamp in enumerate(stamps):
        rgb = picture(number) if number != 6 else picture(number, (24, 32))
        mask = label_mask(number) if number != 6 else label_mask(number)[:24, :32]
        time_ns = START_NS + number
        messages.append(("/front/image_raw", IMAGE, image(rgb, "rgb8", stamp), time_ns))
        messages.append(("/front/label", IMAGE, image(np.ascontiguousarray(mask), "mono8", stamp), time_ns))
    source = BagSource(write(tmp_path / "bag", messages))
    for number, item in enumerate(source):
        assert (item.frame.stamp_ns, item.truth is not None) == (stamps[number], True)
        assert item.truth is not None
        mask = label_mask(number) if number != 6 else label_mask(number)[:24, :32]
        np.testing.assert_array_equal(item.truth.semantic, mask)
    assert source.problems == []
    assert source.notes == [
        "/front/image_raw: 1 stamps jump back",
        "/front/image_raw: 1 stamps repeat the one before",
        "/front/image_raw: 1 images differ in size from the one before",
    ]


def test_memory_does_not_grow_with_the_bag(tmp_path: Path) -> None:
    size_hw = (240, 320)
    frame_bytes = size_hw[0] * size_hw[1] * 3
    peaks = []
    for count in (PENDING_FRAMES + 8, 4 * (PENDING_FRAMES + 8)):
        messages = [
            ("/front/image_raw", IMAGE, image(picture(0, size_hw), "rgb8", time_of(number)), time_of(number))
            for number in range(count)
        ]
        # one label makes every other frame wait for its own as long as frames ever wait
        messages += labels([0])
        path = write(tmp_path / f"bag{count}", messages)
        del messages
        source = BagSource(path)
        tracemalloc.start()
        assert sum(1 for _ in source) == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]
    # the frames that wait, and a chunk of the file in a few forms
    assert peaks[1] < (PENDING_FRAMES + 4) * frame_bytes + 6 * (1 << 20) < count * frame_bytes / 2
