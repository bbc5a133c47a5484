"""Mapillary Vistas (Neuhold et al., ICCV 2017) in version 1.2 or 2.0, as unpacked: `<split>/images` with
`<split>/instances` and `config.json`, or `<split>/v2.0/instances` and `config_v2.0.json` (the same with v1.2)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seg_perception.datasets.base import PairedFiles, numbered, two_folders
from seg_perception.errors import SegPerceptionError
from seg_perception.files import read_mask

CONCEPTS_BY_PREFIX: dict[str, tuple[str, ...]] = {
    "animal": ("animal",),
    "construction--barrier--acoustic": ("wall",),
    "construction--barrier--concrete-block": ("wall",),
    "construction--barrier--curb": ("curb",),
    "construction--barrier--fence": ("fence",),
    "construction--barrier--guard-rail": ("guard rail",),
    "construction--barrier--wall": ("wall",),
    "construction--flat--bike-lane": ("bike lane",),
    "construction--flat--crosswalk-plain": ("marking",),
    "construction--flat--curb-cut": ("curb",),
    "construction--flat--driveway": ("road", "parking"),
    "construction--flat--parking": ("parking",),
    "construction--flat--parking-aisle": ("road", "parking"),
    "construction--flat--pedestrian-area": ("sidewalk",),
    "construction--flat--rail-track": ("rail track",),
    "construction--flat--road": ("road",),
    "construction--flat--service-lane": ("road",),
    "construction--flat--sidewalk": ("sidewalk",),
    "construction--flat--traffic-island": ("sidewalk",),
    "construction--structure--bridge": ("bridge",),
    "construction--structure--building": ("building",),
    "construction--structure--garage": ("building",),
    "construction--structure--tunnel": ("tunnel",),
    "human--person": ("person",),
    "human--rider": ("rider",),
    "marking": ("marking",),
    "marking-only": ("marking",),
    "nature--mountain": ("mountain",),
    "nature--sand": ("terrain",),
    "nature--sky": ("sky",),
    "nature--terrain": ("terrain",),
    "nature--vegetation": ("vegetation",),
    "nature--water": ("water",),
    "object--billboard": ("billboard",),
    "object--catch-basin": ("road",),
    "object--manhole": ("road",),
    "object--pothole": ("road",),
    "object--sign": ("billboard", "traffic sign"),
    "object--street-light": ("street light",),
    "object--support": ("pole",),
    "object--traffic-cone": ("traffic cone",),
    "object--traffic-light": ("traffic light",),
    "object--traffic-sign": ("traffic sign",),
    "object--vehicle--bicycle": ("bicycle",),
    "object--vehicle--boat": ("boat",),
    "object--vehicle--bus": ("bus",),
    "object--vehicle--car": ("car",),
    "object--vehicle--caravan": ("caravan",),
    "object--vehicle--motorcycle": ("motorcycle",),
    "object--vehicle--on-rails": ("train",),
    "object--vehicle--trailer": ("trailer",),
    "object--vehicle--truck": ("truck",),
    "object--vehicle--vehicle-group": ("car", "truck", "bus", "motorcycle", "bicycle"),
}
"""By the first parts of a class name, the longest counts; of both versions. What is not here is void."""


_OBJECTS = 256
"""Numbers of objects in each id of an instance file."""


class Mapillary(PairedFiles):
    """Fine labels and instances, both from the instance files: 16-bit, id * 256 + number. The label files repeat the ids
    in colour palettes. Ids are the places in the configuration's list; classes of groups are crowds."""

    def __init__(self, root: Path, split: str) -> None:
        config, instances = _version(root, root / split)
        classes = _classes(config)
        self._has_objects = np.array([bool(objects) for _, objects in classes] + [False] * (256 - len(classes)))
        meaning = {number: _concepts(name) for number, (name, _) in enumerate(classes)}
        super().__init__("mapillary", meaning, *two_folders(root / split / "images", instances))

    def masks(self, label: Path, instance: Path | None) -> tuple[NDArray[np.uint8], NDArray[np.uint16] | None]:
        """Ids and objects of one image."""
        values = read_mask(label, np.uint16)
        if values.max() < _OBJECTS:
            raise SegPerceptionError(
                f"{label} holds no id: instance files are 16-bit, id * 256 + number; unpack it again"
            )
        ids = (values // _OBJECTS).astype(np.uint8)
        return ids, numbered(values, self._has_objects[ids], label)


def _version(root: Path, folder: Path) -> tuple[Path, Path]:
    """The file of classes and the folder of instances, of the newest version that is there whole."""
    for version in ("v2.0", "v1.2"):
        if (config := root / f"config_{version}.json").is_file() and (folder / version / "instances").is_dir():
            return config, folder / version / "instances"
    if (config := root / "config.json").is_file() and (folder / "instances").is_dir():
        return config, folder / "instances"
    raise SegPerceptionError(
        f"{root} holds no Mapillary Vistas: config.json and {folder.name}/instances, or config_v2.0.json and "
        f"{folder.name}/v2.0/instances are needed; check `root` and `split`"
    )


def _classes(config: Path) -> list[tuple[str, bool]]:
    """Name, and whether objects are told apart, of each id."""
    try:
        return [
            (str(row["name"]), bool(row["instances"]))
            for row in json.loads(config.read_text(encoding="utf-8-sig"))["labels"]
        ]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        told = f"{type(error).__name__}: {error}"
        raise SegPerceptionError(f"{config} is no Mapillary configuration ({told}): unpack it again") from error


def _concepts(name: str) -> tuple[str, ...]:
    parts = name.split("--")
    prefixes = ("--".join(parts[:count]) for count in range(len(parts), 0, -1))
    return next((CONCEPTS_BY_PREFIX[prefix] for prefix in prefixes if prefix in CONCEPTS_BY_PREFIX), ())
