"""Which source an INPUT names: a video, a folder of images, a rosbag, a camera or, without a word, the synthetic drive."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from seg_perception.errors import SegPerceptionError
from seg_perception.recordings.sources import (
    SYNTHETIC_FRAMES,
    DeviceSource,
    FolderSource,
    LabelFolder,
    Source,
    SyntheticSource,
    is_storage_file,
)
from seg_perception.recordings.video_file import VideoSource
from seg_perception.writing import user_path


def open_source(
    words: str | None,
    *,
    labels: LabelFolder | None = None,
    void: Collection[int] = (),
    topic: str | None = None,
    rate_hz: float | None = None,
    frames: int | None = None,
) -> Source:
    """The source that words name; None or empty: the synthetic drive.

    labels: for folders; void: values of labels that mean unlabelled; topic: the image topic of a bag; rate_hz: instead of
    the source's own; frames: at most so many. Raises SegPerceptionError when it cannot be read, and for what does not fit
    that source.
    """
    source = _open(words, labels, void, topic, frames)
    if labels is not None and source.kind != "folder":
        raise SegPerceptionError(f"labels from a folder belong to images of a folder, but {words} is a {source.kind}")
    if topic is not None and source.kind != "bag":
        raise SegPerceptionError(f"--topic is for bags, but {source.name} is a {source.kind}: leave it out")
    if void and not source.has_labels:
        raise SegPerceptionError(f"--void is for labels, but {source.name} has none: leave it out")
    if rate_hz is not None and source.live:
        source.close()
        raise SegPerceptionError(f"--rate is for what was recorded, but {source.name} sends as it sends: leave it out")
    source.rate_hz = rate_hz or source.rate_hz
    source.limit = frames
    return source


def _open(
    words: str | None, labels: LabelFolder | None, void: Collection[int], topic: str | None, frames: int | None
) -> Source:
    if not words:
        return SyntheticSource(frames or SYNTHETIC_FRAMES)
    path = user_path(words)
    if (words.isdecimal() and not path.exists()) or words.startswith("/dev/"):
        return DeviceSource(f"/dev/video{words}" if words.isdecimal() else words)
    if is_bag(path):
        from seg_perception.recordings.frames import BagSource  # rosbags is needed for bags only

        return BagSource(path, topic, void=void)
    if path.is_dir():
        return FolderSource(path, labels, void)
    return VideoSource(path)


def is_bag(path: Path) -> bool:
    """Whether it is a storage file by its name, or a folder with one or with metadata."""
    if not path.is_dir():
        return is_storage_file(path)
    return (path / "metadata.yaml").is_file() or any(map(is_storage_file, path.iterdir()))
