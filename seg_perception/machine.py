"""What a measurement was made on, so that its numbers mean something elsewhere."""

from __future__ import annotations

import math
import os
import platform
import re
from importlib import metadata
from pathlib import Path

PACKAGES = (
    "numpy",
    "numba",
    "opencv-python-headless",
    "opencv-python",
    "onnxruntime",
    "onnxruntime-gpu",
    "torch",
    "tensorrt",
    "tensorrt-rtx",
)


def describe() -> dict[str, str]:
    """Processor, cores that this process may use, memory, board, operating system, Python and the packages that matter."""
    facts = {
        "cpu": _cpu(),
        "cores": str(usable_cores()),
        "memory_gb": _memory_gb(),
        "board": _text("/proc/device-tree/model").strip("\0\n"),
        "system": platform.platform(),
        "python": platform.python_version(),
        "ros_distro": os.environ.get("ROS_DISTRO", ""),
    }
    for name in PACKAGES:
        try:
            facts[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {name: value for name, value in facts.items() if value}


def usable_cores(groups: Path = Path("/sys/fs/cgroup")) -> int:
    """Logical cores that this process may keep busy: those that it may run on, or fewer where a container has a share of
    their time (`docker run --cpus`), since threads beyond that only wait for each other. groups: where Linux tells that."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, period = _quota(groups)
    return max(1, min(allowed, math.ceil(quota / period))) if quota > 0 and period > 0 else allowed


def _quota(groups: Path) -> tuple[int, int]:
    """Microseconds of processor time in each period of so many; of none (0, 0)."""
    version_2 = _text(str(groups / "cpu.max")).split()
    version_1 = [_text(str(groups / "cpu" / f"cpu.cfs_{name}_us")).strip() for name in ("quota", "period")]
    for found in (version_2, version_1):
        if len(found) == 2 and all(number.isdecimal() for number in found):
            return int(found[0]), int(found[1])
    return 0, 0


def _cpu() -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", _text("/proc/cpuinfo"), re.MULTILINE)
    return found[1] if found else platform.processor() or platform.machine()


def _memory_gb() -> str:
    found = re.search(r"^MemTotal:\s*(\d+) kB$", _text("/proc/meminfo"), re.MULTILINE)
    return f"{int(found[1]) / 2**20:.1f}" if found else ""


def _text(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""
