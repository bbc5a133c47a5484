"""Annotated bags: read back field by field, the input as it was recorded, the outputs as the node sends them."""

from __future__ import annotations

import json
import math
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from eval_fixtures import SIZE_HW, label_mask, picture
from rosbags.highlevel import AnyReader
from rosbags.rosbag1 import Writer as Ros1Writer
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from seg_perception import backends, cli, model_file
from seg_perception.camera_model import CameraModel, CameraPose
from seg_perception.errors import SegPerceptionError
from seg_perception.ground.drivable import DrivableExtractor, DrivableSettings
from seg_perception.labels import CAMVID
from seg_perception.pipeline import Pipeline
from seg_perception.recordings.annotate import CameraAnnotation, annotated_bag
from seg_perception.recordings.mounting import BASE_FRAME
from seg_perception.results import Drivable, Frame, Panoptic, Result, Segment, Wants

HEIGHT, WIDTH = SIZE_HW
CAR = CAMVID.by_name("car").id
START_NS = 1_700_000_000_123_456_789
STEP_NS = 100_000_000
DELAY_NS = 7_000_000
"""From the stamp to the recording."""

ROS2, ROS1 = get_typestore(Stores.ROS2_HUMBLE), get_typestore(Stores.ROS1_NOETIC)
IMAGE, COMPRESSED, INFO, TF = (
    "sensor_msgs/msg/Image",
    "sensor_msgs/msg/CompressedImage",
    "sensor_msgs/msg/CameraInfo",
    "tf2_msgs/msg/TFMessage",
)
ROS1.register(get_types_from_msg("geometry_msgs/TransformStamped[] transforms", TF))
OUTPUTS = ("label_mask", "instance_mask", "segmentation_mask/compressed", "segments", "drivable_areas", "drivable_grid")


def header(types: Any, stamp_ns: int, frame_id: str = "front_optical") -> Any:
    stamp = types.types["builtin_interfaces/msg/Time"](sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
    more = {"seq": 3} if types is ROS1 else {}
    return types.types["std_msgs/msg/Header"](stamp=stamp, frame_id=frame_id, **more)


def image(types: Any, number: int) -> Any:
    """Padded bgr8."""
    rows = np.pad(picture(number)[..., ::-1].reshape(HEIGHT, -1), ((0, 0), (0, 5)))
    return types.types[IMAGE](
        header=header(types, stamp_ns(number)), height=HEIGHT, width=WIDTH, encoding="bgr8", is_bigendian=0,
        step=rows.shape[1], data=rows.ravel(),
    )  # fmt: skip


def jpeg(types: Any, number: int) -> Any:
    data = cv2.imencode(".jpg", picture(number)[..., ::-1])[1].ravel()
    return types.types[COMPRESSED](header=header(types, stamp_ns(number)), format="jpeg", data=data)


def info(types: Any, number: int) -> Any:
    k, p = np.array([50.0, 0, 32, 0, 50, 24, 0, 0, 1]), np.array([50.0, 0, 32, 0, 0, 50, 24, 0, 0, 0, 1, 0])
    matrices = {"d": np.array([0.1, 0, 0, 0, 0]), "k": k, "r": np.eye(3).ravel(), "p": p}
    if types is ROS1:
        matrices = {name.upper(): value for name, value in matrices.items()}
    roi = types.types["sensor_msgs/msg/RegionOfInterest"](x_offset=0, y_offset=0, height=0, width=0, do_rectify=False)
    return types.types[INFO](
        header=header(types, stamp_ns(number)), height=HEIGHT, width=WIDTH, distortion_model="plumb_bob",
        binning_x=0, binning_y=0, roi=roi, **matrices,
    )  # fmt: skip


def mounting(types: Any) -> Any:
    make = types.types
    transform = make["geometry_msgs/msg/Transform"](
        translation=make["geometry_msgs/msg/Vector3"](x=1.0, y=0.0, z=1.5),
        rotation=make["geometry_msgs/msg/Quaternion"](x=-0.5, y=0.5, z=-0.5, w=0.5),
    )
    stamped = make["geometry_msgs/msg/TransformStamped"](
        header=header(types, 1, BASE_FRAME), child_frame_id="front_optical", transform=transform
    )
    return make[TF](transforms=[stamped])


def stamp_ns(number: int) -> int:
    return START_NS + number * STEP_NS


def recording(path: Path, count: int, picture_of: Any = image, types: Any = ROS2) -> Path:
    """A bag of a camera whose driver sends the calibration after the image, with a topic that is no camera's."""
    kind, topic = (IMAGE, "/front/image_raw") if picture_of is image else (COMPRESSED, "/front/image_raw/compressed")
    entries = [("/tf_static", TF, mounting(types), START_NS - 60 * 10**9)]
    for number in range(count):
        time_ns = stamp_ns(number) + DELAY_NS
        entries.append((topic, kind, picture_of(types, number), time_ns))
        entries.append(("/front/camera_info", INFO, info(types, number), time_ns + 1000))
        entries.append(("/imu", TF, mounting(types), time_ns + 2000))
    bag = Ros1Writer(path) if types is ROS1 else Writer(path, version=8, storage_plugin=StoragePlugin.MCAP)
    serialize = types.serialize_ros1 if types is ROS1 else types.serialize_cdr
    with bag:
        connections = {t: bag.add_connection(t, k, typestore=types) for t, k in dict.fromkeys(e[:2] for e in entries)}
        for topic, kind, message, time_ns in entries:
            bag.write(connections[topic], time_ns, serialize(message, kind))
    return path


class Answers:
    """What a pipeline would answer: the lower half road but for a hole, one car."""

    def __init__(self, with_ground: bool = True) -> None:
        self._extractor = DrivableExtractor(CAMVID, DrivableSettings(resolution_m=0.5))
        if with_ground:
            camera = CameraModel(WIDTH, HEIGHT, ((50.0, 0.0, 32.0), (0.0, 50.0, 24.0), (0.0, 0.0, 1.0)))
            self._extractor.set_camera(camera, CameraPose(1.0, 0.0, 1.5, pitch=0.2), SIZE_HW)

    def result(self, number: int, rgb: np.ndarray | None = None) -> Result:
        semantic = label_mask(number % 20)
        instance = np.zeros(SIZE_HW, np.uint16)
        semantic[30:36, 10:22], instance[30:36, 10:22] = CAR, 700
        segments = (
            Segment(700, CAR, True, 0.75, 72, (10, 30, 12, 6)),
            Segment(701, CAMVID.by_name("sky").id, False, 0.5, 1472, (0, 0, 64, 24)),
        )
        panoptic = Panoptic(semantic, instance, np.full(SIZE_HW, 200, np.uint8), segments)
        frame = Frame(picture(number) if rgb is None else rgb, stamp_ns(number), "front_optical")
        return Result(frame, panoptic, self._extractor.extract(panoptic, Wants()))

    @property
    def projection(self) -> Any:
        return self._extractor.projection


def annotate(path: Path, bag: Path, numbers: list[int], topic: str = "/front/image_raw", ground: bool = True) -> None:
    answers = Answers(ground)
    with annotated_bag(path, bag, CAMVID) as annotated:
        camera = annotated.camera(topic, alone=True)
        for number in numbers:
            result = answers.result(number)
            camera.write(number, result, answers.projection)


def read(path: Path) -> dict[str, list[tuple[int, Any]]]:
    """(time of recording, message) by topic."""
    found: dict[str, list[tuple[int, Any]]] = {}
    with AnyReader([path]) as bag:
        for connection, time_ns, data in bag.messages():
            found.setdefault(connection.topic, []).append((time_ns, bag.deserialize(data, connection.msgtype)))
    return found


def assert_same(have: Any, want: Any) -> None:
    """Every field that want has, however deep; want: a message of rosbags or of ROS."""
    if hasattr(want, "get_fields_and_field_types"):
        names = list(want.get_fields_and_field_types())
    elif hasattr(want, "__dataclass_fields__"):
        names = [name for name in want.__dataclass_fields__ if name not in ("__msgtype__", "seq")]
    elif isinstance(want, (list, tuple)) and want and not isinstance(want[0], (int, float)):
        assert len(have) == len(want)
        for one, other in zip(have, want):
            assert_same(one, other)
        return
    elif isinstance(want, float):  # the node's messages hold float32 as Python's float, unrounded
        np.testing.assert_array_equal(np.float32(have), np.float32(want))
        return
    else:
        np.testing.assert_array_equal(np.asarray(have), np.asarray(want))
        return
    for name in names:
        lowered = name if hasattr(have, name) else name.lower()
        assert_same(getattr(have, lowered), getattr(want, name))


@pytest.mark.parametrize("name", ["annotated", "annotated.mcap"])
def test_the_input_comes_back_as_recorded_and_the_outputs_have_its_stamps(tmp_path: Path, name: str) -> None:
    bag = recording(tmp_path / "drive", 3)
    annotate(tmp_path / name, bag, [0, 1, 2])
    found = read(tmp_path / name)
    assert {topic: len(entries) for topic, entries in found.items()} == {
        "/front/image_raw": 3, "/front/camera_info": 3, "/tf_static": 1, **{f"/segmentation/{o}": 3 for o in OUTPUTS},
    }  # fmt: skip
    for number in range(3):
        time_ns, message = found["/front/image_raw"][number]
        assert time_ns == stamp_ns(number) + DELAY_NS
        assert_same(message, image(ROS2, number))
        time_ns, message = found["/front/camera_info"][number]
        assert time_ns == stamp_ns(number) + DELAY_NS + 1000
        assert_same(message, info(ROS2, number))
        for output in OUTPUTS:
            time_ns, message = found[f"/segmentation/{output}"][number]
            assert time_ns == stamp_ns(number) + DELAY_NS
            frame = BASE_FRAME if output == "drivable_grid" else "front_optical"
            assert_same(message.header, header(ROS2, stamp_ns(number), frame))
    ((time_ns, message),) = found["/tf_static"]
    assert time_ns == stamp_ns(0) + DELAY_NS  # a player would wait a minute for the first image otherwise
    assert_same(message, mounting(ROS2))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["drive", name])


def test_the_masks_and_the_picture_hold_what_was_found(tmp_path: Path) -> None:
    annotate(tmp_path / "annotated", recording(tmp_path / "drive", 1), [0])
    found = {topic: entries[0][1] for topic, entries in read(tmp_path / "annotated").items()}
    want = Answers().result(0)
    for topic, encoding, pixels in (
        ("label_mask", "mono8", want.panoptic.semantic),
        ("instance_mask", "mono16", want.panoptic.instance),
    ):
        message = found[f"/segmentation/{topic}"]
        assert (message.encoding, message.step, message.is_bigendian) == (encoding, WIDTH * pixels.itemsize, 0)
        np.testing.assert_array_equal(message.data.view(f"<u{pixels.itemsize}").reshape(SIZE_HW), pixels)
    overlay = found["/segmentation/segmentation_mask/compressed"]
    drawn = cv2.imdecode(overlay.data, cv2.IMREAD_COLOR)[..., ::-1]
    assert drawn.shape == (HEIGHT, WIDTH, 3)
    # half way between the image and the sky's colour
    sky = np.array(CAMVID.by_name("sky").color)
    expected = picture(0)[4:20, 30:] * 0.55 + sky * 0.45
    assert np.abs(drawn[4:20, 30:] - expected).mean() < 12
    grid, cells = found["/segmentation/drivable_grid"], want.drivable.grid
    assert cells is not None and (cells.cells == 0).any()
    np.testing.assert_array_equal(grid.data.reshape(cells.cells.shape), cells.cells)
    assert (grid.info.width, grid.info.height) == cells.cells.shape[::-1]
    assert (grid.info.origin.position.x, grid.info.origin.position.y) == pytest.approx(cells.origin_m)


def test_the_outputs_are_what_the_node_sends(tmp_path: Path) -> None:
    pytest.importorskip("rclpy", reason="the node's messages need ROS 2")
    from builtin_interfaces.msg import Time
    from std_msgs.msg import Header

    from seg_perception.ros import fill_messages as fill

    annotate(tmp_path / "annotated", recording(tmp_path / "drive", 1), [0])
    found = {topic: entries[0][1] for topic, entries in read(tmp_path / "annotated").items()}
    want = Answers().result(0)
    stamp = Time(sec=stamp_ns(0) // 10**9, nanosec=stamp_ns(0) % 10**9)
    camera, ground = Header(stamp=stamp, frame_id="front_optical"), Header(stamp=stamp, frame_id=BASE_FRAME)
    assert want.drivable.grid is not None
    areas = fill.drivable_areas(want.drivable, CAMVID, camera, BASE_FRAME)
    assert areas.areas and areas.areas[0].outlines_ground and areas.areas[0].edges
    for topic, message in (
        ("label_mask", fill.ImageFiller("mono8").fill(want.panoptic.semantic, camera)),
        ("instance_mask", fill.ImageFiller("mono16").fill(want.panoptic.instance, camera)),
        ("segments", fill.segments(want.panoptic, CAMVID, camera)),
        ("drivable_areas", areas),
        ("drivable_grid", fill.occupancy_grid(want.drivable.grid, ground)),
    ):
        assert_same(found[f"/segmentation/{topic}"], message)


def test_where_the_ground_ends_the_grid_is_unknown_once(tmp_path: Path) -> None:
    """As the node does it: it is latched, so the last one would be there for good."""
    with annotated_bag(tmp_path / "annotated", recording(tmp_path / "drive", 6), CAMVID) as annotated:
        camera = annotated.camera("/front/image_raw", alone=True)
        for number, answers in enumerate(map(Answers, (False, True, True, False, False, True))):
            camera.write(number, answers.result(number), answers.projection)
    grids = [message for _, message in read(tmp_path / "annotated")["/segmentation/drivable_grid"]]
    assert [grid.header.stamp.sec * 10**9 + grid.header.stamp.nanosec for grid in grids] == [
        stamp_ns(number) for number in (1, 2, 3, 5)
    ]
    assert [bool((grid.data == -1).all()) for grid in grids] == [False, False, True, False]
    assert grids[2].info.width == grids[1].info.width and grids[2].header.frame_id == BASE_FRAME


def test_a_jpeg_is_passed_on_byte_by_byte_and_images_that_were_not_looked_at_are_left_out(tmp_path: Path) -> None:
    topic = "/front/image_raw/compressed"
    bag = recording(tmp_path / "drive", 6, jpeg)
    annotate(tmp_path / "annotated", bag, [2, 4], topic, ground=False)
    found = read(tmp_path / "annotated")
    assert "/segmentation/drivable_grid" not in found
    for (_, message), number in zip(found[topic], (2, 4), strict=True):
        assert_same(message, jpeg(ROS2, number))
    _, areas = found["/segmentation/drivable_areas"][0]
    assert areas.ground_frame == "" and math.isnan(areas.areas[0].area_m2)
    assert [message.header.stamp.nanosec for _, message in found["/front/camera_info"]] == [
        stamp_ns(number) % 10**9 for number in (1, 2, 3, 4)
    ]
    times = [time_ns for entries in found.values() for time_ns, _ in entries]
    assert min(times) == stamp_ns(2) + DELAY_NS


def test_a_ros1_bag_becomes_messages_of_ros2(tmp_path: Path) -> None:
    bag = recording(tmp_path / "drive.bag", 2, types=ROS1)
    annotate(tmp_path / "annotated", bag, [0, 1])
    found = read(tmp_path / "annotated")
    for number in range(2):
        assert_same(found["/front/image_raw"][number][1], image(ROS2, number))
        assert_same(found["/front/camera_info"][number][1], info(ROS2, number))
    assert_same(found["/tf_static"][0][1], mounting(ROS2))


@pytest.mark.parametrize(
    ("words", "numbers"), [(("--stride", 2), (0, 2)), (("--start", 0.15), (2, 3)), ((), (0, 2, 3))]
)
def test_of_images_that_share_a_stamp_the_one_that_was_looked_at_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[Any, ...], numbers: tuple[int, ...]
) -> None:
    ros_harness = pytest.importorskip("ros_harness", reason="the tiny model is made beside the node's harness")
    monkeypatch.setattr("test_annotate.stamp_ns", lambda number: START_NS)  # the driver's clock stood still

    def some_unreadable(types: Any, number: int) -> Any:
        message = image(types, number)
        return replace(message, encoding="of no camera") if number == 1 else message

    bag, out = tmp_path / "drive", tmp_path / "annotated"
    with Writer(bag, version=8, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection("/image", IMAGE, typestore=ROS2)
        for number in range(4):
            message = ROS2.serialize_cdr(some_unreadable(ROS2, number), IMAGE)
            writer.write(connection, START_NS + number * STEP_NS, message)
    model = ros_harness.make_tiny_model(tmp_path / "tiny.onnx")
    told = cli.main([str(word) for word in (
        "evaluate", "--model", model, "--bag", bag, *words, "--annotate", out, "--out", tmp_path / "out",
    )])  # fmt: skip
    assert told == (0 if words else 1)
    found = read(out)
    assert len(found["/segmentation/label_mask"]) == len(numbers)
    for (time_ns, message), number in zip(found["/image"], numbers, strict=True):
        assert time_ns == START_NS + number * STEP_NS
        assert_same(message, image(ROS2, number))


def test_several_cameras_have_their_own_topics_and_the_mounting_comes_once(tmp_path: Path) -> None:
    bag = recording(tmp_path / "drive", 2)
    answers = Answers()
    with annotated_bag(tmp_path / "annotated", bag, CAMVID) as annotated:
        for _ in range(2):  # the same one twice serves
            camera = annotated.camera("/front/image_raw", alone=False)
            camera.write(0, answers.result(0), answers.projection)
    found = read(tmp_path / "annotated")
    assert len(found["/segmentation/front/image_raw/segments"]) == 2 and len(found["/tf_static"]) == 1


def test_each_robots_transforms_are_copied_once(tmp_path: Path) -> None:
    images = [f"/{robot}/{place}/image_raw" for robot in ("a", "b") for place in ("front", "rear")]
    with Writer(tmp_path / "drive", version=8, storage_plugin=StoragePlugin.MCAP) as writer:
        for topic, kind, message in (
            *((f"/{robot}/tf_static", "tf2_msgs/msg/TFMessage", mounting(ROS2)) for robot in ("a", "b")),
            *((topic, IMAGE, image(ROS2, 0)) for topic in images),
        ):
            connection = writer.add_connection(topic, kind, typestore=ROS2)
            writer.write(connection, START_NS, ROS2.serialize_cdr(message, kind))
    answers = Answers()
    with annotated_bag(tmp_path / "annotated", tmp_path / "drive", CAMVID) as annotated:
        for topic in images:
            annotated.camera(topic, alone=False).write(0, answers.result(0), answers.projection)
    found = read(tmp_path / "annotated")
    assert [len(found[f"/{robot}/tf_static"]) for robot in ("a", "b")] == [1, 1] and "/tf_static" not in found


def test_what_is_there_is_not_overwritten_and_a_failure_leaves_nothing(tmp_path: Path) -> None:
    bag = recording(tmp_path / "drive", 1)
    before = {path: path.read_bytes() for path in bag.iterdir()}
    with pytest.raises(SegPerceptionError, match="exists already"), annotated_bag(bag, bag, CAMVID):
        pass
    with pytest.raises(SegPerceptionError, match="any more"):
        annotate(tmp_path / "out" / "annotated", bag, [0, 5])
    assert not (tmp_path / "out").exists()
    assert {path: path.read_bytes() for path in bag.iterdir()} == before


def test_mcap_reads_it_with_its_schemas(tmp_path: Path) -> None:
    reader = pytest.importorskip("mcap.reader", reason="the MCAP project's own reader is not installed")
    annotate(tmp_path / "annotated.mcap", recording(tmp_path / "drive", 2), [0, 1])
    with (tmp_path / "annotated.mcap").open("rb") as file:
        found = [
            (schema.name, schema.encoding, channel.topic, channel.message_encoding, message.log_time)
            for schema, channel, message in reader.make_reader(file, validate_crcs=True).iter_messages()
        ]
    assert len(found) == 2 * (2 + len(OUTPUTS)) + 1
    assert found[0][1:] == ("ros2msg", "/tf_static", "cdr", stamp_ns(0) + DELAY_NS)
    assert ("seg_perception_msgs/msg/Segments", "ros2msg", "/segmentation/segments", "cdr", found[0][4]) in found


def test_the_memory_does_not_grow_with_the_frames(tmp_path: Path) -> None:
    bag, result = recording(tmp_path / "drive", 240), Answers(with_ground=False).result(0)
    peaks = []
    for count in (60, 240):
        tracemalloc.start()
        with annotated_bag(tmp_path / f"annotated{count}", bag, CAMVID) as annotated:
            camera = annotated.camera("/front/image_raw", alone=True)
            for number in range(count):
                frame = Frame(result.frame.rgb, stamp_ns(number), "front_optical")
                camera.write(number, replace(result, frame=frame, drivable=Drivable(())), None)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    written = (240 - 60) * (3 + 1 + 2) * WIDTH * HEIGHT  # bytes of the images and masks
    assert peaks[1] - peaks[0] < written / 10


def test_each_image_has_its_own_calibration_though_that_comes_after_it(tmp_path: Path) -> None:
    """Of a lens that zooms, and of every third image: the next image's was taken for it."""
    annotate(tmp_path / "annotated", recording(tmp_path / "drive", 7), [0, 3, 5])
    stamps = [info.header.stamp.nanosec for _, info in read(tmp_path / "annotated")["/front/camera_info"]]
    numbers = [(nanosec - START_NS % 10**9) // STEP_NS for nanosec in stamps]
    assert numbers == [0, 2, 3, 4, 5]


def test_transforms_that_are_sent_again_and_again_are_held_packed(tmp_path: Path) -> None:
    """As messages they take nine times the memory, of a drive of an hour with ten a second more than a gigabyte."""
    sent, bag = mounting(ROS2), tmp_path / "drive"
    sent.transforms.extend(sent.transforms * 40)
    packed = ROS2.serialize_cdr(sent, TF)
    with Writer(bag, version=8, storage_plugin=StoragePlugin.MCAP) as writer:
        images, transforms = (
            writer.add_connection(topic, kind, typestore=ROS2)
            for topic, kind in (("/front/image_raw", IMAGE), ("/tf_static", TF))
        )
        for number in range(200):
            writer.write(transforms, stamp_ns(number), packed)
        writer.write(images, stamp_ns(200), ROS2.serialize_cdr(image(ROS2, 0), IMAGE))
    with annotated_bag(tmp_path / "annotated", bag, CAMVID) as annotated:
        tracemalloc.start()
        camera = annotated.camera("/front/image_raw", alone=True)
        held = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        camera.write(0, Answers(with_ground=False).result(0), None)
    assert len(packed) * 200 < held < 3 * len(packed) * 200
    assert len(read(tmp_path / "annotated")["/tf_static"]) == 200


def test_evaluate_annotates_a_bag_with_the_masks_that_it_measures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ros_harness = pytest.importorskip("ros_harness", reason="the tiny model is made beside the node's harness")
    model = ros_harness.make_tiny_model(tmp_path / "tiny.onnx")
    bag, out = recording(tmp_path / "drive", 3), tmp_path / "annotated.mcap"
    words = ["evaluate", "--model", model, "--bag", bag, "--stride", 2, "--out", tmp_path / "out"]
    assert cli.main([str(word) for word in (*words, "--annotate", out)]) == 0
    found = read(out)
    info_of_model = model_file.load(model)
    pipeline = Pipeline(info_of_model, backends.choose(info_of_model, backend="onnxruntime", log=print))
    for place, number in enumerate((0, 2)):
        assert_same(found["/front/image_raw"][place][1], image(ROS2, number))
        _, mask = found["/segmentation/label_mask"][place]
        semantic = pipeline.run(Frame(picture(number))).panoptic.semantic
        np.testing.assert_array_equal(mask.data.reshape(SIZE_HW), semantic)
        assert mask.header.stamp.nanosec == stamp_ns(number) % 10**9
    areas = found["/segmentation/drivable_areas"]
    assert len(areas) == len(found["/segmentation/drivable_grid"]) == 2
    assert areas[0][1].ground_frame == BASE_FRAME  # calibration and mounting come from the bag
    assert cli.main([str(word) for word in (*words, "--annotate", out)]) == 2
    words = ["evaluate", "--model", model, "--dataset", "synthetic_drive", "--annotate", tmp_path / "b", "--out", "o"]
    assert cli.main([str(word) for word in words]) == 2
    errors = capsys.readouterr().err
    assert "exists already" in errors and "--annotate is for one bag" in errors


@pytest.mark.parametrize("fails_at", [0, 2, "end"])
def test_where_the_disk_takes_no_annotated_bag_the_frames_are_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], fails_at: int | str
) -> None:
    """Hours of evaluation were lost with it."""
    ros_harness = pytest.importorskip("ros_harness", reason="the tiny model is made beside the node's harness")
    model = ros_harness.make_tiny_model(tmp_path / "tiny.onnx")
    bag, out = recording(tmp_path / "drive", 4), tmp_path / "annotated"
    write, finish = CameraAnnotation.write, CameraAnnotation.finish

    def full(self: CameraAnnotation, number: int = -1, *more: Any) -> None:
        if number == fails_at or (number == -1 and fails_at == "end"):
            raise OSError(28, "No space left on device")
        assert number == -1 or fails_at == "end" or number < int(fails_at), "it is tried again"
        write(self, number, *more) if more else finish(self)

    monkeypatch.setattr(CameraAnnotation, "write", full)
    monkeypatch.setattr(CameraAnnotation, "finish", full)
    words = ["evaluate", "--model", model, "--bag", bag, "--out", tmp_path / "out", "--annotate", out]
    assert cli.main([str(word) for word in words]) == 1
    told = json.loads((tmp_path / "out" / "report.json").read_text())
    assert told["frames"] == 4
    (problem,) = told["problems"]
    assert (
        problem.startswith(f"{out} cannot be written (No space left on device)") and problem in capsys.readouterr().err
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["drive", "out", "tiny.onnx"]
