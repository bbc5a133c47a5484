"""What the page makes of the stream, run by Node.js where that is there."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

import seg_perception.dashboard

SCRIPT = Path(seg_perception.dashboard.__file__).with_name("stream.js")
NODE = shutil.which("node")

pytestmark = pytest.mark.skipif(NODE is None, reason="no Node.js on this machine")


def told(tmp_path: Path, script: str) -> Any:
    """What a script that fills `told` has told in the end."""
    shutil.copy(SCRIPT, tmp_path / "stream.mjs")
    (tmp_path / "run.mjs").write_text(
        'import { Heard, Pictures, Stream } from "./stream.mjs";\n'
        f"const told = [];\n{script}\nconsole.log(JSON.stringify(told));\n"
    )
    ran = subprocess.run([str(NODE), tmp_path / "run.mjs"], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


STREAM = """
const stream = new Stream((packet, bytes) => told.push([packet.kind, packet.of ?? "", bytes.byteLength]));
const hear = (packet, bytes = "") => stream.hear(new TextEncoder().encode(JSON.stringify(packet) + "\\n" + bytes), () => {});
"""


def test_what_is_still_under_way_from_the_camera_before_is_not_shown_as_the_new_ones(tmp_path: Path) -> None:
    heard = told(
        tmp_path,
        STREAM
        + """
        told.push(stream.ask("/s/front"));
        hear({ kind: "looking", source: "/s/front" });
        hear({ kind: "overlay", of: "front" }, "1234");
        told.push(stream.ask("/s/rear"));
        hear({ kind: "overlay", of: "front" });
        hear({ kind: "sources" });
        hear({ kind: "looking", source: "/s/rear" });
        hear({ kind: "grid", of: "rear" }, "12");
        """,
    )
    assert heard == [
        '{"source":"/s/front","tells_seen":true}',
        ["overlay", "front", 4],
        '{"source":"/s/rear","tells_seen":true}',
        ["sources", "", 0],
        ["grid", "rear", 2],
    ]


def test_there_and_back_at_once_what_comes_in_between_is_not_shown(tmp_path: Path) -> None:
    heard = told(
        tmp_path,
        STREAM
        + """
        for (const source of ["/s/front", "/s/rear", "/s/front"]) stream.ask(source);
        for (const of of ["front", "rear", "front"]) {
          hear({ kind: "looking", source: `/s/${of}` });
          hear({ kind: "grid", of });
        }
        """,
    )
    assert heard == [["grid", "front", 0], ["grid", "front", 0]]


def test_the_server_is_told_of_each_packet_once_it_is_shown(tmp_path: Path) -> None:
    """A picture is shown when it is decoded; what fails, and what is of the camera before, is done with, too."""
    heard = told(
        tmp_path,
        """
        let ready;
        const takes = { overlay: () => new Promise((now) => { ready = now; }), grid: () => { throw new Error("bad"); } };
        const stream = new Stream((packet) => takes[packet.kind]?.());
        const hear = (packet) => stream.hear(new TextEncoder().encode(JSON.stringify(packet) + "\\n"), (words) => told.push(words));
        stream.ask("/s/front");
        await hear({ kind: "things" });
        await hear({ kind: "looking", source: "/s/front" });
        const shown = hear({ kind: "overlay" });
        await hear({ kind: "grid" }).catch((error) => told.push(error.message));
        told.push("decoded");
        ready();
        await shown;
        """,
    )
    assert heard == ['{"seen":"things"}', '{"seen":"grid"}', "bad", "decoded", '{"seen":"overlay"}']


def test_a_picture_that_is_decoded_late_does_not_replace_a_newer_one(tmp_path: Path) -> None:
    heard = told(
        tmp_path,
        """
        const decoded = [];
        const decode = () => new Promise((ready, failed) => decoded.push({ ready, failed }));
        const picture = (name) => ({ name, close: () => told.push(`closed ${name}`) });
        const pictures = new Pictures(decode, ({ name }) => told.push(name));
        const taken = [0, 1, 2, 3].map(() => pictures.take());
        decoded[1].ready(picture("second"));
        await taken[1];
        decoded[0].ready(picture("first"));
        await taken[0];
        decoded[2].failed(new Error("damaged"));
        await taken[2];
        pictures.forget();
        decoded[3].ready(picture("of another camera"));
        await taken[3];
        """,
    )
    assert heard == ["second", "closed second", "closed first", "closed of another camera"]


def test_what_has_not_come_yet_is_not_late_at_once(tmp_path: Path) -> None:
    """A page that was just opened said that its node had ended."""
    heard = told(
        tmp_path,
        """
        const heard = new Heard(100);
        told.push(heard.age("diagnostics", 150), heard.has("diagnostics"));
        heard.add("diagnostics", 160);
        told.push(heard.age("diagnostics", 200), heard.age("grid", 200), heard.has("diagnostics"));
        heard.forget(300);
        told.push(heard.age("diagnostics", 310), heard.has("diagnostics"));
        """,
    )
    assert heard == [50, False, 40, 100, True, 10, False]
