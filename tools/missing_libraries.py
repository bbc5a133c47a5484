"""Print, a line each, what pip still has to bring of the libraries that seg_perception needs: those that this Python lacks
or has too old a version of, and a bound on NumPy, which must stay what the system's own packages were built for.

    python3 tools/missing_libraries.py | xargs -d '\\n' python3 -m pip install
"""

from __future__ import annotations

import importlib.util
import re
import runpy
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

LIBRARIES = Path(__file__).resolve().parents[1] / "seg_perception" / "libraries.py"
UNSTATED = "unstated"
"""The version of a module that is there and tells none, as Debian's OpenCV."""


def missing(
    needed: Mapping[str, str], have: Mapping[str, str], python: tuple[int, int] = sys.version_info[:2]
) -> list[str]:
    """What to ask pip for. needed: requirements, such as 'numba>=0.57', by module; have: installed versions by module.

    An array made by NumPy 2 is none to a library that was compiled for NumPy 1, so the major version is kept.
    """
    wanted = [need for module, need in needed.items() if _applies(need, python) and not _is_met(need, have.get(module))]
    if wanted and have.get("numpy", "").startswith("1."):
        wanted = ["numpy>=1.21,<2", *(need for need in wanted if not need.startswith("numpy"))]
    return wanted


def _applies(need: str, python: tuple[int, int]) -> bool:
    marker = re.search(r'python_version < "(\d+)\.(\d+)"', need)
    return marker is None or python < (int(marker[1]), int(marker[2]))


def _is_met(need: str, found: str | None) -> bool:
    least = need.partition(";")[0].partition(">=")[2]
    return found == UNSTATED or (found is not None and _numbers(found) >= _numbers(least))


def _numbers(words: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", words)[:3])


def installed(needed: Mapping[str, str]) -> dict[str, str]:
    """Versions of those modules that this Python can import, by module."""
    found = {}
    for module, need in needed.items():
        try:
            found[module] = version(re.split("[>;]", need)[0].strip())
        except PackageNotFoundError:
            if importlib.util.find_spec(module.partition(".")[0]) is not None:
                found[module] = UNSTATED
    return found


if __name__ == "__main__":
    libraries = runpy.run_path(str(LIBRARIES))["NEEDED"]
    print(*missing(libraries, installed(libraries)), sep="\n")
