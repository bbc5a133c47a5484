"""What the adapters of labelled data sets are made of."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from seg_perception.camera_model import CameraModel, CameraPose
from seg_perception.datasets.colors import is_lossy
from seg_perception.datasets.label_sets import Meaning
from seg_perception.errors import SegPerceptionError
from seg_perception.files import IMAGE_ENDINGS, image_files, one_form, read_mask, read_rgb, visible

MOST_OBJECTS = np.iinfo(np.uint16).max
"""Of one image, whose numbers have 16 bits."""


class Remark(NamedTuple):
    """Something odd in a label that does not keep it from use. kind: what and what became of it, as the end of a sentence
    that begins with a number; where: the first of these."""

    kind: str
    where: str
    times: int = 1


class Remarks:
    """Those of many labels, by kind."""

    def __init__(self) -> None:
        self._found: dict[str, Remark] = {}

    def add(self, remarks: Iterable[Remark]) -> None:
        """Of one more label."""
        for kind, where, times in remarks:
            first = self._found.get(kind, Remark(kind, where, 0))
            self._found[kind] = first._replace(times=first.times + times)

    def clear(self) -> None:
        """Forget all."""
        self._found.clear()

    def sentences(self) -> list[str]:
        """One a kind, with how many there are and where the first is."""
        return [f"{times} {kind}; the first: {where}" for kind, where, times in self._found.values()]


@dataclass(frozen=True)
class Sample:
    """One labelled image. rgb: uint8 [H, W, 3]; label: uint8 [H, W] in the data set's own ids, 255 void; instance:
    uint16 [H, W], 0 = none known, or None where the data set tells no objects apart. lossy: the label's file format
    changes values; remarks: what is odd about it; view: the camera of this size and its mounting, where they are known."""

    name: str
    rgb: NDArray[np.uint8]
    label: NDArray[np.uint8]
    instance: NDArray[np.uint16] | None = None
    lossy: bool = False
    remarks: tuple[Remark, ...] = ()
    view: tuple[CameraModel, CameraPose] | None = None


class Adapter(Protocol):
    """Reads one data set's layout. meaning: its ids in concepts. missing: images without a label; spare: labels and instance masks
    without an image, which do no harm but are no good sign. What is wrong with the files of one image is told when that is read,
    and keeps no other from being opened."""

    @property
    def name(self) -> str:
        """As in the registry."""

    @property
    def meaning(self) -> Meaning:
        """What each id may be; not of all where there are categories."""

    @property
    def categories(self) -> Mapping[int, str]:
        """Names that the data set itself gives its ids; empty where it has none."""

    @property
    def missing(self) -> Sequence[Path]:
        """Images without a label, which are not among the items."""

    @property
    def spare(self) -> Sequence[Path]:
        """Labels without an image."""

    def __len__(self) -> int:
        """Number of labelled images."""

    def path(self, index: int) -> Path | None:
        """The image's file; None where images are not read from files."""

    def __getitem__(self, index: int) -> Sample:
        """Read one image and its labels; raises SegPerceptionError naming the file that is broken."""


class PairedFiles:
    """Images and label PNGs that belong together by name, some with an instance PNG. images, labels, instances: files
    by what their names have in common."""

    def __init__(
        self,
        name: str,
        meaning: Meaning,
        images: Mapping[str, Path],
        labels: Mapping[str, Path],
        instances: Mapping[str, Path] | None = None,
    ) -> None:
        self.name = name
        self.meaning = meaning
        self.categories: Mapping[int, str] = {}
        self.missing = [image for key, image in images.items() if key not in labels]
        self.spare = [path for files in (labels, instances or {}) for key, path in files.items() if key not in images]
        self._images, self._labels, self._instances = images, labels, instances or {}
        self._keys = [key for key in images if key in labels]

    def __len__(self) -> int:
        return len(self._keys)

    def path(self, index: int) -> Path:
        """The image's file."""
        return self._images[self._keys[index]]

    def __getitem__(self, index: int) -> Sample:
        key = self._keys[index]
        label, instance = self.masks(self._labels[key], self._instances.get(key))
        return Sample(key, read_rgb(self._images[key]), label, instance, is_lossy(self._labels[key]))

    def masks(self, label: Path, instance: Path | None) -> tuple[NDArray[np.uint8], NDArray[np.uint16] | None]:
        """Ids and objects of one image, from a file each."""
        ids = read_mask(label, np.uint8)
        if instance is None:
            return ids, None
        values = read_mask(instance, np.uint16)
        require_same_size(label, ids, instance, values)
        return ids, self.objects(ids, values, instance)

    def objects(self, ids: NDArray[np.uint8], values: NDArray[np.uint16], path: Path) -> NDArray[np.uint16]:
        """The numbers of objects, 0 = none, behind the ids and what the instance file at path holds; here that numbers
        them from 1 on in every class."""
        return numbered(ids.astype(np.uint32) << 16 | values, values > 0, path)


class Part:
    """Some of another adapter's images, those without a label too: whose file's name without ending fits a pattern of `only`,
    if there is any, and none of leave_out; patterns are those of a shell, such as 0006R0_*.

    Raises SegPerceptionError for a pattern that fits none, and for images that are rendered.
    """

    def __init__(self, whole: Adapter, only: Sequence[str], leave_out: Sequence[str]) -> None:
        self._whole = whole
        self.name, self.meaning, self.categories = whole.name, whole.meaning, whole.categories
        self.spare = whole.spare
        paths = [whole.path(i) for i in range(len(whole))]
        stems = [path.stem for path in paths if path is not None]
        if len(stems) < len(paths):
            raise SegPerceptionError(
                f"{whole.name} is rendered and has no files to choose from: leave the patterns out"
            )
        everyone = [*stems, *(path.stem for path in whole.missing)]
        for pattern in (*only, *leave_out):
            if not any(fits(stem, [pattern]) for stem in everyone):
                told = f", such as {everyone[0]}" if everyone else ""
                raise SegPerceptionError(f"{whole.name}: no image's name fits '{pattern}'{told}: correct the pattern")

        def chosen(stem: str) -> bool:
            return (not only or fits(stem, only)) and not fits(stem, leave_out)

        self._numbers = [i for i, stem in enumerate(stems) if chosen(stem)]
        self.missing = [path for path in whole.missing if chosen(path.stem)]

    def __len__(self) -> int:
        return len(self._numbers)

    def path(self, index: int) -> Path | None:
        """The image's file."""
        return self._whole.path(self._numbers[index])

    def __getitem__(self, index: int) -> Sample:
        return self._whole[self._numbers[index]]


def fits(name: str, patterns: Sequence[str]) -> bool:
    """Whether it is like one of the patterns, upper and lower case told apart."""
    return any(fnmatch.fnmatchcase(one_form(name), one_form(pattern)) for pattern in patterns)


def named_files(files: Iterable[Path], ending: str | None = None) -> dict[str, Path]:
    """Files by name in one_form, in order, without this end of the name or, by default, without whatever follows the last dot;
    hidden ones, as archives from a Mac bring them, are left out.

    Raises SegPerceptionError when two of them would share one name.
    """

    def key(path: Path) -> str:
        return one_form(path.stem if ending is None else path.name.removesuffix(ending))

    found = visible(files)
    refuse_same_names(found, key)
    return {key(path): path for path in found}


def refuse_same_names(files: Iterable[Path], key: Callable[[Path], str] = lambda path: one_form(path.stem)) -> None:
    """Raises SegPerceptionError when two files, of whatever folders, have one name."""
    found: dict[str, Path] = {}
    for path in files:
        first = found.setdefault(key(path), path)
        if first is not path:
            raise SegPerceptionError(f"{first} and {path} share the name '{key(path)}': rename one with its label")


def label_pngs(folder: Path) -> list[Path]:
    """The PNGs of a folder."""
    return list(folder.glob("*.png"))


def label_files(folder: Path) -> list[Path]:
    """The images of a folder, in whatever format."""
    return [path for path in folder.iterdir() if path.suffix.lower() in IMAGE_ENDINGS]


def require_once(is_known: bool, what: str, path: Path) -> None:
    """Raises SegPerceptionError where labels would go to the wrong one of two that a file lists."""
    if is_known:
        raise SegPerceptionError(f"{path} has two {what}: rename one, or export them again")


def two_folders(
    images: Path, labels: Path, files: Callable[[Path], Iterable[Path]] = label_pngs
) -> tuple[dict[str, Path], dict[str, Path]]:
    """The images of one folder and the labels of another, by stem; files: which of that folder are labels.

    Raises SegPerceptionError when there is no such folder or no image in it.
    """
    found = named_files(image_files(images))
    if not labels.is_dir():
        raise SegPerceptionError(f"there is no folder {labels} with the labels of {images}: add it, or correct `root`")
    return found, named_files(files(labels))


def numbered(keys: NDArray[Any], is_object: NDArray[np.bool_], path: Path) -> NDArray[np.uint16]:
    """uint16 [H, W]: 1, 2, … for the values of keys where is_object, 0 elsewhere. Both [H, W]. Raises SegPerceptionError naming
    path, whose they are, where there are more than numbers."""
    instance = np.zeros(keys.shape, np.uint16)
    found, place = np.unique(keys[is_object], return_inverse=True)
    if len(found) > MOST_OBJECTS:
        raise SegPerceptionError(
            f"{path} tells {len(found)} objects apart, and an image has at most {MOST_OBJECTS}: export it again as a PNG of objects"
        )
    instance[is_object] = place + 1
    return instance


def refuse_lossy_objects(path: Path) -> None:
    """Raises SegPerceptionError where a file of objects is of a format that changes their numbers or colours."""
    if is_lossy(path):
        raise SegPerceptionError(f"{path} is a JPEG, which changes the numbers of objects: export PNGs instead")


def text_of(path: Path) -> str:
    """The text of a file in UTF-8, without a mark at its start. Raises SegPerceptionError where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise SegPerceptionError(f"{path} cannot be read ({error.strerror}): check `root` and `split`") from error
    except UnicodeDecodeError as error:
        raise SegPerceptionError(
            f"{path} is no text in UTF-8 ({error.reason}): save it so, or export it again"
        ) from error


def require_same_size(first: Path, a: NDArray[Any], second: Path, b: NDArray[Any]) -> None:
    """Raises SegPerceptionError when two arrays [H, W, …] of one image differ in height or width."""
    if a.shape[:2] != b.shape[:2]:
        raise SegPerceptionError(
            f"{second} is {b.shape[1]}x{b.shape[0]}, {first} is {a.shape[1]}x{a.shape[0]}: "
            "both must be as large as the image"
        )
