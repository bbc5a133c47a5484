"""Write the hashes of all that the set-up installs anew, after a change of a pin: `python3 tools/renew_hashes.py`.

Asks PyPI for every file of every version in `requirements/{run,ros,test,torch}.txt` and of all that these need, on any
machine and Python from 3.10 on, by way of uv (`pipx install uv`), and PyTorch's index of builds for a CPU for theirs.
Writes `requirements/hashes/`, which pip then holds every file to; nothing else there is edited by hand.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "requirements"
HASHES = REQUIREMENTS / "hashes"
CPU_BUILDS = "https://download.pytorch.org/whl/cpu/torch/"
OLDEST_PYTHON = "3.10"
FOR_CUDA = re.compile(r"(nvidia-|cuda-toolkit|triton)")
"""What only PyPI's build of torch needs, by name."""
UNWANTED = "typing"
"""cityscapesScripts names this backport, whose last version refuses every Python that has it built in."""


def entries(text: str) -> list[str]:
    """The requirements of a file with hashes, each with its lines."""
    return re.findall(r"^[^\s#].*\n(?:[ \t].*\n)*", text, re.MULTILINE)


def names(text: str) -> set[str]:
    """What is pinned by a file of requirements, as PyPI spells it."""
    found = re.findall(r"^([\w.-]+)==", text, re.MULTILINE)
    return {re.sub(r"[-_.]+", "-", name).lower() for name in found}


def without(wanted: list[str], there: list[str]) -> list[str]:
    """Those that are not pinned by another file already, for the same Pythons."""
    return [entry for entry in wanted if entry not in there]


def held(pin: str, digests: list[str]) -> str:
    """A requirement that takes these files alone."""
    return " \\\n".join([pin, *(f"    --hash=sha256:{digest}" for digest in digests)]) + "\n"


def digests_of(page: str, version: str) -> list[str]:
    """The SHA-256 of every build of torch for a robot's CPU that an index's page lists, sorted."""
    build = rf"torch-{re.escape(version)}(?:%2B|\+)cpu-[^\"#]*manylinux[^\"#]*\.whl#sha256=([0-9a-f]{{64}})"
    return sorted(set(re.findall(build, page)))


def resolve(*files: str, constraints: tuple[Path, ...] = ()) -> list[str]:
    """Ask uv for versions and hashes of everything that requirements/FILE.txt needs."""
    uv = shutil.which("uv")
    if uv is None:
        raise SystemExit("No uv was found: install it, for example 'pipx install uv'.")
    command = [uv, "pip", "compile", "-q", "--no-config", "--universal", "--python-version", OLDEST_PYTHON]
    command += ["--generate-hashes", "--no-annotate", "--no-header", "--no-emit-package", UNWANTED]
    command += [str(REQUIREMENTS / f"{name}.txt") for name in files]
    for path in constraints:
        command += ["-c", str(path)]
    return entries(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def write(name: str, found: list[str]) -> Path:
    """One file of `requirements/hashes`."""
    HASHES.mkdir(exist_ok=True)
    path = HASHES / f"{name}.txt"
    path.write_text("# Written by tools/renew_hashes.py.\n" + "".join(found))
    return path


def main() -> int:
    """Entry point."""
    run = resolve("run")
    pins = [write("run", run)]
    ros = without(resolve("ros", constraints=tuple(pins)), run)
    pins.append(write("ros", ros))
    write("build", [entry for entry in ros if names(entry) == {"setuptools"}])
    rest = without(resolve("test", "torch", constraints=tuple(pins)), [*run, *ros])
    torch = next(entry for entry in rest if entry.startswith("torch=="))
    version = torch.split()[0].partition("==")[2]
    with urllib.request.urlopen(CPU_BUILDS) as page:
        builds = digests_of(page.read().decode(), version)
    if not builds:
        raise SystemExit(f"{CPU_BUILDS} lists no build of torch {version} for a CPU.")
    asked = names((REQUIREMENTS / "test.txt").read_text())
    cuda = [entry for entry in rest if FOR_CUDA.match(entry) and names(entry) - asked]
    write("test", without(rest, [torch, *cuda]))
    write("torch", [torch, *cuda])
    write("torch_cpu", [held(f"torch=={version}+cpu", builds)])
    return 0


if __name__ == "__main__":
    sys.exit(main())
