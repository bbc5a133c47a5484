"""The segmentation node as a child: `python -m seg_perception.play.child STAGES`.

STAGES is the descriptor of a file that gets the stages of every frame. Standard input is a pipe that its parent holds.

A parent that is killed can end nobody, and its terminal's hang-up does not reach a session of its own. So the end of the
pipe, which the system closes with the parent, ends the node as SIGTERM does, and what the dead parent left in shared
memory is given back, also where the node has not joined the network yet.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from seg_perception.errors import EXIT_INTERRUPTED
from seg_perception.fast_dds import give_back, segments
from seg_perception.play import stages

STOP_S = 15.0
"""How long the node may take to end by itself."""
SETTLED_S = 2.0
"""A process that begins to use a segment has locked it by then."""


def main(run: Callable[[], int] | None = None) -> int:
    """Run the node until it ends or its parent does; returns its exit code."""
    left: list[Path] = []
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # until the node has its own
    threading.Thread(target=_watch, args=(left,), name="parent", daemon=True).start()
    try:
        return (run or _node)()
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    finally:
        if left:
            time.sleep(SETTLED_S)
            give_back(left)


def _node() -> int:
    from seg_perception.ros.node import main as node_main

    descriptor = int(sys.argv.pop(1))
    return node_main(on_frame=lambda *frame: stages.write(descriptor, *frame))


def _watch(left: list[Path]) -> None:
    """Wait for the end of the pipe, then end this process, in order where it can be. left: gets what the parent may have
    left."""
    while os.read(0, 1):
        continue
    left += segments()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(STOP_S)
    give_back(left)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
