"""A short soak of the real node: every kind of fault in turn, and every image accounted for. What grows over time shows
in the long one only: `make soak MINUTES=30`; `SOAK_S=120 pytest test/ros/test_soak.py` for two minutes."""

from __future__ import annotations

import os

from soak import broken, soak

SECONDS = float(os.environ.get("SOAK_S", "15"))


def test_every_image_is_answered_or_counted_whatever_goes_wrong_between() -> None:
    figures = soak(SECONDS, seed=1, pause_s=0.3, each_fault_once=True)
    assert len(figures["events"]) == 9, figures["events"]
    assert (figures["wrong"], figures["unaccounted"], figures["exit_code"]) == ([], 0, 0), figures
    assert figures["images"]["answered"] > 0 and figures["images"]["bad_frames"] > 0
    assert figures["last"]["fds"] <= figures["first"]["fds"] + 2, figures


def test_what_grew_is_told() -> None:
    same = dict.fromkeys(("rss_kb", "own_kb", "fds", "threads", "shm"), 100.0)
    figures = {
        "first": same,
        "last": {**same, "threads": 101.0},
        "growth": {**dict.fromkeys(same, 0.0), "rss_kb": 0.011, "threads": 0.01},
        "wrong": ["a mask of an image that the network failed at"],
        "unaccounted": 2,
        "late": 1,
        "exit_code": 4,
    }
    assert broken(figures) == [
        "a mask of an image that the network failed at",
        "rss_kb grew by 1.10%",
        "threads grew from 100 to 101",
        "2 images are unaccounted for",
        "1 masks came later than 1 s",
        "the node ended with 4",
    ]
    good = {**figures, "last": same, "growth": dict.fromkeys(same, 0.0), "wrong": [], "unaccounted": 0, "late": 0}
    assert broken({**good, "exit_code": 0}) == []
