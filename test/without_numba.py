"""What the compiled loops give for small inputs, printed as JSON: run as a program, with Numba or without."""

from __future__ import annotations

import json
import sys
import warnings
from typing import Any

import numpy as np
from panoptic_cases import network_output

from seg_perception.camera_model import CameraModel, CameraPose
from seg_perception.ground.drivable import DrivableExtractor, DrivableSettings
from seg_perception.labels import CAMVID, VOID
from seg_perception.metrics.calibration import Calibration
from seg_perception.metrics.drivable_curve import DrivableCurve
from seg_perception.metrics.scores import Scores
from seg_perception.panoptic.decoder import PanopticDecoder, PanopticSettings
from seg_perception.panoptic.pieces import WholeThings
from seg_perception.panoptic.steadier import Steadier, TemporalSettings
from seg_perception.results import Truth, Wants
from seg_perception.tracking.feet import hiding_classes
from seg_perception.tracking.settings import TrackingSettings
from seg_perception.tracking.tracker import Tracker

HW = (48, 64)


def plain(value: Any) -> Any:
    """Arrays as lists, floats to nine digits: libm and NumPy differ in the last bit; NaN as a word, which is its own equal."""
    if hasattr(value, "__dataclass_fields__"):
        return {name: plain(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    if isinstance(value, dict):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, (float, np.floating)):
        return float(f"{value:.7g}") if np.isfinite(value) else str(value)
    return int(value) if isinstance(value, np.integer) else value


def answers() -> dict[str, Any]:
    """Decode, ground and metrics of a few frames."""
    rng = np.random.default_rng(0)
    settings = PanopticSettings(min_confidence=0.12, min_ground_confidence=0.97)
    decoder, found = WholeThings(PanopticDecoder(CAMVID, settings), CAMVID, settings), {}
    steadier = Steadier(CAMVID, TemporalSettings(1.0))
    tracker = Tracker(len(CAMVID), TrackingSettings(), hiding_classes(CAMVID))
    camera = CameraModel(
        64, 48, ((50.0, 0, 31.5), (0, 50.0, 23.5), (0, 0, 1)), "plumb_bob", (-0.1, 0.01, 0.0, 0.0, 0.0)
    )
    extractor = DrivableExtractor(CAMVID, DrivableSettings(look_ahead_m=(4.0,), range_max_m=8.0))
    poses = CameraPose(0.0, 0.0, 1.5, pitch=0.2), CameraPose(1.05, 0.0, 1.5)
    scores, curve, calibration = Scores(CAMVID), DrivableCurve(CAMVID), Calibration()
    for number in range(2):
        logits = rng.normal(size=(len(CAMVID), 6, 8)) * 3
        logits[CAMVID.by_name("road").id, 3:] += 9
        logits[CAMVID.by_name("sky").id, :2] += 9
        logits[CAMVID.by_name("car").id, 2:5, 2:4] += 14
        offset = rng.normal(size=(2, 6, 8)) * 6
        output = network_output(logits, rng.random((6, 8)), offset)
        output, _ = steadier.steady(np.zeros((1, *HW, 3), np.uint8), output, 0, 1 + number * 10**8)
        panoptic = decoder.decode(output, 0, HW, 8, Wants())
        extractor.set_camera(camera, poses[0], HW)
        found[f"tracks {number}"] = plain(tracker.update(panoptic, 1 + number * 10**8, extractor.projection))
        found[f"panoptic {number}"] = plain(panoptic)
        truth = np.where(rng.random(HW) < 0.1, np.uint8(VOID), np.roll(panoptic.semantic, 2, 1)).astype(np.uint8)
        scores.add(
            panoptic.semantic, panoptic.instance, Truth(truth, np.roll(panoptic.instance, 2, 1)), panoptic.segments
        )
        curve.add(panoptic.semantic, panoptic.confidence, truth)
        calibration.add(panoptic.semantic, panoptic.confidence, truth)
        # A camera that looks level has cells right below and above it at the middle of the grid's.
        extractor.set_camera(camera, poses[number], HW)
        drivable = extractor.extract(panoptic, Wants())
        found[f"drivable {number}"] = plain(drivable)
    found["scores"] = plain(scores.summary())
    found["confidence"] = plain([curve.summary(), calibration.summary()])
    return found


if __name__ == "__main__":
    warnings.simplefilter("error")  # an integer that overflows is a warning in NumPy, and a wrong number
    json.dump(answers(), sys.stdout)
