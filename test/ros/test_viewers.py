"""The RViz configuration and the Foxglove layout that ship show every output that the viewer has a panel for."""

from __future__ import annotations

import json
import runpy
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from places import CHECKOUT

from seg_perception.ros.parameters import NodeSettings
from seg_perception.ros.topics import DIAGNOSTICS, OUTPUTS, Topic, output

RVIZ, FOXGLOVE = (CHECKOUT / "config" / name for name in ("seg_perception.rviz", "foxglove_layout.json"))
RVIZ_DISPLAYS = {
    "sensor_msgs/Image": "rviz_default_plugins/Image",
    "sensor_msgs/CompressedImage": "rviz_default_plugins/Image",
    "nav_msgs/OccupancyGrid": "rviz_default_plugins/Map",
    "sensor_msgs/LaserScan": "rviz_default_plugins/LaserScan",
    "sensor_msgs/PointCloud2": "rviz_default_plugins/PointCloud2",
    "visualization_msgs/MarkerArray": "rviz_default_plugins/MarkerArray",
}
FOXGLOVE_PANELS = {
    "sensor_msgs/Image": "Image",
    "sensor_msgs/CompressedImage": "Image",
    "nav_msgs/OccupancyGrid": "3D",
    "sensor_msgs/LaserScan": "3D",
    "sensor_msgs/PointCloud2": "3D",
    "visualization_msgs/MarkerArray": "3D",
}
"""The rest is shown as raw messages."""


@pytest.fixture(scope="module")
def rviz() -> Any:
    return yaml.safe_load(RVIZ.read_text())["Visualization Manager"]


@pytest.fixture(scope="module")
def foxglove() -> Any:
    return json.loads(FOXGLOVE.read_text())


@pytest.mark.parametrize("topic", [topic for topic in OUTPUTS if topic.type in RVIZ_DISPLAYS], ids=lambda t: t.name)
def test_rviz_shows_the_topic_with_a_qos_that_fits(rviz: Any, topic: Topic) -> None:
    (display,) = [d for d in rviz["Displays"] if d.get("Topic", {}).get("Value") == f"segmentation/{topic.name}"]
    assert display["Class"] == RVIZ_DISPLAYS[topic.type]
    asked = display["Topic"]
    assert asked["Reliability Policy"] == ("Best Effort" if topic.qos == "sensor data" else "Reliable")
    assert asked["Durability Policy"] == ("Transient Local" if "transient local" in topic.qos else "Volatile")


def test_rviz_names_no_other_topic_and_the_frame_is_the_node_s(rviz: Any) -> None:
    names = [d["Topic"]["Value"].removeprefix("segmentation/") for d in rviz["Displays"] if "Topic" in d]
    assert {output(name).name for name in names} == set(names) and len(set(names)) == len(names)
    assert rviz["Global Options"]["Fixed Frame"] == NodeSettings().base_frame


@pytest.mark.parametrize("topic", [*OUTPUTS, DIAGNOSTICS], ids=lambda t: t.name)
def test_foxglove_shows_the_topic(foxglove: Any, topic: Topic) -> None:
    name = topic.name if topic is DIAGNOSTICS else f"/segmentation/{topic.name}"
    kind = "DiagnosticSummary" if topic is DIAGNOSTICS else FOXGLOVE_PANELS.get(topic.type, "RawMessages")
    shown = [panel for panel, config in foxglove["configById"].items() if name in set(texts(config))]
    assert kind in {panel.partition("!")[0] for panel in shown}


def texts(value: Any) -> Iterator[str]:
    """Every text of a JSON value, and the names of its fields."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)


def test_foxglove_places_every_panel_once(foxglove: Any) -> None:
    panels = foxglove["configById"]
    placed = [text for text in texts(foxglove["layout"]) if text in panels]
    for config in panels.values():
        for tab in config.get("tabs", ()):
            placed += [text for text in texts(tab["layout"]) if text in panels]
    assert sorted(placed) == sorted(panels)


def test_both_are_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}
    monkeypatch.chdir(CHECKOUT)
    monkeypatch.setattr("setuptools.setup", lambda **values: given.update(values))
    runpy.run_path("setup.py")
    (files,) = [files for place, files in given["data_files"] if place == "share/seg_perception/config"]
    assert {f"config/{path.name}" for path in (RVIZ, FOXGLOVE)} <= set(files)


@pytest.mark.parametrize(("asked", "shown"), [("false", False), ("true", True)])
def test_the_launch_file_starts_rviz_only_where_asked(asked: str, shown: bool) -> None:
    pytest.importorskip("launch_ros", reason="launch_ros comes with ROS, not from PyPI")
    from launch import LaunchContext

    description = runpy.run_path(str(CHECKOUT / "launch" / "camera.launch.py"))["generate_launch_description"]()
    context = LaunchContext()
    *arguments, start = description.entities
    for argument in arguments:
        argument.execute(context)
    context.launch_configurations["rviz"] = asked
    started = [node for node in start.execute(context) if node.condition is None or node.condition.evaluate(context)]
    assert [node.node_package for node in started] == ["seg_perception", *(["rviz2"] if shown else [])]
