"""What a model file says of itself is of the kinds that it should be: every one is checked, so that no text is taken for
a number and no word for true."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from seg_perception.errors import SegPerceptionError, quoted
from seg_perception.labels import LabelSet
from seg_perception.network_size import STEP, SizeLimits

PRECISIONS = ("fp32", "fp16", "int8")

NEEDED_TEXTS = ("name", "network", "training_data", "license_note")
COUNTS = ("parameters", "macs")
TABLES = ("metrics", "parity", "quantization", "self_test", "mirror")
_TEXTS = (*NEEDED_TEXTS, "pretrained")
_NEEDED = (*NEEDED_TEXTS, "labels", "precision", *COUNTS)
_LARGEST_COUNT = 2**63 - 1
_DAMAGE = ("classes_changed", "center", "offset_px")


def check(content: Mapping[str, Any]) -> None:
    """Raise SegPerceptionError, an end of a sentence, where metadata is not of the kinds that it should be."""
    try:
        json.dumps(content, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError as error:  # such a text can be neither logged nor sent
        text = ascii(error.object[max(0, error.start - 20) : error.end])
        raise SegPerceptionError(f"has half a letter in {text}, which no text may hold: export it again") from error
    except RecursionError as error:
        raise SegPerceptionError("has metadata that is nested too deep: export it again") from error
    missing = [key for key in _NEEDED if key not in content]
    if missing:
        raise SegPerceptionError(f"has metadata without {', '.join(missing)}, export it again")
    for key in _TEXTS:
        if not isinstance(content.get(key, ""), str):
            raise SegPerceptionError(f"has the {key} {content[key]!r}: text is needed, export it again")
    for key in COUNTS:
        if not is_count(content[key]):
            raise SegPerceptionError(
                f"has {quoted(repr(content[key]))} {key}: a whole number is needed, export it again"
            )
    precision = content["precision"]
    if precision not in PRECISIONS:
        raise SegPerceptionError(
            f"has the precision '{precision}': allowed are {', '.join(PRECISIONS)}, export it again"
        )
    for key in TABLES:
        if not isinstance(content.get(key, {}), Mapping):
            raise SegPerceptionError(f"has {key} of {content[key]!r}: figures by name are needed, export it again")
    for data, values in content.get("metrics", {}).items():
        if not isinstance(values, Mapping) or not all(map(_is_number, values.values())):
            raise SegPerceptionError(
                f"has the metrics {values!r} for {data}: numbers by name are needed, export it again"
            )
    if content.get("quantization"):
        _check_quantization(content["quantization"])
    temperature = content.get("temperature", 1.0)
    if not _is_number(temperature) or not temperature > 0:
        raise SegPerceptionError(
            f"has the temperature {temperature!r}: a number greater than 0 is needed, export it again"
        )
    layers = content.get("float32_layers", [])
    if not isinstance(layers, list) or not all(isinstance(name, str) for name in layers):
        raise SegPerceptionError(f"has the float32_layers {layers!r}: a list of names is needed, export it again")
    if content.get("sizes") is not None:
        limits_of(content["sizes"])
    try:
        labels = LabelSet.from_json(content["labels"])
    except SegPerceptionError as error:
        raise SegPerceptionError(f"has labels that cannot be used: {error}") from error
    if content.get("mirror"):
        _check_mirror(content["mirror"], labels)


def _check_quantization(made: Mapping[str, Any]) -> None:
    """Raise SegPerceptionError, an end of a sentence, where it is not what to_int8 says of its work."""
    try:
        numbers = [made[part][kind] for part in ("reached", "allowed") for kind in _DAMAGE]
        counts = [made["layers"], made["calibration_images"]]
        if not all(map(_is_number, numbers)) or not all(map(is_count, counts)):
            raise TypeError("numbers are needed")
        if not isinstance(made["kept_float"], Mapping):
            raise TypeError("kept_float is layers by name")
    except (KeyError, TypeError) as error:
        raise SegPerceptionError(f"has the quantization {quoted(made)} ({error!r}): export it again") from error


def _check_mirror(mirror: Mapping[str, Any], labels: LabelSet) -> None:
    """Raise SegPerceptionError, an end of a sentence, where it is not `seen` and pairs of classes in `swapped`."""
    try:
        if not isinstance(mirror["seen"], bool):
            raise TypeError("seen is true or false")
        names = [labels.by_name(name).name for one, other in mirror["swapped"] for name in (one, other)]
        if len(set(names)) != len(names):
            raise ValueError("a class has one mirror image")
    except (SegPerceptionError, KeyError, TypeError, ValueError) as error:
        raise SegPerceptionError(f"has the mirror {mirror!r} ({error}): export it again") from error


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def is_count(value: Any) -> bool:
    """Whether value is a whole number of 0 or more, of any count that there can be; True is none."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LARGEST_COUNT


def sizes_of(limits: SizeLimits, size_hw: tuple[int, int], stride: int) -> dict[str, Any]:
    """What the metadata holds as `sizes` of a file that leaves its height and width open: the size that it is meant to
    run at, the smallest and the largest, (height, width) each, and the px per cell of its outputs."""
    return {
        "default": list(size_hw),
        "smallest": list(limits.smallest_hw),
        "largest": list(limits.largest_hw),
        "stride": stride,
    }


def limits_of(sizes: Any) -> SizeLimits:
    """The limits in such `sizes`. Raises SegPerceptionError, an end of a sentence, where they make no sense."""
    try:
        sides = {name: tuple(sizes[name]) for name in ("default", "smallest", "largest")}
        stride = sizes["stride"]
        if not all(map(is_count, (*(side for pair in sides.values() for side in pair), stride))):
            raise TypeError("whole numbers are needed")
        limits = SizeLimits(*(pair(sides[name]) for name in ("smallest", "largest")))
        if not limits.takes(pair(sides["default"])) or stride < 1 or STEP % stride:
            raise ValueError("its default size or its stride does not fit")
    except (SegPerceptionError, KeyError, TypeError, ValueError) as error:
        raise SegPerceptionError(f"has the sizes {sizes!r} ({error}): export it again") from error
    return limits


def pair(sides: Sequence[int]) -> tuple[int, int]:
    """Height and width; raises ValueError where there are not two."""
    height, width = sides
    return height, width
