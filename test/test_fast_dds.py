"""The variable that gives whole images room between processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from seg_perception.fast_dds import NEW, OLD, profile_environment

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
