"""Masks of successive frames -> tracks: things that keep their number, with what they are called and how they move."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_perception.camera_model import Floats
from seg_perception.ground.fusion import PlanarPose
from seg_perception.ground.geometry import GroundProjection
from seg_perception.results import GroundMotion, Panoptic, Segment, Track
from seg_perception.tracking import association, motion
from seg_perception.tracking.feet import Odometry, feet_on_ground, in_odometry
from seg_perception.tracking.kernels import SIDE, count_overlaps, find_hidden, sample_shapes

MOST_IDS = 65_279
"""Ids go from 1 to here and then from 1 again, past those in use: they fit into a 16-bit mask, beside the stuff's."""
MOST_TRACKS = 1000
"""Of more, those unseen for longest are forgotten."""
_FRAMES = ("", "base", "odometry")
"""What ground motion is measured in, the better the later."""
NEW, CONFIRMED, RETURNED, LOST = "new", "confirmed", "returned", "lost"

_NEW_MEMORY = 0.3
"""Share of memory_s for which a track that is not confirmed is kept unseen."""
_NEW_FACTOR = 0.8
"""What a track that is not confirmed counts for beside others: the thing may be one that was hidden."""
_SURE_OVERLAP = 0.45
"""What overlaps as a whole by that share is no part of another."""
_LEAST_OVERLAP, _LEAST_NEARNESS = 0.2, 0.05
_REACH, _REACH_PER_S = 0.4, 2.5
"""How far, in sizes, a track may be from where it should be, just lost and for every second since."""
_EDGE_PX, _EDGE_SHARE = 1.0, 0.02
"""Standard deviation of a box's edge: so many px, and this share of the box's size."""
_HIDDEN_FACTOR = 2.0
"""How much less is known of an edge that is hidden by another thing, and so taken to move as the opposite one does."""
_COVERED = 0.08
"""Share of a track's mask that nearer things cover from which on edges that come in are theirs rather than its own."""
_OPPOSITE = [2, 3, 0, 1]
_OUTWARD = np.array((-1.0, -1.0, 1.0, 1.0))
_EDGE_CHANGE_PX, _EDGE_CHANGE_SHARE = 60.0, 3.0
"""How fast the speed of an edge changes, in px/s and in sizes per s, within a second."""
_FIRST_SPEED_SHARE, _FIRST_SPEED_PX = 2.0, 100.0
"""Standard deviation of an edge's speed before it is known: in sizes per s, and px/s."""
_OUTLIER = 3.0
"""Standard deviations from which on a measured edge counts less the farther it is off."""
_FIRST_SPEED_M_S = 15.0
_FOOT_OUTLIER = 16.0
"""Squared standard deviations from which on a foot is not believed; after _FOOT_MISSES in a row it is begun anew."""
_FOOT_MISSES = 5
_WHOLE, _FORGET_WHOLE = 0.7, 0.99
"""A shape is taken over where so much of its points are seen; what counts as whole shrinks by the latter each frame."""


@dataclass(frozen=True)
class TrackingSettings:
    """How things are followed.

    memory_s: how long a thing that is not seen is remembered. birth_frames: in so many frames it must be found before it
    is confirmed. foot_noise_px: standard deviation of the lowest row of a thing's mask, per 720 rows of the mask.
    acceleration_m_s2: by how much the speed of things on the ground changes within a second. use_odometry: whether speeds
    on the ground are measured in the odometry frame where the odometry is known. Raises ValueError.
    """

    enabled: bool = True
    memory_s: float = 1.0
    birth_frames: int = 3
    foot_noise_px: float = 1.5
    acceleration_m_s2: float = 2.0
    use_odometry: bool = True

    def __post_init__(self) -> None:
        for name, low, high in (
            ("memory_s", 0.05, 10.0),
            ("birth_frames", 1, 100),
            ("foot_noise_px", 0.1, 100.0),
            ("acceleration_m_s2", 0.1, 50.0),
        ):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} is {getattr(self, name)}: allowed is {low:g} to {high:g}")


@dataclass(frozen=True)
class Tracked:
    """Of one frame. segments: the panoptic ones, things with their tracks; tracks: all, lost ones too; frame: see
    Result.motion_frame."""

    segments: tuple[Segment, ...]
    tracks: tuple[Track, ...]
    frame: str


def _row_type(classes: int) -> np.dtype[Any]:
    """All that is remembered of a track. edges: left, top, right, bottom in px of the mask; whole: most points that its
    shape had. last_box, last_shape, last_points: of what was seen of it last, where edges and shape are of the whole."""
    return np.dtype(
        [
            ("id", np.int64),
            ("born_ns", np.int64),
            ("last_ns", np.int64),
            ("seen", np.int64),
            ("misses", np.int64),
            ("edges", np.float64, 4),
            ("rates", np.float64, 4),
            ("spread", np.float64, (4, 3)),
            ("shape", np.uint8, (SIDE, SIDE)),
            ("points", np.int64),
            ("whole", np.float64),
            ("last_box", np.float64, 4),
            ("last_shape", np.uint8, (SIDE, SIDE)),
            ("last_points", np.int64),
            ("votes", np.float64, classes),
            ("placed", np.bool_),
            ("state", np.float64, 4),
            ("cov", np.float64, (4, 4)),
        ]
    )


@dataclass(frozen=True)
class _Things:
    """The things of a frame. ids [K] in the mask; boxes int64 [K, 4] = left, top, right, bottom; areas, classes [K];
    scores [K]; hidden bool [K, 4], by side; partly bool [K], hidden on a side or cut off by the image's border."""

    ids: NDArray[np.int64]
    boxes: NDArray[np.int64]
    areas: NDArray[np.int64]
    classes: NDArray[np.int64]
    scores: Floats
    hidden: NDArray[np.bool_]
    partly: NDArray[np.bool_]

    @staticmethod
    def of(panoptic: Panoptic) -> _Things:
        things = [s for s in panoptic.segments if s.is_thing]
        rows = np.array([(s.id, s.class_id, s.area, *s.box) for s in things], np.int64).reshape(-1, 7)
        boxes = np.ascontiguousarray(rows[:, 3:])
        boxes[:, 2:] += boxes[:, :2]
        ids = np.ascontiguousarray(rows[:, 0])
        hidden = np.zeros((len(rows), 4), np.bool_)
        if len(rows):
            bottoms = np.zeros(int(ids.max()) + 1, np.int64)
            bottoms[ids] = boxes[:, 3]
            find_hidden(panoptic.instance, ids, boxes, bottoms, hidden)
        height, width = panoptic.instance.shape
        cut = (boxes <= 0) | (boxes >= np.array((width, height, width, height)))
        partly = np.asarray((hidden | cut).any(axis=1))
        return _Things(ids, boxes, rows[:, 2], rows[:, 1], np.array([s.score for s in things]), hidden, partly)

    def __len__(self) -> int:
        return len(self.ids)


class Tracker:
    """Follows the things of one camera. Belongs to one thread; the same frames give the same tracks.

    *Association.* Tracks are moved to where they should be; then those pairs are taken whose masks overlap most together,
    as wholes; then, of what is left, those of which one is a part of the other; then those where a thing of the same
    size and class appears near a track's place: association.py.
    A track's box and mask are of the whole thing: an edge where a nearer thing begins is not its own and counts little,
    and a mask of which less is seen than before is not taken over. So it goes on behind what hides it.

    *Birth and death.* Every thing that is no track's begins one, `new` until it was found in birth_frames frames. A
    confirmed track is forgotten when it was not found for memory_s, a new one after 0.3 of that.

    *Class*: by the votes of all frames, each with its score.

    *Motion.* Each edge of the box, and the foot (the middle of the lowest row) on the ground, has a filter of constant
    velocity: motion.py. The foot is measured where it is not hidden, nor cut off by the image's border.

    *Beginning anew.* Another mask size, a gap longer than memory_s, or stamps that go back by more than that, make it forget
    everything, the last the numbers too; `restarts` counts that by cause and `reason` tells the latest. A frame that is a
    little older than the one before, or has its stamp, gets the numbers of what is there, and nothing is learnt from it.
    Where the odometry jumps only speeds on the ground are forgotten.
    """

    def __init__(self, classes: int, settings: TrackingSettings) -> None:
        """classes: their number in the label set."""
        self.settings = settings
        self.restarts: Counter[str] = Counter()
        self.reason = ""
        self._row = _row_type(classes)
        self._tracks = np.zeros(0, self._row)
        self._next_id = 1
        self._stamp_ns: int | None = None
        self._size: tuple[int, int] = (0, 0)
        self._frame = ""
        self._placed_ns = 0
        self._odometry = Odometry()

    @property
    def count(self) -> int:
        """Tracks that are remembered now, lost ones too."""
        return len(self._tracks)

    def forget(self) -> None:
        """Begin anew with another recording, numbers too."""
        self._restart("recording", "another recording began")
        self._next_id = 1

    def update(
        self,
        panoptic: Panoptic,
        stamp_ns: int,
        projection: GroundProjection | None = None,
        odometry: PlanarPose | None = None,
    ) -> Tracked:
        """Follow the things of a frame. stamp_ns: 0 where the image has none, and then nothing is followed; projection: of
        the mask's pixels; odometry: of the base frame at stamp_ns; None where they are not known."""
        if stamp_ns == 0:
            self._restart("no_stamp", "images carry no stamp")
            return Tracked(panoptic.segments, (), "")
        size = (panoptic.semantic.shape[0], panoptic.semantic.shape[1])
        dt_s = self._time(stamp_ns, size)
        things = _Things.of(panoptic)
        if dt_s <= 0:
            return self._recognised(panoptic, things, dt_s)
        odometry = odometry if self.settings.use_odometry else None
        measures = self._place(projection, odometry, dt_s, stamp_ns)
        self._predict(dt_s)
        chosen, covered = self._associate(panoptic.instance, things, stamp_ns)
        old = np.flatnonzero(chosen >= 0)
        returned = old[self._tracks["last_ns"][old] < (self._stamp_ns or 0)]
        self._learn(old, things, chosen[old], covered[old], stamp_ns)
        fresh = np.setdiff1d(np.arange(len(things)), chosen[old])
        self._bear(fresh, things, stamp_ns)
        holder = np.empty(len(things), np.int64)
        holder[chosen[old]] = old
        holder[fresh] = len(self._tracks) - len(fresh) + np.arange(len(fresh))
        self._sense(holder, things, panoptic.instance)
        if projection is not None and measures:
            self._sense_feet(holder, things, size, projection, odometry)
        self._stamp_ns = stamp_ns
        tracks = self._told(holder, returned, stamp_ns)
        found = Tracked(_with_tracks(panoptic.segments, [tracks[row] for row in holder.tolist()]), tracks, self._frame)
        self._bury(stamp_ns)
        return found

    # Time and frames

    def _time(self, stamp_ns: int, size: tuple[int, int]) -> float:
        """Seconds since the frame before, after beginning anew where that is needed; inf for a first one."""
        before_ns, self._size, size_before = self._stamp_ns, size, self._size
        if before_ns is None:
            self._stamp_ns = None
            return np.inf
        dt_s = (stamp_ns - before_ns) / 1e9
        if dt_s < -self.settings.memory_s:
            self._restart("clock_back", f"the stamps went back by {-dt_s:.2f} s")
            self._next_id = 1
        elif dt_s > self.settings.memory_s:
            self._restart("gap", f"no frame came for {dt_s:.2f} s")
        elif size != size_before:
            self._restart("size", f"masks became {size[1]}x{size[0]}")
        else:
            return dt_s
        return np.inf

    def _restart(self, cause: str, reason: str) -> None:
        if self._stamp_ns is not None or not self.restarts[cause]:
            self._count(cause)
        self.reason = reason
        self._tracks = self._tracks[:0]
        self._stamp_ns, self._frame, self._odometry = None, "", Odometry()

    def _count(self, cause: str) -> None:
        self.restarts = self.restarts + Counter((cause,))  # another one, since other threads read it

    def _place(
        self, projection: GroundProjection | None, odometry: PlanarPose | None, dt_s: float, stamp_ns: int
    ) -> bool:
        """Settle what ground motion is measured in from now on; it is forgotten where that is something else than before.
        Whether it can be measured in this frame: what is missing for a moment, as late odometry is, changes nothing."""
        frame = "" if projection is None else "base" if odometry is None else "odometry"
        if _FRAMES.index(frame) < _FRAMES.index(self._frame):
            if stamp_ns - self._placed_ns <= self.settings.memory_s * 1e9:
                return False
        else:
            self._placed_ns = stamp_ns
        if self._odometry.jumped(odometry, dt_s):
            self._count("odometry")
            self.reason = "the odometry jumped, so speeds on the ground began anew"
            self._tracks["placed"] = False
        if frame != self._frame:
            self._tracks["placed"] = False
        self._frame = frame
        return frame != ""

    def _predict(self, dt_s: float) -> None:
        tracks = self._tracks
        if not len(tracks):
            return
        unseen = np.flatnonzero(tracks["last_ns"] < (self._stamp_ns or 0))
        tracks["rates"][unseen] = _not_shrinking(tracks["rates"][unseen], tracks["spread"][unseen, :, motion.VV])
        size = _sizes(tracks["edges"])[:, None]
        q = (_EDGE_CHANGE_PX + _EDGE_CHANGE_SHARE * size) ** 2
        tracks["last_box"] += tracks["rates"] * dt_s
        motion.predict_coordinates(tracks["edges"], tracks["rates"], tracks["spread"], dt_s, q)
        edges = tracks["edges"]
        middle = (edges[:, :2] + edges[:, 2:]) / 2
        np.minimum(edges[:, :2], middle - 0.5, out=edges[:, :2])
        np.maximum(edges[:, 2:], middle + 0.5, out=edges[:, 2:])
        placed = np.flatnonzero(tracks["placed"])
        if len(placed):
            q_ground = self.settings.acceleration_m_s2**2
            tracks["state"][placed], tracks["cov"][placed] = motion.predict_ground(
                tracks["state"][placed], tracks["cov"][placed], dt_s, q_ground
            )

    # Association

    def _associate(
        self, instance: NDArray[np.uint16], things: _Things, stamp_ns: int
    ) -> tuple[NDArray[np.int64], Floats]:
        """[T] the thing of each track, -1 where it has none; and the share of its mask that others cover."""
        tracks = self._tracks
        if not len(tracks) or not len(things):
            return np.full(len(tracks), -1, np.int64), np.zeros(len(tracks))
        edges, seen = np.ascontiguousarray(tracks["edges"]), np.ascontiguousarray(tracks["last_box"])
        counts = _overlaps(instance, things.ids, tracks["shape"], edges)
        of_seen = _overlaps(instance, things.ids, tracks["last_shape"], seen)
        unseen_s = (stamp_ns - tracks["last_ns"]) / 1e9
        factors = association.class_factors(tracks["votes"], things.classes)
        factors = factors * association.recency_factors(unseen_s / self.settings.memory_s)
        factors[tracks["seen"] < self.settings.birth_frames] *= _NEW_FACTOR
        whole, part = association.overlap_scores(counts, edges, tracks["points"], things.areas)
        # A thing that was half hidden a frame ago is so now: then what was seen of it tells more than the whole.
        whole = np.maximum(whole, association.overlap_scores(of_seen, seen, tracks["last_points"], things.areas)[0])
        reach = _REACH + _REACH_PER_S * unseen_s
        same = tracks["votes"].argmax(axis=1)[:, None] == things.classes[None]
        near = association.place_scores(edges, reach, things.boxes.astype(np.float64), things.partly) * same
        chosen = np.full(len(tracks), -1, np.int64)
        for scores, least in (
            (whole * factors, _SURE_OVERLAP),
            (part * factors, _LEAST_OVERLAP),
            (near, _LEAST_NEARNESS),
        ):
            lost, free = np.flatnonzero(chosen < 0), np.setdiff1d(np.arange(len(things)), chosen)
            found = association.pairs_of(scores[np.ix_(lost, free)], least)
            chosen[lost[found >= 0]] = free[found[found >= 0]]
        return chosen, _covered(counts, chosen, things.boxes[:, 3], tracks["points"])

    def _recognised(self, panoptic: Panoptic, things: _Things, dt_s: float) -> Tracked:
        """A frame that is no newer than the last: what is in it, as far as it is a track, and nothing learnt from it."""
        kept = self._tracks.copy()
        self._tracks["edges"] += self._tracks["rates"] * dt_s
        chosen, _ = self._associate(panoptic.instance, things, int(self._stamp_ns or 0))
        self._tracks = kept
        known = np.flatnonzero(chosen >= 0)
        tracks = self._told(known, known[:0], int(self._stamp_ns or 0))
        holders: list[Track | None] = [None] * len(things)
        for row in known.tolist():
            holders[chosen[row]] = tracks[row]
        return Tracked(_with_tracks(panoptic.segments, holders), tracks, self._frame)

    # Learning

    def _learn(
        self,
        rows: NDArray[np.int64],
        things: _Things,
        found: NDArray[np.int64],
        covered: Floats,
        stamp_ns: int,
    ) -> None:
        """Take over what was seen of tracks `rows` as things `found`, but for shape and foot. covered: by others, [rows]."""
        if not len(rows):
            return
        tracks, measured = self._tracks, things.boxes[found].astype(np.float64)
        edges, spread = tracks["edges"][rows], tracks["spread"][rows]
        sigma = np.broadcast_to((_EDGE_PX + _EDGE_SHARE * _sizes(measured))[:, None], measured.shape)
        off = (measured - edges) / np.sqrt(spread[..., motion.PP] + sigma**2)
        # A hidden edge lies at least as far out as what is seen, and moves as the other side does.
        slips = (covered > _COVERED)[:, None] & (np.abs(measured - edges) > sigma)
        hidden = (things.hidden[found] | slips) & (off * _OUTWARD < 0)
        measured = np.where(hidden, edges + (measured - edges)[:, _OPPOSITE], measured)
        sigma = sigma * np.where(hidden, _HIDDEN_FACTOR, np.maximum(1.0, np.abs(off) / _OUTLIER))
        both = hidden & hidden[:, _OPPOSITE]
        sigma[both] = np.inf
        edges, rates, spread = motion.update_coordinates(edges, tracks["rates"][rows], spread, measured, sigma**2)
        rates = np.where(both, (rates + rates[:, _OPPOSITE]) / 2, rates)  # it neither grows nor shrinks
        tracks["edges"][rows], tracks["rates"][rows], tracks["spread"][rows] = edges, rates, spread
        tracks["last_ns"][rows] = stamp_ns
        tracks["seen"][rows] += 1
        tracks["votes"][rows, things.classes[found]] += things.scores[found]

    def _bear(self, fresh: NDArray[np.int64], things: _Things, stamp_ns: int) -> None:
        """A track for each of the things `fresh`."""
        born = np.zeros(len(fresh), self._row)
        born["id"] = self._new_ids(len(fresh))
        born["born_ns"] = born["last_ns"] = stamp_ns
        born["seen"] = 1
        born["edges"] = things.boxes[fresh]
        size = _sizes(born["edges"])[:, None]
        born["spread"][:, :, motion.PP] = (_EDGE_PX + _EDGE_SHARE * size) ** 2
        born["spread"][:, :, motion.VV] = (_FIRST_SPEED_PX + _FIRST_SPEED_SHARE * size) ** 2
        born["votes"][np.arange(len(fresh)), things.classes[fresh]] = np.maximum(things.scores[fresh], 1e-3)
        self._tracks = np.concatenate((self._tracks, born))

    def _new_ids(self, count: int) -> list[int]:
        used = set(self._tracks["id"].tolist())
        ids: list[int] = []
        while len(ids) < count:
            if self._next_id not in used:
                ids.append(self._next_id)
            self._next_id = self._next_id % MOST_IDS + 1
        return ids

    def _sense(self, holder: NDArray[np.int64], things: _Things, instance: NDArray[np.uint16]) -> None:
        """Take over the shapes of all things, which are the tracks `holder`."""
        if not len(things):
            return
        tracks = self._tracks
        shapes = np.empty((len(things), SIDE, SIDE), np.uint8)
        points = np.empty(len(things), np.int64)
        sample_shapes(instance, things.ids, np.ascontiguousarray(tracks["edges"][holder]), shapes, points)
        whole = np.maximum(tracks["whole"][holder] * _FORGET_WHOLE, points)
        tracks["whole"][holder] = whole
        take = points >= np.maximum(_WHOLE * whole, 1)
        tracks["shape"][holder[take]], tracks["points"][holder[take]] = shapes[take], points[take]
        seen = things.boxes.astype(np.float64)
        sample_shapes(instance, things.ids, seen, shapes, points)
        tracks["last_box"][holder], tracks["last_shape"][holder], tracks["last_points"][holder] = seen, shapes, points

    def _sense_feet(
        self,
        holder: NDArray[np.int64],
        things: _Things,
        mask_hw: tuple[int, int],
        projection: GroundProjection,
        odometry: PlanarPose | None,
    ) -> None:
        """Take over where the feet of all things are on the ground."""
        if not len(things):
            return
        height, width = mask_hw
        boxes = things.boxes.astype(np.float64)
        feet = np.column_stack(((boxes[:, 0] + boxes[:, 2] - 1) / 2, boxes[:, 3] - 0.5))
        sigma_y = self.settings.foot_noise_px * height / 720
        sigma_x = np.hypot(sigma_y, 0.03 * (boxes[:, 2] - boxes[:, 0]))
        places, noise = feet_on_ground(projection, feet, np.column_stack((sigma_x, np.full(len(feet), sigma_y))))
        if odometry is not None:
            places, noise = in_odometry(odometry, places, noise)
        cut = (boxes[:, 0] <= 0) | (boxes[:, 2] >= width) | (boxes[:, 3] >= height)
        usable = np.isfinite(places).all(axis=1) & ~cut & ~things.hidden[:, [0, 2, 3]].any(axis=1)
        self._update_feet(holder[usable], places[usable], noise[usable])

    def _update_feet(self, rows: NDArray[np.int64], places: Floats, noise: Floats) -> None:
        tracks = self._tracks
        known = tracks["placed"][rows]
        old = rows[known]
        if len(old):
            state, cov, off = motion.update_ground(
                tracks["state"][old], tracks["cov"][old], places[known], noise[known]
            )
            fits = off < _FOOT_OUTLIER
            tracks["state"][old[fits]], tracks["cov"][old[fits]] = state[fits], cov[fits]
            tracks["misses"][old] = np.where(fits, 0, tracks["misses"][old] + 1)
            known = known & (tracks["misses"][rows] < _FOOT_MISSES)
        fresh = rows[~known]
        tracks["placed"][fresh], tracks["misses"][fresh] = True, 0
        tracks["state"][fresh] = np.column_stack((places[~known], np.zeros((len(fresh), 2))))
        tracks["cov"][fresh] = np.eye(4) * _FIRST_SPEED_M_S**2
        tracks["cov"][fresh, :2, :2] = noise[~known]

    # Telling and forgetting

    def _told(self, found: NDArray[np.int64], returned: NDArray[np.int64], stamp_ns: int) -> tuple[Track, ...]:
        """All tracks; those in the rows `found` are seen now, of which `returned` were not before."""
        rows = self._tracks
        states = np.full(len(rows), LOST, object)
        states[found] = CONFIRMED
        states[returned] = RETURNED
        states[(states != LOST) & (rows["seen"] < self.settings.birth_frames)] = NEW
        edges, rates, spread = rows["edges"], rows["rates"], rows["spread"]
        boxes = np.column_stack((edges[:, :2], edges[:, 2:] - edges[:, :2])).tolist()
        speeds = ((rates[:, :2] + rates[:, 2:]) / 2).tolist()
        stds = (np.sqrt(spread[:, :2, motion.VV] + spread[:, 2:, motion.VV]) / 2).tolist()
        entries = zip(
            rows["id"].tolist(),
            rows["votes"].argmax(axis=1).tolist() if len(rows) else [],
            states.tolist(),
            ((stamp_ns - rows["born_ns"]) / 1e9).tolist(),
            rows["seen"].tolist(),
            ((stamp_ns - rows["last_ns"]) / 1e9).tolist(),
            map(tuple, boxes),
            map(tuple, speeds),
            map(tuple, stds),
            self._ground_motions(),
        )
        return tuple(Track(*entry) for entry in entries)

    def _ground_motions(self) -> list[GroundMotion | None]:
        rows = zip(self._tracks["placed"].tolist(), self._tracks["state"].tolist(), self._tracks["cov"].tolist())
        return [
            GroundMotion((s[0], s[1]), (s[2], s[3]), tuple(map(tuple, cov))) if placed else None
            for placed, s, cov in rows
        ]

    def _bury(self, stamp_ns: int) -> None:
        """Forget what was not seen for too long."""
        tracks, settings = self._tracks, self.settings
        unseen_s = (stamp_ns - tracks["last_ns"]) / 1e9
        confirmed = tracks["seen"] >= settings.birth_frames
        keep = unseen_s <= np.where(confirmed, settings.memory_s, _NEW_MEMORY * settings.memory_s)
        if np.count_nonzero(keep) > MOST_TRACKS:
            ranked = np.argsort(np.where(keep, unseen_s, np.inf), kind="stable")
            keep[ranked[MOST_TRACKS:]] = False
        if not keep.all():
            self._tracks = tracks[keep]


def _overlaps(
    instance: NDArray[np.uint16], ids: NDArray[np.int64], shapes: NDArray[np.uint8], boxes: Floats
) -> NDArray[np.int64]:
    """[T, K + 1] points of each shape in no thing and in each of ids."""
    counts = np.empty((len(boxes), int(ids.max()) + 1), np.int64)
    count_overlaps(instance, np.ascontiguousarray(shapes), boxes, counts)
    return np.concatenate((counts[:, :1], counts[:, ids]), axis=1)


def _covered(
    counts: NDArray[np.int64], chosen: NDArray[np.int64], bottoms: NDArray[np.int64], points: NDArray[np.int64]
) -> Floats:
    """[T] the share of each track's mask where a thing is seen that ends lower, so is nearer, than the track's own, `chosen`
    [T]; counts: [T, K + 1] points of its `points` [T] in each thing, bottoms: [K]."""
    own = np.where(chosen >= 0, bottoms[chosen], np.iinfo(np.int64).max)
    nearer = bottoms[None] > own[:, None]
    share: Floats = (counts[:, 1:] * nearer).sum(axis=1) / np.maximum(points, 1)
    return share


def _not_shrinking(rates: Floats, variances: Floats) -> Floats:
    """Speeds of the edges, both [N, 4], of things that vanished behind others: what made a box narrower was the other thing,
    so then both edges move at the speed that is known best."""
    low, high = rates[:, :2], rates[:, 2:]
    weight = variances[:, 2:] / (variances[:, :2] + variances[:, 2:])
    both = low * weight + high * (1 - weight)
    shrinks = high < low
    return np.concatenate((np.where(shrinks, both, low), np.where(shrinks, both, high)), axis=1)


def _sizes(boxes: Floats) -> Floats:
    """Mean side of boxes [N, 4], px [N]."""
    sides = boxes[:, 2:] - boxes[:, :2]
    sizes: Floats = np.sqrt(np.maximum(sides[:, 0] * sides[:, 1], 1.0))
    return sizes


def _with_tracks(segments: Sequence[Segment], tracks: Sequence[Track | None]) -> tuple[Segment, ...]:
    """segments, things first, with the track of each thing."""
    count = len(tracks)
    things = (
        Segment(s.id, s.class_id, s.is_thing, s.score, s.area, s.box, track)
        for s, track in zip(segments[:count], tracks, strict=True)
    )
    return (*things, *segments[count:])


def warm_up() -> None:
    """Follow a thing through two small frames, so that the first real one does not wait for compilers."""
    mask = np.ones((8, 8), np.uint8)
    thing = Segment(1, 0, True, 1.0, mask.size, (0, 0, 8, 8))
    panoptic = Panoptic(mask, mask.astype(np.uint16), mask, (thing,))
    tracker = Tracker(1, TrackingSettings())
    for stamp_ns in (1, 2):
        tracker.update(panoptic, stamp_ns)
