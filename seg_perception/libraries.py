"""The libraries that seg_perception uses, and what pip installs them by: declared here and nowhere else.

Standard library only: setup.py reads this file, and the command line names by it what is missing. Both ends of the ranges
that requirements/oldest.txt pins the lower ends of were installed and run.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable

NEEDED = {
    "numpy": "numpy>=1.21",
    "cv2": "opencv-python-headless>=4.5",
    "onnx": "onnx>=1.14",
    "onnxruntime": "onnxruntime>=1.15.1",
    "numba": "numba>=0.57",
    "yaml": "PyYAML>=5.4",
    "tqdm": "tqdm>=4.57",
    "rosbags": "rosbags>=0.11",
    "rosbags.image": "rosbags-image>=0.10",
    "lz4": "lz4>=4.1",
    "backports.zstd": 'backports.zstd>=1.0; python_version < "3.14"',
    "jinja2": "jinja2>=3.0",
    "matplotlib": "matplotlib>=3.5",
    "psutil": "psutil>=5.9",
}
"""Module, and its requirement."""

OPTIONAL = {
    "train": {"torch": "torch>=2.5"},
    "tensorboard": {"tensorboard": "tensorboard>=2.9"},
    # Torchvision must be the one that belongs to torch. Run with one version of each alone: 0.6.0, 1.0.31, 0.29.1 and 5.24.
    "zoo": {
        "segmentation_models_pytorch": "segmentation-models-pytorch>=0.6",
        "timm": "timm>=1.0.31",
        "torchvision": "torchvision>=0.20",
        "transformers": "transformers>=5.24",
        "scipy": "scipy>=1.10",  # which Mask2Former in transformers imports
    },
    "fleet": {"ray": "ray>=2.9"},
    # Wheels of PyAV bring FFmpeg with x264 and x265, which are under the GPL: who wants video asks for it.
    "video": {"av": "av>=13.1"},
    "rerun": {"rerun": "rerun-sdk>=0.24"},
    "dashboard": {"aiohttp": "aiohttp>=3.8"},
}
"""The same, by the extra that asks for it."""

LIBRARIES = {**NEEDED, **{module: wanted for extra in OPTIONAL.values() for module, wanted in extra.items()}}


def pip_install(module: str) -> str:
    """The command that installs a module that cannot be imported, and what else is needed and missing."""
    top = module.partition(".")[0]
    wanted = [name for name in (module, top) if name in LIBRARIES][:1] or [top]
    if wanted[0] in NEEDED:
        wanted += [name for name in missing(NEEDED) if name != wanted[0]]
    requirements = [LIBRARIES.get(name, name).partition(";")[0] for name in wanted]
    return " ".join(["pip install", *(f"'{requirement}'" for requirement in requirements)])


def missing(modules: Iterable[str]) -> list[str]:
    """Which of the modules are not installed."""
    return [module for module in modules if not _is_installed(module)]


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ImportError:  # the package that would hold it is missing
        return False
