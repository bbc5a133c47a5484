"""Labelled data sets by name; none of them imports torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from seg_perception.datasets.ade20k import Ade20k
from seg_perception.datasets.base import Adapter, Part, Sample
from seg_perception.datasets.camvid import CamVid
from seg_perception.datasets.categories import Classes
from seg_perception.datasets.cityscapes import Cityscapes
from seg_perception.datasets.cityscapes_polygons import CityscapesPolygons
from seg_perception.datasets.coco_instances import CocoInstances
from seg_perception.datasets.coco_panoptic import CocoPanoptic
from seg_perception.datasets.coco_polygons import CocoPolygons
from seg_perception.datasets.colors import Color
from seg_perception.datasets.cvat import Cvat
from seg_perception.datasets.dataset import Dataset
from seg_perception.datasets.folder import Folder
from seg_perception.datasets.guess import looks_like
from seg_perception.datasets.idd_lite import IddLite
from seg_perception.datasets.kitti import Kitti
from seg_perception.datasets.label_sets import concepts_of
from seg_perception.datasets.label_studio import LabelStudio
from seg_perception.datasets.labelme import Labelme
from seg_perception.datasets.mapillary import Mapillary
from seg_perception.datasets.panoptic import Panoptic
from seg_perception.datasets.roboflow_masks import RoboflowMasks
from seg_perception.datasets.supervisely import Supervisely
from seg_perception.datasets.synthetic_scenes import SyntheticDrives, SyntheticScenes
from seg_perception.datasets.voc import Voc
from seg_perception.datasets.yolo import Yolo
from seg_perception.errors import SegPerceptionError, nearest_name
from seg_perception.labels import VOID, LabelSet

DATASETS: dict[str, Callable[[Path, str], Adapter]] = {
    "ade20k": Ade20k,
    "camvid": CamVid,
    "cityscapes": Cityscapes,
    "cityscapes_polygons": CityscapesPolygons,
    "coco_instances": CocoInstances,
    "coco_panoptic": CocoPanoptic,
    "coco_polygons": CocoPolygons,
    "cvat": Cvat,
    "folder": Folder,
    "idd_lite": IddLite,
    "kitti": Kitti,
    "label_studio": LabelStudio,
    "labelme": Labelme,
    "mapillary": Mapillary,
    "panoptic": Panoptic,
    "roboflow_masks": RoboflowMasks,
    "supervisely": Supervisely,
    "synthetic": SyntheticScenes,
    "synthetic_drive": SyntheticDrives,
    "voc": Voc,
    "yolo": Yolo,
}

RENDERED = ("synthetic", "synthetic_drive")
"""Those that lie in no folder."""

__all__ = ["DATASETS", "RENDERED", "Dataset", "Sample", "open_dataset"]


def open_dataset(
    name: str,
    root: Path | str | None,
    split: str,
    labels: LabelSet,
    classes: Classes | None = None,
    *,
    only: Sequence[str] = (),
    leave_out: Sequence[str] = (),
    colors: Mapping[str, Color] | None = None,
    resize_labels: bool = False,
    complete: bool = True,
    unlike_is_void: bool = False,
) -> Dataset:
    """The named data set below root, its ids in classes of labels or, where `classes` names them, in those.

    root: None for RENDERED ones; only, leave_out: see Part; colors: of a `folder`, by category; resize_labels: see
    Dataset. Raises SegPerceptionError for an unknown name or class, a missing folder and, if complete, images without
    labels and, unless unlike_is_void, categories that are like no class.
    """
    if name not in DATASETS:
        raise SegPerceptionError(f"there is no data set '{name}': {nearest_name(name, DATASETS)}")
    if root is None and name not in RENDERED:
        raise SegPerceptionError(f"{name} lies in a folder: say which by --root")
    adapter = _open(name, Path(root or ""), split)
    if isinstance(adapter, Folder):
        adapter.paint(labels, colors or {})
        if not colors and set(classes or ()) <= {VOID}:
            classes = {**{i: names[:1] for i, names in concepts_of(labels).items()}, **(classes or {})}
    elif colors:
        raise SegPerceptionError(f"`colors` are those of a `folder`, and {name} has its own: leave them out")
    if only or leave_out:
        adapter = Part(adapter, only, leave_out)
    dataset = Dataset(adapter, labels, classes or {}, resize_labels=resize_labels)
    if complete and dataset.unlike and not unlike_is_void:
        raise SegPerceptionError(f"{name}: {'; '.join(dataset.unlike)}")
    if complete and dataset.missing:
        raise SegPerceptionError(
            f"{name}: {len(dataset.missing)} images have no label, the first is {dataset.missing[0]}: "
            "add the labels or take the images out"
        )
    if complete and not len(dataset):
        told = looks_like(Path(root or ""), name)
        raise SegPerceptionError(f"{name}: there is no labelled image in {root}: check `root` and `split`{told}")
    return dataset


def _open(name: str, root: Path, split: str) -> Adapter:
    """The adapter; where its layout is not there, the error names one whose layout is."""
    try:
        return DATASETS[name](root, split)
    except SegPerceptionError as error:
        told = "" if name in RENDERED else looks_like(root, name)
        raise SegPerceptionError(f"{error}{told}") from error
