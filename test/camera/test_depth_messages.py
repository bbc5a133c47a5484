"""Depth messages: what is read, and what is told of the rest."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from seg_perception.camera.depth import read_depth
from seg_perception.errors import BadImageError

HW = (3, 4)
METRES = np.arange(12, dtype=np.float32).reshape(HW) / 4


def message(values: np.ndarray, kind: str, pad: int = 0, foreign: bool = False, **changed: Any) -> Any:
    """A message with so many bytes after each row, in the other byte order where asked for."""
    big = (sys.byteorder == "big") != foreign
    rows = values.astype(values.dtype.newbyteorder("S")) if foreign else values
    data = b"".join(row.tobytes() + b"\xff" * pad for row in rows)
    step = values.shape[1] * values.itemsize + pad
    fields: dict[str, Any] = {
        "encoding": kind,
        "height": HW[0],
        "width": HW[1],
        "step": step,
        "is_bigendian": big,
        "data": data,
    }
    fields["header"] = SimpleNamespace(frame_id="/camera")
    return SimpleNamespace(**{**fields, **changed})


@pytest.mark.parametrize("foreign", [False, True])
@pytest.mark.parametrize("pad", [0, 3, 8])
@pytest.mark.parametrize("encoding", ["32FC1", "16UC1", "mono16"])
def test_metres_come_out_whatever_the_rows_hold_beside_them(encoding: str, pad: int, foreign: bool) -> None:
    values = METRES if encoding == "32FC1" else (METRES * 1000).astype(np.uint16)
    depth = read_depth(message(values, encoding, pad, foreign), HW, "camera")
    np.testing.assert_allclose(depth.metres(np.empty(HW, np.float32)), METRES, atol=1e-6)
    twice = depth.metres(np.empty((6, 8), np.float32))
    np.testing.assert_allclose(twice, np.kron(METRES, np.ones((2, 2))), atol=1e-6)


@pytest.mark.parametrize(
    ("changed", "cause"),
    [
        ({"encoding": "rgb8"}, "depth_encoding"),
        ({"encoding": ""}, "depth_encoding"),
        ({"height": 4}, "depth_size"),
        ({"width": 0}, "depth_size"),
        ({"header": SimpleNamespace(frame_id="")}, "depth_frame"),
        ({"header": SimpleNamespace(frame_id="depth")}, "depth_frame"),
        ({"step": 15}, "depth_truncated"),
        ({"data": bytes(47)}, "depth_truncated"),
        ({"step": 10**9}, "depth_truncated"),
        ({"data": SimpleNamespace(backend_type="the depth camera")}, "depth_no_host_memory"),
    ],
)
def test_what_is_no_aligned_depth_is_named(changed: dict[str, Any], cause: str) -> None:
    with pytest.raises(BadImageError, match="depth") as error:
        read_depth(message(METRES, "32FC1", **changed), HW, "camera")
    assert error.value.cause == cause
