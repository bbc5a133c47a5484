"""Fast DDS's profile: which variable names it, and whether its shared memory fits; for the launch files, the set-up, and
the node itself."""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from xml.etree import ElementTree

# Fast DDS 2 knows the older name; Fast DDS 3, from Kilted on, warns when it meets it.
OLD, NEW = "FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE"
SHARED_MEMORY = Path("/dev/shm")
SEGMENT = re.compile(r"(fastdds|fastrtps)_[0-9a-f]{8,}")
"""The file of a participant's messages, beside which lies its lock; the small ones of ports are taken over by the next."""
YOUNG_S = 10.0
"""A segment of that age may not have its lock yet."""
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


def clear_shared_memory(folder: Path = SHARED_MEMORY) -> int:
    """Delete what processes of this user that were killed have left, as `fastdds shm clean` does; returns the bytes."""
    before_s = time.time() - YOUNG_S
    left = {path: facts.st_size for path, facts in _segments(folder).items() if facts.st_mtime < before_s}
    return sum(left[path] for path in give_back(left))


def segments(folder: Path = SHARED_MEMORY) -> list[Path]:
    """Those of this user's processes, alive and dead."""
    return sorted(_segments(folder))


def mapped_segments(pid: int) -> list[Path]:
    """Those that a live process looks into: its own and those of whom it hears."""
    try:
        lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    except OSError:  # it has ended
        return []
    paths = {Path(fields[5]) for line in lines if len(fields := line.split(maxsplit=5)) == 6}
    return sorted(path for path in paths if path.parent == SHARED_MEMORY and SEGMENT.fullmatch(path.name))


def _segments(folder: Path) -> dict[Path, os.stat_result]:
    try:
        found = {path: path.lstat() for path in folder.iterdir() if SEGMENT.fullmatch(path.name)}
    except OSError:  # no such folder, or one that another process clears too
        return {}
    return {path: facts for path, facts in found.items() if facts.st_uid == os.getuid()}


def give_back(segments: Collection[Path]) -> list[Path]:
    """Delete those that no live process owns: the owner keeps the lock beside each. Returns them."""
    gone = []
    for segment in segments:
        if not is_locked(_lock(segment)):
            with suppress(OSError):  # somebody else's by now
                segment.unlink(missing_ok=True)
                gone.append(segment)
                _lock(segment).unlink(missing_ok=True)
    return gone


def _lock(segment: Path) -> Path:
    return segment.with_name(f"{segment.name}_el")


def is_locked(path: Path) -> bool:
    """Whether a live process holds the file; those of dead ones stay behind and are free."""
    try:
        held = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # the folder is everybody's, and a pipe would be waited for
    except OSError:  # not there, or another user's
        return False
    try:
        fcntl.flock(held, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # where no file can be locked
        return False
    finally:
        os.close(held)
    return False
