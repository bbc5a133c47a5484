"""Which variable names Fast DDS's profile, for the launch files and for what starts the node itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

# Fast DDS 2 knows the older name; Fast DDS 3, from Kilted on, warns when it meets it.
OLD, NEW = "FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE"
FAST_DDS_2_DISTROS = ("humble", "iron", "jazzy")


def profile_environment(environment: Mapping[str, str], profile: Path) -> dict[str, str]:
    """What to add to an environment so that Fast DDS uses profile; nothing where it names one already."""
    if environment.get(OLD) or environment.get(NEW):
        return {}
    return {OLD if environment.get("ROS_DISTRO") in FAST_DDS_2_DISTROS else NEW: str(profile)}
