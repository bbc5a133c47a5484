"""What of another network's weights fits: whole tensors, and of a network of other classes the filters of those whose names agree,
however they are written."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from seg_perception.datasets.categories import plain
from seg_perception.labels import LabelSet


def same_classes(own: LabelSet, begun: LabelSet) -> dict[int, int]:
    """The id in begun of each class of own that has one there."""
    by_name = {label.name: label.id for label in begun.classes}
    by_word = {plain(label.name): label.id for label in reversed(begun.classes)}
    found = {label.id: by_name.get(label.name, by_word.get(plain(label.name))) for label in own.classes}
    return {own_id: their_id for own_id, their_id in found.items() if their_id is not None}


def that_fit(own: Mapping[str, Tensor], begun: Mapping[str, Tensor], layers: tuple[str, ...]) -> dict[str, Tensor]:
    """Tensors of begun that have the shape of own's, but for those layers."""
    return {
        name: value
        for name, value in begun.items()
        if name in own and own[name].shape == value.shape and not name.startswith(layers)
    }


def taken_rows(
    own: Mapping[str, Tensor], begun: Mapping[str, Tensor], layers: tuple[str, ...], same: Mapping[int, int]
) -> dict[str, Tensor]:
    """Of the layers that have a filter for each class those that begun has too: own's fresh ones, with those of the same classes
    in place. own, begun: tensors by name, a row a class."""
    ids, theirs = list(same.keys()), list(same.values())
    taken = {}
    for name, value in begun.items():
        if name.startswith(layers) and name in own and own[name].shape[1:] == value.shape[1:]:
            taken[name] = own[name].clone()
            taken[name][ids] = value[theirs].to(own[name])
    return taken


def which_go_on(own: LabelSet, begun: LabelSet, same: Mapping[int, int]) -> str:
    """Which classes go on from what was learnt and which begin anew, in one sentence."""
    parts = [f"{len(same)} of {len(own)} classes go on from those of the same name"]
    if anew := [label.name for label in own.classes if label.id not in same]:
        parts.append(f"{', '.join(anew)} {'begins' if len(anew) == 1 else 'begin'} anew")
    if left := [label.name for label in begun.classes if label.id not in same.values()]:
        parts.append(f"left behind: {', '.join(left)}")
    return "; ".join(parts)
