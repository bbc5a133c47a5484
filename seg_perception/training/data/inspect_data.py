"""Look at all data of a training configuration before hours are spent on it.

Prints each source's size, class shares and instances in the classes to be trained, and everything that training would
stumble over, with file names: images without a label, labels without an image, sizes that differ, unknown ids, broken
files, objects on what is no thing, classes that no training label has (unless `allow_absent` names them), labels of one class
alone, images that judge and are trained on too. Exits with 0
when there is nothing of the kind, with 3 when there is.

Example:
  seg_perception inspect-data --config config/train/camvid_pidnet_s.yaml --data data --json out/data.json
"""

from __future__ import annotations

import argparse
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from seg_perception.datasets import Dataset, Sample, open_dataset
from seg_perception.datasets.base import Remark, Remarks
from seg_perception.errors import SegPerceptionError
from seg_perception.labels import NOT_GROUND, VOID, LabelSet
from seg_perception.training.config import DATA_ROOT_VARIABLE, DataSource, TrainConfig, load_config
from seg_perception.training.data.absent import absent_classes, why_absent, why_single
from seg_perception.training.data.held_out import files_of, why_not_held_out
from seg_perception.training.data.marks import why_no_boxes
from seg_perception.writing import user_path, write_json

EXIT_PROBLEMS = 3

STRAY_SHARE = 0.01
"""Of an image's object pixels, this many may lie on what is no thing: outlines drawn by hand overlap."""

THREADS = 2
"""OpenCV decodes outside Python's lock."""

_BAR = 30


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("--config", type=user_path, required=True, help="YAML file, see config/train")
    parser.add_argument(
        "--data", help=f"folder that holds the data sets (default: data_root, else ${DATA_ROOT_VARIABLE})"
    )
    parser.add_argument("--json", type=user_path, metavar="FILE", help="write the numbers and all problems here too")


def run(arguments: argparse.Namespace) -> int:
    """Inspect; returns the exit code."""
    cv2.setNumThreads(1)  # decoding runs in threads of our own
    config = load_config(arguments.config, data_root=arguments.data)
    labels = config.open_labels()
    sources = [("train", source) for source in config.data] + [("validation", config.validation)]
    found = [inspect(role, source, config, labels) for role, source in sources]
    for findings in found:
        print(findings.text())
    taught = {name for findings in found[:-1] for name in findings.taught}
    untaught = absent_classes(labels, taught, ())
    all_opened = all(findings.images for findings in found[:-1])  # what could not be opened may hold any class
    absent = absent_classes(labels, taught, config.allow_absent) if all_opened else []
    single = why_single(taught) if all_opened and config.distill is None else ""
    trained = set().union(*(findings.files for findings in found[:-1]))
    held = why_not_held_out(trained, found[-1].files)
    faults = [why_absent(absent)] * bool(absent) + [fault for fault in (single, held) if fault]
    problems = sum(len(findings.problems) for findings in found) + len(faults)
    for fault in faults:
        print(f"problem: {fault}")
    print(f"{problems} problems" if problems else "no problems")
    if arguments.json:
        content = {"sources": [f.to_json() for f in found], "untaught_classes": untaught, "problems": problems}
        write_json(arguments.json, content)
    return EXIT_PROBLEMS if problems else 0


@dataclass(frozen=True)
class Look:
    """What one image holds. size_wh: px; pixels: by own id; instances: number of things by own id; problem: why it cannot
    be used."""

    size_wh: tuple[int, int] = (0, 0)
    pixels: Counter[int] = field(default_factory=Counter)
    instances: Counter[int] = field(default_factory=Counter)
    problem: str = ""
    remarks: tuple[Remark, ...] = ()


@dataclass
class Findings:
    """What a source holds, in classes of the trained set. Counters are by the classes' names, joined by a slash where
    a label may be several; "" is void. files: its images; classes: the names that are joined in each; rendered: classes that it
    shows in one scene or another, where there is no end of scenes."""

    title: str
    images: int = 0
    files: set[Path] = field(default_factory=set)
    classes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    rendered: set[str] = field(default_factory=set)
    sizes: Counter[str] = field(default_factory=Counter)
    pixels: Counter[str] = field(default_factory=Counter)
    images_with: Counter[str] = field(default_factory=Counter)
    instances: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    remarks: Remarks = field(default_factory=Remarks)

    def add(self, look: Look, names: dict[int, str]) -> None:
        """Count one image; names: of the class behind each own id."""
        self.images += 1
        if look.problem:
            self.problems.append(look.problem)
        self.remarks.add(look.remarks)
        if not look.pixels:
            return
        self.sizes[f"{look.size_wh[0]}x{look.size_wh[1]}"] += 1
        here: Counter[str] = Counter()
        for own_id, count in look.pixels.items():
            here[names[own_id]] += count
        self.pixels += here
        self.images_with.update(here.keys())
        for own_id, count in look.instances.items():
            self.instances[names[own_id]] += count

    @property
    def taught(self) -> set[str]:
        """Classes that one of its labels may be."""
        return self.rendered | {name for names in self.pixels for name in self.classes.get(names, ())}

    def rows(self) -> list[dict[str, Any]]:
        """Per class, the most frequent first: its share of all pixels, the images it is in, its instances."""
        total = sum(self.pixels.values())
        return [
            {
                "name": name or "void",
                "share": count / total,
                "images": self.images_with[name],
                "instances": self.instances[name],
            }
            for name, count in self.pixels.most_common()
        ]

    def text(self) -> str:
        """A table with bars, then the problems."""
        sizes = ", ".join(f"{size} ({count})" for size, count in self.sizes.most_common(3))
        more = ", …" if len(self.sizes) > 3 else ""
        lines = [f"{self.title}: {self.images} images" + (f", {sizes}{more}" if sizes else "")]
        rows = self.rows()
        width = max((len(row["name"]) for row in rows), default=0)
        largest = max((row["share"] for row in rows), default=1.0)
        for row in rows:
            bar = "#" * round(_BAR * row["share"] / largest)
            instances = f"{row['instances']} instances" if row["instances"] else ""
            numbers = f"{row['share']:7.2%}  {bar:<{_BAR}}  in {row['images']} images"
            lines.append(f"  {row['name']:<{width}} {numbers}  {instances}".rstrip())
        return "\n".join([*lines, *(f"  problem: {problem}" for problem in self.problems), ""])

    def to_json(self) -> dict[str, Any]:
        """The same as plain values."""
        return {
            "source": self.title,
            "images": self.images,
            "sizes": dict(self.sizes),
            "classes": self.rows(),
            "problems": self.problems,
        }


def inspect(role: str, source: DataSource, config: TrainConfig, labels: LabelSet) -> Findings:
    """Read every image of a source; what is wrong with it goes into the findings."""
    root = config.root_of(source)
    findings = Findings(" ".join(word for word in (role, source.name, str(root), source.split) if word))
    try:
        dataset = open_dataset(
            source.name, root, source.split, labels, source.classes, complete=False, **source.reading
        )
    except SegPerceptionError as error:
        findings.problems.append(str(error))
        return findings
    findings.problems += [f"{path} has no label" for path in dataset.missing]
    findings.problems += [f"{path} has no image" for path in dataset.spare]
    findings.problems += dataset.unlike
    places = dataset.bounded
    findings.files = files_of(dataset)
    if places and dataset.path(0) is None:
        findings.rendered = {name for classes in dataset.meaning.values() for name in classes}
        findings.title += f" ({len(places)} of {len(dataset)} scenes)"
    if not places:
        findings.problems.append(f"there is no labelled image in {root}")
    names = {own_id: "/".join(classes) for own_id, classes in dataset.meaning.items()} | {VOID: ""}
    findings.classes = {names[own_id]: classes for own_id, classes in dataset.meaning.items()}
    with ThreadPoolExecutor(THREADS) as pool:
        looks = pool.map(lambda index: look(dataset, index, source.weak), places)
        for seen in tqdm(looks, total=len(places), unit="image", desc=f"{role} {source.name}", mininterval=1):
            findings.add(seen, names)
    findings.problems += findings.remarks.sentences()
    findings.problems += _white_masks(source, findings, labels)
    return findings


def look(dataset: Dataset, index: int, weak: str = "") -> Look:
    """Read one image and count; the image itself is not kept. weak: see DataSource."""
    try:
        sample = dataset.read(index)
    except SegPerceptionError as error:
        return Look(problem=str(error))
    counts = np.bincount(sample.label.ravel(), minlength=256)
    height, width = sample.label.shape
    return Look(
        (width, height),
        Counter({int(i): int(counts[i]) for i in np.flatnonzero(counts)}),
        _instances(dataset, sample),
        _strays(dataset, index, sample) or _unboxed(dataset, index, sample, weak),
        sample.remarks,
    )


def _white_masks(source: DataSource, findings: Findings, labels: LabelSet) -> list[str]:
    """A question when 255, which is void, may be white and mean a class that no label has: ground before others."""
    absent = [c for c in labels.classes if c.name not in findings.taught]
    read = sum(findings.sizes.values())
    if source.name != "folder" or not absent or not read or findings.images_with[""] < read:
        return []
    name = min(absent, key=lambda c: (c.drivable_cost == NOT_GROUND, c.drivable_cost)).name
    return [
        f"255 is in every mask and no pixel is {name}: does 255 mean {name}? write `classes: {{255: [{name}]}}`; if not, "
        "255 is unlabelled"
    ]


def _instances(dataset: Dataset, sample: Sample) -> Counter[int]:
    if sample.instance is None:
        return Counter()
    is_object = (sample.instance > 0) & dataset.may_be_thing[sample.label]
    keys = sample.label[is_object].astype(np.uint32) << 16 | sample.instance[is_object]
    return Counter((np.unique(keys) >> 16).tolist())


def _unboxed(dataset: Dataset, index: int, sample: Sample, weak: str) -> str:
    """A sentence when boxes are to be learnt from things that have no numbers."""
    if weak != "boxes" or sample.instance is not None or not dataset.may_be_thing[sample.label].any():
        return ""
    return why_no_boxes(dataset.path(index) or sample.name)


def _strays(dataset: Dataset, index: int, sample: Sample) -> str:
    """A sentence when objects are numbered where no thing can be, in data that is labelled for this label set."""
    if sample.instance is None or dataset.name != "folder":
        return ""
    is_object = sample.instance > 0
    stray = is_object & ~dataset.may_be_thing[sample.label]
    if stray.sum() <= STRAY_SHARE * is_object.sum():
        return ""
    ids = np.unique(sample.label[stray]).tolist()
    where = dataset.path(index)
    return f"the instance mask of {where} numbers {stray.sum()} pixels of the ids {ids}, which are no things"
