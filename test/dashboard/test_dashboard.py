"""The page in a real browser, with the real node over real DDS; and the verb as a process."""

from __future__ import annotations

import array
import asyncio
import math
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("aiohttp")
import aiohttp
from browser import Browser, program
from nav_msgs.msg import OccupancyGrid
from patience import WAIT_S, ends
from rclpy.executors import SingleThreadedExecutor
from ros_harness import FakeCamera, NodeProcess, Peer, make_road_and_cars_model, ros_domain, set_parameters

from seg_perception.dashboard import watcher
from seg_perception.dashboard.watcher import Watcher
from seg_perception.errors import EXIT_ERROR
from seg_perception.ros.fill_messages import ImageFiller
from seg_perception.ros.outputs import qos_profile
from seg_perception.ros.topics import output

VERB = [sys.executable, "-m", "seg_perception", "dashboard"]
WATCHED = ("segments", "drivable_grid", "free_space", "segmentation_mask/compressed")


class Driving:
    """A camera before a car on a road, that sends twenty images a second, until it is stopped."""

    def __init__(self, peer: Peer) -> None:
        self.camera = FakeCamera(peer)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._drive, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _drive(self) -> None:
        picture = np.zeros((128, 192, 3), np.uint8)
        picture[50:, :, 0] = 255
        picture[50:90, 80:120] = 0, 0, 255
        filler = ImageFiller("rgb8")
        while not self._stopped.wait(0.05):
            message = filler.fill(picture, self.camera.message().header)
            self.camera.send_info()
            self.camera.send(message)

    def stop(self) -> None:
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()


@pytest.fixture(scope="module")
def domain() -> Iterator[None]:
    with ros_domain():
        yield


@pytest.fixture
def page(domain: None) -> Iterator[str]:
    """The address that the verb says it serves."""
    process = subprocess.Popen([*VERB, "--port", "0"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield re.match(r"(http://127\.0\.0\.1:\d+) ", process.stdout.readline())[1]  # type: ignore[index]
        process.send_signal(signal.SIGTERM)
        assert ends(process) and process.returncode == 0
    finally:
        process.kill()
        process.wait()


@pytest.mark.skipif(program() is None, reason="no Chromium or Chrome on this machine")
def test_a_browser_shows_the_node_while_it_looks_and_says_when_it_is_blind(page: str, tmp_path: Path) -> None:
    peer = Peer()
    pose = [0.0, 0.0, 1.2, 0.0, 0.2, 0.0]
    model = make_road_and_cars_model(tmp_path / "tiny.onnx")
    driving = Driving(peer)
    node = NodeProcess({"model": str(model), "backend": "onnxruntime", "camera_pose": pose, "camera_timeout": 1.0})
    try:
        peer.until_served([f"/segmentation/{name}" for name in WATCHED])
        driving.start()
        watched = lambda: [peer.node.count_subscribers(f"/segmentation/{name}") for name in WATCHED]  # noqa: E731
        assert watched() == [0, 0, 0, 0], "nobody looks, so nothing is asked for"
        with Browser(tmp_path / "profile") as browser:
            browser.open(page)
            browser.until("Number(document.querySelector('#overlay').dataset.frames) > 5", "pictures")
            browser.until("document.querySelector('#reasons .good')", "a verdict that is good")
            browser.until("document.querySelectorAll('#legend li').length == 11", "the legend")
            browser.until("document.querySelector('#areas').innerText.includes('road')", "the road")
            browser.until("document.querySelector('#things').innerText.includes('car')", "the car")
            browser.until("document.querySelector('#no_ground').hidden", "the ground")
            assert browser.value("document.querySelector('#overlay').width") == 192
            assert browser.value(COLORS) > 3, "the ground's picture is not empty"
            assert set_parameters(peer, label_merge=["far away: sky, building"]).successful
            browser.until("document.querySelectorAll('#legend li').length == 10", "the legend of what is told now")
            assert "far away" in browser.value("document.querySelector('#legend').innerText")
            browser.screenshot(tmp_path / "page.png")
            assert watched() == [1, 1, 1, 1]
            driving.stop()
            browser.until("!document.querySelector('#stale').hidden", "old pictures to be called so")
            browser.until("document.querySelector('#reasons .bad')?.innerText.includes('stalled')", "the reason")
            assert browser.value("document.querySelector('#overlay').className") == "old"
            browser.until("!document.querySelector('#no_ground').hidden", "ground that is old to be gone")
        peer.until(lambda: watched() == [0, 0, 0, 0], "the end of listening")
        assert node.stop() == 0
    finally:
        driving.stop()
        node.close()
        peer.close()


COLORS = """(() => {
  const canvas = document.querySelector('#ground');
  const data = new Uint32Array(canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.buffer);
  return new Set(data).size;
})()"""


def test_a_name_that_no_node_can_have_ends_nothing(domain: None) -> None:
    """A page says what it looks at, and all pages hear through one thread."""
    said: queue.Queue[str] = queue.Queue()
    with Watcher(lambda source, kind, packet: said.put(kind)) as watcher:
        assert said.get(timeout=WAIT_S) == "sources"
        watcher.watch(["bad name!", "{", "/", "segmentation", f"/{'n' * 235}", "/segmentation"])
        while not watcher._sources:
            said.get(timeout=WAIT_S)
        assert set(watcher._sources) == {"/segmentation"}
        assert said.get(timeout=WAIT_S) == "sources"


def test_a_grid_whose_numbers_are_none_ends_nothing(domain: None, capfd: pytest.CaptureFixture[str]) -> None:
    said: queue.Queue[tuple[str, bytes]] = queue.Queue()
    peer = Peer()
    try:
        grids = peer.node.create_publisher(
            OccupancyGrid, "/segmentation/drivable_grid", qos_profile(output("drivable_grid").qos)
        )
        with Watcher(lambda source, kind, packet: said.put((kind, packet))) as watcher:
            watcher.watch(["/segmentation"])
            peer.until_heard(grids)
            for resolution in (math.nan, 0.25):
                message = OccupancyGrid(data=array.array("b", [0]))
                message.info.width = message.info.height = 1
                message.info.resolution = resolution
                grids.publish(message)
                peer.until(lambda: watcher._told, "that it is left out")
            while (heard := said.get(timeout=WAIT_S))[0] != "grid":
                pass
            assert b'"resolution":0.25' in heard[1]
    finally:
        peer.close()
    assert "a message is left out (ValueError" in capfd.readouterr().err


def test_a_port_that_is_taken_is_named() -> None:
    with socket.socket() as taken, ros_domain():
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run([*VERB, "--port", str(port)], capture_output=True, text=True, timeout=WAIT_S)
    assert done.returncode == EXIT_ERROR
    assert f"port {port} cannot be used" in done.stderr and "--port" in done.stderr and "Traceback" not in done.stderr


def test_its_executor_is_ended_and_not_left_to_the_garbage_collector(
    domain: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In whatever order that finds its parts: once in some hundred ends it printed a traceback of rclpy's."""
    ended = []

    class Watched(SingleThreadedExecutor):
        def shutdown(self, *given: Any, **named: Any) -> bool:
            ended.append(self)
            return super().shutdown(*given, **named)

    monkeypatch.setattr(watcher, "SingleThreadedExecutor", Watched)
    with Watcher(lambda source, kind, packet: None):
        assert not ended
    assert len(ended) == 1


def test_ctrl_c_is_its_proper_end_also_while_a_page_is_open(domain: None) -> None:
    """`ros2 launch` sends it to everything, and calls what does not end with 0 within seconds dead."""
    process = subprocess.Popen([*VERB, "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    async def look(address: str) -> int | None:
        """How the page's stream was closed after Ctrl-C."""
        async with aiohttp.ClientSession() as session, session.ws_connect(f"{address}/live") as stream:
            await stream.send_json({"source": "/segmentation"})
            await stream.receive_bytes()
            process.send_signal(signal.SIGINT)
            async for _ in stream:
                pass
            return stream.close_code

    try:
        assert process.stdout is not None
        code = asyncio.run(look(process.stdout.readline().split()[0]))
        _, said = process.communicate(timeout=WAIT_S)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, said, code) == (0, "", aiohttp.WSCloseCode.GOING_AWAY)
