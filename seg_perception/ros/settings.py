"""The node's parameters as they are in force together. Needs no ROS."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seg_perception.camera_model import CameraPose
from seg_perception.errors import SegPerceptionError, nearest_name
from seg_perception.ground.drivable import DrivableSettings
from seg_perception.ground.ego_mask import EgoMask
from seg_perception.ground.fusion import FusionSettings, window_problem
from seg_perception.labels import LabelSet
from seg_perception.panoptic.decoder import PanopticSettings
from seg_perception.panoptic.relabel import Told, told
from seg_perception.panoptic.steadier import TemporalSettings
from seg_perception.ros.declaration import Value
from seg_perception.ros.parameters import (
    AS_FOR_ALL,
    CAMERA_FRAME,
    DEPTH_TOPIC,
    DRIVABLE,
    EGO_MASK,
    EGO_POLYGON,
    FUSION,
    LABEL_COST,
    OF_EACH_CAMERA,
    PANOPTIC,
    POSE,
    TEMPORAL,
    TRACKING,
    NodeSettings,
    declarations,
    is_label_cost,
    label_cost,
)
from seg_perception.tracking.settings import TrackingSettings
from seg_perception.writing import user_path

FRAMES = ("base_frame", "ground_frame", "odom_frame", CAMERA_FRAME)
"""Parameters that name frames of TF, which refuses the "/" that ROS 1 wrote before them."""
FOREIGN = ("use_sim_time", "start_type_description_service", "qos_overrides.")
"""What the names of parameters begin with that rclpy declares itself on every node."""
_TOPIC = re.compile(r"(~?/)?[A-Za-z_{][\w{}]*(/[A-Za-z_{][\w{}]*)*", re.ASCII)
FARTHEST_M = 10_000.0
"""Of a camera from its base frame's origin, along each axis."""
MOST_RAD = 6.3
"""Of its angles: a full turn and what it may be rounded to; degrees are told by larger numbers."""
LEAST_OF_CAMERAS_S = 0.5
"""fusion.half_life_s with fusion.cameras: frames come in the order in which they are run, not in that of their stamps."""


@dataclass(frozen=True)
class Settings:
    """All parameters of a running node, valid together. values: what differs from the defaults, by full name; poses, egos,
    depth_topics, camera_frames: by camera, egos as polygons or the files that hold them, topics and frames empty where there
    is none."""

    values: Mapping[str, Value]
    node: NodeSettings
    panoptic: PanopticSettings
    drivable: DrivableSettings
    fusion: FusionSettings
    tracking: TrackingSettings
    temporal: TemporalSettings
    poses: Mapping[str, CameraPose | None]
    egos: Mapping[str, EgoMask | Path | None]
    depth_topics: Mapping[str, str]
    camera_frames: Mapping[str, str]

    def __post_init__(self) -> None:
        for name in ("base_frame", "odom_frame"):
            if not getattr(self.node, name):
                raise SegPerceptionError(f"parameter '{name}' is '': allowed is the name of a frame")
        if self.node.instance_ids == "track" and not self.tracking.enabled:
            raise SegPerceptionError(
                "parameter 'instance_ids' is 'track' while 'tracking.enabled' is False: there are no tracks, allow them"
            )
        if self.fusion.cameras and (not self.fusion.enabled or "" in self.poses):
            lacks = "'fusion.enabled' is False" if not self.fusion.enabled else "'camera_names' is empty"
            raise SegPerceptionError(
                f"parameter 'fusion.cameras' is True while {lacks}: one grid of several cameras is one that remembers, set both"
            )
        if self.fusion.cameras and self.fusion.half_life_s < LEAST_OF_CAMERAS_S:
            raise SegPerceptionError(
                f"parameter 'fusion.half_life_s' is {self.fusion.half_life_s} while 'fusion.cameras' is True: allowed is "
                f"{LEAST_OF_CAMERAS_S} or more, or what one camera sees has faded before the others have been seen"
            )
        if not self.fusion.enabled:
            return
        if not self.node.use_tf:
            raise SegPerceptionError(
                "parameter 'fusion.enabled' is True while 'use_tf' is False: the odometry comes from TF, allow it"
            )
        ground = self.drivable
        if problem := window_problem(ground.grid_shape, ground.resolution_m, ground.grid_origin_m):
            raise SegPerceptionError(f"parameter 'fusion.enabled' is True and {problem}")

    @staticmethod
    def from_values(values: Mapping[str, object]) -> Settings:
        """Settings where values, by full name, override the defaults.

        Raises SegPerceptionError naming the first parameter that is unknown or out of range.
        """
        cameras = camera_names(values)
        known = declarations(cameras)
        known.update({name: label_cost(name) for name in values if is_label_cost(name, cameras)})
        for name in values:
            if name not in known:
                raise SegPerceptionError(f"there is no parameter '{name}': {nearest_name(name, known)}")
        checked = {name: _usable(name, known[name].check(value)) for name, value in values.items()}
        node = NodeSettings(**_part(checked, "", NodeSettings))  # type: ignore[arg-type]
        for name in OF_EACH_CAMERA if cameras else ():
            value = getattr(node, name)
            if value:
                own = ", ".join(f"'{camera}.{name}'" for camera in cameras)
                raise SegPerceptionError(
                    f"parameter '{name}' is {list(value) if isinstance(value, tuple) else value!r} while 'camera_names' is "
                    f"{list(cameras)}: no two cameras are in one place, give {own}"
                )
        poses = {camera: _pose(checked, camera, node) for camera in cameras or ("",)}
        return Settings(
            checked,
            node,
            _step(PANOPTIC, PanopticSettings, checked),
            _step(DRIVABLE, DrivableSettings, checked),
            _step(FUSION, FusionSettings, checked),
            _step(TRACKING, TrackingSettings, checked),
            _step(TEMPORAL, TemporalSettings, checked),
            poses,
            {camera: _ego(checked, camera, node) for camera in cameras or ("",)},
            {camera: str(_own(checked, camera, DEPTH_TOPIC, node.depth_topic)) for camera in cameras or ("",)},
            {camera: str(_own(checked, camera, CAMERA_FRAME, node.camera_frame)) for camera in cameras or ("",)},
        )

    def changed(self, values: Mapping[str, object]) -> Settings:
        """These settings with some values replaced; raises as from_values, and then nothing has changed."""
        return Settings.from_values({**self.values, **values})

    def ego(self, camera: str) -> EgoMask | None:
        """Where a camera's images show the own vehicle; raises SegPerceptionError when its file is of no use."""
        ego = self.egos[camera]
        return EgoMask.read(ego) if isinstance(ego, Path) else ego

    def told(self, camera: str, labels: LabelSet) -> Told:
        """Classes as a camera's outputs tell them; raises SegPerceptionError where a parameter names one that there is not."""
        own = f"{camera}.{LABEL_COST}"
        costs = {name: cost for name, cost in self.values.items() if name.startswith((LABEL_COST, own))}
        of_all = {name[len(LABEL_COST) :]: cost for name, cost in costs.items() if name.startswith(LABEL_COST)}
        of_it = {name[len(own) :]: cost for name, cost in costs.items() if name.startswith(own) and cost != AS_FOR_ALL}
        return told(labels, {**of_all, **of_it}, self.node.label_merge)  # type: ignore[dict-item]

    def tells_otherwise(self, before: Settings) -> bool:
        """Whether what `told` answers may differ."""
        if self is before:
            return False
        costs, others = ({n: v for n, v in one.values.items() if LABEL_COST in n} for one in (self, before))
        return costs != others or self.node.label_merge != before.node.label_merge

    @property
    def ground_frame(self) -> str:
        """frame_id of the outputs on the ground."""
        return self.node.ground_frame or self.node.base_frame

    @property
    def network_hw(self) -> tuple[int, int] | None:
        """Height and width of the network's input, None where the camera or the model file says."""
        return (self.node.network_size[1], self.node.network_size[0]) if self.node.network_size else None

    @property
    def mask_hw(self) -> tuple[int, int] | None:
        """Height and width of the masks, None when they have the camera's."""
        return (self.node.mask_size[1], self.node.mask_size[0]) if self.node.mask_size else None


def camera_names(values: Mapping[str, object]) -> tuple[str, ...]:
    """The cameras' names, checked: each must be part of a topic name and none that parameters begin with, none twice."""
    names = declarations()["camera_names"].check(values.get("camera_names", ()))
    assert isinstance(names, tuple)
    for name in names:
        if not re.fullmatch(r"[A-Za-z]\w*", name, re.ASCII) or names.count(name) > 1:
            raise SegPerceptionError(
                f"parameter 'camera_names' is {list(names)}: allowed are letters, digits and '_', each name once"
            )
        if f"{name}.".startswith((LABEL_COST, *FOREIGN)):
            raise SegPerceptionError(
                f"parameter 'camera_names' is {list(names)}: '{name}' is what other parameters begin with, call it otherwise"
            )
    return names


def camera_names_of(parameters: object) -> tuple[str, ...]:
    """The cameras' names in what a parameter file of ROS holds, of the last entry that a node `segmentation` takes; checked as
    camera_names does."""
    found: tuple[str, ...] = ()
    for key, inner in parameters.items() if isinstance(parameters, Mapping) else ():
        own = inner.get("ros__parameters") if isinstance(inner, Mapping) else None
        if isinstance(own, Mapping):
            is_ours = str(key).rpartition("/")[2] in ("**", "*", "segmentation")
            found = camera_names(own) if is_ours and "camera_names" in own else found
        else:
            found = camera_names_of(inner) or found
    return found


def _usable(name: str, value: Value) -> Value:
    """A value as TF and topics take it, where the parameter names such. Raises SegPerceptionError where none do."""
    kind = name.rpartition(".")[2]
    if kind in FRAMES and isinstance(value, str):
        return value.lstrip("/")
    if kind == DEPTH_TOPIC and value and not _TOPIC.fullmatch(str(value)):
        raise SegPerceptionError(f"parameter '{name}' is '{value}': allowed is the name of a topic")
    return value


def _part(checked: Mapping[str, Value], prefix: str, settings: type) -> dict[str, Value]:
    names = {prefix + entry.name for entry in dataclasses.fields(settings)}
    return {name[len(prefix) :]: value for name, value in checked.items() if name in names}


def _step(prefix: str, settings: Any, checked: Mapping[str, Value]) -> Any:
    try:
        return settings(**_part(checked, prefix, settings))
    except ValueError as error:
        raise SegPerceptionError(f"parameters '{prefix}*': {error}") from error


def _own(checked: Mapping[str, Value], camera: str, name: str, of_all: Value) -> Value:
    """A parameter of OF_EACH_CAMERA."""
    return checked.get(f"{camera}.{name}", of_all)


def _ego(checked: Mapping[str, Value], camera: str, node: NodeSettings) -> EgoMask | Path | None:
    path, polygon = _own(checked, camera, EGO_MASK, node.ego_mask), _own(checked, camera, EGO_POLYGON, node.ego_polygon)
    assert isinstance(path, str) and isinstance(polygon, tuple)
    prefix = f"{camera}." if camera else ""
    if path and polygon:
        raise SegPerceptionError(
            f"both '{prefix}{EGO_MASK}' and '{prefix}{EGO_POLYGON}' are given: leave one of them empty"
        )
    if polygon:
        return EgoMask.of_polygon(f"parameter '{prefix}{EGO_POLYGON}'", polygon)
    return user_path(path) if path else None


def _pose(checked: Mapping[str, Value], camera: str, node: NodeSettings) -> CameraPose | None:
    values = _own(checked, camera, POSE, node.camera_pose)
    if not isinstance(values, tuple) or not values:
        return None
    if max(map(abs, values[:3])) > FARTHEST_M or max(map(abs, values[3:])) > MOST_RAD:
        raise SegPerceptionError(
            f"parameter '{f'{camera}.' if camera else ''}{POSE}' is {list(values)}: allowed are x, y, z of -{FARTHEST_M:g} to "
            f"{FARTHEST_M:g} m, then roll, pitch, yaw of -{MOST_RAD:g} to {MOST_RAD:g}, which are in rad: 5 degrees are 0.0873"
        )
    return CameraPose(*values)
