"""The borders between the regions of a mask as polygons that share them: each border is simplified once, so that its two
sides leave no gap and do not overlap.

Borders run along the edges of pixels. Where three regions meet or a border meets the image's edge, and in the image's
corners, are nodes, which stay; a border between nodes is thinned as Douglas and Peucker (The Canadian Cartographer, 1973)
do. A pixel whose middle is farther than the tolerance from every border is on the side that it was on.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from seg_perception.datasets.shapes import crosses_itself

Points = NDArray[np.float64]
"""[K, 2], x and y in px from the image's corner."""

_STEPS = np.array([(1, 0), (0, 1), (-1, 0), (0, -1)])
"""x and y of right, down, left, up: each a turn to the right of the one before."""
_FINER = (1.0, 0.5, 0.25, 0.0)
"""Parts of the tolerance that a border is thinned by, until no polygon crosses itself."""


@dataclass(frozen=True)
class Ring:
    """A closed border of a region, which lies to its right. points: thinned; area: px inside of it before; beyond: a region
    on its other side, -1 = outside of the image. A hole's area is negative."""

    region: int
    points: Points
    area: float
    beyond: int


@dataclass
class _Arc:
    """A border from node to node, or once around."""

    points: Points
    finer: int = 0
    thinned: Points | None = None

    def at(self, tolerance: float) -> Points:
        if self.thinned is None:
            self.thinned = thinned(self.points, tolerance * _FINER[self.finer])
        return self.thinned

    def make_finer(self) -> bool:
        """Thin less from now on, once however often it is asked before it is looked at again; False where it is exact, or
        was asked already."""
        if self.thinned is None or self.finer + 1 == len(_FINER):
            return False
        self.finer, self.thinned = self.finer + 1, None
        return True


@dataclass
class _Border:
    """A ring as the arcs that it is made of, and whether each is walked from its end."""

    region: int
    arcs: list[tuple[_Arc, bool]]
    area: float
    beyond: int

    def points(self, tolerance: float) -> Points:
        parts = [(arc.at(tolerance)[::-1] if back else arc.at(tolerance))[:-1] for arc, back in self.arcs]
        return np.concatenate(parts)


def rings_of(number: NDArray[np.int32], tolerance: float) -> list[Ring]:
    """The rings of every region of number, int32 [H, W] from 0; tolerance in px, 0 = no corner is left out."""
    borders = _borders(number)
    looked_at = borders
    while looked_at:
        faulty = [border for border in looked_at if not _fine(border.points(tolerance), border.area)]
        finer = {id(arc) for border in faulty for arc, _ in border.arcs if arc.make_finer()}
        # a border that was right may not be so beside one that is finer now
        looked_at = [border for border in borders if any(id(arc) in finer for arc, _ in border.arcs)]
    return [Ring(border.region, border.points(tolerance), border.area, border.beyond) for border in borders]


def thinned(points: Points, tolerance: float) -> Points:
    """The corners of a line [K, 2] that are needed so that no point of it is farther than tolerance from what is left; its
    ends stay, and of a closed one at least three corners."""
    kept = np.zeros(len(points), np.bool_)
    kept[[0, -1]] = True
    parts = [(0, len(points) - 1)]
    if (points[0] == points[-1]).all():
        far = int(np.argmax(np.abs(points - points[0]).sum(axis=1)))
        third = int(np.argmax(_off(points, points[0], points[far])))
        marks = sorted({0, far, third, len(points) - 1})
        kept[marks] = True
        parts = list(pairwise(marks))
    while parts:
        first, last = parts.pop()
        if last - first < 2:
            continue
        off = _off(points[first + 1 : last], points[first], points[last])
        worst = int(np.argmax(off))
        if off[worst] > tolerance:
            middle = first + 1 + worst
            kept[middle] = True
            parts += [(first, middle), (middle, last)]
    return points[kept]


def signed_area(points: Points) -> float:
    """Of a closed polygon in px, positive where it is on the right of its border as seen in the image."""
    x, y = points[:, 0], points[:, 1]
    return float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


def _off(points: Points, start: Points, end: Points) -> NDArray[np.float64]:
    """Distance of points [K, 2] from the line between two, from its ends where it is beyond them."""
    along = end - start
    length = float(along @ along)
    place = np.clip((points - start) @ along / length, 0.0, 1.0) if length else np.zeros(len(points))
    return np.asarray(np.hypot(*(points - start - place[:, None] * along).T))


def _fine(points: Points, area: float) -> bool:
    """Whether a thinned ring still goes around something as it did, and does not cross itself."""
    if len(points) < 3 or signed_area(points) * area <= 0:
        return False
    return not crosses_itself(points)


def _borders(number: NDArray[np.int32]) -> list[_Border]:
    """Every ring, cut into arcs at the nodes; neighbours hold the same arcs."""
    side, nodes, width = _edges(number)
    step = [int(x + y * width) for x, y in _STEPS]
    arcs: dict[tuple[int, int], _Arc] = {}
    borders = []
    done: set[int] = set()
    for edge, region in side.items():
        if edge in done:
            continue
        walk = _walk(side, edge, step)
        done.update(walk)
        corners = [one // 4 for one in walk]
        beyond = side.get((corners[0] + step[edge % 4]) * 4 + (edge + 2) % 4, -1)
        cut = [_arc(part, arcs, width) for part in _between_nodes(corners, nodes)]
        borders.append(_Border(region, cut, signed_area(_places(corners, width)), beyond))
    return borders


def _edges(number: NDArray[np.int32]) -> tuple[dict[int, int], set[int], int]:
    """The region on the right of each edge that goes from a corner of pixels in a direction, by 4 x corner + direction, where
    the one on its left is another; the corners where three edges or more meet, and the image's; and corners a row."""
    height, width = number.shape
    framed = np.full((height + 2, width + 2), -1, np.int32)
    framed[1:-1, 1:-1] = number
    up_left, up_right, down_left, down_right = framed[:-1, :-1], framed[:-1, 1:], framed[1:, :-1], framed[1:, 1:]
    around = (down_right, up_right), (down_left, down_right), (up_left, down_left), (up_right, up_left)
    side = np.stack([np.where(right != left, right, -1) for right, left in around], axis=-1).ravel()
    meet = sum((right != left).astype(np.int8) for right, left in around)
    nodes = {0, width, height * (width + 1), (height + 1) * (width + 1) - 1, *np.flatnonzero(meet > 2).tolist()}
    edges = np.flatnonzero(side >= 0)
    return dict(zip(edges.tolist(), side[edges].tolist(), strict=True)), nodes, width + 1


def _walk(side: dict[int, int], first: int, step: list[int]) -> list[int]:
    """The edges of a ring from one on, the region on the right; at a corner where it touches itself it turns right."""
    walk, region, edge = [first], side[first], first
    while True:
        corner, direction = edge // 4 + step[edge % 4], edge % 4
        turns = (corner * 4 + (direction + turn) % 4 for turn in (1, 0, 3))
        edge = next(turned for turned in turns if side.get(turned) == region)
        if edge == first:
            return walk
        walk.append(edge)


def _between_nodes(corners: list[int], nodes: set[int]) -> list[list[int]]:
    """A ring's corners in parts that begin and end at nodes, or once around from its first corner by number."""
    marks = [place for place, corner in enumerate(corners) if corner in nodes] or [corners.index(min(corners))]
    turned = corners[marks[0] :] + corners[: marks[0] + 1]
    cuts = [mark - marks[0] for mark in marks] + [len(corners)]
    return [turned[start : end + 1] for start, end in pairwise(cuts)]


def _arc(corners: list[int], arcs: dict[tuple[int, int], _Arc], width: int) -> tuple[_Arc, bool]:
    """The arc of these corners, the same from both sides, and whether it is walked from its end."""
    back = (corners[-1], corners[-2]) < (corners[0], corners[1])
    ordered = corners[::-1] if back else corners
    key = ordered[0], ordered[1]
    if key not in arcs:
        arcs[key] = _Arc(_places(ordered, width))
    return arcs[key], back


def _places(corners: list[int], width: int) -> Points:
    lattice = np.array(corners)
    return np.stack([lattice % width, lattice // width], axis=1).astype(np.float64)
