"""The node's topics: the one table that node, tests and docs use. Needs no ROS."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from seg_perception.errors import SegPerceptionError, nearest_name

Qos = Literal["sensor data", "reliable", "reliable, transient local"]


@dataclass(frozen=True)
class Topic:
    """One topic. name is relative: to the namespace for inputs, to the node for outputs; optional outputs are computed
    only while somebody subscribes. type is package/Message. ground: in the ground frame rather than the camera's."""

    name: str
    type: str
    qos: Qos
    meaning: str
    when: str = "every frame"
    ground: bool = False


INPUTS = (
    Topic("image", "sensor_msgs/Image", "sensor data", "camera image, with `image_transport: raw`"),
    Topic(
        "image/compressed",
        "sensor_msgs/CompressedImage",
        "sensor data",
        "camera image as JPEG, PNG or WebP, with `image_transport: compressed`",
    ),
    Topic(
        "image/ffmpeg",
        "ffmpeg_image_transport_msgs/FFMPEGPacket",
        "reliable",
        "camera image as H.264, H.265, AV1 or VP9, 60 deep, with `image_transport: ffmpeg`",
    ),
    Topic(
        "image/foxglove",
        "foxglove_msgs/CompressedVideo",
        "reliable",
        "the same, with `image_transport: foxglove`",
    ),
    Topic("camera_info", "sensor_msgs/CameraInfo", "sensor data", "calibration; the latest is kept", "when it comes"),
    Topic(
        "depth",
        "sensor_msgs/Image",
        "sensor data",
        "depth aligned to the image, 16UC1 in mm or 32FC1 in m: the topic that `depth_topic` names, where it names one",
        "when it comes",
    ),
)

_FORMS = tuple(topic.name.removeprefix("image") for topic in INPUTS if topic.name.startswith("image"))
"""What an image's topic ends with, in each form that it comes in."""

_WATCHED = "while subscribed"

OUTPUTS = (
    Topic("label_mask", "sensor_msgs/Image", "reliable", "mono8: class id, 255 = unlabelled, rows unpadded"),
    Topic(
        "instance_mask",
        "sensor_msgs/Image",
        "reliable",
        "mono16: id of the thing's segment, or by `instance_ids` its track's; 0 = none",
        _WATCHED,
    ),
    Topic("confidence", "sensor_msgs/Image", "reliable", "mono8: 0–255", _WATCHED),
    Topic(
        "segments",
        "seg_perception_msgs/Segments",
        "reliable",
        "id, class, thing, score, area and box of every segment; number, age, state and speed of things",
        _WATCHED,
    ),
    Topic(
        "drivable_areas",
        "seg_perception_msgs/DrivableAreas",
        "reliable",
        "per drivable class: coverage, confidence, outlines in pixels and metres, area, free distance ahead",
        _WATCHED,
    ),
    Topic(
        "drivable_grid",
        "nav_msgs/OccupancyGrid",
        "reliable, transient local",
        "cost 0–100, -1 = unknown, in `ground_frame`; with `fusion.enabled` in `odom_frame`; with `fusion.cameras` one of all "
        "cameras, too, without their names",
        _WATCHED,
        ground=True,
    ),
    Topic(
        "free_space",
        "sensor_msgs/LaserScan",
        "sensor data",
        "distance to what ends drivable ground, per bearing, in `ground_frame`; NaN: not known",
        _WATCHED,
        ground=True,
    ),
    Topic(
        "points",
        "sensor_msgs/PointCloud2",
        "sensor data",
        "a point a pixel of the masks, in `ground_frame`: x, y, z (NaN: not known), label, confidence, instance",
        _WATCHED,
        ground=True,
    ),
    Topic(
        "camera_info",
        "sensor_msgs/CameraInfo",
        "sensor data",
        "calibration of the masks, at their size: `image_proc` and depth tools read it beside `label_mask`",
        _WATCHED,
    ),
    Topic(
        "tracks",
        "visualization_msgs/MarkerArray",
        "reliable",
        "trail, velocity and number of each thing that is followed, in `odom_frame`, without odometry in `ground_frame`",
        _WATCHED,
        ground=True,
    ),
    Topic("segmentation_mask", "sensor_msgs/Image", "reliable", "rgb8: overlay with the legend's colours", _WATCHED),
    Topic(
        "segmentation_mask/compressed",
        "sensor_msgs/CompressedImage",
        "reliable",
        "the overlay as JPEG",
        _WATCHED,
    ),
    Topic(
        "label_info",
        "vision_msgs/LabelInfo",
        "reliable, transient local",
        "class names of the label mask, where vision_msgs is installed",
        "when activated, and when it changes",
    ),
    Topic(
        "detections",
        "vision_msgs/Detection2DArray",
        "reliable",
        "boxes of the things in px of the masks, id = the track's, without tracking the segment's, where vision_msgs is installed",
        _WATCHED,
    ),
)

DIAGNOSTICS = Topic(
    "/diagnostics",
    "diagnostic_msgs/DiagnosticArray",
    "reliable",
    "rates, age, stage times, drops, bad frames by cause, backend, geometry",
    "once a second, and when something changes",
)

SELF_TEST = Topic(
    "self_test_result",
    "diagnostic_msgs/DiagnosticStatus",
    "reliable, transient local",
    "how the latest self-test ended: OK, WARN where the model file holds no answer, ERROR with what differed",
    "after each self-test",
)

OUTPUT_NAMES = tuple(topic.name for topic in OUTPUTS)


def output(name: str) -> Topic:
    """The output topic of that name."""
    return next(topic for topic in OUTPUTS if topic.name == name)


def remappings(image_topic: str, camera_info_topic: str, camera_names: Sequence[str] = ()) -> list[tuple[str, str]]:
    """What a launch file remaps so that the node listens to these topics, with {name} for each of camera_names; the image's
    other forms stand behind its own topic. Raises SegPerceptionError where several cameras would listen to one, or where there
    is {name} and no name."""
    for topic in (image_topic, camera_info_topic):
        if not camera_names and "{name}" in topic:
            raise SegPerceptionError(
                f"topic '{topic}' has a place for a camera's name and there are no camera_names: name them, or write the topic "
                "out"
            )
        if len(camera_names) > 1 and "{name}" not in topic:
            raise SegPerceptionError(
                f"topic '{topic}' is one for the cameras {', '.join(camera_names)}: write {{name}} where their names stand in it"
            )
    pairs = []
    for name in camera_names or ("",):
        image, info = (topic.replace("{name}", name) for topic in (image_topic, camera_info_topic))
        prefix = f"{name}/" if name else ""
        pairs += [(f"{prefix}image{form}", f"{image}{form}") for form in _FORMS]
        pairs.append((f"{prefix}camera_info", info))
    return pairs


def info_beside(image_topic: str) -> str:
    """Where the calibration of images lies that nobody names: camera_info beside them, as image_transport looks for it; where only
    what would be left out has {name}, as in `/cameras/{name}`, that would be one for all: {name}/camera_info."""
    folder, slash, _ = image_topic.rpartition("/")
    if "{name}" in image_topic and "{name}" not in folder:
        return "{name}/camera_info"
    return f"{folder}{slash}camera_info"


def named_form(image_topic: str) -> tuple[str, str]:
    """An image's topic without the form that may stand behind it, and the image_transport of that; empty where none does."""
    for form in filter(None, _FORMS):
        if image_topic.endswith(form) and image_topic != form:
            return image_topic.removesuffix(form), form.lstrip("/")
    return image_topic, ""


def recorded_transport(image_topic: str, recorded: Collection[str]) -> str:
    """The image_transport in which a bag of these topics has images, {name} in image_topic for any camera's name; empty where it
    has several. Raises SegPerceptionError where it has none, for which a node would wait while the bag is played."""
    anywhere = "" if image_topic.startswith("/") else "(.*/)?"  # a relative one lies in a namespace
    topic = anywhere + "[^/]+".join(map(re.escape, image_topic.lstrip("/").split("{name}")))
    names = [name.lstrip("/") for name in recorded]
    found = [
        form.lstrip("/") or "raw"
        for form in _FORMS
        if any(re.fullmatch(topic + re.escape(form), name) for name in names)
    ]
    if not found:
        raise SegPerceptionError(f"the bag has no images on {image_topic}: {nearest_name(image_topic, recorded)}")
    return found[0] if len(found) == 1 else ""


def topic_table() -> str:
    """The topics as a Markdown table, as docs/interface.md shows it."""
    lines = [
        "| direction | topic | type | what it holds | QoS, depth 1 | when |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    rows = [("in", topic.name, topic) for topic in INPUTS]
    rows += [("out", f"~/{topic.name}", topic) for topic in OUTPUTS]
    rows.append(("out", f"~/{SELF_TEST.name}", SELF_TEST))
    rows.append(("out", DIAGNOSTICS.name, DIAGNOSTICS))
    for direction, name, topic in rows:
        lines.append(f"| {direction} | `{name}` | `{topic.type}` | {topic.meaning} | {topic.qos} | {topic.when} |")
    return "\n".join(lines)
