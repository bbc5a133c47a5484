"""The model files that ship, and where a model file is looked for."""

from __future__ import annotations

import difflib
from pathlib import Path

from seg_perception.backends import resolve
from seg_perception.errors import SegPerceptionError
from seg_perception.files import is_file, share_folders
from seg_perception.writing import user_path

_PACKAGE = "seg_perception"
_NEARLY = 0.5
"""From this likeness on, of 0 to 1, a name is taken for another's."""

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
    hint = _meant(path) or f"those that ship are {', '.join(_shipped().values()) or 'not installed'}"
    raise SegPerceptionError(f"parameter 'model' is '{path}', and there is no such file (looked at {looked}): {hint}")


def given_model(path: str) -> Path:
    """The file that `--model` means: looked up as by find_model; path itself where there is none, for who opens it. Raises
    SegPerceptionError where that is nearly the name of one that ships."""
    found = next((place for place in _places(path) if is_file(place)), None)
    if found is None and (hint := _meant(path)):
        raise SegPerceptionError(f"there is no model file {path}: {hint}")
    return found or Path(path)


def _meant(path: str) -> str:
    """End of a sentence on a file that is not there: what ships under nearly that name, whose folder and ending are easily left
    out; empty where none does."""
    shipped = _shipped()
    near = difflib.get_close_matches(Path(path).stem, shipped, n=1, cutoff=_NEARLY)
    return f"did you mean {shipped[near[0]]}?" if near else ""


def _shipped() -> dict[str, str]:
    """The files that ship, as find_model takes them from any folder, by their bare name."""
    folders = {place.parent for place in _places(SHIPPED_MODELS["onnxruntime"]) if is_file(place)}
    return {file.stem: f"models/{file.name}" for folder in folders for file in sorted(folder.glob("*.onnx"))}


def _places(path: str) -> list[Path]:
    roots = [Path(), Path(__file__).resolve().parents[2], *share_folders(_PACKAGE)]
    return [root / user_path(path) for root in roots]


def shipped_files() -> list[Path]:
    """All model files that ship, by name. Raises SegPerceptionError as find_model where they are not installed."""
    return sorted(find_model(SHIPPED_MODELS["onnxruntime"], "onnxruntime").parent.glob("*.onnx"))
