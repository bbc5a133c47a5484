"""Fast DDS's profile: which variable names it, and whether its shared memory fits; for the launch files, the set-up, and
the node itself."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

# Fast DDS 2 knows the older name; Fast DDS 3, from Kilted on, warns when it meets it.
OLD, NEW = "FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE"
SHARED_MEMORY = Path("/dev/shm")
FAST_DDS_2_DISTROS = ("humble", "iron", "jazzy")


def profile_variable(distro: str | None) -> str:
    """The name that a ROS distribution's Fast DDS knows; None: the wheels of a new one."""
    return OLD if distro in FAST_DDS_2_DISTROS else NEW


def profile_environment(environment: Mapping[str, str], profile: Path) -> dict[str, str]:
    """What to add to an environment so that Fast DDS uses profile; nothing where it names one already."""
    if environment.get(OLD) or environment.get(NEW):
        return {}
    return {profile_variable(environment.get("ROS_DISTRO")): str(profile)}


def shared_memory_problem(environment: Mapping[str, str], free_bytes: int | None = None) -> str:
    """Why the shared memory of the profile that the environment names does not fit, in one sentence; empty where it does
    or no profile asks for any. Fast DDS goes on without it, and loses large images. free_bytes: None, those of now."""
    profile = environment.get(NEW) or environment.get(OLD) or ""
    try:
        sizes = [int(part.text or 0) for part in ElementTree.parse(profile).iter() if part.tag.endswith("segment_size")]
        if free_bytes is None:
            room = os.statvfs(SHARED_MEMORY)
            free_bytes = room.f_bavail * room.f_frsize
    except (OSError, ValueError, ElementTree.ParseError):  # no profile, or one that Fast DDS itself complains of
        return ""
    if max(sizes, default=0) <= free_bytes:
        return ""
    return (
        f"{SHARED_MEMORY} has {free_bytes / 2**20:.0f} MB free, where the segment of {profile} takes "
        f"{max(sizes) / 2**20:.0f} MB, so large images are lost: start the container with --shm-size=256m or --ipc=host, or "
        "remove what dead processes have left there"
    )
