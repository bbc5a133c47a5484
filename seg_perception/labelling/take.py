"""Read a corrected job into a data set to train on.

The export of any tool that docs/training.md lists. Images of the job that are not labelled, and with --proposed those that
are as they were proposed, are named and nothing is written, unless they may be so. OUT gets train/ and val/, each with
images, labels (PNG of ids) and instances, labels.yaml with the classes, and taken.json. Whole recordings validate.

Exit codes: 0 done; 1 done, but shapes were left out or images may be missing; 2 nothing was written.

Example:
  seg_perception label take --corrected export --job out/job --labels camvid --out data/mine
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from seg_perception.datasets.label_sets import LABELS_FILE, open_labels, yaml_of
from seg_perception.errors import SegPerceptionError
from seg_perception.files import in_order, one_form, write_image
from seg_perception.labelling.corrected import Corrected, add_export_arguments, classes_of, named, opened_by
from seg_perception.labelling.job import Picked, job_images, read_picked, recording_of
from seg_perception.labelling.split import VAL_SHARE, Row, sizes, validation_stems
from seg_perception.labels import VOID, LabelSet
from seg_perception.options import number
from seg_perception.writing import check_new_folder, new_folder, user_path, write_json, write_text

EXIT_SOME_LOST = 1
_MOSTLY = 0.5
"""Share of an image without a label that is told."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("--corrected", type=user_path, required=True, metavar="DIR", help="the tool's export, unpacked")
    parser.add_argument("--out", type=user_path, required=True, metavar="DATA", help="folder to make")
    add_export_arguments(parser)
    parser.add_argument(
        "--job", type=user_path, metavar="JOB", help="the job, or the folder of images, that was labelled"
    )
    parser.add_argument(
        "--proposed", type=user_path, metavar="DIR", help="what was proposed, to find what nobody touched"
    )
    parser.add_argument("--allow-missing", action="store_true", help="take the job although some images have no label")
    parser.add_argument("--allow-untouched", action="store_true", help="take images that are as they were proposed")
    parser.add_argument(
        "--val-share",
        type=number("--val-share", least=0),
        default=VAL_SHARE,
        metavar="F",
        help=f"share of the images that validate, whole recordings (default: {VAL_SHARE})",
    )
    parser.add_argument("--json", type=user_path, metavar="FILE", help="write what was taken here too")


def run(arguments: argparse.Namespace) -> int:
    """Take; returns the exit code."""
    if arguments.val_share >= 1:
        raise SegPerceptionError(f"--val-share is {arguments.val_share:g}: give a number below 1")
    if arguments.allow_untouched and not arguments.proposed:
        raise SegPerceptionError("--allow-untouched is of what was proposed: give --proposed too, or leave it out")
    check_new_folder(arguments.out)
    labels = open_labels(arguments.labels)
    corrected = Corrected(
        arguments.corrected, arguments.tool or "", arguments.split, labels, classes_of(arguments.classes)
    )
    told = _missing(corrected, arguments)
    untouched = _untouched(corrected, arguments, labels) if arguments.proposed else []
    picked = read_picked(arguments.job) if arguments.job else []
    with new_folder(arguments.out) as folder:
        taken = take(corrected, picked, labels, folder, arguments.val_share)
        content = {**taken.to_json(), "untouched": untouched, "missing": told.missing}
        write_json(folder / "taken.json", content)
    if arguments.json:
        write_json(arguments.json, content)
    lost = [*told.lost, *corrected.told()]
    for sentence in [*lost, *taken.notes]:
        print(sentence, file=sys.stderr)
    for name, (train, val) in taken.sizes.items():
        print(f"{name}: {train} train, {val} val")
    print(f"{len(taken.rows)} images written to {arguments.out}; their classes are {arguments.out / LABELS_FILE}")
    return EXIT_SOME_LOST if lost else 0


@dataclass
class Taken:
    """What was written. rows: by image; held: stems of those that validate; notes: what to know of it."""

    rows: list[Row] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    held: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)

    @property
    def sizes(self) -> dict[str, tuple[int, int]]:
        """Images of each recording: (training, validation)."""
        return dict(sizes(self.rows, self.held))

    def to_json(self) -> dict[str, Any]:
        """The same as plain values."""
        frames = [
            {"file": self.files[row.stem], "recording": row.recording, "split": _split(row.stem in self.held)}
            for row in self.rows
        ]
        return {"frames": frames, "notes": self.notes}


@dataclass(frozen=True)
class _Told:
    """Names of images that have no label, and sentences on what is lost by that."""

    missing: list[str]
    lost: list[str]


def take(corrected: Corrected, picked: Sequence[Picked], labels: LabelSet, out: Path, share: float) -> Taken:
    """Write every labelled image into the new folder out. picked: what is known of where they are from.

    All are read before one is written: which recordings validate depends on what they show.
    """
    known = {one_form(Path(frame.file).stem): frame for frame in picked}
    taken, bare = Taken(), []
    ordered = sorted(corrected.paths, key=in_order)
    bar = tqdm(ordered, unit="image", desc="take", mininterval=1)
    for place, (stem, one) in enumerate(corrected.each(bar)):
        path = out / "all" / "labels" / f"{stem}.png"
        write_image(path, one.label)
        if one.instance is not None and one.instance.any():
            write_image(out / "all" / "instances" / f"{stem}.png", one.instance)
        (out / "all" / "images").mkdir(exist_ok=True)
        shutil.copyfile(one.path, out / "all" / "images" / one.path.name)
        frame = known.get(stem)
        recording, when = (frame.recording, frame.number) if frame else (recording_of(stem), place)
        taken.files[stem] = one.path.name
        if (one.label == VOID).mean() > _MOSTLY:
            bare.append(one.path.name)
        taken.rows.append(Row(stem, recording, when, frozenset(np.unique(one.label).tolist()) - {VOID}))
    taken.held, told = validation_stems(taken.rows, share) if share else (set(), "")
    taken.notes += [told] * bool(told)
    if bare:
        taken.notes.append(f"{len(bare)} images are unlabelled on more than half of their pixels: {named(bare)}")
    _deal_out(out, taken)
    write_text(out / LABELS_FILE, yaml_of(labels))
    return taken


def _deal_out(out: Path, taken: Taken) -> None:
    """Move every file from `all` to its split."""
    for row in taken.rows:
        folder = out / _split(row.stem in taken.held)
        for kind, name in (
            ("images", taken.files[row.stem]),
            ("labels", f"{row.stem}.png"),
            ("instances", f"{row.stem}.png"),
        ):
            if (source := out / "all" / kind / name).is_file():
                (folder / kind).mkdir(parents=True, exist_ok=True)
                source.rename(folder / kind / name)
    shutil.rmtree(out / "all")


def _split(is_held: bool) -> str:
    return "val" if is_held else "train"


def _missing(corrected: Corrected, arguments: argparse.Namespace) -> _Told:
    """What of the job has no label. Raises SegPerceptionError where that is not allowed."""
    missing = list(corrected.missing)
    lost = []
    if arguments.job:
        images = {one_form(path.stem): path.name for path in job_images(arguments.job)}
        missing = [name for stem, name in images.items() if stem not in corrected.paths]
        strange = [path.name for stem, path in corrected.paths.items() if stem not in images]
        if len(strange) == len(corrected.paths):
            raise SegPerceptionError(
                f"no image of {arguments.corrected} is one of {arguments.job}, the first is {strange[0]}: name the job that "
                "was labelled"
            )
        if strange:
            lost.append(f"{len(strange)} labelled images are not of the job and are taken too: {named(strange)}")
    if not corrected.paths:
        raise SegPerceptionError(f"{arguments.corrected} has no labelled image: export a job that has some")
    if missing and not arguments.allow_missing:
        raise SegPerceptionError(
            f"{len(missing)} of {len(missing) + len(corrected.paths)} images have no label: {named(missing)}; label them, or "
            "take the others by --allow-missing"
        )
    if missing:
        lost.append(f"{len(missing)} images have no label and are left out: {named(missing)}")
    return _Told(missing, lost)


def _untouched(corrected: Corrected, arguments: argparse.Namespace, labels: LabelSet) -> list[str]:
    """Names of the images whose labels are those that were proposed. Raises SegPerceptionError where that is not allowed."""
    proposed = opened_by(arguments.proposed, labels, classes_of(arguments.classes))
    both = tqdm(sorted(set(corrected.paths) & set(proposed.paths)), unit="image", desc="compare", mininterval=1)
    same = [corrected.paths[stem].name for stem, one in corrected.each(both) if one.is_same(proposed[stem])]
    corrected.remarks.clear()
    if same and not arguments.allow_untouched:
        raise SegPerceptionError(
            f"{len(same)} of {len(corrected.paths)} images are as they were proposed: {named(same)}; correct them, or if they "
            "are right take them by --allow-untouched"
        )
    return same
