"""The model files that ship, and where a model file is looked for."""

from __future__ import annotations

from pathlib import Path

from seg_perception.backends import resolve
from seg_perception.errors import SegPerceptionError
from seg_perception.files import is_file, share_folders
from seg_perception.writing import user_path

_PACKAGE = "seg_perception"

SHIPPED_MODELS = {
    "tensorrt": "models/driving_mobileseg_large.onnx",
    "onnxruntime": "models/driving_mobileseg.onnx",
}
"""What `model: auto` means for each backend."""


def find_model(path: str, backend: str) -> Path:
    """The model file: path itself, else relative to the checkout or the package's share folder; `auto` is the one that
    ships for what the backend (one of BACKENDS) means here.

    Raises SegPerceptionError naming every place that was looked at.
    """
    if path == "auto":
        path = SHIPPED_MODELS[resolve(backend)[0]]
    places = _places(path)
    for place in places:
        if is_file(place):
            return place
    looked = ", ".join(dict.fromkeys(str(place) for place in places))
    raise SegPerceptionError(f"parameter 'model' is '{path}', and there is no such file (looked at {looked})")


def given_model(path: str) -> Path:
    """The file that `--model` means: looked up as by find_model; path itself where there is none, for who opens it."""
    return next((place for place in _places(path) if is_file(place)), Path(path))


def _places(path: str) -> list[Path]:
    roots = [Path(), Path(__file__).resolve().parents[2], *share_folders(_PACKAGE)]
    return [root / user_path(path) for root in roots]


def shipped_files() -> list[Path]:
    """All model files that ship, by name. Raises SegPerceptionError as find_model where they are not installed."""
    return sorted(find_model(SHIPPED_MODELS["onnxruntime"], "onnxruntime").parent.glob("*.onnx"))
