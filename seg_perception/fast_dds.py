"""Which variable names Fast DDS's profile: for the launch files, the set-up, and what starts the node itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

# Fast DDS 2 knows the older name; Fast DDS 3, from Kilted on, warns when it meets it.
OLD, NEW = "FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE"
FAST_DDS_2_DISTROS = ("humble", "iron", "jazzy")


def profile_variable(distro: str | None) -> str:
    """The name that a ROS distribution's Fast DDS knows; None: the wheels of a new one."""
    return OLD if distro in FAST_DDS_2_DISTROS else NEW


def profile_environment(environment: Mapping[str, str], profile: Path) -> dict[str, str]:
    """What to add to an environment so that Fast DDS uses profile; nothing where it names one already."""
    if environment.get(OLD) or environment.get(NEW):
        return {}
    return {profile_variable(environment.get("ROS_DISTRO")): str(profile)}
