"""What may be given as a parameter, what is said when it may not, and that the tables tell all of it. No ROS needed."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from places import CHECKOUT

from seg_perception.backends.shipped_models import find_model
from seg_perception.camera_model import CameraPose
from seg_perception.errors import SegPerceptionError
from seg_perception.ground.drivable import DrivableSettings
from seg_perception.ground.fusion import FusionSettings
from seg_perception.panoptic.decoder import PanopticSettings
from seg_perception.panoptic.steadier import TemporalSettings
from seg_perception.ros import parameters
from seg_perception.ros.parameters import NodeSettings, declarations, parameter_table
from seg_perception.ros.settings import Settings, camera_names_of
from seg_perception.ros.topics import INPUTS, OUTPUTS, info_beside, recorded_transport, remappings, topic_table
from seg_perception.tracking.settings import TrackingSettings


def test_without_values_every_default_holds() -> None:
    settings = Settings.from_values({})
    assert settings.node == NodeSettings()
    assert settings.panoptic == PanopticSettings()
    assert settings.drivable == DrivableSettings()
    assert settings.fusion == FusionSettings()
    assert settings.tracking == TrackingSettings()
    assert settings.poses == {"": None}


def test_every_default_is_itself_allowed_and_described() -> None:
    for row in declarations(["front"]).values():
        assert row.check(row.default) == row.default, row.name
        assert row.spec.description, row.name


def test_every_setting_of_the_steps_is_a_parameter_with_its_own_default() -> None:
    known = declarations()
    for prefix, step in STEPS.items():
        for entry in dataclasses.fields(step):
            row = known[f"{prefix}.{entry.name}"]
            assert row.default == getattr(step(), entry.name)
            assert row.spec.read_only == row.name.endswith((".enabled", ".cameras"))


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"camera_timout": 1.0}, "there is no parameter 'camera_timout': did you mean 'camera_timeout'?"),
        ({"camera_timeout": -1.0}, "parameter 'camera_timeout' is -1.0: allowed is 0.1 to 3600"),
        ({"camera_timeout": float("nan")}, "parameter 'camera_timeout' is nan: allowed is 0.1 to 3600"),
        ({"camera_timeout": "soon"}, "parameter 'camera_timeout' is 'soon': allowed is a number, 0.1 to 3600"),
        ({"enabled": 1}, "parameter 'enabled' is 1: allowed is true or false"),
        ({"jpeg_quality": 101}, "parameter 'jpeg_quality' is 101: allowed is 1 to 100"),
        ({"jpeg_quality": 80.5}, "parameter 'jpeg_quality' is 80.5: allowed is a whole number, 1 to 100"),
        ({"backend": "tensort"}, "parameter 'backend' is 'tensort': allowed is auto, onnxruntime, tensorrt"),
        ({"mask_size": [640]}, "parameter 'mask_size' is [640]: allowed is no or 2 values of 1 to 16384"),
        ({"mask_size": [640, 0]}, "parameter 'mask_size' is [640, 0]: allowed is no or 2 values of 1 to 16384"),
        ({"camera_pose": [1.0, 2.0]}, "parameter 'camera_pose' is [1.0, 2.0]: allowed is no or 6 values"),
        (
            {"camera_pose": [0.4, 0.0, 1.2, 0.0, 10.0, 0.0]},
            "parameter 'camera_pose' is [0.4, 0.0, 1.2, 0.0, 10.0, 0.0]: allowed are x, y, z of -10000 to 10000 m, then roll, "
            "pitch, yaw of -6.3 to 6.3, which are in rad: 5 degrees are 0.0873",
        ),
        (
            {"camera_names": ["rear"], "rear.camera_pose": [1e300, 0.0, 1.2, 0.0, 0.0, 3.14]},
            "parameter 'rear.camera_pose' is [1e+300, 0.0, 1.2, 0.0, 0.0, 3.14]: allowed are x, y, z of -10000 to 10000 m, then "
            "roll, pitch, yaw of -6.3 to 6.3, which are in rad: 5 degrees are 0.0873",
        ),
        (
            {"camera_names": ["front", "front"]},
            "parameter 'camera_names' is ['front', 'front']: allowed are letters, digits and '_', each name once",
        ),
        (
            {"camera_names": ["front", "left"], "camera_pose": [0.0] * 6},
            "parameter 'camera_pose' is [0.0, 0.0, 0.0, 0.0, 0.0, 0.0] while 'camera_names' is ['front', 'left']: no two "
            "cameras are in one place, give 'front.camera_pose', 'left.camera_pose'",
        ),
        (
            {"camera_names": ["front", "left"], "ego_mask": "bonnet.png"},
            "parameter 'ego_mask' is 'bonnet.png' while 'camera_names' is ['front', 'left']: no two cameras are in one "
            "place, give 'front.ego_mask', 'left.ego_mask'",
        ),
        (
            {"camera_names": ["front"], "front.ego_polygon": [0.0, 700.0, 1280.0, 700.0]},
            "parameter 'front.ego_polygon' holds 4 numbers: a polygon has x, y of at least 3 corners",
        ),
        (
            {"ego_polygon": [0.0, 700.0, 1280.0, 700.0, 1280.0]},
            "parameter 'ego_polygon' holds 5 numbers: a polygon has x, y of at least 3 corners",
        ),
        (
            {"ego_polygon": [0.0, 700.0, 1280.0, 700.0, 1280.0, 1e6]},
            "parameter 'ego_polygon' is [0.0, 700.0, 1280.0, 700.0, 1280.0, 1000000.0]: allowed is -16384 to 16384",
        ),
        (
            {"ego_polygon": [0, 0, 9, 0, 9, 9], "ego_mask": "bonnet.png"},
            "both 'ego_mask' and 'ego_polygon' are given: leave one of them empty",
        ),
        ({"front.ego_mask": "bonnet.png"}, "there is no parameter 'front.ego_mask': did you mean 'ego_mask'?"),
        ({"base_frame": ""}, "parameter 'base_frame' is '': allowed is the name of a frame"),
        ({"odom_frame": "/"}, "parameter 'odom_frame' is '': allowed is the name of a frame"),
        *(
            ({"depth_topic": name}, f"parameter 'depth_topic' is '{name}': allowed is the name of a topic")
            for name in ("depth image", "/depth//image", "/2nd/depth", "depth/", "/", "~depth", "tiefe/größe")
        ),
        (
            {"camera_names": ["a"], "a.depth_topic": "-"},
            "parameter 'a.depth_topic' is '-': allowed is the name of a topic",
        ),
        (
            {"camera_names": ["a/b"]},
            "parameter 'camera_names' is ['a/b']: allowed are letters, digits and '_', each name once",
        ),
    ],
)
def test_a_refusal_names_the_parameter_the_value_and_what_is_allowed(values: dict[str, object], sentence: str) -> None:
    with pytest.raises(SegPerceptionError) as refusal:
        Settings.from_values(values)
    assert str(refusal.value) == sentence


def test_each_camera_has_its_own_vehicle_in_its_picture(tmp_path: Path) -> None:
    image = np.zeros((4, 8), np.uint8)
    image[3] = 255
    assert cv2.imwrite(str(tmp_path / "bonnet.png"), image)
    corners = [0.0, 2.0, 8.0, 2.0, 8.0, 4.0]
    settings = Settings.from_values(
        {
            "camera_names": ["front", "left", "rear"],
            "front.ego_mask": str(tmp_path / "bonnet.png"),
            "left.ego_polygon": corners,
        }
    )
    front, left = settings.ego("front"), settings.ego("left")
    assert front is not None and left is not None and settings.ego("rear") is None
    assert (front.pixels((8, 4), (4, 8)) == image).all() and left.polygon == ((0.0, 2.0), (8.0, 2.0), (8.0, 4.0))
    alone = Settings.from_values({"ego_mask": str(tmp_path / "missing.png")})
    with pytest.raises(SegPerceptionError, match=r"missing\.png cannot be read"):
        alone.ego("")


def test_an_unknown_output_is_refused() -> None:
    with pytest.raises(
        SegPerceptionError, match="parameter 'always_publish' is \\['label_musk'\\]: allowed is label_mask, "
    ):
        Settings.from_values({"always_publish": ["label_musk"]})


STEPS: dict[str, Any] = {
    "panoptic": PanopticSettings,
    "drivable": DrivableSettings,
    "fusion": FusionSettings,
    "tracking": TrackingSettings,
    "temporal": TemporalSettings,
}
RANGED = sorted(name for name, spec in parameters.STEP_SPECS.items() if spec.limits)


@pytest.mark.parametrize("name", RANGED)
def test_ranges_are_those_of_the_steps_themselves(name: str) -> None:
    limits = parameters.STEP_SPECS[name].limits
    step, _, field = name.partition(".")
    assert limits is not None
    default = declarations()[name].default
    beyond = 1 if isinstance(default, int) else 1e-6
    for number in (limits[0] - beyond, limits[1] + beyond):
        value = (number,) if isinstance(default, tuple) else number
        with pytest.raises(ValueError, match=field):
            STEPS[step](**{field: value})
        with pytest.raises(SegPerceptionError, match=f"parameter '{name}' is "):
            Settings.from_values({name: value})
    crossing = {"scan_angle_min_rad": limits[1], "scan_angle_max_rad": limits[0]}.get(field)
    for number in set(limits) - {crossing}:
        value = (number,) if isinstance(default, tuple) else number
        assert getattr(STEPS[step](**{field: value}), field) == value


def test_settings_that_contradict_each_other_are_refused() -> None:
    values = {"drivable.scan_angle_min_rad": 0.5, "drivable.scan_angle_max_rad": 0.25}
    with pytest.raises(SegPerceptionError, match=r"parameters 'drivable\.\*': scan_angle_min_rad is 0\.5"):
        Settings.from_values(values)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"use_tf": False}, "'fusion.enabled' is True while 'use_tf' is False: the odometry comes from TF"),
        # The far corners are hypot(200, 100) m away: 2237 cells of 0.1 m, to both sides, and two of margin.
        ({"drivable.grid_length_m": 200.0, "drivable.grid_width_m": 200.0}, "a window of 4477x4477 cells"),
    ],
)
def test_fusion_that_cannot_be_is_refused(values: dict[str, object], words: str) -> None:
    Settings.from_values(values)
    with pytest.raises(SegPerceptionError) as refusal:
        Settings.from_values({**values, "fusion.enabled": True})
    assert words in str(refusal.value)


@pytest.mark.parametrize(
    ("values", "lacks"),
    [
        ({"camera_names": ["front", "left"]}, "'fusion.enabled' is False"),
        ({"fusion.enabled": True}, "'camera_names' is empty"),
    ],
)
def test_one_grid_of_all_cameras_needs_cameras_and_a_memory(values: dict[str, object], lacks: str) -> None:
    Settings.from_values(values)
    with pytest.raises(SegPerceptionError, match=f"'fusion.cameras' is True while {lacks}"):
        Settings.from_values({**values, "fusion.cameras": True})


def test_one_grid_of_all_cameras_does_not_forget_one_before_the_next_is_seen() -> None:
    values = {"camera_names": ["front", "left"], "fusion.enabled": True, "fusion.cameras": True}
    with pytest.raises(
        SegPerceptionError, match=r"'fusion\.half_life_s' is 0\.1 while 'fusion\.cameras' is True: allowed is 0\.5"
    ):
        Settings.from_values(values).changed({"fusion.half_life_s": 0.1})


def test_four_cameras_of_the_configuration_that_ships() -> None:
    shipped = yaml.safe_load((CHECKOUT / "config" / "four_cameras.yaml").read_text())["/**"]["ros__parameters"]
    settings = Settings.from_values({**shipped, "camera_names": ["front", "left", "right", "rear"]})
    assert settings.fusion.cameras and settings.drivable.grid_origin_m == (-10.0, -10.0)


def test_a_launch_file_forwards_each_cameras_topics() -> None:
    one = remappings("/front/image_raw", "/front/info")
    assert one[0] == ("image", "/front/image_raw") and one[-1] == ("camera_info", "/front/info")
    several = dict(remappings("/{name}/image_raw", "/{name}/info", ["front", "left"]))
    assert len(several) == 2 * len(one)
    assert (
        several["left/image/compressed"] == "/left/image_raw/compressed"
        and several["front/camera_info"] == "/front/info"
    )


@pytest.mark.parametrize(
    ("image", "info", "named"), [("/a/image", "/{name}/info", "/a/image"), ("/{name}", "/i", "/i")]
)
def test_two_cameras_are_not_forwarded_one_topic(image: str, info: str, named: str) -> None:
    words = f"topic '{named}' is one for the cameras front, left: write {{name}} where their names stand in it"
    with pytest.raises(SegPerceptionError, match=re.escape(words)):
        remappings(image, info, ["front", "left"])
    assert ("front/camera_info", info.replace("{name}", "front")) in remappings(image, info, ["front"])


@pytest.mark.parametrize(
    ("image", "info"),
    [
        ("/front/image_raw", "/front/camera_info"),
        ("image_raw", "camera_info"),
        ("/image_raw", "/camera_info"),
        ("/{name}/image_raw", "/{name}/camera_info"),
        # Beside them there is one for all, which is refused, though nobody gave it.
        ("/cameras/{name}", "{name}/camera_info"),
        ("/{name}_image", "{name}/camera_info"),
    ],
)
def test_the_calibration_that_is_not_named_lies_beside_the_images(image: str, info: str) -> None:
    names = ["front", "left"] if "{name}" in image else []
    assert info_beside(image) == info
    assert remappings(image, info_beside(image), names)


def test_a_place_for_names_needs_names() -> None:
    for topics in (("/{name}/image", "/info"), ("/image", "/{name}/info")):
        named = next(topic for topic in topics if "{" in topic)
        with pytest.raises(SegPerceptionError, match=re.escape(f"topic '{named}' has a place for a camera's name")):
            remappings(*topics)


@pytest.mark.parametrize(
    ("written", "names"),
    [
        ("/**: {ros__parameters: {camera_names: [front, left]}}", ("front", "left")),
        ("segmentation: {ros__parameters: {camera_names: [front]}}", ("front",)),
        ("/robot/segmentation: {ros__parameters: {camera_names: [front]}}", ("front",)),
        ("robot: {segmentation: {ros__parameters: {camera_names: [front]}}}", ("front",)),
        ("other: {ros__parameters: {camera_names: [front]}}", ()),
        ("/**: {ros__parameters: {camera_names: [a]}}\nsegmentation: {ros__parameters: {camera_names: [b]}}", ("b",)),
        ("/**: {ros__parameters: {camera_names: [a]}}\nsegmentation: {ros__parameters: {mask_size: []}}", ("a",)),
        ("/**: {ros__parameters: {camera_timeout: 1.0}}", ()),
        ("/**: {ros__parameters:}", ()),
        ("", ()),
        ("[1, 2]", ()),
    ],
)
def test_a_launch_file_finds_the_cameras_that_a_parameter_file_names(written: str, names: tuple[str, ...]) -> None:
    assert camera_names_of(yaml.safe_load(written)) == names


@pytest.mark.parametrize("name", ["label_cost", "qos_overrides", "use_sim_time", "start_type_description_service"])
def test_no_camera_is_called_as_other_parameters_begin(name: str) -> None:
    for values in ({}, {f"{name}.camera_pose": [0.0, 0.0, 1.0, 0.0, 0.0, 0.0]}):
        with pytest.raises(SegPerceptionError, match=f"'{name}' is what other parameters begin with"):
            Settings.from_values({"camera_names": ["front", name], **values})


def test_numbers_of_tracks_need_tracks() -> None:
    Settings.from_values({"instance_ids": "track"})
    with pytest.raises(SegPerceptionError, match=r"'instance_ids' is 'track' while 'tracking\.enabled' is False"):
        Settings.from_values({"instance_ids": "track", "tracking.enabled": False})


def test_whole_numbers_pass_where_real_ones_are_due() -> None:
    settings = Settings.from_values({"camera_timeout": 3, "camera_pose": [0, 0, 1, 0, 0, 0]})
    assert settings.node.camera_timeout == 3.0 and isinstance(settings.node.camera_timeout, float)
    assert settings.poses == {"": CameraPose(0.0, 0.0, 1.0, 0.0, 0.0, 0.0)}
    with pytest.raises(SegPerceptionError, match="parameter 'camera_timeout' is 1000000"):
        Settings.from_values({"camera_timeout": 10**400})


@pytest.mark.parametrize("yaw", [6.28, 6.2832, -6.28319, 6.284, 6.3])
def test_a_full_turn_may_be_rounded(yaw: float) -> None:
    poses = Settings.from_values({"camera_pose": [0.0, 0.0, 1.0, 0.0, 0.0, yaw]}).poses
    assert poses == {"": CameraPose(0.0, 0.0, 1.0, yaw=yaw)}
    with pytest.raises(SegPerceptionError, match=r"of -6\.3 to 6\.3, which are in rad"):
        Settings.from_values({"camera_pose": [0.0, 0.0, 1.0, 0.0, 0.0, 7.0]})


def test_named_cameras_have_poses_of_their_own() -> None:
    values = {"camera_names": ["front", "left"], "left.camera_pose": [1.0] * 6}
    poses = Settings.from_values(values).poses
    assert poses == {"front": None, "left": CameraPose(*[1.0] * 6)}
    with pytest.raises(SegPerceptionError, match=r"there is no parameter 'right.camera_pose': did you mean"):
        Settings.from_values({**values, "right.camera_pose": [1.0] * 6})


def test_a_change_makes_new_settings_and_a_refused_one_leaves_the_old() -> None:
    before = Settings.from_values({"jpeg_quality": 50})
    after = before.changed({"enabled": False})
    assert (after.node.jpeg_quality, after.node.enabled, before.node.enabled) == (50, False, True)
    with pytest.raises(SegPerceptionError):
        before.changed({"enabled": False, "jpeg_quality": 0})
    assert before.node.enabled


def test_frames_as_ros_1_wrote_them_are_those_of_tf() -> None:
    """TF refuses a frame that begins with "/", so nobody could use what goes out in it."""
    settings = Settings.from_values(
        {"base_frame": "/base_link", "odom_frame": "/odom", "camera_names": ["a"], "a.camera_frame": "/lens"}
    )
    assert (settings.ground_frame, settings.node.base_frame, settings.node.odom_frame) == (
        "base_link",
        "base_link",
        "odom",
    )
    assert settings.camera_frames == {"a": "lens"}
    assert Settings.from_values({"base_frame": "base", "ground_frame": "/base"}).ground_frame == "base"


@pytest.mark.parametrize("name", ["depth", "/front/depth_raw", "~/depth", "{ns}/depth", "_/d1"])
def test_any_name_of_a_topic_may_bring_depth(name: str) -> None:
    assert Settings.from_values({"depth_topic": name}).depth_topics == {"": name}


def test_ground_frame_follows_base_frame_unless_given() -> None:
    assert Settings.from_values({"base_frame": "base_link"}).ground_frame == "base_link"
    assert Settings.from_values({"base_frame": "base_link", "ground_frame": "floor"}).ground_frame == "floor"


def test_mask_size_is_width_then_height() -> None:
    assert Settings.from_values({"mask_size": [400, 200]}).mask_hw == (200, 400)
    assert Settings.from_values({}).mask_hw is None


def test_a_model_is_found_where_it_says_or_beside_the_package(tmp_path: Path) -> None:
    file = tmp_path / "m.onnx"
    file.touch()
    assert find_model(str(file), "auto") == file
    checkout = Path(parameters.__file__).parents[2]
    assert find_model("config/camera.yaml", "auto").resolve() == checkout / "config" / "camera.yaml"
    with pytest.raises(SegPerceptionError, match=r"parameter 'model' is 'no\.onnx', and there is no such file"):
        find_model("no.onnx", "auto")


@pytest.mark.parametrize("name", ["camera.yaml", "four_cameras.yaml"])
def test_parameter_files_override_something(name: str) -> None:
    """A file without any is one that rcl cannot read."""
    given = yaml.safe_load((CHECKOUT / "config" / name).read_text())["/**"]["ros__parameters"]
    defaults = {key: declared.default for key, declared in declarations().items()}
    assert set(given) <= set(defaults) and any(value != defaults[key] for key, value in given.items())


def test_auto_is_the_shipped_model_for_the_backend() -> None:
    assert find_model("auto", "tensorrt").name == "driving_mobileseg_large.onnx"
    assert find_model("auto", "onnxruntime").name == "driving_mobileseg.onnx"


def test_tables_tell_every_parameter_and_topic() -> None:
    for name in declarations():
        assert f"| `{name}` |" in parameter_table()
    for topic in INPUTS:
        assert f"| in | `{topic.name}` | `{topic.type}` |" in topic_table()
    for topic in OUTPUTS:
        assert f"| out | `~/{topic.name}` | `{topic.type}` |" in topic_table()


def test_tables_are_printed_without_ros() -> None:
    code = (
        "import runpy, sys; sys.modules['rclpy'] = None; "
        "runpy.run_module('seg_perception.ros.parameters', run_name='__main__')"
    )
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert parameter_table() in printed and topic_table() in printed


RECORDED = [
    *("/tf", "/front/image_raw/compressed", "/front/camera_info"),
    *("/rear/image_raw", "/rear/image_raw/ffmpeg", "/robot/up/image"),
]


@pytest.mark.parametrize(
    ("topic", "transport"),
    [
        ("/front/image_raw", "compressed"),
        ("/rear/image_raw", ""),
        ("/{name}/image_raw", ""),
        ("/robot/{name}/image", "raw"),
        ("up/image", "raw"),
    ],
)
def test_a_bag_tells_in_which_form_it_has_images(topic: str, transport: str) -> None:
    assert recorded_transport(topic, RECORDED) == transport


@pytest.mark.parametrize(
    "topic", ["/up/image", "/front/image", "/front/image_raw/compressed/x", "/{name}/{name}/image_raw"]
)
def test_a_bag_without_the_images_is_told_before_they_are_waited_for(topic: str) -> None:
    with pytest.raises(SegPerceptionError, match="the bag has no images on "):
        recorded_transport(topic, RECORDED)
