"""What a test of a launch file needs, none of which comes from PyPI."""

from __future__ import annotations

import importlib.util

import pytest


def skip_without(*packages: str) -> None:
    """Skip the module that is being imported where one of packages, or this package as colcon installs it, is missing."""
    for needed in (*packages, "ament_index_python"):
        if importlib.util.find_spec(needed) is None:
            pytest.skip(f"{needed} is not installed: it comes with ROS, not from PyPI", allow_module_level=True)
    from ament_index_python.packages import PackageNotFoundError, get_package_prefix

    try:
        get_package_prefix("seg_perception")
    except PackageNotFoundError:
        pytest.skip("seg_perception is not installed by colcon, so launch cannot find it", allow_module_level=True)
