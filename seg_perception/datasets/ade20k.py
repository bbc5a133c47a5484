"""ADE20K's SceneParse150 (Zhou et al., CVPR 2017): `images/<split>`, `annotations/<split>`, where split is `training`
or `validation`. Most of it is indoors; only what a street knows has a meaning here, the rest is void."""

from __future__ import annotations

from pathlib import Path

from seg_perception.datasets.base import PairedFiles, two_folders

MEANING: dict[int, tuple[str, ...]] = {
    **dict.fromkeys(range(151), ()),  # 0 is other
    **{1: ("wall", "building"), 2: ("building",), 3: ("sky",), 5: ("vegetation",), 7: ("road",), 10: ("terrain",)},
    **{12: ("sidewalk",), 13: ("person", "rider"), 14: ("terrain",), 17: ("mountain",), 18: ("vegetation",)},
    **{21: ("car",), 22: ("water",), 26: ("building",), 27: ("water",), 30: ("terrain",), 33: ("fence",)},
    **{39: ("fence", "guard rail"), 44: ("traffic sign", "billboard"), 47: ("terrain",), 49: ("building",)},
    **{53: ("sidewalk",), 61: ("water",), 62: ("bridge",), 69: ("terrain", "mountain"), 73: ("vegetation",)},
    **{77: ("boat",), 81: ("bus",), 84: ("truck",), 85: ("building",), 88: ("street light",), 92: ("road", "terrain")},
    **{94: ("pole",), 95: ("terrain",), 103: ("car",), 117: ("motorcycle",), 127: ("animal",), 128: ("bicycle",)},
    **{129: ("water",), 137: ("traffic light",)},
}
"""Of the ids 1-150 in the order of objectInfo150."""


class Ade20k(PairedFiles):
    """Fine labels, no instances."""

    def __init__(self, root: Path, split: str) -> None:
        images, labels = two_folders(root / "images" / split, root / "annotations" / split)
        super().__init__("ade20k", MEANING, images, labels)
