"""What a CameraInfo message says of a camera, by field: the same for the node, a play and a bag. Needs no ROS."""

from __future__ import annotations

from typing import Any

import numpy as np

from seg_perception.camera_model import CameraModel, scaled_matrix

_IDEAL_FISHEYE = (0.0,) * 4


def camera_info_fields(camera: CameraModel, mask_hw: tuple[int, int] | None = None) -> dict[str, Any]:
    """All fields of sensor_msgs/CameraInfo but header, binning and region of interest; arrays are float64.

    mask_hw: of masks of (height, width), to which the calibration is scaled; None: of the camera's images themselves. Those
    of a rectified camera have no K, by which a reader takes them for what R and P describe. P is the camera matrix, so that
    rectifying keeps the focal length. Fisheyes go by the one name that ROS has for them, and have four coefficients, since
    image_geometry takes no others.
    """
    height, width = mask_hw or (camera.height, camera.width)
    matrix, turn = np.array(camera.K, np.float64), np.array(camera.rectification, np.float64)
    if mask_hw is not None:
        matrix = scaled_matrix(matrix, width / camera.width, height / camera.height)
    is_rectified = mask_hw is None and not np.array_equal(turn, np.eye(3))
    return {
        "height": height,
        "width": width,
        "distortion_model": "equidistant" if camera.is_fisheye else camera.distortion_model,
        "d": np.array(camera.distortion or (_IDEAL_FISHEYE if camera.is_fisheye else ()), np.float64),
        "k": np.zeros(9) if is_rectified else matrix.ravel(),
        "r": turn.ravel(),
        "p": np.column_stack((matrix, np.zeros(3))).ravel(),
    }
