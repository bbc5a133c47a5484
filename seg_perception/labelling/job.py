"""A labelling job: the folder that `label pick` makes, `images` with the frames to label and `picked.json`, which says where
each is from."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from seg_perception.errors import SegPerceptionError, quoted
from seg_perception.files import IMAGE_ENDINGS, image_files

PICKED = "picked.json"
IMAGES = "images"
_VERSION = 1
NUMBERED = "numbered"
"""What images are from whose names are numbers alone."""
_AT_END = r"[\W_]*\d+$"
_BEFORE_A_WORD = r"[\W_]*\d{3,}[\W_]+[^\W\d_]\w*$"
_SECONDS = r"[\W_]*(?<!\d)1\d{9}$"
"""Since 1970, behind which parts of a second stood."""
_OF_ROBOFLOW = r"_[a-z]+\.rf\.\w+$"
"""What Roboflow puts behind the name of an image."""


@dataclass(frozen=True)
class Picked:
    """One frame of a job. file: its name in `images`; recording: what it is from; number: its place there, from 0; time_s:
    from the recording's start; why: sentences; numbers: what they say, by name."""

    file: str
    recording: str
    number: int
    time_s: float
    why: tuple[str, ...] = ()
    numbers: Mapping[str, float] = field(default_factory=dict)


def to_json(frames: Sequence[Picked], more: Mapping[str, Any]) -> dict[str, Any]:
    """The content of picked.json."""
    return {"version": _VERSION, **more, "frames": [asdict(frame) for frame in frames]}


def read_picked(job: Path) -> list[Picked]:
    """The frames of a job, none where its folder has no picked.json. Raises SegPerceptionError where that cannot be read."""
    path = job / PICKED
    if not path.is_file():
        return []
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        if content["version"] != _VERSION:
            raise SegPerceptionError(
                f"{path} is of version {quoted(content['version'])}, this program reads {_VERSION}: pick again"
            )
        return [_picked(row) for row in content["frames"]]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        told = f"{type(error).__name__}: {error}"
        raise SegPerceptionError(f"{path} is damaged ({told}): pick again, or take the file away") from error


def _picked(row: Any) -> Picked:
    """One frame of picked.json. Raises TypeError for a value of another kind."""
    frame = Picked(**{**row, "why": tuple(row["why"])})
    for name, kinds in (("file", str), ("recording", str), ("number", int), ("time_s", (int, float))):
        if not isinstance(value := getattr(frame, name), kinds):
            raise TypeError(f"the {name} of a frame is {quoted(value)}")
    return frame


def job_images(folder: Path) -> list[Path]:
    """The images of a job, or of a folder of images."""
    return image_files(folder / IMAGES if (folder / IMAGES).is_dir() else folder)


def recording_of(name: str) -> str:
    """What an image is from by its name alone, where nothing else says it: without the number at its end, or that of a frame before
    a word that all have, as of a camera; those that have nothing else in their names, or the time, are NUMBERED, since frames of
    one drive are often named so."""
    path = Path(name)
    stem = path.stem if path.suffix.lower() in IMAGE_ENDINGS else path.name
    stem = re.sub(_OF_ROBOFLOW, "", stem)
    left = re.sub(_AT_END, "", stem) if stem[-1:].isdecimal() else re.sub(_BEFORE_A_WORD, "", stem)
    return re.sub(_SECONDS, "", left) or NUMBERED


def file_words(text: str) -> str:
    """A name as part of a file's name."""
    return re.sub(r"[^\w.-]+", "_", text).strip("_.") or "recording"
