"""Arguments of the launch files that contradict each other, or that a shell left as they were written."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest
from eval_fixtures import write_images
from places import CHECKOUT

from seg_perception.errors import SegPerceptionError
from seg_perception.recordings.make import write_bag
from seg_perception.recordings.sources import FolderSource
from seg_perception.recordings.topics import IMAGE_TOPIC
from seg_perception.yaml_fields import read_yaml

pytest.importorskip("launch_ros.actions", reason="launch comes with ROS, not from PyPI")


def declared(name: str, **given: str) -> tuple[Any, dict[str, Any]]:
    """A launch file's context with what is given and the defaults of the rest, and what the file holds."""
    from launch.actions import DeclareLaunchArgument

    from launch import LaunchContext

    held = runpy.run_path(str(CHECKOUT / "launch" / name))
    context = LaunchContext()
    context.launch_configurations.update(given)
    for entity in held["generate_launch_description"]().entities:
        if isinstance(entity, DeclareLaunchArgument):
            entity.visit(context)
    return context, held


def node(place: int = 0, **given: str) -> Any:
    """The node as camera.launch.py starts it; place 1: RViz."""
    context, held = declared("camera.launch.py", **given)
    started = held["_nodes"](context)[place]
    started._perform_substitutions(context)
    return started


def forwarded(started: Any) -> dict[str, Any]:
    """Parameters that come with arguments, which launch_ros writes into the last file."""
    files = [Path(path) for path, is_file in started._Node__expanded_parameter_arguments if is_file]
    (of_the_node,) = read_yaml(files[-1]).values()
    found: dict[str, Any] = of_the_node["ros__parameters"]
    return found


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"camera": "camera1"}, "camera:=camera1 is one of source:=, which is not given"),
        (
            {"source": "autoware", "camera": "camera1", "camera_names": "camera1,camera2"},
            r"camera:=camera1 is one camera while there are camera_names \(camera1, camera2\)",
        ),
        (
            {"source": "autoware", "camera": "camera1", "image_topic": "/sensing/camera/camera3/image_raw"},
            "camera:=camera1 is a camera of autoware while image_topic:=/sensing/camera/camera3/image_raw names the images",
        ),
        (
            {"source": "gazebo", "camera_info_topic": "/front/camera_info"},
            "source:=gazebo would take images of its own with the calibration /front/camera_info, maybe of another camera",
        ),
        ({"source": "gazbo"}, "did you mean 'gazebo'"),
        (
            {"image_topic": "/front/image_raw/compressed", "image_transport": "ffmpeg"},
            "is of compressed images and image_transport:=ffmpeg: leave one of them out",
        ),
        ({"image_topic": "/{name}/image_raw"}, "no camera_names"),
        ({"camera_names": "front,rear", "image_topic": "/front/image_raw"}, "is one for the cameras front, rear"),
        ({"params_file": "~/there/is/none.yaml"}, f"{Path.home()}/there/is/none.yaml cannot be read"),
    ],
)
def test_what_would_be_left_out_without_a_word_is_refused(given: dict[str, str], words: str) -> None:
    with pytest.raises(SegPerceptionError, match=words):
        node(**given)


@pytest.mark.parametrize(
    ("given", "transport"),
    [
        ({"image_topic": "/front/image_raw/compressed"}, "compressed"),
        ({"image_topic": "/front/image_raw/compressed", "image_transport": "compressed"}, "compressed"),
        ({"image_topic": "/front/image_raw/ffmpeg"}, "ffmpeg"),
        ({"image_topic": "/front/image_raw", "image_transport": "foxglove"}, "foxglove"),
    ],
)
def test_the_topic_of_another_form_is_of_the_images_in_that_form(given: dict[str, str], transport: str) -> None:
    """`/front/image_raw/compressed/compressed` was waited for."""
    started = node(**given)
    assert forwarded(started)["image_transport"] == transport
    rules = set(started.expanded_remapping_rules)
    assert {(f"image/{transport}", f"/front/image_raw/{transport}"), ("camera_info", "/front/camera_info")} <= rules


@pytest.mark.parametrize(
    ("given", "info"),
    [
        ({"image_topic": "/front/image_raw"}, "/front/camera_info"),
        ({"image_topic": "image_raw"}, "camera_info"),
        ({"image_topic": "/front/image_raw", "camera_info_topic": "/calibrated"}, "/calibrated"),
        ({"camera_info_topic": "/calibrated"}, "/calibrated"),
        ({}, "camera_info"),
        ({"source": "autoware"}, "/sensing/camera/camera0/camera_info"),
        # Another camera's than that of the images: all metres were wrong without a word.
        (
            {"source": "autoware", "image_topic": "/sensing/camera/camera3/image_raw"},
            "/sensing/camera/camera3/camera_info",
        ),
    ],
)
def test_the_calibration_is_that_beside_the_images(given: dict[str, str], info: str) -> None:
    assert ("camera_info", info) in node(**given).expanded_remapping_rules


def test_a_camera_whose_images_lie_beside_anothers_has_a_calibration_of_its_own() -> None:
    rules = node(camera_names="front,left", image_topic="/cameras/{name}").expanded_remapping_rules
    assert {("left/image", "/cameras/left"), ("left/camera_info", "left/camera_info")} <= set(rules)


@pytest.mark.parametrize(
    ("given", "simulated"),
    [({}, True), ({"use_sim_time": "false"}, False), ({"use_sim_time": "true"}, True), ({"clock": "false"}, False)],
)
def test_a_sources_time_is_as_the_launch_file_around_says(given: dict[str, str], simulated: bool) -> None:
    for place in (0, 1):
        assert forwarded(node(place, source="gazebo", **given))["use_sim_time"] is simulated


@pytest.mark.parametrize(
    ("given", "simulated"),
    [
        ({}, "false"),
        ({"source": "gazebo"}, "true"),
        ({"source": "autoware"}, "false"),
        ({"source": "gazebo", "use_sim_time": "false"}, "false"),
        ({"use_sim_time": "true"}, "true"),
    ],
)
def test_nav2_goes_by_the_time_of_the_source_that_the_node_goes_by(given: dict[str, str], simulated: str) -> None:
    context, held = declared("nav2.launch.py", **given)
    held["_time"](context)
    assert context.launch_configurations["use_sim_time"] == simulated


@pytest.mark.parametrize(("given", "transport"), [({}, "raw"), ({"image_transport": "compressed"}, "compressed")])
def test_a_bags_images_are_taken_in_the_form_that_it_has(given: dict[str, str], transport: str, tmp_path: Path) -> None:
    write_bag(FolderSource(write_images(tmp_path / "images", 2)[0].parent), tmp_path / "drive", "mcap")
    context, held = declared("evaluate.launch.py", bag=str(tmp_path / "drive"), image_topic=IMAGE_TOPIC, **given)
    held["_recorded"](context)
    assert context.launch_configurations["image_transport"] == transport
    context.launch_configurations.update(image_topic=f"{IMAGE_TOPIC}/compressed")
    with pytest.raises(SegPerceptionError, match="the bag has no images on /camera/image_raw/compressed: did you mean"):
        held["_recorded"](context)
    context.launch_configurations["image_topic"] = ""
    with pytest.raises(SegPerceptionError, match="image_topic:= is not given: name the bag's camera images"):
        held["_recorded"](context)
    context.launch_configurations.update(source="gazebo", camera="front")
    with pytest.raises(SegPerceptionError, match="no images on /front/image: did you mean"):
        held["_recorded"](context)
    context.launch_configurations["image_topic"] = "/camera/image_rwa"
    with pytest.raises(SegPerceptionError, match="no images on /camera/image_rwa: did you mean"):
        held["_recorded"](context)


def test_the_home_that_no_shell_put_in_is_put_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of `params_file:=~/robot.yaml` bash makes nothing."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "robot.yaml").write_text("segmentation: {ros__parameters: {camera_names: [front, left]}}")
    rules = node(params_file="~/robot.yaml").expanded_remapping_rules
    assert ("left/image", "left/image") in rules
    context, held = declared("evaluate.launch.py", bag="~/drive", image_topic="/front/image_raw", rviz="false")
    (player,) = held["_player"](context)
    words = ["".join(part.perform(context) for part in word) for word in player.cmd]
    assert words[3] == str(tmp_path / "drive")


def test_a_file_that_a_page_names_is_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is in the root of a workspace has no config/; a file of that name there comes first."""
    from seg_perception.writing import shared_path

    monkeypatch.chdir(tmp_path)
    given = {"camera_names": "front,rear", "params_file": "config/four_cameras.yaml"}
    files = [str(path) for path, is_file in node(**given)._Node__expanded_parameter_arguments if is_file]
    assert str(CHECKOUT / "config" / "four_cameras.yaml") in files
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "four_cameras.yaml").write_text("{}")
    assert shared_path("config/four_cameras.yaml", CHECKOUT) == Path("config/four_cameras.yaml")
    assert shared_path("config/mine.yaml", CHECKOUT) == Path("config/mine.yaml")
