"""A calibration that somebody assumes for images that come without one: a pinhole camera over flat ground."""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass, fields

from seg_perception.camera_model import CameraModel, CameraPose
from seg_perception.errors import SegPerceptionError, nearest_name
from seg_perception.ground.geometry import GroundProjection
from seg_perception.recordings.sources import Source

EXAMPLE = "hfov=60 height=1.4 pitch=2"
_UNITS = {"hfov": "deg", "height": "m", "pitch": "deg", "roll": "deg", "yaw": "deg"}
_LIMITS = {"hfov": (1.0, 170.0), "height": (0.01, 1000.0), "pitch": (-90.0, 90.0)}


@dataclass(frozen=True)
class AssumedCamera:
    """A camera without distortion that looks through the image's middle. hfov: angle from the left to the right edge;
    height: over the ground, m; pitch (nose down positive), roll, yaw (left positive). Angles in degrees."""

    hfov: float
    height: float
    pitch: float = 0.0
    roll: float = 0.0
    yaw: float = 0.0

    def __post_init__(self) -> None:
        for name, unit in _UNITS.items():
            value, (low, high) = getattr(self, name), _LIMITS.get(name, (-180.0, 180.0))
            if not low <= value <= high:
                raise SegPerceptionError(
                    f"the assumed camera's {name} is {value:g} {unit}: allowed is {low:g} to {high:g}"
                )

    @staticmethod
    def parse(words: str) -> AssumedCamera:
        """From words as in EXAMPLE. Raises SegPerceptionError naming what cannot be understood or is missing."""
        values: dict[str, float] = {}
        for word in words.split():
            name, _, number = word.partition("=")
            if name not in _UNITS:
                raise SegPerceptionError(f"an assumed camera has no '{name}': {nearest_name(name, _UNITS)}")
            try:
                values[name] = float(number)
            except ValueError as error:
                raise SegPerceptionError(
                    f"the assumed camera's {name} is '{number}': write a number, for example '{EXAMPLE}'"
                ) from error
        for name in ("hfov", "height"):
            if name not in values:
                raise SegPerceptionError(f"the assumed camera lacks its {name}: write for example '{EXAMPLE}'")
        return AssumedCamera(**values)

    def __str__(self) -> str:
        values = ((field.name, getattr(self, field.name)) for field in fields(self))
        said = (f"{name} {value:g} {_UNITS[name]}" for name, value in values if value or name not in ("roll", "yaw"))
        return ", ".join(said)

    def model(self, width: int, height: int) -> CameraModel:
        """The camera of images of width x height px."""
        focal = width / 2 / math.tan(math.radians(self.hfov) / 2)
        matrix = ((focal, 0.0, (width - 1) / 2), (0.0, focal, (height - 1) / 2), (0.0, 0.0, 1.0))
        return CameraModel(width, height, matrix)

    def pose(self) -> CameraPose:
        """Over the base frame's origin."""
        roll, pitch, yaw = map(math.radians, (self.roll, self.pitch, self.yaw))
        return CameraPose(0.0, 0.0, self.height, roll, pitch, yaw)


def add_argument(parser: argparse.ArgumentParser) -> None:
    """--assume-camera."""
    parser.add_argument(
        "--assume-camera",
        metavar="WORDS",
        help=f"calibration of images that bring none, for example '{EXAMPLE}': horizontal view and pitch (nose down) in "
        "degrees, height over the ground in m; also roll and yaw",
    )


def assume(source: Source, assumed: AssumedCamera) -> None:
    """Give a source without calibration this one, for the size of its first frame.

    Raises SegPerceptionError when the source has its own or no frame, or when the camera would see no ground.
    """
    if source.camera is not None or source.pose is not None:
        raise SegPerceptionError(f"{source.name} brings its own calibration: leave --assume-camera out")
    first = next(iter(source), None)
    if first is None:
        raise SegPerceptionError(f"{source.name} gave no frame: {(source.problems or ['it is empty'])[0]}")
    height, width = first.frame.rgb.shape[:2]
    camera, pose = assumed.model(width, height), assumed.pose()
    GroundProjection(camera, pose, (height, width))
    source.camera, source.pose = camera, pose
