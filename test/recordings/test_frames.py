"""Bags of every format, several topics, excerpts, labels by stamp or from a folder, and what is odd about a recording."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

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
    header,
    image,
    pictures,
    write,
    write_ros1,
    write_split,
)
from eval_fixtures import label_mask, picture, truncate
from rosbags.highlevel import AnyReader
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import CompressionMode, StoragePlugin, Writer

from seg_perception.camera.messages import to_camera_model
from seg_perception.camera_model import rotation
from seg_perception.errors import SegPerceptionError
from seg_perception.labels import VOID
from seg_perception.recordings import mounting as recorded_mounting
from seg_perception.recordings.bag_file import INFO_TYPE as INFO
from seg_perception.recordings.bag_file import TF_TYPE, Bag
from seg_perception.recordings.calibration import MOST_WAITING, Calibration
from seg_perception.recordings.excerpt import Excerpt
from seg_perception.recordings.frames import BagSource
from seg_perception.recordings.sources import LabelFolder, SourceFrame
from seg_perception.recordings.topics import image_topics


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


def test_faults_that_differ_in_numbers_alone_are_told_once(tmp_path: Path) -> None:
    """Each JPEG has another length, and so had each of a thousand that were cut off a sentence of its own."""
    messages = []
    for number in range(5):
        data = cv2.imencode(".jpg", picture(number))[1].ravel()[: -500 - number]
        packed = TYPES.types[COMPRESSED](header=header(time_of(number)), format="jpeg", data=data)
        messages.append(("/front/image_raw/compressed", COMPRESSED, packed, time_of(number)))
    source = BagSource(write(tmp_path / "bag", messages))
    assert list(source) == []
    (problem,) = source.problems
    assert f"at {time_of(0)} ns: " in problem and "ends too early (and 4 more like it)" in problem


@pytest.mark.parametrize("kind", ["16UC1", "32FC1", "16UC1; compressedDepth", "16UC1; png compressed "])
def test_depth_is_taken_for_no_camera_where_there_is_one(tmp_path: Path, kind: str) -> None:
    """A depth camera often sends more of it than colour."""
    deep = np.full((48, 64), 1500, np.float32 if kind == "32FC1" else np.uint16)
    if ";" in kind:
        topic = "/depth/image_rect_raw/compressedDepth"
        packed = compressed(deep, START_NS)
        packed.format = kind
        if "Depth" in kind:
            packed.data = np.concatenate((np.zeros(12, np.uint8), packed.data))
        depth = [(topic, COMPRESSED, packed, time_of(number)) for number in range(4)]
    else:
        topic = "/depth/image_rect_raw"
        depth = [(topic, IMAGE, image(deep, kind, time_of(number)), time_of(number)) for number in range(4)]
    path = write(tmp_path / "bag", [*depth, *pictures(3)])
    assert image_topics(path) == image_topics(path, everything=True) == [BagSource(path).topic] == ["/front/image_raw"]
    assert image_topics(path, [topic]) == image_topics(write(tmp_path / "alone", depth)) == [topic]
    if "Depth" in kind:
        source = BagSource(path, topic)
        assert list(source) == [] and "is depth: give the topic of a colour or grey image" in source.problems[0]


def test_topics_beside_the_images_that_are_of_another_type_are_left_out_and_told(tmp_path: Path) -> None:
    names = ("/front/label", "/front/instance", "/front/camera_info", "/tf_static")
    others = [(name, TEXT, TYPES.types[TEXT](data="hello"), START_NS) for name in names]
    source = BagSource(write(tmp_path / "bag", [*others, *pictures(2)]))
    assert [item.truth for item in source] == [None, None]
    assert (source.camera, source.pose, source.problems) == (None, None, [])
    assert [note.split(" of ")[0] for note in source.notes] == list(names)
    assert all("is a std_msgs/msg/String, no " in note for note in source.notes)


@pytest.mark.parametrize("base", ["/front/", "front/", "/", ""])
def test_what_lies_beside_the_images_is_found_whatever_the_topic_is_called(tmp_path: Path, base: str) -> None:
    """Programs that write MCAP files themselves begin topics without a slash."""
    info, label = camera_info(50, 0), labels([0])
    path = write(
        tmp_path / "bag",
        [
            (f"{base}camera_info", *info[1:]),
            (f"{base}label", *label[0][1:]),
            *pictures(1, f"{base}image_raw/compressed"),
        ],
    )
    source = BagSource(path)
    assert source.camera is not None and [item.truth is not None for item in source] == [True]


@pytest.mark.parametrize("storage", list(StoragePlugin))
def test_a_topic_without_a_message_is_told_so(tmp_path: Path, storage: StoragePlugin) -> None:
    """Recorders list the topics that were silent, too."""
    with Writer(tmp_path / "bag", version=8, storage_plugin=storage) as writer:
        for topic in ("/front/image_raw", "/rear/image_raw"):
            writer.add_connection(topic, IMAGE, typestore=TYPES)
    for topic in ("/front/image_raw", None):
        with pytest.raises(SegPerceptionError, match=r"/rear/image_raw \(sensor_msgs/msg/Image, no message\)"):
            BagSource(tmp_path / "bag", topic)


def mounting(x: float, number: int = 0, base: str = "base_footprint") -> Message:
    """Sent with the picture of that number."""
    make = TYPES.types
    transform = make["geometry_msgs/msg/Transform"](
        translation=make["geometry_msgs/msg/Vector3"](x=x, y=0.0, z=1.5),
        rotation=make["geometry_msgs/msg/Quaternion"](x=-0.5, y=0.5, z=-0.5, w=0.5),
    )
    kind = "geometry_msgs/msg/TransformStamped"
    link = make[kind](header=header(1, base), child_frame_id="front_optical", transform=transform)
    return "/tf_static", TF_TYPE, make[TF_TYPE](transforms=[link]), time_of(number)


@pytest.mark.parametrize(("base", "links"), [("base_footprint", True), ("base_link", False)])
def test_a_mounting_that_leads_to_another_frame_is_told(tmp_path: Path, base: str, links: bool) -> None:
    """Nothing was in metres then, and nothing said why."""
    source = BagSource(write(tmp_path / "bag", [mounting(1.0, base=base), *pictures(2)]))
    assert len(list(source)) == 2 and source.problems == []
    assert (source.pose is not None) == links == (source.notes == [])
    assert all("'front_optical' to base_footprint" in note and "in metres" in note for note in source.notes)


def test_a_calibrated_camera_whose_mounting_was_not_recorded_is_told(tmp_path: Path) -> None:
    source = BagSource(write(tmp_path / "bag", [camera_info(50, 0), *pictures(2)]))
    assert len(list(source)) == 2 and source.problems == []
    (note,) = source.notes
    assert "/front/image_raw" in note and "no static transforms" in note and "in metres" in note
    plain = BagSource(write(tmp_path / "plain", pictures(2)))
    assert len(list(plain)) == 2 and plain.notes == []


@pytest.mark.parametrize(
    ("topics", "x"),
    [
        (["/tf_static"], 0.0),
        (["/robot/tf_static"], 0.0),
        (["/robot/front/tf_static", "/robot/tf_static"], 0.0),
        (["/tf_static", "/robot/tf_static"], 1.0),
        (["tf_static"], 0.0),
        (["/other/tf_static"], None),
    ],
)
def test_a_robots_own_transforms_are_found_by_its_namespace(tmp_path: Path, topics: list[str], x: float | None) -> None:
    sent = [(topic, *mounting(float(place))[1:]) for place, topic in enumerate(topics)]
    source = BagSource(write(tmp_path / "bag", [*sent, *pictures(1, "/robot/front/image_raw")]))
    assert (None if source.pose is None else source.pose.x) == x


def places_x(source: BagSource) -> list[float | None]:
    """Where the camera of each frame is."""
    return [None if source.pose is None else source.pose.x for _ in source]


@pytest.mark.parametrize(("later", "changes"), [(1.0, False), (2.0, True)])
def test_a_mounting_that_changes_is_followed_and_told(tmp_path: Path, later: float, changes: bool) -> None:
    """As tf2 does it, which keeps the newest of each link; what comes first is also of the images before it."""
    source = BagSource(write(tmp_path / "bag", [mounting(1.0, 1), *pictures(4), mounting(later, 2)]))
    assert source.pose is not None and source.pose.x == 1.0
    for _ in range(2):
        assert places_x(source) == [1.0, 1.0, later, later] and source.problems == []
        assert [f"'front_optical' changes once, at {time_of(2)} ns (x 1 to 2)" in note for note in source.notes] == (
            [True] * changes
        )
    before = BagSource(source._path, excerpt=Excerpt(end_s=0.15))
    after = BagSource(source._path, excerpt=Excerpt(start_s=0.15))
    assert (places_x(before), places_x(after)) == ([1.0, 1.0], [later, later])
    assert before.notes == after.notes == []


def test_a_mounting_that_is_sent_again_and_again_is_worked_out_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    found = recorded_mounting.pose_from_transforms
    monkeypatch.setattr(
        recorded_mounting, "pose_from_transforms", lambda links, frame: asked.append(frame) or found(links, frame)
    )
    sent = [mounting(1.0 if number < 5 else 2.0, number) for number in range(9)]
    source = BagSource(write(tmp_path / "bag", [*sent, *pictures(9)]))
    assert places_x(source) == [1.0] * 5 + [2.0] * 4 and len(asked) == 2


def test_the_mountings_of_a_damaged_bag_count_by_their_time(tmp_path: Path) -> None:
    """What cannot be read by its index is read file by file, as it lies there."""
    path = write_split(
        tmp_path / "bag", [[mounting(2.0, 2), *pictures(4)], [mounting(1.0), *pictures(4, "/rear/image_raw")]]
    )
    truncate(path / "bag_1.mcap", 0.9)
    source = BagSource(path, "/front/image_raw")
    assert places_x(source) == [1.0, 1.0, 2.0, 2.0]


@pytest.mark.parametrize("known", [True, False])
def test_images_that_name_another_frame_are_placed_by_that(tmp_path: Path, known: bool) -> None:
    other = mounting(3.0)
    other[2].transforms[0].child_frame_id = "spare_optical" if known else "another"
    sent = [mounting(1.0), other, *pictures(3)]
    sent[-1][2].header.frame_id = "spare_optical"
    source = BagSource(write(tmp_path / "bag", sent))
    for _ in range(2):
        assert places_x(source) == [1.0, 1.0, 3.0 if known else None] and source.problems == []
        (note,) = source.notes
        assert ("(x 1 to 3)" if known else "'spare_optical' to base_footprint") in note


@pytest.mark.parametrize(("good", "found"), [((0, 2), [1.0, 1.0, 2.0]), ((2,), [2.0] * 3), ((0,), [1.0] * 3)])
def test_a_transform_that_is_none_is_left_out_where_another_is_known(
    tmp_path: Path, good: tuple[int, ...], found: list[float]
) -> None:
    bad = mounting(9.0, 1)
    bad[2].transforms[0].transform.rotation.w = 5.0
    sent = [mounting(1.0 if number == 0 else 2.0, number) for number in good]
    path = write(tmp_path / "bag", sorted([*sent, bad, *pictures(3)], key=lambda message: message[3]))
    source = BagSource(path)
    assert places_x(source) == found
    assert [f"at {time_of(1)} ns" in problem and "the one before stays" in problem for problem in source.problems] == (
        [True] * (0 in good)
    )
    before = BagSource(path, excerpt=Excerpt(end_s=0.05))
    assert places_x(before) == found[:1] and before.problems == []
    alone = BagSource(write(tmp_path / "alone", [bad, *pictures(3)]))
    assert places_x(alone) == [None] * 3 and "quaternion of length 1" in alone.problems[0]


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


def test_a_label_whose_number_is_no_stamp_is_told(tmp_path: Path) -> None:
    """It overflowed: a stamp has 64 bits."""
    (tmp_path / "labels").mkdir()
    cv2.imwrite(str(tmp_path / "labels" / f"{'9' * 25}.png"), label_mask(0))
    with pytest.raises(SegPerceptionError, match="cannot be told which image it labels"):
        BagSource(write(tmp_path / "bag", pictures(1)), labels=LabelFolder(tmp_path / "labels"))


def test_the_last_row_of_labels_needs_no_padding_as_that_of_images_does_not(tmp_path: Path) -> None:
    label = image(label_mask(0), "mono8", START_NS, pad=5)
    label.data = label.data[:-5]
    (item,) = BagSource(write(tmp_path / "bag", [*pictures(1), ("/front/label", IMAGE, label, START_NS)]))
    assert item.truth is not None
    np.testing.assert_array_equal(item.truth.semantic, label_mask(0))


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


@pytest.mark.parametrize("storage", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
@pytest.mark.parametrize("delay_s", [-10.0, -2.0, 0.0, 2.0, 10.0])
def test_labels_may_lie_anywhere_in_the_bag(tmp_path: Path, storage: StoragePlugin, delay_s: float) -> None:
    count = 100
    masks = labels(list(range(count)), values={n: n % 40 for n in range(count)}, delay_ns=round(delay_s * 1e9))
    masks = [(topic, kind, message, max(0, time_ns)) for topic, kind, message, time_ns in masks]
    messages = sorted([*pictures(count), *masks], key=lambda m: m[3])
    source = BagSource(write(tmp_path / "bag", messages, storage))
    for number, item in enumerate(source):
        assert item.truth is not None
        np.testing.assert_array_equal(item.truth.semantic, label_mask(number % 40))
    assert (number, source.problems) == (count - 1, [])


def stamped(numbers: list[int], off_ns: int, stamp_of: Callable[[int], int] = time_of) -> list[Message]:
    """Masks whose stamps are off, recorded just after their pictures."""
    return [
        ("/front/label", IMAGE, image(label_mask(number), "mono8", stamp_of(number) + off_ns), time_of(number) + 5)
        for number in numbers
    ]


def labelled_by(source: BagSource) -> list[int | None]:
    """Whose mask each frame got: masks differ in which row is void."""
    found = []
    for item in source:
        found.append(None if item.truth is None else int(np.flatnonzero((item.truth.semantic == VOID).all(axis=1))[0]))
    return found


@pytest.mark.parametrize("off_ns", [-PERIOD_NS // 2 + 1, -1000, 1, 1000, PERIOD_NS // 2 - 1])
def test_stamps_that_are_a_little_off_match_and_are_told(tmp_path: Path, off_ns: int) -> None:
    messages = sorted([*pictures(6), *stamped(list(range(6)), off_ns)], key=lambda m: m[3])
    path = write(tmp_path / "bag", messages)
    source = BagSource(path)
    assert labelled_by(source) == list(range(6))
    assert source.problems == []
    (note,) = source.notes
    assert "6 masks" in note and f"{abs(off_ns) / 1e6:g} ms" in note
    exact = BagSource(path, tolerance_s=0.0)
    assert labelled_by(exact) == [None] * 6
    (problem,) = exact.problems
    assert "/front/label" in problem and "6 of its 6 masks" in problem and "--label-tolerance" in problem


def test_a_label_that_is_nobodys_is_counted_and_told(tmp_path: Path) -> None:
    messages = [*pictures(6), *stamped([0, 2], 0), *stamped([3, 4], 10**12)]
    source = BagSource(write(tmp_path / "bag", messages))
    assert labelled_by(source) == [0, None, 2, None, None, None]
    (problem,) = source.problems
    assert "2 of its 4 masks belong to no image" in problem


def test_stamps_that_were_never_set_go_by_time_of_recording(tmp_path: Path) -> None:
    blank = [
        (topic, kind, image(picture(number), "rgb8", 0), time_ns)
        for number, (topic, kind, _, time_ns) in enumerate(pictures(6))
    ]
    masks = stamped(list(range(6)), 0, lambda _: 0)
    source = BagSource(write(tmp_path / "bag", sorted([*blank, *masks], key=lambda m: m[3])))
    assert labelled_by(source) == list(range(6))
    assert any("stamps of 0" in note for note in source.notes) and source.problems == []
    unlabelled = BagSource(write(tmp_path / "unlabelled", [*blank[:4], *pictures(2, first=4)]))
    assert [item.frame.stamp_ns for item in unlabelled] == [time_of(number) for number in range(6)]
    (note,) = unlabelled.notes
    assert note.startswith("/front/image_raw: 4 stamps were never set") and "the node" in note


def test_labels_outside_an_excerpt_are_no_loss_and_those_inside_are(tmp_path: Path) -> None:
    messages = [*pictures(10), *stamped([2, 6], PERIOD_NS // 3 * 2 + 10**12), *stamped([1, 5, 7], 0)]
    path = write(tmp_path / "bag", sorted(messages, key=lambda m: m[3]))
    whole, part = BagSource(path), BagSource(path, excerpt=Excerpt(0.5, 0.9, 2))
    assert labelled_by(whole) == [None, 1, None, None, None, 5, None, 7, None, None]
    assert "2 of its 5 masks" in whole.problems[0]
    assert labelled_by(part) == [5, 7]
    assert "1 of its" in part.problems[0]
    assert BagSource(path, excerpt=Excerpt(0.3, 0.55)).problems == []


def test_an_instance_mask_that_is_lost_is_told(tmp_path: Path) -> None:
    objects = image(np.ones((48, 64), np.uint16), "mono16", time_of(0))
    messages = [*pictures(3), *labels([0, 1, 2]), ("/front/instance", IMAGE, objects, time_of(0))]
    source = BagSource(write(tmp_path / "bag", messages))
    found = [item.truth is not None and item.truth.instance is not None for item in source]
    assert found == [True, False, False]
    (problem,) = source.problems
    assert "/front/instance" in problem and "2 labelled images have no mask there" in problem


def test_labels_of_a_folder_may_be_a_little_off_and_what_is_nobodys_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "bag", pictures(6))
    (tmp_path / "labels").mkdir()
    for name, number in ((str(time_of(1) + 1000), 1), ("4", 4), ("77", 7), (str(time_of(900)), 9)):
        cv2.imwrite(str(tmp_path / "labels" / f"{name}.png"), label_mask(number))
    source = BagSource(path, labels=LabelFolder(tmp_path / "labels"))
    assert labelled_by(source) == [None, 1, None, None, 4, None]
    (problem,) = source.problems
    assert "2 of its 4 masks belong to no image" in problem and "77" in problem


def test_a_camera_that_was_recorded_raw_and_compressed_is_one(tmp_path: Path) -> None:
    packed = [
        ("/front/image_raw/compressed", COMPRESSED, compressed(picture(n), time_of(n)), time_of(n)) for n in range(3)
    ]
    path = write(tmp_path / "bag", [*pictures(3), *packed, *pictures(2, "/left/image_raw")])
    assert image_topics(path, everything=True) == ["/front/image_raw", "/left/image_raw"]
    more = write(tmp_path / "more", [*pictures(2), *packed])
    assert image_topics(more, everything=True) == ["/front/image_raw/compressed"], "what holds more of it"
    assert image_topics(path, ["/front/image_raw", "/front/image_raw/compressed"]) == [
        "/front/image_raw",
        "/front/image_raw/compressed",
    ], "who names both gets both"


def test_memory_does_not_grow_with_the_bag(tmp_path: Path) -> None:
    """Neither with labels that lie far from their images."""
    size_hw = (240, 320)
    frame_bytes = size_hw[0] * size_hw[1] * 3
    mask = np.zeros(size_hw, np.uint8)
    peaks = []
    for count in (40, 160):
        messages = [
            ("/front/image_raw", IMAGE, image(picture(0, size_hw), "rgb8", time_of(number)), time_of(number))
            for number in range(count)
        ]
        messages = [
            *(
                ("/front/label", IMAGE, image(mask, "mono8", time_of(number)), time_of(0) - count + number)
                for number in range(count)
            ),
            *messages,
        ]
        path = write(tmp_path / f"bag{count}", messages)
        del messages
        source = BagSource(path)
        tracemalloc.start()
        assert sum(item.truth is not None for item in source) == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0] + (1 << 18)
    # chunks of the file in a few forms
    assert peaks[1] < 8 * frame_bytes + 6 * (1 << 20) < 160 * frame_bytes / 2


def test_the_rate_is_that_of_the_topic_and_not_of_the_whole_bag(tmp_path: Path) -> None:
    """Ten images at 10 Hz, and another topic that goes on for ten times as long."""
    late = START_NS + 100 * PERIOD_NS
    bag = write(tmp_path / "bag", [*pictures(10, "/front/image_raw"), *pictures(1, "/left/image_raw", first=100)])
    assert late > START_NS
    assert BagSource(bag, "/front/image_raw").rate_hz == pytest.approx(1e9 / PERIOD_NS)


@pytest.mark.parametrize("step_ns", [0, 1, 999_000])
def test_images_that_were_recorded_faster_than_any_camera_tell_no_rate(tmp_path: Path, step_ns: int) -> None:
    """As of a bag that a program wrote."""
    messages = [(*message[:3], START_NS + number * step_ns) for number, message in enumerate(pictures(5))]
    assert BagSource(write(tmp_path / "bag", messages)).rate_hz == 30.0


@pytest.mark.parametrize(
    ("encoding", "words"),
    [("BGR8", "read as bgr8"), ("8UC3", "read as bgr8"), ("CV_8UC3", "read as bgr8"), ("bgr8", "")],
)
def test_an_odd_name_of_an_encoding_is_read_with_one_note(tmp_path: Path, encoding: str, words: str) -> None:
    times = [START_NS + number * PERIOD_NS for number in range(3)]
    messages = [("/cam", IMAGE, image(np.ascontiguousarray(picture(1)[..., ::-1]), encoding, at), at) for at in times]
    source = BagSource(write(tmp_path / "bag", messages))
    for item in source:
        np.testing.assert_array_equal(item.frame.rgb, picture(1))
    assert source.problems == [] and len(source.notes) == bool(words)
    assert all(words in note for note in source.notes)


@pytest.mark.parametrize("white", [4095, 65535])
@pytest.mark.parametrize("is_late", [False, True])
def test_images_of_16_bits_are_seen_by_the_bits_in_use_as_a_folder_of_them_is(
    tmp_path: Path, white: int, is_late: bool
) -> None:
    """A bag of a camera of 12 bits was black. Where some of the first images are darker than what comes, it is seen then."""
    values = [500] * 9 + [white] if is_late else [white] + [500] * 9
    times = [START_NS + number * PERIOD_NS for number in range(len(values))]
    sent = [image(np.full((48, 64), value, np.uint16), "mono16", at) for at, value in zip(times, values)]
    messages = [("/front/image_raw", IMAGE, message, at) for message, at in zip(sent, times)]
    source = BagSource(write(tmp_path / "bag", messages))
    seen = [int(item.frame.rgb[0, 0, 0]) for item in source]
    assert seen == [round(value * 255 / (1023 if is_late and value == 500 else white)) for value in values]
    told = "/front/image_raw: its images of 16 bits use 12 and are read so; the node needs image_bit_depth: 12"
    assert source.notes == ([told] if white == 4095 else [])


def test_16uc1_is_a_picture_where_its_topic_is_named(tmp_path: Path) -> None:
    deep = picture(1)[..., 0].astype(np.uint16) * 257
    path = write(tmp_path / "bag", [("/thermal", IMAGE, image(deep, "16UC1", START_NS), START_NS)])
    (item,) = BagSource(path, "/thermal")
    np.testing.assert_array_equal(item.frame.rgb[..., 1], picture(1)[..., 0])
    source = BagSource(path)
    assert list(source) == [] and "depth camera" in source.problems[0]


def test_a_calibration_without_k_is_read_as_rectified_with_a_note(tmp_path: Path) -> None:
    roi = TYPES.types["sensor_msgs/msg/RegionOfInterest"](
        x_offset=0, y_offset=0, height=0, width=0, do_rectify=False
    )  # fmt: skip
    info = TYPES.types[INFO](
        header=header(START_NS), height=48, width=64, distortion_model="Brown-Conrady", d=np.zeros(5), k=np.zeros(9),
        r=np.zeros(9), p=np.array([40.0, 0, 32, 0, 0, 40, 24, 0, 0, 0, 1, 0]), binning_x=0, binning_y=0, roi=roi,
    )  # fmt: skip
    source = BagSource(write(tmp_path / "bag", [("/front/camera_info", INFO, info, START_NS), *pictures(2)]))
    list(source)
    assert source.camera is not None and source.camera.K[0][0] == 40.0
    assert source.problems == [] and "image_rectified" in of_calibration(source)[0]


def camera_info(fx: float, number: int, late_ns: int = 0, types: Any = TYPES) -> Message:
    """Of the picture of that number; fx 0: of a camera that is not calibrated."""
    k = np.array([fx, 0, 32, 0, fx, 24, 0, 0, 1 if fx else 0], np.float64)
    matrices = {"d": np.zeros(5), "k": k, "r": np.eye(3).ravel(), "p": np.zeros(12)}
    info = types.types[INFO](
        header=header(time_of(number), types=types), height=48, width=64, distortion_model="plumb_bob", binning_x=0,
        binning_y=0, **({name.upper(): value for name, value in matrices.items()} if types is TYPES1 else matrices),
        roi=types.types["sensor_msgs/msg/RegionOfInterest"](
            x_offset=0, y_offset=0, height=0, width=0, do_rectify=False
        ),
    )  # fmt: skip
    return "/front/camera_info", INFO, info, time_of(number) + late_ns


def focal_lengths(source: BagSource) -> list[float | None]:
    """Of the camera of each frame."""
    return [None if source.camera is None else source.camera.K[0][0] for _ in source]


def of_calibration(source: BagSource) -> list[str]:
    """Its notes on that alone: these bags have no mounting, which is told, too."""
    return [note for note in source.notes if "no static transforms" not in note]


@pytest.mark.parametrize("late_ns", [-1000, 0, 1000, 3 * PERIOD_NS // 2])
@pytest.mark.parametrize("ros1", [False, True])
def test_a_calibration_that_changes_is_followed_and_told(tmp_path: Path, late_ns: int, ros1: bool) -> None:
    """Some drivers send it before its image, some after."""
    types = TYPES1 if ros1 else TYPES
    infos = [camera_info(fx, number, late_ns, types) for number, fx in enumerate((50, 50, 60, 60, 60, 50))]
    messages = sorted([*infos, *pictures(6, types=types)], key=lambda message: message[3])
    path = write_ros1(tmp_path / "a.bag", messages) if ros1 else write(tmp_path / "bag", messages)
    source = BagSource(path)
    assert source.camera is not None and source.camera.K[0][0] == 50
    for _ in range(2):
        assert focal_lengths(source) == [50, 50, 60, 60, 60, 50]
        (note,) = of_calibration(source)
        assert "changes 2 times" in note and f"at {time_of(2) + late_ns} ns (fx 50 to 60, fy 50 to 60)" in note
        assert source.problems == []
    later = BagSource(path, excerpt=Excerpt(start_s=0.25))
    assert focal_lengths(later) == [60, 60, 50]
    assert [("changes once" in note, f"at {time_of(5) + late_ns} ns" in note) for note in of_calibration(later)] == [
        (True, True)
    ]


def test_a_calibration_that_changes_is_followed_where_the_clock_of_all_stamps_stands(tmp_path: Path) -> None:
    infos, images = [camera_info(fx, number) for number, fx in enumerate((50, 50, 60, 60))], pictures(4)
    for _, _, message, _ in (*infos, *images):
        message.header.stamp = header(START_NS).stamp
    sent = sorted([*infos, *images], key=lambda message: message[3])
    assert focal_lengths(BagSource(write(tmp_path / "bag", sent))) == [50, 50, 60, 60]


def test_a_calibration_that_comes_once_or_that_is_repeated_is_no_change(tmp_path: Path) -> None:
    for name, infos in {"once": [50], "repeated": [50] * 4}.items():
        messages = [*(camera_info(fx, number) for number, fx in enumerate(infos)), *pictures(4)]
        source = BagSource(write(tmp_path / name, messages))
        assert focal_lengths(source) == [50] * 4 and of_calibration(source) == []


def test_a_calibration_that_is_not_good_is_a_problem_of_the_images_that_would_go_by_it_alone(tmp_path: Path) -> None:
    infos = [camera_info(fx, number) for number, fx in enumerate((50, 0, 50, 50, 50, 0, 50))]
    path = write(tmp_path / "bag", sorted([*infos, *pictures(7)], key=lambda message: message[3]))
    for excerpt, numbers in {
        Excerpt(): (1, 5),
        Excerpt(start_s=0.05): (1, 5),
        Excerpt(start_s=0.15, end_s=0.45): (),
        Excerpt(start_s=0.15): (5,),
        Excerpt(stride=2): (),
    }.items():
        source = BagSource(path, excerpt=excerpt)
        assert set(focal_lengths(source)) == {50}
        times = [f"camera_info at {time_of(numbers[0])} ns: "] if numbers else []
        assert [problem.partition("the focal")[0].endswith(time) for problem, time in zip(source.problems, times)] == (
            [True] * len(source.problems)
        )
        assert len(source.problems) == len(times)
        assert all(("(and 1 more like it)" in problem) == (len(numbers) == 2) for problem in source.problems)


def test_a_calibration_is_a_change_of_the_images_that_are_taken_alone(tmp_path: Path) -> None:
    infos = [camera_info(fx, number) for number, fx in enumerate((50, 60, 50, 60, 60, 60))]
    path = write(tmp_path / "bag", sorted([*infos, *pictures(6)], key=lambda message: message[3]))
    every_second = BagSource(path, excerpt=Excerpt(stride=2))
    assert focal_lengths(every_second) == [50, 50, 60]
    (note,) = of_calibration(every_second)
    assert "changes once" in note and f"at {time_of(4)} ns" not in note and f"at {time_of(3)} ns" in note


def test_the_last_image_of_an_excerpt_has_its_own_calibration_though_that_comes_later(tmp_path: Path) -> None:
    """As in the whole recording: it was recorded behind the excerpt's end."""
    infos = [camera_info(50 + 10 * number, number, late_ns=PERIOD_NS // 2) for number in range(4)]
    sent = sorted([*infos, *pictures(4)], key=lambda message: message[3])
    source = BagSource(write(tmp_path / "bag", sent), excerpt=Excerpt(end_s=2.2 * PERIOD_NS / 1e9))
    assert [number_of(item) for item in source] == [0, 1, 2]
    assert focal_lengths(source) == [50, 60, 70]


@pytest.mark.parametrize("several", [False, True])
def test_images_and_their_calibration_are_read_in_one_pass(
    tmp_path: Path, several: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second one took as long as the first, and unpacked the whole bag once more."""
    infos = [camera_info(50, number) for number in range(4 if several else 1)]
    path = write(tmp_path / "bag", [*infos, *pictures(4)], compression=CompressionMode.FILE)
    source, opened, opening = BagSource(path), [], AnyReader.open
    monkeypatch.setattr(AnyReader, "open", lambda reader: (opened.append(reader), opening(reader)))
    assert focal_lengths(source) == [50] * 4 and len(opened) == 1


@pytest.mark.parametrize(("infos", "most"), [([0], 0), ([0, 9], MOST_WAITING)])
def test_no_image_waits_long_for_its_calibration(tmp_path: Path, infos: list[int], most: int) -> None:
    """They are held in memory, and a calibration may be sent once."""
    path = write(tmp_path / "bag", [*(camera_info(50, number) for number in infos), *pictures(6)])
    with Bag(path) as bag:
        calibration = Calibration(bag, "/front/image_raw", "/front/camera_info")
        read: list[str] = []
        entries = (read.append(entry.topic) or entry for entry in bag.entries(calibration.topics))
        for number, (image, heard) in enumerate(calibration.followed(entries), 1):
            assert image.topic == "/front/image_raw" and heard.value == calibration.first
            assert len(read) <= 1 + number + most
        assert number == 6


def test_what_changes_of_a_calibration_is_named(tmp_path: Path) -> None:
    later = camera_info(50, 1)
    later[2].d, later[2].width = np.array([-0.2, 0, 0, 0, 0]), 65
    source = BagSource(write(tmp_path / "bag", [camera_info(50, 0), later, *pictures(2)]))
    list(source)
    (note,) = of_calibration(source)
    assert "changes once" in note and "(width 64 to 65, its distortion)" in note


def test_a_driver_that_sends_empty_calibrations_at_first_or_in_between_is_told(tmp_path: Path) -> None:
    messages = [*(camera_info(fx, number) for number, fx in enumerate((0, 0, 50, 0, 50))), *pictures(5)]
    source = BagSource(write(tmp_path / "bag", messages))
    assert focal_lengths(source) == [50] * 5
    (note,), (problem,) = of_calibration(source), source.problems
    assert "not calibrated" in note and "(and 1 more like it)" in note and "the first good one" in note
    assert f"at {time_of(3)} ns" in problem and "the one before stays" in problem
    never = BagSource(write(tmp_path / "never", [*(camera_info(0, number) for number in range(3)), *pictures(3)]))
    assert focal_lengths(never) == [None] * 3 and never.notes == []
    (problem,) = never.problems
    assert "not calibrated" in problem


@pytest.mark.parametrize(("topic", "is_rectified"), [("/front/image_rect_color", True), ("/front/image_raw", False)])
def test_images_that_are_named_rectified_are_what_p_and_r_describe(
    tmp_path: Path, topic: str, is_rectified: bool
) -> None:
    """image_proc's names; one calibration is of both images."""
    turn = rotation(0.0, 0.02, -0.01)
    info = SimpleNamespace(
        height=48, width=64, distortion_model="plumb_bob", d=np.array([-0.3, 0.1, 0, 0, 0]), r=turn.ravel(),
        k=np.array([50.0, 0, 30, 0, 50, 25, 0, 0, 1]), p=np.array([40.0, 0, 32, -4, 0, 40, 24, 0, 0, 0, 1, 0]),
        binning_x=0, binning_y=0, header=header(START_NS),
        roi=TYPES.types["sensor_msgs/msg/RegionOfInterest"](
            x_offset=0, y_offset=0, height=0, width=0, do_rectify=False
        ),
    )  # fmt: skip
    sent = [("/front/camera_info", INFO, TYPES.types[INFO](**vars(info)), START_NS), *pictures(2, topic)]
    source = BagSource(write(tmp_path / "bag", sent))
    assert source.camera == to_camera_model(info, is_rectified)
    list(source)
    assert [("image_rectified" in note) for note in of_calibration(source)] == [True] * is_rectified
    assert source.problems == []
