"""The stages of every frame, from the node's process to the play's: lines of JSON in a file that both have open."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping


def write(descriptor: int, camera: str, stamp_ns: int, stages_ms: Mapping[str, float]) -> None:
    """Add a frame, as one line."""
    rounded = {name: round(time_ms, 4) for name, time_ms in stages_ms.items()}
    os.write(descriptor, json.dumps([camera, stamp_ns, rounded]).encode() + b"\n")


def read(descriptor: int) -> Iterator[tuple[str, int, dict[str, float]]]:
    """Every frame so far: its camera, its stamp in ns and the time of each stage in ms. A line is of no use before its end
    is there: it may be read while it is written, and a kill may fall amid it where it crosses a page of memory."""
    content = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
    for line in content[: content.rfind(b"\n") + 1].splitlines():
        camera, stamp_ns, stages_ms = json.loads(line)
        yield camera, stamp_ns, stages_ms
