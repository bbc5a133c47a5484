"""Masks of successive frames -> tracks: things that keep their number, with what they are called and how they move."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seg_perception.camera_model import Floats
from seg_perception.ground.geometry import GroundProjection
from seg_perception.ground.odometry import Odometry, PlanarPose
from seg_perception.results import Panoptic, Segment, Track
from seg_perception.tracking import rows
from seg_perception.tracking.matching import associate, without
from seg_perception.tracking.settings import TrackingSettings
from seg_perception.tracking.things import Things

MOST_IDS = 65_279
"""Ids go from 1 to here and then from 1 again, past those in use: they fit into a 16-bit mask, beside the stuff's."""
MOST_TRACKS = 1000
"""Of more, those unseen for longest are forgotten."""
_FRAMES = ("", "base", "odometry")
"""What ground motion is measured in, the better the later."""

_NEW_MEMORY = 0.3
"""Share of memory_s for which a track that is not confirmed is kept unseen."""


@dataclass(frozen=True)
class Tracked:
    """Of one frame. segments: the panoptic ones, things with their tracks; tracks: all, lost ones too; frame: see
    Result.motion_frame."""

    segments: tuple[Segment, ...]
    tracks: tuple[Track, ...]
    frame: str


class Tracker:
    """Follows the things of one camera. Belongs to one thread; the same frames give the same tracks.

    *Association.* Tracks are moved to where they should be; then those pairs are taken whose masks overlap most together,
    as wholes; then, of what is left, those of which one is a part of the other; then those where a thing of the same
    size and class appears near a track's place; then what is left of things that are nearly hidden: matching.py.
    A track's box and mask are of the whole thing: an edge where a nearer thing begins is not its own and counts little,
    and a mask of which less is seen than before is not taken over. So it goes on behind what hides it, and out of the
    image. While it is not seen, and in its second frame, it moves in the image as its foot does on the ground, where that
    is known.

    *Birth and death.* Every thing that is no track's begins one, `new` until it was found in birth_frames frames. A
    confirmed track is forgotten when it was not found for memory_s, a new one after 0.3 of that.

    *Class*: by the votes of all frames, each with its score.

    *Motion.* Each edge of the box, and the foot (the middle of the box's lowest row) on the ground, has a filter of constant
    velocity: motion.py. The foot is measured where it is not hidden, nor cut off by the image's border; where it was not seen
    for memory_s it is not told, nor where it moves over the ground as nothing of its class can.

    *Beginning anew.* Another mask size, a gap longer than memory_s, or stamps that go back by more than that, make it forget
    everything, the last the numbers too; `restarts` counts that by cause and `reason` tells the latest. A frame that is a
    little older than the one before, or has its stamp, gets the numbers of what is there, and nothing is learnt from it.
    Where the odometry jumps only speeds on the ground are forgotten.
    """

    def __init__(
        self,
        classes: int,
        settings: TrackingSettings,
        hides: NDArray[np.bool_] | None = None,
        fastest_m_s: Floats | None = None,
    ) -> None:
        """classes: their number in the label set; hides: bool [256], which of them hide the foot of who stands behind them
        (feet.hiding_classes), None = none; fastest_m_s: float64 [256], what they move at at most (feet.fastest_speeds), None =
        anything. All but classes may be swapped between two frames."""
        self.settings = settings
        self.hides = np.zeros(256, np.bool_) if hides is None else hides
        self.fastest_m_s = np.full(256, np.inf) if fastest_m_s is None else fastest_m_s
        self.restarts: Counter[str] = Counter()
        self.reason = ""
        self._row = rows.row_type(classes)
        self._tracks = np.zeros(0, self._row)
        self._next_id = 1
        self._stamp_ns: int | None = None
        self._size: tuple[int, int] = (0, 0)
        self._frame = ""
        self._placed_ns = 0
        self._before_gap_ns: int | None = None
        self._odometry = Odometry()
        self._told_as: NDArray[np.uint8] | None = None

    @property
    def count(self) -> int:
        """Tracks that are remembered now, lost ones too."""
        return len(self._tracks)

    def forget(self) -> None:
        """Begin anew with another recording, numbers too."""
        self._restart("recording", "another recording began")
        self._next_id = 1

    def tell_as(self, table: NDArray[np.uint8]) -> None:
        """From the next frame on some classes are told as others, and what was called so before counts for those. table:
        uint8 [256], which class each is told as. From any thread."""
        self._told_as = table

    def update(
        self,
        panoptic: Panoptic,
        stamp_ns: int,
        projection: GroundProjection | None = None,
        odometry: PlanarPose | None = None,
        own_vehicle: NDArray[np.uint8] | None = None,
    ) -> Tracked:
        """Follow the things of a frame. stamp_ns: 0 or less where the image has none, and then nothing is followed; projection: of
        the mask's pixels; odometry: of the base frame at stamp_ns; own_vehicle: uint8 [H, W], not 0 where the masks show it;
        None where they are not known."""
        if stamp_ns <= 0:
            self._restart("no_stamp", "images carry no stamp")
            return Tracked(panoptic.segments, (), "")
        size = (panoptic.semantic.shape[0], panoptic.semantic.shape[1])
        dt_s = self._time(stamp_ns, size)
        things = Things.of(panoptic)
        if dt_s <= 0:
            return self._recognised(panoptic, things, dt_s)
        odometry = odometry if self.settings.use_odometry else None
        measures = self._place(projection, odometry, stamp_ns)
        told_as, self._told_as = self._told_as, None
        if told_as is not None:
            rows.merge_votes(self._tracks, told_as)
        if len(self._tracks):
            ground = projection if measures else None
            rows.predict(self._tracks, self._stamp_ns or 0, dt_s, self.settings.acceleration_m_s2, ground, odometry)
        chosen, covered, missing, merged = associate(self._tracks, panoptic.instance, things, stamp_ns, self.settings)
        old = np.flatnonzero(chosen >= 0)
        returned = old[self._tracks["last_ns"][old] < (self._stamp_ns or 0)]
        rows.learn(self._tracks, old, things, chosen[old], covered[old], missing[old], merged[old], stamp_ns)
        fresh = without(len(things), chosen[old])
        if len(fresh):
            born = rows.born_of(self._row, self._new_ids(len(fresh)), things, fresh, stamp_ns)
            self._tracks = np.concatenate((self._tracks, born))
        holder = np.empty(len(things), np.int64)
        holder[chosen[old]] = old
        holder[fresh] = len(self._tracks) - len(fresh) + np.arange(len(fresh))
        rows.take_shapes(self._tracks, holder, things, panoptic.instance)
        fastest_m_s = self._fastest()
        if projection is not None and measures:
            behind, noise_px = things.feet_behind(panoptic, self.hides, own_vehicle), self.settings.foot_noise_px
            rows.take_feet(
                self._tracks, holder, things, behind, size[0], projection, odometry, noise_px, fastest_m_s, stamp_ns
            )
        rows.doubt_feet(self._tracks, stamp_ns - round(self.settings.memory_s * 1e9))
        rows.note_feet(self._tracks, projection if measures else None, odometry)
        self._stamp_ns = stamp_ns
        tracks = rows.told(self._tracks, holder, returned, self.settings.birth_frames, fastest_m_s, stamp_ns)
        found = Tracked(_with_tracks(panoptic.segments, [tracks[row] for row in holder.tolist()]), tracks, self._frame)
        self._bury(stamp_ns)
        return found

    # Time and frames

    def _time(self, stamp_ns: int, size: tuple[int, int]) -> float:
        """Seconds since the frame before, after beginning anew where that is needed; inf for a first one."""
        before_ns, self._size, size_before = self._stamp_ns, size, self._size
        before_gap_ns, self._before_gap_ns = self._before_gap_ns, None
        if before_ns is None:
            self._stamp_ns = None
            return np.inf
        dt_s = (stamp_ns - before_ns) / 1e9
        if dt_s < -self.settings.memory_s:
            self._restart("clock_back", f"the stamps went back by {-dt_s:.2f} s")
            if before_gap_ns is None or abs(stamp_ns - before_gap_ns) > self.settings.memory_s * 1e9:
                self._next_id = 1  # else the stamp before was ahead of all others
        elif dt_s > self.settings.memory_s:
            self._restart("gap", f"no frame came for {dt_s:.2f} s")
            self._before_gap_ns = before_ns
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

    def _place(self, projection: GroundProjection | None, odometry: PlanarPose | None, stamp_ns: int) -> bool:
        """Settle what ground motion is measured in from now on; it is forgotten where that is something else than before.
        Whether it can be measured in this frame: what is missing for a moment, as late odometry is, changes nothing."""
        frame = "" if projection is None else "base" if odometry is None else "odometry"
        since_s = (stamp_ns - self._placed_ns) / 1e9  # frames in between may have lacked odometry, or geometry
        if _FRAMES.index(frame) < _FRAMES.index(self._frame) and since_s <= self.settings.memory_s:
            return False
        self._placed_ns = stamp_ns
        if self._odometry.jumped(odometry, since_s):
            self._count("odometry")
            self.reason = "the odometry jumped, so speeds on the ground began anew"
            self._tracks["placed"] = False
        if frame != self._frame:
            self._tracks["placed"] = False
        self._frame = frame
        return frame != ""

    def _recognised(self, panoptic: Panoptic, things: Things, dt_s: float) -> Tracked:
        """A frame that is no newer than the last: what is in it, as far as it is a track, where it was then, and nothing learnt
        from it."""
        newest_ns, then = int(self._stamp_ns or 0), rows.moved_back(self._tracks, dt_s)
        chosen, *_ = associate(then, panoptic.instance, things, newest_ns, self.settings)
        known = np.flatnonzero(chosen >= 0)
        tracks = rows.told(then, known, known[:0], self.settings.birth_frames, self._fastest(), newest_ns)
        holders: list[Track | None] = [None] * len(things)
        for row in known.tolist():
            holders[chosen[row]] = tracks[row]
        return Tracked(_with_tracks(panoptic.segments, holders), tracks, self._frame)

    # Learning

    def _fastest(self) -> Floats:
        """[T] what each track moves at at most, m/s; boundless where that is seen from a vehicle that may move."""
        if self._frame != "odometry":
            return np.full(len(self._tracks), np.inf)
        fastest: Floats = self.fastest_m_s[self._tracks["votes"].argmax(axis=1)]
        return fastest

    def _new_ids(self, count: int) -> list[int]:
        used = set(self._tracks["id"].tolist())
        ids: list[int] = []
        while len(ids) < count:
            if self._next_id not in used:
                ids.append(self._next_id)
            self._next_id = self._next_id % MOST_IDS + 1
        return ids

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
    Things.of(panoptic).feet_behind(panoptic, tracker.hides, None)
