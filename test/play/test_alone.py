"""A play is alone: others on its domain are refused by name, a count that cannot be is told, and nothing outlives it."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from eval_fixtures import write_images
from patience import WAIT_S
from places import CHECKOUT
from ros_harness import FakeCamera, Peer, make_tiny_model, ros_domain
from verb_process import Run

from seg_perception.errors import SegPerceptionError
from seg_perception.fast_dds import SEGMENT, SHARED_MEMORY, give_back, mapped_segments
from seg_perception.network import Network, joined
from seg_perception.play import process
from seg_perception.play.pace import Pace
from seg_perception.play.play import Feed, Play
from seg_perception.play.player import refuse_others
from seg_perception.play.spool import AgeSpool
from seg_perception.recordings.sources import FolderSource

ELSEWHERE = Network(0, "segmentation_1")
"""Not joined; only its name is used."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("model") / "tiny.onnx")


def test_a_camera_on_a_named_domain_is_refused_by_name() -> None:
    with ros_domain():
        peer = Peer("front_camera_driver")
        camera = FakeCamera(peer)
        try:
            with pytest.raises(SegPerceptionError, match="/front_camera_driver on /image"):
                refuse_others(Network(1, "segmentation", shared=True), [""])
        finally:
            peer.close()
        assert camera.size_wh


def feed(folder: Path, sent: int) -> Feed:
    source = FolderSource(write_images(folder / "images", 1)[0].parent)
    spool = AgeSpool(folder)
    for index in range(sent):
        spool.sent(index / 10)
    return Feed(source, spool)


def test_more_frames_received_than_sent_is_a_problem_and_no_negative_count(tmp_path: Path) -> None:
    played = feed(tmp_path, sent=10)
    play = Play([played], Pace(), ELSEWHERE)
    assert play.lost(played, 7) == 3 and play.problems == []
    assert play.lost(played, 28) is None
    assert "received 28" in play.problems[0] and "another camera" in play.problems[0]


def test_two_runs_at_once_measure_themselves_and_share_no_folder(tmp_path: Path, model: Path) -> None:
    images = write_images(tmp_path / "images", 30)[0].parent
    words = ("--input", images, "--rate", 10, "--model", model, "--out")
    runs = [Run(*words, tmp_path / name) for name in ("a", "b")]
    runs[0].until(b"starting the node")
    refused = Run(*words, tmp_path / "a")
    assert refused.wait() == 2 and "another run writes into" in refused.text
    for name, run in zip("ab", runs, strict=True):
        assert run.wait() == 0, run.text
        numbers: dict[str, Any] = json.loads((tmp_path / name / "report.json").read_text())
        assert numbers["frames_in"] == 30 and 0 <= numbers["lost_before_node"] <= numbers["dropped"]


def played(tmp_path: Path, model: Path) -> tuple[Run, psutil.Process, set[Path]]:
    """A run amid its play, its node, and the shared memory that both hold."""
    images = write_images(tmp_path / "images", 500)[0].parent
    run = Run("--input", images, "--rate", 20, "--model", model, "--out", tmp_path / "out")
    run.until(b"answers=3")
    (node,) = psutil.Process(run.process.pid).children()
    paths = {entry.path for process in (node, psutil.Process(run.process.pid)) for entry in process.memory_maps()}
    return run, node, {Path(path) for path in paths if SEGMENT.fullmatch(Path(path).name)}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP])
def test_nothing_outlives_a_run_that_is_killed_or_hung_up(tmp_path: Path, model: Path, number: int) -> None:
    run, node, segments = played(tmp_path, model)
    assert segments and all(path.exists() for path in segments)
    run.process.send_signal(number)
    code = run.wait()
    node.wait(WAIT_S)
    assert not [path for path in segments if path.exists()]
    if number == signal.SIGHUP:
        assert code == 130, run.text
        assert json.loads((tmp_path / "out" / "report.json").read_text())["interrupted"]


STARTING = """
import sys, time
from pathlib import Path
from seg_perception.play import child
child.segments = lambda: [Path(word) for word in sys.argv[1:]]
def imports():
    print("importing", flush=True)
    time.sleep(600)
sys.exit(child.main(imports))
"""


def test_a_node_that_only_starts_gives_back_what_its_dead_parent_left(tmp_path: Path) -> None:
    """Killed in its first seconds, before the node has joined the network and looks into its memory."""
    dead, alive = tmp_path / "fastdds_11111111", tmp_path / "fastdds_22222222"
    for name in (dead, alive):
        name.write_text("segment")
        name.with_name(f"{name.name}_el").write_text("")
    words = [sys.executable, "-c", STARTING, str(dead), str(alive)]
    with alive.with_name(f"{alive.name}_el").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        node = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=CHECKOUT)
        assert node.stdout is not None and node.stdout.readline() == b"importing\n"
        node.communicate(timeout=WAIT_S)  # closes the pipe, as the system does for a parent that is killed
    assert node.returncode == 130
    assert not dead.exists() and alive.exists()


HOLDS = """
import fcntl, mmap, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
with open(sys.argv[1], "r+b") as segment, open(sys.argv[1] + "_el") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    held = mmap.mmap(segment.fileno(), 0)
    print("holds", flush=True)
    signal.pause()
"""


def test_a_node_that_has_to_be_killed_leaves_no_shared_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "STOP_S", 0.1)
    segment = SHARED_MEMORY / f"fastdds_{os.getpid():016x}"
    segment.write_bytes(bytes(4096))
    segment.with_name(f"{segment.name}_el").write_text("")
    try:
        node = subprocess.Popen([sys.executable, "-c", HOLDS, str(segment)], stdout=subprocess.PIPE)
        assert node.stdout is not None and node.stdout.readline() == b"holds\n"
        assert mapped_segments(node.pid) == [segment]
        process.end(node)
        assert node.returncode == -signal.SIGKILL and not segment.exists()
    finally:
        node.kill()
        node.communicate()
        give_back([segment])


def test_only_what_the_dead_left_is_given_back(tmp_path: Path) -> None:
    for name in ("dead", "alive"):
        (tmp_path / name).write_text("segment")
    (tmp_path / "dead_el").write_text("")
    with (tmp_path / "alive_el").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        give_back([tmp_path / "dead", tmp_path / "alive", tmp_path / "gone"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alive", "alive_el"]


def test_what_a_robot_says_is_not_heard_and_its_domain_not_joined(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A robot's planner listens on the environment's domain while a folder is played."""
    from nav_msgs.msg import OccupancyGrid
    from sensor_msgs.msg import Image

    with joined() as robots:
        planner = Peer("planner")
        heard = [planner.listen(kind, topic) for kind, topic in (
            (Image, "/image"), (Image, "/segmentation/label_mask"), (OccupancyGrid, "/segmentation/drivable_grid")
        )]  # fmt: skip
        try:
            images = write_images(tmp_path / "images", 3)[0].parent
            run = Run("--input", images, "--model", model, "--out", tmp_path / "out")
            run.until(b"3 answered")
            assert planner.node.get_node_names() == ["planner"]
            assert run.wait() == 0 and heard == [[], [], []] and robots.domain
        finally:
            planner.close()
