"""The node's parameters: declared here and nowhere else. Needs no ROS; `python -m seg_perception.ros.parameters` prints
the tables of docs/interface.md. A default stands in one place: here, or in the settings class of the step that it belongs to."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seg_perception.backends import BACKENDS, FALLBACKS
from seg_perception.backends.base import AUTO_PRECISION, PRECISION_CHOICES
from seg_perception.backends.shipped_models import SHIPPED_MODELS
from seg_perception.ground.drivable import DrivableSettings
from seg_perception.ground.fusion import FusionSettings
from seg_perception.ground.pitch import PITCH_CORRECTIONS
from seg_perception.image_limits import ImageLimits
from seg_perception.labels import NOT_GROUND
from seg_perception.panoptic.decoder import PanopticSettings
from seg_perception.panoptic.steadier import TemporalSettings
from seg_perception.ros.declaration import Declaration, Spec
from seg_perception.ros.lane import CHOICES, MOST_TOGETHER
from seg_perception.ros.topics import OUTPUT_NAMES, topic_table
from seg_perception.tracking.numbers import INSTANCE_IDS
from seg_perception.tracking.settings import TrackingSettings

PACKAGE = "seg_perception"
SELF_TESTS = ("check", "require", "warn", "skip")
PANOPTIC, DRIVABLE, FUSION, POSE = "panoptic.", "drivable.", "fusion.", "camera_pose"
TRACKING, TEMPORAL, LABEL_COST = "tracking.", "temporal.", "label_cost."
AS_FOR_ALL = -2
"""Of a camera's own label_cost: that of all cameras."""
EGO_MASK, EGO_POLYGON, DEPTH_TOPIC, CAMERA_FRAME = "ego_mask", "ego_polygon", "depth_topic", "camera_frame"
OF_EACH_CAMERA = (POSE, EGO_MASK, EGO_POLYGON, DEPTH_TOPIC, CAMERA_FRAME)
"""What each of camera_names has a parameter of its own for."""


def _parameter(default: Any, description: str, *, live: bool = False, **limits: Any) -> Any:
    """A dataclass field that is a parameter; live: it can change while the node runs."""
    return field(default=default, metadata={"spec": Spec(description, read_only=not live, **limits)})


@dataclass(frozen=True)
class NodeSettings:
    """Parameters of the node itself; those of the steps are in PanopticSettings and DrivableSettings."""

    model: str = _parameter(
        "auto",
        "model file; a relative path is looked up in the working folder, then beside this package; "
        f"auto: {Path(SHIPPED_MODELS['tensorrt']).stem} for TensorRT, else {Path(SHIPPED_MODELS['onnxruntime']).stem}",
    )
    backend: str = _parameter(
        "auto",
        "what runs the network; auto takes TensorRT where a GPU, TensorRT and cuda-bindings are found",
        choices=BACKENDS,
    )
    fallback: str = _parameter(
        "none", "what to run where TensorRT, or one of `providers`, was chosen and fails", choices=FALLBACKS
    )
    providers: tuple[str, ...] = _parameter((), "ONNX Runtime execution providers, in order; empty: the CPU")
    threads: int = _parameter(
        0,
        "threads of the network on the CPU; 0: one per physical core, fewer where a container has a share of them",
        limits=(0, 256),
    )
    overlap: str = _parameter(
        "auto",
        "whether a frame is placed on the ground and published while the network runs on the next; "
        "auto: several cameras on a GPU",
        choices=CHOICES,
    )
    batch: str = _parameter(
        "auto",
        f"whether frames of several cameras go through the network together, up to {MOST_TOGETHER}; auto: on a GPU. An engine "
        "is built for as many",
        choices=CHOICES,
    )
    batch_wait_ms: float = _parameter(
        5.0,
        "ms that a frame waits for those of cameras whose next one is due within that time, so that they go together",
        limits=(0.0, 1000.0),
    )
    priority: int = _parameter(0, "SCHED_FIFO priority of the threads that run frames; 0: as any other", limits=(0, 99))
    cpu_affinity: tuple[int, ...] = _parameter(
        (), "cores that the threads that run frames may use; empty: all", limits=(0, 4095), item=int
    )
    precision: str = _parameter(
        AUTO_PRECISION,
        "what TensorRT computes in; auto: float16 for a float32 file; ONNX Runtime computes in what the file states",
        choices=PRECISION_CHOICES,
    )
    engine_cache: str = _parameter("", "folder of compiled TensorRT engines; empty: the user's cache folder")
    image_transport: str = _parameter("raw", "how images come", choices=("raw", "compressed", "ffmpeg", "foxglove"))
    camera_names: tuple[str, ...] = _parameter(
        (),
        "several cameras through one network: inputs `<name>/image`, outputs `~/<name>/…`, poses `<name>.camera_pose`, own "
        "vehicle `<name>.ego_mask`",
    )
    network_size: tuple[int, ...] = _parameter(
        (),
        "`[width, height]` of the network's input, for a model file that leaves it open; empty: by the images' shape, on ONNX "
        "Runtime of each image; a TensorRT engine is built for one size, so one of a better shape is built in the background",
        limits=(32, 16384),
        lengths=(0, 2),
        item=int,
    )
    label_merge: tuple[str, ...] = _parameter(
        (),
        "classes under one name, each entry `name: class, class, …`, as `vehicle: car, truck`; id, colour and cost are the "
        "first one's; `_` stands for a space in a class's name",
        live=True,
    )
    mask_size: tuple[int, ...] = _parameter(
        (), "`[width, height]` of all masks in px; empty: the camera's", limits=(1, 16384), lengths=(0, 2), item=int
    )
    instance_ids: str = _parameter(
        "frame",
        "what `instance_mask` holds and `segments` call `id`: numbers of the frame, by falling score, or those of tracks",
        choices=INSTANCE_IDS,
    )
    always_publish: tuple[str, ...] = _parameter(
        (), "outputs to compute even while nobody subscribes", choices=OUTPUT_NAMES
    )
    base_frame: str = _parameter("base_footprint", "frame that camera poses are in; its z = 0 is the ground")
    ground_frame: str = _parameter(
        "", "frame_id of the outputs on the ground; must coincide with base_frame in TF; empty: base_frame"
    )
    camera_pose: tuple[float, ...] = _parameter(
        (),
        "`[x, y, z, roll, pitch, yaw]` of the camera body (x forward, z up) in base_frame, m and rad (up to 10000 and 6.3 to "
        "either side); empty: from TF. "
        "With camera_names each camera's own, `<name>.camera_pose`",
        live=True,
        lengths=(0, 6),
        item=float,
    )
    ego_mask: str = _parameter(
        "",
        "PNG of the calibrated image's shape whose pixels that are not black show the own vehicle and so nothing of the "
        "ground, as `seg_perception ego-mask` makes it; empty: none. With camera_names `<name>.ego_mask`",
    )
    ego_polygon: tuple[float, ...] = _parameter(
        (),
        "the same as a polygon, `[x, y, x, y, …]` in px of the calibrated image; with camera_names `<name>.ego_polygon`",
        limits=(-16384.0, 16384.0),
        item=float,
    )
    depth_topic: str = _parameter(
        "",
        "depth images of the same size, frame and clock as `image`, so aligned to it: ground and what stands on it are where "
        "depth has them, flat ground is for what it does not know; empty: none. With camera_names `<name>.depth_topic`",
    )
    depth_tolerance: float = _parameter(
        0.05, "s by which the stamps of an image and of its depth may differ", limits=(0.0, 10.0)
    )
    camera_frame: str = _parameter(
        "",
        "frame of the camera in TF, where its images name another, as simulators do; empty: the images' frame_id. With "
        "camera_names `<name>.camera_frame`",
    )
    camera_frame_axes: str = _parameter(
        "optical",
        "axes of that frame; optical: z ahead, x to the right, as ROS has it; body: x ahead, z up, as Gazebo's sensors name it",
        choices=("optical", "body"),
    )
    use_tf: bool = _parameter(True, "take the camera's pose from TF where camera_pose is empty")
    tf_tolerance: float = _parameter(
        0.1,
        "s by which a transform may be older than the image where that of the image's stamp has not come yet",
        live=True,
        limits=(0.0, 10.0),
    )
    odom_frame: str = _parameter(
        "odom", "frame that drivable_grid is in with fusion.enabled, and speeds on the ground where TF knows it"
    )
    image_rectified: bool = _parameter(
        False, "whether `image` is rectified, so that P and R of camera_info describe it rather than K and D"
    )
    image_bit_depth: int = _parameter(
        16, "bits in use of images of 16 bit a colour: white is 2^bits - 1", limits=(9, 16)
    )
    image_16uc1_is_grey: bool = _parameter(
        False, "whether images of the encoding 16UC1 are grey pictures, as of a thermal camera, rather than depth"
    )
    image_max_pixels: int = _parameter(
        ImageLimits.most_pixels,
        "of an image, by its header: what is larger is refused before it is decoded",
        limits=(1, 10**9),
    )
    image_max_aspect: float = _parameter(
        ImageLimits.most_aspect, "how many times its shorter side an image's longer side may be", limits=(1.0, 65535.0)
    )
    enabled: bool = _parameter(True, "whether images are taken", live=True)
    autostart: bool = _parameter(True, "configure and activate at once; false: a lifecycle manager does")
    camera_timeout: float = _parameter(
        0.8,
        "s without an image until diagnostics report a stalled camera; with images but without outputs, a node that hangs",
        limits=(0.1, 3600.0),
    )
    backend_timeout: float = _parameter(
        5.0,
        "s that the network may take for a frame or a batch; what takes longer hangs: see docs/reliability.md",
        limits=(0.1, 3600.0),
    )
    backend_restarts: int = _parameter(
        3, "how often a minute a backend that failed is made anew before the node goes to error", limits=(0, 1000)
    )
    self_test: str = _parameter(
        "check",
        "what a known image's masks are held to at activation and after a restart of the backend; check: they are those "
        "that the model file holds, or the node is not activated; require: also where it holds none; warn: only tell",
        choices=SELF_TESTS,
    )
    max_age: float = _parameter(
        1.0, "s from an image's arrival to its outputs from which on diagnostics warn", limits=(0.01, 3600.0)
    )
    stamp_max_age: float = _parameter(
        5.0, "s by which an image's stamp may be older than the node's clock when it comes", limits=(0.0, 1e9)
    )
    stamp_max_ahead: float = _parameter(
        0.5, "s by which an image's stamp may be ahead of the node's clock", limits=(0.0, 1e9)
    )
    jpeg_quality: int = _parameter(80, "quality of the compressed overlay", live=True, limits=(1, 100))

    @property
    def image_limits(self) -> ImageLimits:
        """What an image may cost."""
        return ImageLimits(self.image_max_pixels, self.image_max_aspect)


def _live(description: str, low: float, high: float) -> Spec:
    return Spec(description, read_only=False, limits=(low, high))


# What the steps' settings mean to a user. Their defaults stand in their own classes, which check their ranges too: a
# test holds that the ranges here are the same.
STEP_SPECS: dict[str, Spec] = {
    "panoptic.center_threshold": _live("least heatmap value of an object's centre", 0.0, 1.0),
    "panoptic.center_window_px": _live(
        "window in which a centre must be the best, px of the network's input", 1.0, 1024.0
    ),
    "panoptic.max_instances": _live("objects in a frame; the best are kept", 1, 1000),
    "panoptic.min_stuff_area": _live("share of the mask below which stuff is no segment", 0.0, 1.0),
    "panoptic.min_thing_area": _live("share of the mask below which an object is no segment", 0.0, 1.0),
    "panoptic.min_confidence": _live("confidence below which a pixel is unlabelled", 0.0, 1.0),
    "panoptic.min_ground_confidence": _live(
        "probability of all ground classes together below which a pixel of ground is told as the likeliest other class",
        0.0,
        1.0,
    ),
    "drivable.grid_length_m": _live("length of the grid, ahead", 0.1, 1000.0),
    "drivable.grid_width_m": _live("width of the grid", 0.1, 1000.0),
    "drivable.grid_near_m": _live("where the grid begins, m ahead of base_frame", -1000.0, 1000.0),
    "drivable.grid_center_y_m": _live("middle of the grid, m to the left of base_frame", -1000.0, 1000.0),
    "drivable.resolution_m": _live("side of a cell; a grid has at most 4 million", 0.01, 10.0),
    "drivable.outline_tolerance_px": _live("how far an outline may stray from the mask", 0.0, 100.0),
    "drivable.min_outline_area": _live("share of the mask below which a patch or hole has no outline", 0.0, 1.0),
    "drivable.scan_angle_min_rad": _live("first bearing of free_space, left positive", -math.pi, math.pi),
    "drivable.scan_angle_max_rad": _live("last bearing of free_space", -math.pi, math.pi),
    "drivable.scan_angle_step_rad": _live("between two bearings of free_space", 0.001, 1.0),
    "drivable.range_max_m": _live("how far free_space looks", 1.0, 1000.0),
    "drivable.free_max_cost": _live("dearest class that counts as free for free_space", 0, 100),
    "drivable.vehicle_width_m": _live("width over which free_distance_width_m is the shortest", 0.1, 20.0),
    "drivable.look_ahead_m": dataclasses.replace(
        _live("up to 100 distances ahead at which a class' edges to both sides are measured", 0.1, 1000.0), item=float
    ),
    "drivable.pitch_correction": Spec(
        "follows the pitch while the vehicle nods, by where the road's borders meet", False, choices=PITCH_CORRECTIONS
    ),
    "fusion.enabled": Spec("whether drivable_grid remembers earlier frames, in odom_frame"),
    "fusion.half_life_s": _live("time in which what is not seen any more loses half its weight", 0.01, 3600.0),
    "fusion.cameras": Spec(
        "with camera_names: whether `~/drivable_grid` is one grid of all cameras, beside each camera's own; needs fusion.enabled"
    ),
    "temporal.strength": _live(
        "log-odds by which the frames before pull at a class at most; 0: every frame alone. What becomes an obstacle or a "
        "thing is never held back",
        0.0,
        10.0,
    ),
    "tracking.enabled": Spec("whether things keep a number from frame to frame"),
    "tracking.memory_s": _live("how long a thing that is not seen is remembered", 0.05, 10.0),
    "tracking.birth_frames": _live("frames in which a thing must be found until it is confirmed", 1, 100),
    "tracking.foot_noise_px": _live(
        "standard deviation of the lowest row of a thing, in px of a mask of 720 rows", 0.1, 100.0
    ),
    "tracking.acceleration_m_s2": _live("by how much speeds on the ground change within a second", 0.1, 50.0),
    "tracking.use_odometry": Spec(
        "whether speeds on the ground are measured in odom_frame where TF knows it, so over the ground", read_only=False
    ),
}


def _step_declarations(prefix: str, settings: type) -> list[Declaration]:
    defaults = settings()
    names = [entry.name for entry in dataclasses.fields(settings)]
    unsaid = Spec("", read_only=False)
    return [
        Declaration(prefix + name, getattr(defaults, name), STEP_SPECS.get(prefix + name, unsaid)) for name in names
    ]


def declarations(camera_names: Iterable[str] = ()) -> dict[str, Declaration]:
    """Every parameter by name, in the order to show them in; each named camera has its own of OF_EACH_CAMERA."""
    node = NodeSettings()
    rows = [Declaration(f.name, getattr(node, f.name), f.metadata["spec"]) for f in dataclasses.fields(node)]
    rows += _step_declarations(PANOPTIC, PanopticSettings) + _step_declarations(DRIVABLE, DrivableSettings)
    rows += _step_declarations(FUSION, FusionSettings) + _step_declarations(TRACKING, TrackingSettings)
    rows += _step_declarations(TEMPORAL, TemporalSettings)
    own = [row for row in rows if row.name in OF_EACH_CAMERA]
    rows += [dataclasses.replace(row, name=f"{camera}.{row.name}") for camera in camera_names for row in own]
    return {row.name: row for row in rows}


def label_cost(name: str, default: int = AS_FOR_ALL) -> Declaration:
    """The parameter of one class' cost, by its full name; default: what holds until it is set."""
    of_one = "" if name.startswith(LABEL_COST) else "this camera's "
    least = NOT_GROUND if name.startswith(LABEL_COST) else AS_FOR_ALL
    spec = Spec(
        f"{of_one}drivable cost of the class: 0 free to 100 never, -1 no ground"
        + ("; -2: that of all cameras" if of_one else ""),
        read_only=False,
        limits=(least, 100),
    )
    return Declaration(name, default, spec)


def is_label_cost(name: str, cameras: Iterable[str]) -> bool:
    """Whether a parameter of that name is a class' cost; which classes there are is the model's to say."""
    return name.startswith((LABEL_COST, *(f"{camera}.{LABEL_COST}" for camera in cameras)))


def parameter_table() -> str:
    """The parameters as a Markdown table, as docs/interface.md shows it."""
    lines = ["| parameter | default | allowed | while running | meaning |", "| --- | --- | --- | --- | --- |"]
    for row in declarations().values():
        default = list(row.default) if isinstance(row.default, tuple) else row.default
        shown = str(default).lower() if isinstance(default, bool) else str(default) if default != "" else '""'
        live = "fixed" if row.spec.read_only else "changes"
        lines.append(f"| `{row.name}` | `{shown}` | {row.spec.allowed} | {live} | {row.spec.description} |")
    cost = label_cost(f"{LABEL_COST}<class>")
    lines.append(
        f"| `{cost.name}` | the model's | {cost.spec.allowed} | changes | {cost.spec.description}; `_` stands for a space in its "
        f"name. With camera_names also each camera's own, `<name>.{cost.name}`, {AS_FOR_ALL}: that of all |"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    print(f"<!-- topics -->\n{topic_table()}\n<!-- /topics -->\n")
    print(f"<!-- parameters -->\n{parameter_table()}\n<!-- /parameters -->")
