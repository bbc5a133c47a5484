"""The node as a process of its own: its start, its log and its end, which is also the end of this process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml

from seg_perception.errors import SegPerceptionError
from seg_perception.fast_dds import give_back, mapped_segments
from seg_perception.network import NODE
from seg_perception.play import stages

LOG_TAIL_LINES = 15
STOP_S = 15.0
"""How long the node may take to end by itself."""


class NodeProcess:
    """The segmentation node of that name with parameters, in the network of the environment; ends with the block, and by
    itself when this process ends in any way."""

    def __init__(self, parameters: Mapping[str, Any], log: Path, node_name: str = NODE) -> None:
        self.log = log
        with log.open("wb") as output, _in_memory({"/**": {"ros__parameters": dict(parameters)}}) as file:
            words = ["--params-file", f"/proc/self/fd/{file}", "--remap", f"__node:={node_name}"]
            self._stages = os.memfd_create("stages")
            # a session of its own, so that Ctrl-C comes to this program alone, which then ends the node in order
            self._process = subprocess.Popen(
                [sys.executable, "-m", "seg_perception.play.child", str(self._stages), "--ros-args", *words],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=[file, self._stages],
            )

    def __enter__(self) -> NodeProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def stages(self) -> Iterator[tuple[str, int, dict[str, float]]]:
        """Of every frame that it has published: the camera, the stamp in ns and the time of each stage in ms."""
        return stages.read(self._stages)

    def check(self) -> None:
        """Raise SegPerceptionError with the end of the log when the node has ended."""
        if self.exit_code is not None:
            raise SegPerceptionError(
                f"the node ended with exit code {self.exit_code}, its log {self.log} closes with:\n{self.tail()}"
            )

    def tail(self) -> str:
        """The last lines of the log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:])

    def stop(self) -> None:
        """Ask it to end, and end it where it does not."""
        if self._process.poll() is None:
            end(self._process)
        assert self._process.stdin is not None
        self._process.stdin.close()
        os.close(self._stages)


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask a process to end, and end it where it does not. What it had no time to give back of its shared memory is given
    back for it: on a busy machine a node leaves its middleware as it is."""
    held = mapped_segments(process.pid)
    process.send_signal(signal.SIGINT)
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    give_back(held)


@contextmanager
def _in_memory(content: Mapping[str, Any]) -> Iterator[int]:
    """A YAML file that lies in no folder, so that nobody has to delete it."""
    with os.fdopen(os.memfd_create("parameters"), "w") as file:
        yaml.safe_dump(dict(content), file)
        file.flush()
        os.lseek(file.fileno(), 0, os.SEEK_SET)
        yield file.fileno()
