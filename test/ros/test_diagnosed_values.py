"""The pages' tables of what diagnostics hold are those of the code: the values of every status, and the causes by which frames
and tracks are counted."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from fakes import model_info
from places import CHECKOUT

from seg_perception.ros.diagnostics import GROUND_OK, GROUND_UNWATCHED, CameraMonitor, node_status, tracking_values
from seg_perception.ros.resizing import size_values
from seg_perception.tracking.settings import TrackingSettings
from seg_perception.tracking.tracker import Tracker

CODE = CHECKOUT / "seg_perception"
STAGES = ("convert", "preprocess", "network", "decode", "drivable", "tracking", "publish")


def rows(page: str, begin: str, end: str) -> list[list[str]]:
    """Cells of the table of a page between two texts, without its head."""
    text = (CHECKOUT / "docs" / page).read_text(encoding="utf-8").split(begin, 1)[1].split(end, 1)[0]
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return lines[2:]


def named(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def calls(name: str, *folders: str) -> Iterator[tuple[Path, ast.Call]]:
    """Calls of a class in these files and folders of the package."""
    for folder in folders:
        place = CODE / folder
        for path in [place] if place.is_file() else sorted(place.rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name:
                    yield path, node


def texts(path: Path) -> dict[str, str]:
    """Texts that a module calls by a name, also from where it has them."""
    found: dict[str, str] = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("seg_perception."):
            place = CHECKOUT / f"{node.module.replace('.', '/')}.py"
            theirs = texts(place) if place.is_file() and any(alias.name.isupper() for alias in node.names) else {}
            found.update({alias.name: theirs[alias.name] for alias in node.names if alias.name in theirs})
        if isinstance(node, ast.Assign):
            (target,) = node.targets
            pairs = [(target, node.value)]
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                pairs = [*zip(target.elts, node.value.elts, strict=True)]
            for name, value in pairs:
                if isinstance(name, ast.Name) and isinstance(value, ast.Constant) and isinstance(value.value, str):
                    found[name.id] = value.value
    return found


def causes(name: str, *folders: str, place: int = 0) -> set[str]:
    """What such errors and doubts are made with as their cause, where that is written down and not handed on."""
    found: set[str] = set()
    for path, call in calls(name, *folders):
        cause = call.args[place] if len(call.args) > place else None
        if isinstance(cause, ast.Constant) and isinstance(cause.value, str):
            found.add(cause.value)
        elif isinstance(cause, ast.Name) and cause.id.isupper():
            found.add(texts(path)[cause.id])
    return found


def keys_of(file: str, function: str) -> set[str]:
    """Keys of the dictionaries that a function writes down."""
    (body,) = [
        node
        for node in ast.walk(ast.parse((CODE / file).read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name == function
    ]
    keys = [key for node in ast.walk(body) if isinstance(node, ast.Dict) for key in node.keys]
    return {key.value for key in keys if isinstance(key, ast.Constant) and isinstance(key.value, str)}


def test_every_value_has_its_row_and_every_row_a_value() -> None:
    camera, tracker = CameraMonitor("/image", 1.0, 0.0), Tracker(1, TrackingSettings())
    camera.received(0.5)
    camera.bad("<cause>", "", 0.5)
    camera.doubted("<cause>", "", 0.5)
    camera.finished(0.6, 1.0, 1.0, {**dict.fromkeys(STAGES, 1.0), "<stage>": 1.0})
    tracker.restarts["<cause>"] += 1
    more = {**tracking_values(tracker), **size_values(model_info(), ((480, 640), 0.0))}
    backend = set(node_status("active", "", "", {}).values) | keys_of("ros/works.py", "facts")
    backend |= keys_of("backends/onnx_runtime.py", "describe") | keys_of("backends/tensorrt/backend.py", "describe")
    said = {"camera": set(camera.status(1.0, more=more).values), "backend": backend | {"fallback"}}
    listed: dict[str, set[str]] = {}
    for status, values, _ in rows("reliability.md", "<!-- values -->", "<!-- /values -->"):
        for value in named(values):
            stretched = [value.replace("<p>", p) for p in ("p50", "p95")] if "<p>" in value else [value]
            assert not listed.setdefault(status, set()) & {*stretched}, value
            listed[status] |= {*stretched}
    said["camera"] -= {f"{stage}_ms_{p}" for stage in STAGES for p in ("p50", "p95")}
    assert listed.pop("drivable_grid") == {"<name>"}
    assert listed == said
    (stages,) = [
        cell for _, value, cell in rows("reliability.md", "<!-- values -->", "<!-- /values -->") if "<stage>" in value
    ]
    assert tuple(named(stages)) == STAGES


def test_every_cause_of_a_frame_that_is_counted_is_listed() -> None:
    listed: dict[str, set[str]] = {"bad_<cause>": set(), "<cause>": set()}
    for counter, cell in rows("reliability.md", "<!-- causes -->", "<!-- /causes -->"):
        listed[named(counter)[0]] |= {*named(cell)}
    reading = "camera/messages.py", "camera/video.py", "image_limits.py"
    depth = causes("BadImageError", "camera/depth.py", "ros/depth.py") | causes("DepthProblem", "ground/depth.py")
    network = causes("BackendError", "ros", "backends", "panoptic", place=1) - {"self_test"}  # no frame's
    own = (
        texts(CODE / "ros" / "inputs.py"),
        texts(CODE / "ros" / "diagnostics.py"),
        texts(CODE / "camera" / "messages.py"),
    )
    bad = (
        causes("BadImageError", *reading)
        | network
        | {own[2]["NO_HOST_MEMORY"], own[0]["TWO_PUBLISHERS"], own[1]["FAILED"]}
    )
    assert listed["bad_<cause>"] == bad | {"backend_failed"}
    doubts = causes("Doubt", "ros") | {texts(CODE / "ros" / "qos_events.py")["MISMATCH"]}
    assert listed["<cause>"] == doubts | depth | {"depth_no_host_memory"}


def test_the_page_of_the_ground_lists_what_stops_it_and_what_depth_may_lack() -> None:
    stops = {name for row in rows("ground.md", "and one when it ends:", "## ") for name in named(row[0])}
    made = causes("GroundState", "ros") | causes("TransformError", "ros") | {GROUND_OK.cause, GROUND_UNWATCHED.cause}
    assert stops == made | {"stamp_not_newer", "stamp_ahead", "odom_"}
    listed = {name for row in rows("ground.md", "the frame is on flat ground:", "## ") for name in named(row[0])}
    depth = causes("BadImageError", "camera/depth.py", "ros/depth.py") | causes("DepthProblem", "ground/depth.py")
    assert listed == depth | {"depth_no_host_memory"}


def test_the_page_of_tracking_lists_why_tracks_begin_anew() -> None:
    source = (CODE / "tracking" / "tracker.py").read_text(encoding="utf-8")
    made = {*re.findall(r'self\._(?:restart|count)\("([a-z_]+)"', source)}
    listed = {named(row[0])[0] for row in rows("tracking.md", "<cause>`.", "A frame that comes late")}
    assert listed == made - {"recording"}, "which the node never has"
