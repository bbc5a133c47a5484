"""Classes that no training label has: they cannot be learnt, and a network that is asked for them never says them; and of
one class alone, which it would say everywhere."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from seg_perception.errors import SegPerceptionError
from seg_perception.labels import VOID, LabelSet


def absent_classes(labels: LabelSet, taught: Collection[str], allowed: Sequence[str]) -> list[str]:
    """Names of the classes that are neither taught nor allowed to be absent.

    Raises SegPerceptionError where one of the latter is no class.
    """
    known = {labels.by_name(name).name for name in allowed}
    return [name for name in labels.names if name not in taught and name not in known]


def why_absent(names: Sequence[str]) -> str:
    """Cause and remedy, in one sentence."""
    one = len(names) == 1
    return (
        f"no training label has the class{'' if one else 'es'} {', '.join(names)}, so {'it is' if one else 'they are'} "
        "never learnt: correct the labels or what `classes` says of their ids, or let the configuration say "
        f"allow_absent: [{', '.join(names)}]"
    )


def refuse_absent(labels: LabelSet, taught: Collection[str], allowed: Sequence[str]) -> None:
    """Raises SegPerceptionError where a class is absent that may not be."""
    if absent := absent_classes(labels, taught, allowed):
        raise SegPerceptionError(why_absent(absent))


def why_single(taught: Collection[str]) -> str:
    """Cause and remedy, in one sentence, where labels teach one class alone; "" where they teach more."""
    if len(taught) != 1:
        return ""
    (name,) = taught
    return (
        f"the labels teach {name} alone, so that the network could say nothing else of any wall: label what is not {name}, or, "
        f"where it is what is unlabelled, give the label set a class for it and each source `classes: {{{VOID}: [that class]}}`"
    )
