"""What other systems call their cameras' topics and frames. Needs no ROS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from seg_perception.errors import SegPerceptionError, nearest_name


@dataclass(frozen=True)
class CameraSource:
    """A system's cameras. image_topic, camera_info_topic: with {name} for a camera's; camera: the name of its first;
    parameters: what differs there from this node's defaults."""

    image_topic: str
    camera_info_topic: str
    camera: str
    parameters: Mapping[str, Any]

    def topics(self, camera: str, names: Sequence[str]) -> tuple[str, str]:
        """Topics of images and calibrations of one camera, empty: the first; with names of several they keep {name}."""
        if names:
            return self.image_topic, self.camera_info_topic
        name = camera or self.camera
        return self.image_topic.format(name=name), self.camera_info_topic.format(name=name)


SOURCES = {
    # Its interface: images of `image_rect_color` are rectified, base_link lies on the ground below the rear axle.
    "autoware": CameraSource(
        "/sensing/camera/{name}/image_rect_color",
        "/sensing/camera/{name}/camera_info",
        "camera0",
        {"base_frame": "base_link", "image_rectified": True},
    ),
    # Through ros_gz_bridge. Its sensors stamp with the simulation's clock and name a frame whose x points ahead, unless the
    # model sets <optical_frame_id>.
    "gazebo": CameraSource(
        "/{name}/image",
        "/{name}/camera_info",
        "camera",
        {"camera_frame_axes": "body", "use_sim_time": True},
    ),
}


def find_source(name: str) -> CameraSource:
    """The source of that name; raises SegPerceptionError naming the nearest."""
    if name not in SOURCES:
        raise SegPerceptionError(f"there is no source '{name}': {nearest_name(name, SOURCES)}")
    return SOURCES[name]
