"""Which adapter fits a folder: told where one was asked to read another's layout."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from seg_perception.files import visible

_PICTURES = "*.[bjptBJPT][imnpIMNP]*"
_SIGNS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("cvat", ("annotations.xml",)),
    ("voc", ("JPEGImages", "SegmentationClass*")),
    ("yolo", ("data.y*ml",)),
    ("roboflow_masks", ("_classes.csv",)),
    ("roboflow_masks", ("*/_classes.csv",)),
    ("cityscapes", ("gtFine/*/*/*_labelIds.png",)),
    ("cityscapes_polygons", ("gtFine/*/*/*_gtFine_polygons.json",)),
    ("coco_panoptic", ("annotations/panoptic_*2017.json",)),
    ("panoptic", ("annotations/panoptic_*.json",)),
    ("panoptic", ("panoptic_*.json",)),
    ("coco_instances", ("annotations/instances_*.json",)),
    ("coco_instances", ("*/_annotations.coco.json",)),
    ("coco_instances", ("result.json",)),
    ("supervisely", ("meta.json", "*/ann")),
    ("mapillary", ("config*.json", "*/**/instances")),
    ("ade20k", ("annotations/*/ADE_*.png",)),
    ("kitti", ("*/image_2", "*/semantic")),
    ("coco_polygons", ("images/*.jpg", "labels/*.txt")),
    ("folder", ("*/images", f"*/labels/{_PICTURES}")),
    ("folder", ("images", f"labels/{_PICTURES}")),
)
"""Adapters, each with patterns that all have to be there, the more particular ones first."""

_WORDS = (
    ("labelme", (b'"shapes"', b'"imagePath"')),
    ("label_studio", (b'"annotations"', b'"result"')),
    ("label_studio", (b'"annotation_id"', b'"lead_time"')),  # JSON-MIN, which the adapter tells from JSON
    ("coco_instances", (b'"images"', b'"categories"')),
    ("coco_instances", (b'"images"', b'"file_name"')),
)
"""What stands at one of the ends of a JSON file."""

_JSON_FILES = ("*.json", "*/*.json", "*/*/*.json")
_END_BYTES = 1 << 16
_MOST_FOLDERS = 20
_MOST_FILES = 5
_MASKS = ("masks", "mask", "label", "annotations", "segmentation", "gt")
"""As people call what is `labels` in a `folder`."""
_PACKED = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")


def fitting_adapters(root: Path) -> list[str]:
    """Names of the adapters whose layout root has, the likeliest first."""
    found = [name for name, patterns in _SIGNS if all(_any(root, pattern) for pattern in patterns)]
    if not found:
        for pattern in _JSON_FILES:
            paths = visible(root.glob(pattern))[:_MOST_FILES]
            found += [name for path in paths for name in _by_words(path, root)]
            if paths:
                break
    return list(dict.fromkeys(found))


def _by_words(path: Path, root: Path) -> list[str]:
    """What a JSON file may be of, by the words in it; but for labelme's, it lies in the root."""
    words = _ends(path)
    found = [name for name, wanted in _WORDS if all(word in words for word in wanted)][:1]
    return [name for name in found if name == "labelme" or path.parent == root]


def looks_like(root: Path, asked: str) -> str:
    """End of an error sentence of the adapter asked: which others would fit the folder, or one in it, or what keeps it from being
    one; "" for none."""
    if not root.is_dir():
        return ""
    fitting = fitting_adapters(root)
    if found := [name for name in fitting if name != asked]:
        return f"; by its files it is {' or '.join(f'`name: {name}`' for name in found)}"
    if fitting:
        return ""
    folders = [path for path in visible(root.iterdir()) if path.is_dir()][:_MOST_FOLDERS]
    for folder in folders:
        if inside := fitting_adapters(folder):
            return f"; by its files {folder} is `name: {inside[0]}`, of which that folder is the root: name that one"
    return _nearly(root, folders)


def _nearly(root: Path, folders: Sequence[Path]) -> str:
    """What would have to be done with a folder that has no layout; "" where that cannot be seen."""
    for place in (root, *folders):
        for masks in _MASKS:
            if (place / "images").is_dir() and _any(place / masks, _PICTURES):
                return f"; beside {place / 'images'} a `folder` has masks in a folder labels: rename {place / masks} to that"
    packed = sorted(path.name for path in root.iterdir() if path.suffix.lower() in _PACKED)
    return f"; {packed[0]} in it is packed: unpack it and name its folder" if packed else ""


def _any(root: Path, pattern: str) -> bool:
    return next(iter(root.glob(pattern)), None) is not None


def _ends(path: Path) -> bytes:
    """The first and the last bytes of a file, b"" where it cannot be read."""
    try:
        with path.open("rb") as file:
            start = file.read(_END_BYTES)
            file.seek(max(0, path.stat().st_size - _END_BYTES))
            return start + file.read()
    except OSError:
        return b""
