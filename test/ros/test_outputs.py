"""Pay for what is watched: what the pipeline must compute for the topics that somebody subscribes to."""

from __future__ import annotations

import pytest

from seg_perception.results import Wants
from seg_perception.ros.outputs import wants

NOTHING = {"instances": False, "confidence": False, "areas": False, "grid": False, "free_space": False}


@pytest.mark.parametrize(
    ("watched", "needed"),
    [
        ([], []),
        (["label_mask", "label_info"], []),
        (["instance_mask"], ["instances"]),
        (["confidence"], ["confidence"]),
        (["segments"], ["instances"]),
        (["detections"], ["instances"]),
        (["tracks"], ["instances"]),
        (["drivable_areas"], ["areas"]),
        (["drivable_grid"], ["grid"]),
        (["free_space"], ["free_space"]),
        (["segmentation_mask"], ["instances", "areas", "free_space"]),
        (["segmentation_mask/compressed", "drivable_grid"], ["instances", "areas", "grid", "free_space"]),
    ],
)
def test_only_what_is_watched_is_wanted(watched: list[str], needed: list[str]) -> None:
    assert wants(frozenset(watched)) == Wants(**{**NOTHING, **dict.fromkeys(needed, True)})
