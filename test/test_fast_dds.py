"""The variable that gives whole images room between processes."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from pathlib import Path

import pytest
from patience import WAIT_S
from places import CHECKOUT

from seg_perception.fast_dds import (
    NEW,
    OLD,
    YOUNG_S,
    clear_shared_memory,
    profile_environment,
    shared_memory_problem,
)

PROFILE = Path("profile.xml")


@pytest.mark.parametrize(
    ("environment", "added"),
    [
        ({}, {NEW: "profile.xml"}),
        ({"ROS_DISTRO": "kilted"}, {NEW: "profile.xml"}),
        ({"ROS_DISTRO": "humble"}, {OLD: "profile.xml"}),
        ({"ROS_DISTRO": "jazzy"}, {OLD: "profile.xml"}),
        ({"ROS_DISTRO": "jazzy", OLD: "mine.xml"}, {}),
        ({NEW: "mine.xml"}, {}),
    ],
)
def test_each_distribution_gets_the_name_that_it_knows_and_a_profile_of_the_user_stays(
    environment: dict[str, str], added: dict[str, str]
) -> None:
    assert profile_environment(environment, PROFILE) == added


@pytest.mark.parametrize("name", [OLD, NEW])
@pytest.mark.parametrize(
    "profile", sorted((CHECKOUT / "config").glob("fastdds_*.xml")), ids=lambda profile: profile.name
)
def test_a_segment_that_does_not_fit_is_told_with_the_remedy(name: str, profile: Path) -> None:
    environment = {name: str(profile)}
    assert shared_memory_problem(environment, 64 * 2**20) == "", "what a container has by default"
    told = shared_memory_problem(environment, 5 * 2**20)
    assert told.startswith(
        f"/dev/shm has 5 MB free, where the segment of {profile} takes 16 MB, so large images are lost"
    )
    assert "--shm-size" in told and "--ipc=host" in told


def test_without_a_profile_that_can_be_read_nothing_is_said(tmp_path: Path) -> None:
    broken = tmp_path / "broken.xml"
    broken.write_text("<dds>")
    for environment in ({}, {NEW: str(broken)}, {NEW: str(tmp_path / "none.xml")}):
        assert shared_memory_problem(environment, 0) == ""


def test_what_another_user_put_in_the_way_stops_no_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder is everybody's: a pipe in place of a lock, a file that may not be deleted."""
    piped, kept, dead = "fastdds_11111111", "fastdds_22222222", "fastdds_33333333"
    for name in (piped, kept, dead):
        (tmp_path / name).write_bytes(bytes(100))
    os.mkfifo(tmp_path / f"{piped}_el")
    unlink = Path.unlink

    def refused(self: Path, missing_ok: bool = False) -> None:
        if self.name.startswith(kept):
            raise PermissionError(1, "Operation not permitted", str(self))
        unlink(self, missing_ok)

    monkeypatch.setattr(Path, "unlink", refused)
    for path in tmp_path.iterdir():
        os.utime(path, (time.time() - 2 * YOUNG_S,) * 2)
    freed: list[int] = []
    starting = threading.Thread(target=lambda: freed.append(clear_shared_memory(tmp_path)), daemon=True)
    starting.start()
    starting.join(WAIT_S)
    assert freed == [200], "it waits for a writer, or does not end"
    assert [path.name for path in tmp_path.iterdir()] == [kept]


def test_what_killed_processes_left_is_cleared_and_nothing_else(tmp_path: Path) -> None:
    dead, alive, young, other = (
        "fastdds_0123456789abcdef",
        "fastdds_11111111",
        "fastrtps_22222222",
        "my_fastdds_33333333",
    )
    for name in (dead, f"{dead}_el", alive, f"{alive}_el", young, f"{young}_el", other, "fastdds_port7411"):
        (tmp_path / name).write_bytes(bytes(100))
        when_s = time.time() - (0 if name == young else 2 * YOUNG_S)
        os.utime(tmp_path / name, (when_s, when_s))
    (tmp_path / "fastdds_44444444").symlink_to(tmp_path / other)
    with (tmp_path / f"{alive}_el").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert clear_shared_memory(tmp_path) == 100
        assert clear_shared_memory(tmp_path) == 0
    assert not list(tmp_path.glob(f"{dead}*"))
    assert all((tmp_path / name).exists() for name in (alive, f"{alive}_el", young, other, "fastdds_port7411"))
    assert clear_shared_memory(tmp_path / "none") == 0
