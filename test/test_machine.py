"""How many cores a process may keep busy."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from seg_perception import machine


@pytest.fixture(autouse=True)
def _sixteen_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)), raising=False)


@pytest.mark.parametrize(
    ("told", "cores"),
    [
        ("200000 100000\n", 2),
        ("150000 100000\n", 2),
        ("50000 100000\n", 1),
        ("6400000 100000\n", 16),
        ("max 100000\n", 16),
        ("", 16),
        ("0 0\n", 16),
    ],
)
def test_a_containers_share_of_the_processors_limits_the_threads(told: str, cores: int, tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text(told)
    assert machine.usable_cores(tmp_path) == cores


@pytest.mark.parametrize(("quota", "cores"), [("300000", 3), ("-1", 16)])
def test_so_it_does_where_control_groups_are_of_version_1(quota: str, cores: int, tmp_path: Path) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(f"{quota}\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert machine.usable_cores(tmp_path) == cores


def test_without_control_groups_it_is_the_cores_that_may_be_used(tmp_path: Path) -> None:
    assert machine.usable_cores(tmp_path / "none") == 16
