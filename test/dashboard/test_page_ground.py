"""The page's ground from above, run by Node.js where that is there."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

import seg_perception.dashboard

pytest.importorskip("rclpy", reason="what the node's markers do is in its own file")
from seg_perception.tracking.feet import FASTEST_THING_M_S

SCRIPT = Path(seg_perception.dashboard.__file__).with_name("ground.js")
NODE = shutil.which("node")

pytestmark = pytest.mark.skipif(NODE is None, reason="no Node.js on this machine")


def trail_after(tmp_path: Path, *packets: dict[str, Any]) -> list[Any]:
    """[time, place] of the points of track 7 once the page has taken these packets."""
    shutil.copy(SCRIPT, tmp_path / "ground.mjs")
    (tmp_path / "run.mjs").write_text(
        'import { FASTEST_M_S, follow, ground } from "./ground.mjs";\n'
        f"if (FASTEST_M_S !== {FASTEST_THING_M_S}) throw new Error('not what the node takes for the fastest');\n"
        f"for (const packet of {json.dumps(packets)}) follow(packet);\n"
        "console.log(JSON.stringify((ground.trails.get(7) ?? []).map(({ at, foot }) => [at, foot])));\n"
    )
    ran = subprocess.run([str(NODE), tmp_path / "run.mjs"], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    found: list[Any] = json.loads(ran.stdout)
    return found


def things(at: float, x: float, frame: str = "odom") -> dict[str, Any]:
    return {"stamp_s": at, "frame": frame, "things": [{"track": 7, "foot": [x, 0.0]}]}


def test_a_trail_has_the_last_seconds(tmp_path: Path) -> None:
    assert trail_after(tmp_path, things(1, 0), things(4, 1), things(6, 2)) == [[4, [1, 0]], [6, [2, 0]]]


def test_a_trail_begins_anew_where_places_are_in_another_frame(tmp_path: Path) -> None:
    assert trail_after(tmp_path, things(1, 0, "base_link"), things(1.1, 1), things(1.2, 2)) == [
        [1.1, [1, 0]],
        [1.2, [2, 0]],
    ]


def test_a_trail_begins_anew_where_the_odometry_jumps(tmp_path: Path) -> None:
    assert trail_after(tmp_path, things(1, 0), things(1.1, 100), things(1.2, 107)) == [[1.1, [100, 0]], [1.2, [107, 0]]]


@pytest.mark.parametrize(("reach_m", "rings"), [("23", 4), ("1000", 50), ("1e12", 50), ("Infinity", 50), ("NaN", 0)])
def test_a_view_of_any_reach_is_drawn_at_once(reach_m: str, rings: int, tmp_path: Path) -> None:
    """By one of 1e12 m the page stood for minutes, by a longer one for ever."""
    shutil.copy(SCRIPT, tmp_path / "ground.mjs")
    (tmp_path / "run.mjs").write_text(
        'import { draw, ground } from "./ground.mjs";\n'
        "let arcs = 0;\n"
        "const told = { arc: () => arcs++, measureText: () => ({ width: 10 }) };\n"
        "const context = new Proxy({}, { get: (_, name) => told[name] ?? (() => {}), set: () => true });\n"
        f"ground.freeSpace = {{ range_max: {reach_m}, ranges: [], angle_min: 0, angle_step: 0.1 }};\n"
        "draw({ width: 640, height: 480, getContext: () => context });\n"
        "console.log(arcs);\n"
    )
    ran = subprocess.run([str(NODE), tmp_path / "run.mjs"], capture_output=True, text=True, check=False, timeout=60)
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout) == rings
