"""Install seg_perception with pip as a stranger would, and run every verb that needs no ROS: `python3 tools/try_install.py`.

A virtual environment of its own in a temporary folder, nothing of this checkout on the path, no ROS. `--oldest` takes
the versions of requirements/oldest.txt, else pip takes the newest. Exit code 0 when all went well.
"""

from __future__ import annotations

import argparse
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MODEL = "models/driving_mobileseg.onnx"
GOOD = {
    "make-bag": ["--synthetic", "6", "--out", "bag"],
    "evaluate": ["--model", MODEL, "--bag", "bag", "--out", "evaluated", "--annotate", "annotated.mcap"],
    "predict": ["--model", MODEL, "--images", str(ROOT / "docs"), "--out", "predicted"],
    "compare": ["evaluated/report.json", "evaluated/report.json", "--out", "compared"],
    "benchmark": ["--model", MODEL, "--frames", "5"],
    "check-ground": ["--frames", "3"],
}
TRAINING = str(ROOT / "config" / "train" / "own_images.yaml")
REFUSED = {
    "run": (["--out", "played"], "install ROS 2"),
    "train": (["--config", TRAINING, "--out", "trained"], "pip install 'torch"),
    "export": (["--checkpoint", "none.pt", "--out", "none.onnx"], "pip install 'torch"),
}
"""Verbs that need more than pip installed, and what their sentence names."""


def try_verb(program: Path, verb: str, words: list[str], folder: Path, names: str = "") -> bool:
    """Whether a verb ends as it should: with 0, or with 2 and a sentence that holds `names`."""
    done = subprocess.run([str(program), verb, *words], cwd=folder, capture_output=True, text=True, check=False)
    good = done.returncode == (2 if names else 0) and names in done.stderr and "Traceback" not in done.stderr
    print(f"{'ok    ' if good else 'FAILED'} seg_perception {verb} {' '.join(words)}", flush=True)
    if not good:
        print(done.stdout[-2000:], done.stderr[-4000:], f"exit code {done.returncode}", sep="\n", file=sys.stderr)
    return good


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--oldest", action="store_true", help="the oldest versions, not the newest")
    options = parser.parse_args()
    for name in ("PYTHONPATH", "LD_LIBRARY_PATH", "AMENT_PREFIX_PATH"):
        os.environ.pop(name, None)
    try:
        return install_and_try(options.oldest)
    except subprocess.CalledProcessError as error:
        command = " ".join(map(str, error.cmd))
        print(
            f"install-check: exit code {error.returncode} of {command}; what it printed above says why", file=sys.stderr
        )
    except OSError as error:
        print(f"install-check: it cannot install a copy of {ROOT} in {tempfile.gettempdir()}: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        return 130
    return 2


def install_and_try(oldest: bool) -> int:
    """The exit code: 1 where a verb does not end as it should. Raises CalledProcessError where pip fails."""
    with tempfile.TemporaryDirectory(prefix="try install ") as name:
        folder = Path(name)
        programs = folder / "venv" / "bin"
        subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
        pins = ["-c", str(ROOT / "requirements" / "oldest.txt")] if oldest else []
        pip = [str(programs / "python"), "-m", "pip", "install", "--disable-pip-version-check", "-q", *pins]
        # a copy, because setuptools leaves a build folder behind and takes up what lies in an old one
        source = shutil.copytree(
            ROOT, folder / "source", ignore=shutil.ignore_patterns(".*", "build", "out", "*.egg-info")
        )
        for path in (source, *source.rglob("*")):
            path.chmod(path.stat().st_mode | stat.S_IWUSR)  # of a checkout that nobody may write to
        subprocess.run([*pip, str(source)], check=True)
        shutil.rmtree(source)
        program = programs / "seg_perception"
        good = [try_verb(program, verb, words, folder) for verb, words in GOOD.items()]
        good += [try_verb(program, verb, words, folder, names) for verb, (words, names) in REFUSED.items()]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
