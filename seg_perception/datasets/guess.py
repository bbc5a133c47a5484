"""Which adapter fits a folder: told where one was asked to read another's layout."""

from __future__ import annotations

from pathlib import Path

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
    ("folder", ("*/images", "*/labels/*.[bjptBJPT][imnpIMNP]*")),
    ("folder", ("images", "labels/*.[bjptBJPT][imnpIMNP]*")),
)
"""Adapters, each with patterns that all have to be there, the more particular ones first."""

_WORDS = (
    ("labelme", (b'"shapes"', b'"imagePath"')),
    ("label_studio", (b'"annotations"', b'"result"')),
    ("coco_instances", (b'"images"', b'"categories"')),
    ("coco_instances", (b'"images"', b'"file_name"')),
)
"""What stands at one of the ends of a JSON file."""

_JSON_FILES = ("*.json", "*/*.json", "*/*/*.json")
_END_BYTES = 1 << 16
_MOST_FOLDERS = 20


def fitting_adapters(root: Path) -> list[str]:
    """Names of the adapters whose layout root has, the likeliest first."""
    found = [name for name, patterns in _SIGNS if all(_any(root, pattern) for pattern in patterns)]
    if not found:
        for pattern in _JSON_FILES:
            if path := next(iter(root.glob(pattern)), None):
                words = _ends(path)
                found += [name for name, wanted in _WORDS if all(word in words for word in wanted)][:1]
                if path.parent != root:  # but for labelme's, the file lies in the root
                    found = [name for name in found if name == "labelme"]
                break
    return list(dict.fromkeys(found))


def looks_like(root: Path, asked: str) -> str:
    """End of an error sentence of the adapter asked: which others would fit the folder, or one in it; "" for none."""
    if not root.is_dir():
        return ""
    fitting = fitting_adapters(root)
    if found := [name for name in fitting if name != asked]:
        return f"; by its files it is {' or '.join(f'`name: {name}`' for name in found)}"
    if fitting:
        return ""
    folders = sorted(path for path in root.iterdir() if path.is_dir() and path.name[0] != ".")[:_MOST_FOLDERS]
    for folder in folders:
        if inside := fitting_adapters(folder):
            return f"; by its files {folder} is `name: {inside[0]}`, of which that folder is the root"
    return ""


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
