"""Messages as the page reads them, the newest of each kind, and who is answered."""

from __future__ import annotations

import asyncio
import json
import math
import re
from importlib.resources import files
from types import SimpleNamespace as Fields
from typing import Any

import numpy as np
import pytest
from patience import WAIT_S

aiohttp = pytest.importorskip("aiohttp")
from aiohttp.test_utils import TestClient, TestServer  # noqa: E402

from seg_perception.dashboard import packets  # noqa: E402
from seg_perception.dashboard.board import Board, Page  # noqa: E402
from seg_perception.dashboard.server import HEADERS, Server  # noqa: E402
from seg_perception.ground.odometry import PlanarPose  # noqa: E402

HEADER = Fields(stamp=Fields(sec=3, nanosec=500_000_000), frame_id="base_footprint")


def read(packet: bytes) -> tuple[dict[str, Any], bytes]:
    line, _, payload = packet.partition(b"\n")
    return json.loads(line), payload


def test_a_grid_keeps_its_cells_and_where_it_lies() -> None:
    turn = math.radians(30)
    orientation = Fields(x=0.0, y=0.0, z=math.sin(turn / 2), w=math.cos(turn / 2))
    origin = Fields(position=Fields(x=1.0, y=-2.0), orientation=orientation)
    cells = [-1, 0, 100, 40, 10, -1]
    message = Fields(header=HEADER, info=Fields(resolution=0.5, width=3, height=2, origin=origin), data=cells)
    said, payload = read(packets.grid(message, PlanarPose(4.0, 5.0, 0.1)))
    assert np.frombuffer(payload, np.int8).tolist() == cells
    assert (said["width"], said["height"], said["resolution"], said["stamp_s"]) == (3, 2, 0.5, 3.5)
    assert said["origin"] == pytest.approx([1.0, -2.0, turn]) and said["vehicle"] == [4.0, 5.0, 0.1]


def test_what_is_not_known_is_null_and_what_is_beyond_says_so() -> None:
    area = Fields(class_name="road", cost=0, coverage=0.5, area_m2=12.0, free_distance_m=math.inf)
    area.free_distance_width_m, area.view_begins_m = math.nan, 2.5
    said, _ = read(packets.areas(Fields(header=HEADER, ground_frame="base", areas=[area])))
    row = said["areas"][0]
    assert (row["ahead_m"], row["ahead_width_m"], row["view_begins_m"]) == ("beyond", None, 2.5)


def test_ranges_stay_as_they_are() -> None:
    scan = Fields(header=HEADER, angle_min=-0.5, angle_increment=0.5, range_max=40.0, ranges=[math.nan, 7.25, math.inf])
    _, payload = read(packets.free_space(scan))
    assert np.array_equal(np.frombuffer(payload, "<f4"), np.array(scan.ranges, np.float32), equal_nan=True)


def diagnosed(*names: str) -> Any:
    pairs = [Fields(key="dropped", value="2")]
    return Fields(header=HEADER, status=[Fields(name=name, level=b"\x01", message="m", values=pairs) for name in names])


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        ("/segmentation", ["backend", "camera"]),
        ("/segmentation/front", ["backend", "camera front", "drivable_grid"]),
        ("/other", []),
        ("/segment", []),
    ],
)
def test_a_source_gets_its_own_status_and_its_nodes(source: str, parts: list[str]) -> None:
    one = ["/segmentation: backend", "/segmentation: camera"]
    several = [f"/segmentation: {part}" for part in ("backend", "camera front", "camera rear", "drivable_grid")]
    said = packets.diagnostics(diagnosed(*(several if source.endswith("front") else one), "lidar: scan"), source)
    found = [] if said is None else [status["name"] for status in read(said)[0]["statuses"]]
    assert found == parts
    if said is not None:
        assert read(said)[0]["statuses"][0] | {"name": ""} == {
            "name": "",
            "level": 1,
            "message": "m",
            "values": {"dropped": "2"},
        }


def test_the_page_is_told_whether_speeds_are_from_the_vehicle() -> None:
    message = Fields(header=HEADER, width=1, height=1, motion_frame="base_link", segments=[])
    told, _ = read(packets.things(message, None, from_vehicle=True))
    assert (told["frame"], told["from_vehicle"], told["things"]) == ("base_link", True, [])


def test_every_doubt_of_an_image_is_among_the_pages_counts() -> None:
    pytest.importorskip("rclpy")
    from seg_perception.camera import depth as images
    from seg_perception.ground import depth as ground
    from seg_perception.ros import depth, inputs, qos_events, stamps

    causes = {
        *(stamps.ZERO, stamps.NOT_NEWER, stamps.OLD, stamps.AHEAD, stamps.NO_CLOCK),
        *(inputs.TWO_PUBLISHERS, inputs.TWO_CALIBRATIONS, inputs.WRONG_TYPE, qos_events.MISMATCH, "dim_images"),
        *(depth.MISSING, depth.UNPAIRED, depth.CLOCK, ground.EMPTY, ground.UNITS),
        *(images.ENCODING, images.TRUNCATED, images.SIZE, images.FRAME),
    }
    page = files("seg_perception.dashboard").joinpath("page.js").read_text()
    (counts,) = re.findall(r"^const COUNTS = /(.*)/;$", page, re.MULTILINE)
    assert {cause for cause in causes if not re.fullmatch(counts, cause)} == set()
    assert not re.fullmatch(counts, "stamp_age_ms_p50")


def test_a_slow_page_gets_the_newest_of_each_kind_and_none_starves() -> None:
    async def play() -> list[bytes]:
        page = Page()
        for k in range(100):
            page.put("overlay", b"overlay %d" % k)
            if k == 3:
                page.put("grid", b"grid")
        return [await page.take(), await page.take()]

    assert asyncio.run(play()) == [b"grid", b"overlay 99"]


def test_a_page_that_shows_slowly_is_sent_no_more_than_it_has_shown() -> None:
    """Else pictures wait in the buffers of the system, of ssh and of the browser, and what is shown is seconds old."""

    async def play() -> list[bytes]:
        page, sent = Page(), list[bytes]()
        page.tells_seen = True
        for k in range(6):
            page.put("overlay", b"overlay %d" % k)
            sent += [await page.take()] if k < 2 else []
        page.put("grid", b"grid")
        sent.append(await page.take())
        waits = asyncio.create_task(page.take())
        await asyncio.sleep(0.01)
        assert not waits.done()
        page.seen("grid")
        page.seen("nonsense")
        await asyncio.sleep(0.01)
        assert not waits.done()
        page.seen("overlay")
        sent.append(await waits)
        page.put("overlay", b"overlay 6")
        page.look("/s/rear", b"looks at rear")
        page.look("/s/front", b"looks at front")
        return [*sent, await page.take()]

    told = asyncio.run(asyncio.wait_for(play(), WAIT_S))
    assert told == [b"overlay 0", b"overlay 1", b"grid", b"overlay 5", b"looks at front"]


def test_the_server_hears_what_a_page_has_shown() -> None:
    async def play() -> None:
        board = Board()
        server = Server(board, lambda sources: None)
        async with TestClient(TestServer(server.application())) as client, client.ws_connect("/live") as socket:
            await socket.send_str('{"source": "/segmentation", "tells_seen": true}')
            assert b"looking" in await socket.receive_bytes()
            for k in range(4):
                board.post("/segmentation", "overlay", b"%d" % k)
                await asyncio.sleep(0.02)
            for words in ('{"seen": 7}', '{"seen": ["overlay"]}', '{"seen": {}}', '{"seen": "overlay", "source": 3}'):
                await socket.send_str(words)
            assert [await socket.receive_bytes() for _ in range(3)] == [b"0", b"1", b"3"]
            assert board.sources() == {"/segmentation"}, "what it looks at stays"

    asyncio.run(asyncio.wait_for(play(), WAIT_S))


def test_a_page_of_before_that_never_says_what_it_has_shown_is_sent_all() -> None:
    """One that was open while the robot got a new release, and has found its server again."""

    async def play() -> list[bytes]:
        board = Board()
        server = Server(board, lambda sources: None)
        async with TestClient(TestServer(server.application())) as client, client.ws_connect("/live") as socket:
            await socket.send_str('{"source": "/segmentation"}')
            heard = [await socket.receive_bytes()]
            for k in range(4):
                board.post("/segmentation", "overlay", b"%d" % k)
                heard.append(await socket.receive_bytes())
            return heard[1:]

    assert asyncio.run(asyncio.wait_for(play(), WAIT_S)) == [b"0", b"1", b"2", b"3"]


def test_packets_go_to_the_pages_of_their_source() -> None:
    async def play() -> bytes:
        board, front, rear = Board(), Page(), Page()
        front.source, rear.source = "/s/front", "/s/rear"
        board.pages |= {front, rear}
        board.post("/s/rear", "grid", b"not for front")
        board.post("", "sources", b"for all")
        assert board.sources() == {"/s/front", "/s/rear"}
        return await front.take()

    assert asyncio.run(play()) == b"for all"


def test_a_page_that_looks_elsewhere_is_sent_nothing_more_of_what_it_looked_at() -> None:
    async def play() -> list[bytes]:
        board, page = Board(), Page()
        board.pages.add(page)
        page.look("/s/front", b"looks at front")
        board.post("/s/front", "overlay", b"front's picture")
        page.look("/s/rear", b"looks at rear")
        board.post("/s/front", "grid", b"front's grid")
        board.post("/s/rear", "grid", b"rear's grid")
        return [await page.take(), await page.take()]

    assert asyncio.run(play()) == [b"looks at rear", b"rear's grid"]


def asked(path: str = "/", **headers: str) -> int:
    async def play() -> int:
        server = Server(Board(), lambda sources: None)
        async with TestClient(TestServer(server.application())) as client, client.get(path, headers=headers) as answer:
            await answer.read()
            return answer.status

    return asyncio.run(play())


@pytest.mark.parametrize("path", ["/", "/page.css", "/page.js", "/ground.js", "/stream.js"])
def test_the_pages_files_are_served(path: str) -> None:
    assert asked(path) == 200


@pytest.mark.parametrize("path", ["/../server.py", "/server.py", "/%2e%2e/server.py", "/page.css/x"])
def test_nothing_else_is(path: str) -> None:
    assert asked(path) == 404


def test_names_that_were_made_to_lead_here_are_refused() -> None:
    assert asked(Host="evil.example:8650") == 403
    assert asked(Host="127.0.0.1.evil.example") == 403
    assert asked(Host="localhost:9000") == 200, "through ssh -L"
    assert asked(Host="[") == asked(Host="[::1") == asked(Origin="http://[") == 403, "no name at all"


def test_a_foreign_page_may_not_listen() -> None:
    assert asked("/live", Origin="http://evil.example") == 403
    assert asked("/live", Host="localhost:9000", Origin="http://localhost:8650") == 403


def test_a_foreign_page_may_not_hold_ours_in_a_frame() -> None:
    """Else it could lay its own words over the camera's picture, or let somebody choose another camera unknowing."""
    assert "frame-ancestors 'none'" in HEADERS["Content-Security-Policy"]


def test_a_page_that_talks_nonsense_is_lived_with_and_what_it_watched_ends_with_it() -> None:
    watched: list[set[str]] = []

    async def play() -> None:
        board = Board()
        server = Server(board, lambda sources: watched.append(set(sources)))
        async with TestClient(TestServer(server.application())) as client:
            async with client.ws_connect("/live") as socket:
                for words in ("nonsense", "[" * 4000, '{"source": 7}', '{"source": "/segmentation"}'):
                    await socket.send_str(words)
                while {"/segmentation"} not in watched:
                    await asyncio.sleep(0.01)
                board.post("/segmentation", "grid", b"cells")
                while (heard := await socket.receive_bytes()) != b'{"kind":"looking","source":"/segmentation"}\n':
                    assert heard == b'{"kind":"looking","source":""}\n'
                assert await socket.receive_bytes() == b"cells"
            while watched[-1]:
                await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(play(), WAIT_S))
    assert watched[:3] == [set(), set(), set()]


def test_the_end_waits_for_no_page_that_reads_no_more() -> None:
    """As of a machine that fell asleep; what was to be sent to it fills all buffers."""

    async def play() -> None:
        board = Board()
        async with TestServer(Server(board, lambda sources: None).application()) as server:
            reader, writer = await asyncio.open_connection(server.host, server.port, limit=1 << 10)
            key = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="
            writer.write(
                f"GET /live HTTP/1.1\r\nHost: {server.host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{key}\r\n\r\n".encode()
            )
            await reader.readuntil(b"\r\n\r\n")
            for _ in range(16):
                board.post("", "sources", bytes(1 << 20))
                await asyncio.sleep(0)
                await asyncio.sleep(0)
        writer.transport.abort()

    asyncio.run(asyncio.wait_for(play(), WAIT_S))
