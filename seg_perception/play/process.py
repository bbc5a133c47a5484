"""The node as a process of its own: its network settings, its start, its log and its end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml

from seg_perception.errors import SegPerceptionError
from seg_perception.fast_dds import profile_environment
from seg_perception.ros.parameters import PACKAGE
from seg_perception.ros.real_time import keep_memory

LOG_TAIL_LINES = 15
STOP_S = 15.0
"""How long the node may take to end by itself."""

FIRST_PORT, PORTS_PER_DOMAIN, DOMAINS = 7400, 250, range(1, 101)
"""DDS's ports by domain; the domains above 101 lie where Linux hands out ports by itself."""


def choose_network() -> None:
    """Set this process, and what it starts, up for large images on a domain of their own, unless the environment says
    otherwise: a robot's nodes on the same machine shall not hear the replay."""
    os.environ.setdefault("ROS_DOMAIN_ID", str(_free_domain()))
    os.environ.update(profile_environment(os.environ, _profile()))
    keep_memory()


def _profile() -> Path:
    """The Fast DDS profile that gives whole images room, in the checkout or where the package is installed."""
    prefixes = os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)
    roots = [Path(__file__).resolve().parents[2], *(Path(prefix) / "share" / PACKAGE for prefix in prefixes if prefix)]
    places = [root / "config" / "fastdds_shm.xml" for root in roots]
    for place in places:
        if place.is_file():
            return place
    looked = ", ".join(map(str, places))
    raise SegPerceptionError(f"the profile for large images is at none of {looked}: set FASTDDS_DEFAULT_PROFILES_FILE")


def _free_domain() -> int:
    """A domain whose first participant's port is free, from a start that differs between processes."""
    shift = os.getpid() % len(DOMAINS)
    for domain in (*DOMAINS[shift:], *DOMAINS[:shift]):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("", FIRST_PORT + PORTS_PER_DOMAIN * domain + 10))
            except OSError:
                continue
            return domain
    raise SegPerceptionError("every ROS domain of 1 to 100 is in use on this machine: set ROS_DOMAIN_ID")


class NodeProcess:
    """`python -m seg_perception.ros.node` with parameters; ends with the block."""

    def __init__(self, parameters: Mapping[str, Any], log: Path) -> None:
        self.log = log
        with tempfile.NamedTemporaryFile("w", prefix="parameters.", suffix=".yaml", delete=False) as file:
            yaml.safe_dump({"/**": {"ros__parameters": dict(parameters)}}, file)
        self._parameters = Path(file.name)
        command = [sys.executable, "-m", "seg_perception.ros.node", "--ros-args", "--params-file", file.name]
        with log.open("wb") as output:
            # a session of its own, so that Ctrl-C comes to this program alone, which then ends the node in order
            self._process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)

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
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._parameters.unlink(missing_ok=True)
