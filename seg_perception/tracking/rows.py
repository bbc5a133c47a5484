"""What is remembered of each track, and how a frame changes it: a row each in an array, all tracks at once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_perception.camera_model import Floats
from seg_perception.ground.geometry import GroundProjection
from seg_perception.ground.odometry import PlanarPose
from seg_perception.results import GroundMotion, Track
from seg_perception.tracking import motion, sides
from seg_perception.tracking.feet import feet_on_ground, from_odometry, in_odometry
from seg_perception.tracking.kernels import SIDE, sample_shapes
from seg_perception.tracking.things import Things

Rows = NDArray[np.void]
"""Tracks, of row_type [T]."""

NEW, CONFIRMED, RETURNED, LOST = "new", "confirmed", "returned", "lost"
_FIRST_SPEED_SHARE, _FIRST_SPEED_PX = 2.0, 100.0
"""Standard deviation of an edge's speed before it is known: in sizes per s, and px/s."""
_SURE_FOOT_M = 2.0
"""Standard deviation of a foot up to which it tells how a box moves that is not seen."""
_LARGEST_STEP, _LARGEST_GROWTH = 1.0, 0.2
"""In sizes, that a box moves and grows so from one frame to the next."""
_FIRST_SPEED_M_S, _FIRST_SPEED_OF_FASTEST = 15.0, 0.25
"""Standard deviation of a foot's speed before it is known, and at most what share of the fastest that it may be."""
_KNOWN_FRAMES = 6
"""After so many in which it was hidden the speed of a side is not known, and after so many in which it was seen it is again."""
_FOOT_OUTLIER = 16.0
"""Squared standard deviations from which on a foot is not believed; after _FOOT_MISSES in a row it is begun anew."""
_FOOT_MISSES = 5
_WHOLE, _FORGET_WHOLE = 0.7, 0.99
"""A shape is taken over where so much of its points are seen; what counts as whole shrinks by the latter each frame."""


def row_type(classes: int) -> np.dtype[Any]:
    """All that is remembered of a track. edges: left, top, right, bottom in px of the mask; whole: most points that its
    shape had. last_box, last_shape, last_points, last_hidden (on any side), area (px): of what was seen of it last, where edges
    and shape are of the whole. whole_area (px), whole_wh: largest of late. off: frames in a row in which a side was seen
    far from where it should be. blind: frames in which a side was hidden or cut off of late, up to twice _KNOWN_FRAMES, less
    those in which it was seen since. placed: whether state [x, y, vx, vy] and cov tell where its lowest row is on the ground,
    which helps to find it again; sound: whether that is its foot, which was seen last at foot_ns."""
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
            ("last_hidden", np.bool_),
            ("area", np.int64),
            ("whole_area", np.float64),
            ("whole_wh", np.float64, 2),
            ("off", np.int64, 4),
            ("blind", np.int64, 4),
            ("votes", np.float64, classes),
            ("placed", np.bool_),
            ("foot_ns", np.int64),
            ("sound", np.bool_),
            ("state", np.float64, 4),
            ("cov", np.float64, (4, 4)),
            ("foot_px", np.float64, 2),
            ("range_m", np.float64),
        ]
    )


def predict(
    tracks: Rows,
    before_ns: int,
    dt_s: float,
    acceleration_m_s2: float,
    projection: GroundProjection | None,
    odometry: PlanarPose | None,
) -> None:
    """Move them on by dt_s. before_ns: the frame before, in which some were not seen; projection, odometry: of now."""
    placed = np.flatnonzero(tracks["placed"])
    if len(placed):
        tracks["state"][placed], tracks["cov"][placed] = motion.predict_ground(
            tracks["state"][placed], tracks["cov"][placed], dt_s, acceleration_m_s2**2
        )
    is_unseen = tracks["last_ns"] < before_ns
    unseen = np.flatnonzero(is_unseen)
    rates = tracks["rates"][unseen]
    sides.move_as_one(tracks["edges"][unseen], rates, tracks["spread"][unseen])
    tracks["rates"][unseen] = rates
    unsure = is_unseen | (tracks["seen"] == 1)
    if projection is not None and unsure.any():
        _walk(tracks, unsure, projection, odometry, dt_s)
    tracks["last_box"] += tracks["rates"] * dt_s
    edges, rates, spread = (tracks[name].copy() for name in ("edges", "rates", "spread"))
    sides.predict_sides(edges, rates, spread, dt_s, (dt_s**3 / 3, dt_s**2 / 2))
    tracks["edges"], tracks["spread"] = edges, spread


def moved_back(tracks: Rows, dt_s: float) -> Rows:
    """Others, where they were so long ago, dt_s <= 0; a box is a pixel wide and high at least."""
    then = tracks.copy()
    for name in ("edges", "last_box"):
        then[name] += then["rates"] * dt_s
    then["state"][:, :2] += then["state"][:, 2:] * dt_s
    edges = then["edges"]
    middles = (edges[:, :2] + edges[:, 2:]) / 2
    edges[:, :2], edges[:, 2:] = np.minimum(edges[:, :2], middles - 0.5), np.maximum(edges[:, 2:], middles + 0.5)
    return then


def _walk(
    tracks: Rows,
    chosen: NDArray[np.bool_],
    projection: GroundProjection,
    odometry: PlanarPose | None,
    dt_s: float,
) -> None:
    """Let boxes move as their feet on the ground do while the vehicle moves, where a track's own motion in the image is not
    known yet, or is too old."""
    sure = tracks["cov"][:, 0, 0] + tracks["cov"][:, 1, 1] < _SURE_FOOT_M**2
    rows = np.flatnonzero(chosen & tracks["placed"] & sure & (tracks["range_m"] > 0))
    if not len(rows):
        return
    feet, ranges = _seen_feet(tracks["state"][rows, :2], projection, odometry)
    edges = tracks["edges"][rows]
    shift, growth = feet - tracks["foot_px"][rows], (tracks["range_m"][rows] / np.maximum(ranges, 0.1) - 1)[:, None]
    size = edges[:, 2:] - edges[:, :2]
    usable = np.isfinite(shift).all(axis=1) & (np.abs(shift).max(axis=1) < _LARGEST_STEP * _sizes(edges))
    usable &= np.abs(growth[:, 0]) < _LARGEST_GROWTH
    low = shift - growth * size * (0.5, 1.0)
    high = shift + growth * size * (0.5, 0.0)
    tracks["rates"][rows[usable]] = (np.concatenate((low, high), axis=1) / dt_s)[usable]


def note_feet(tracks: Rows, projection: GroundProjection | None, odometry: PlanarPose | None) -> None:
    """Remember where the feet of all tracks are in this image, and how far away, to tell how they move in the next."""
    tracks["range_m"] = 0.0
    rows = np.flatnonzero(tracks["placed"])
    if projection is not None and len(rows):
        tracks["foot_px"][rows], tracks["range_m"][rows] = _seen_feet(tracks["state"][rows, :2], projection, odometry)


def _seen_feet(places: Floats, projection: GroundProjection, odometry: PlanarPose | None) -> tuple[Floats, Floats]:
    """Pixels [K, 2] of places [K, 2] in m, and how far they are from the camera [K], m."""
    if odometry is not None:
        places = from_odometry(odometry, places)
    ahead = places - projection.position[:2]
    return projection.ground_to_pixels(places), np.hypot(ahead[:, 0], ahead[:, 1])


def learn(
    tracks: Rows,
    rows: NDArray[np.int64],
    things: Things,
    found: NDArray[np.int64],
    covered: Floats,
    missing: Floats,
    merged: NDArray[np.bool_],
    stamp_ns: int,
) -> None:
    """Take over what was seen of tracks `rows` as things `found`, but for shape and foot. covered, missing: shares of their
    masks where nearer things are, and where neither those nor themselves are; merged: whether other things' masks are part
    of theirs; all [rows]."""
    if not len(rows):
        return
    edges, rates, spread, off = (tracks[name][rows] for name in ("edges", "rates", "spread", "off"))
    sides.learn_sides(
        (edges, rates, spread, off),
        things.boxes[found],
        things.hidden[found],
        things.cut[found],
        tracks["seen"][rows],
        (covered, missing),
        merged,
    )
    tracks["edges"][rows], tracks["rates"][rows], tracks["spread"][rows], tracks["off"][rows] = (
        edges,
        rates,
        spread,
        off,
    )
    blind = tracks["blind"][rows] + 2 * (things.hidden | things.cut)[found] - 1
    tracks["blind"][rows] = np.minimum(np.maximum(blind, 0), 2 * _KNOWN_FRAMES)
    tracks["last_ns"][rows] = stamp_ns
    tracks["seen"][rows] += 1
    tracks["votes"][rows, things.classes[found]] += things.scores[found]


def born_of(row: np.dtype[Any], ids: list[int], things: Things, fresh: NDArray[np.int64], stamp_ns: int) -> Rows:
    """A track for each of the things `fresh`."""
    born = np.zeros(len(fresh), row)
    born["id"] = ids
    born["born_ns"] = born["last_ns"] = stamp_ns
    born["seen"] = 1
    born["edges"] = things.boxes[fresh]
    born["blind"] = np.where(things.hidden[fresh] | things.cut[fresh], 2 * _KNOWN_FRAMES, 0)
    size = _sizes(born["edges"])[:, None]
    born["spread"][:, :, sides.PP] = _edge_sigmas(born["edges"]) ** 2
    born["spread"][:, :, sides.VV] = (_FIRST_SPEED_PX + _FIRST_SPEED_SHARE * size) ** 2
    born["votes"][np.arange(len(fresh)), things.classes[fresh]] = np.maximum(things.scores[fresh], 1e-3)
    return born


def take_shapes(tracks: Rows, holder: NDArray[np.int64], things: Things, instance: NDArray[np.uint16]) -> None:
    """Take over the shapes of all things, which are the tracks `holder`."""
    if not len(things):
        return
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
    tracks["last_hidden"][holder] = things.hidden.any(axis=1)
    tracks["area"][holder] = things.areas
    tracks["whole_area"][holder] = np.maximum(tracks["whole_area"][holder] * _FORGET_WHOLE, things.areas)
    tracks["whole_wh"][holder] = np.maximum(tracks["whole_wh"][holder] * _FORGET_WHOLE, seen[:, 2:] - seen[:, :2])


def take_feet(
    tracks: Rows,
    holder: NDArray[np.int64],
    things: Things,
    behind: NDArray[np.bool_],
    mask_height: int,
    projection: GroundProjection,
    odometry: PlanarPose | None,
    foot_noise_px: float,
    fastest_m_s: Floats,
    stamp_ns: int,
) -> None:
    """Take over where the lowest rows of all things are on the ground, and whether that is their feet. behind: [K, 2] see
    Things.feet_behind; foot_noise_px: see TrackingSettings; fastest_m_s: [T] what each track moves at at most."""
    if not len(things):
        return
    boxes = things.boxes.astype(np.float64)
    feet = (boxes[:, (0, 3)] + boxes[:, (2, 3)] - 1) / 2
    sigma = np.hypot(foot_noise_px * mask_height / 720, (boxes[:, 2:3] - boxes[:, :1]) * (0.03, 0.0))
    places, noise = feet_on_ground(projection, feet, sigma)
    if odometry is not None:
        places, noise = in_odometry(odometry, places, noise)
    usable = np.isfinite(places).all(axis=1) & ~(things.cut | things.hidden)[:, [0, 2, 3]].any(axis=1)
    usable &= ~behind[:, 1]
    rows, is_foot = holder[usable], ~behind[usable, 0]
    first_speeds = np.minimum(_FIRST_SPEED_M_S, _FIRST_SPEED_OF_FASTEST * fastest_m_s[rows])
    begun = _update_feet(tracks, rows, places[usable], noise[usable], first_speeds)
    seen = is_foot & (tracks["misses"][rows] == 0)
    # Beside a pole the lowest row still is the foot; behind a fence it is so far off that it begins anew.
    tracks["sound"][rows] = np.where(begun, is_foot, tracks["sound"][rows] | seen)
    tracks["foot_ns"][rows[seen]] = stamp_ns


def doubt_feet(tracks: Rows, before_ns: int) -> None:
    """Tell no more of feet that were seen before that last: they would go on for ever as they went then."""
    tracks["sound"] &= tracks["foot_ns"] >= before_ns


def _update_feet(
    tracks: Rows, rows: NDArray[np.int64], places: Floats, noise: Floats, first_speeds: Floats
) -> NDArray[np.bool_]:
    """Whether each was begun anew, [rows]. first_speeds: [rows] standard deviation of what it then moves at, m/s."""
    known: NDArray[np.bool_] = tracks["placed"][rows]
    old = rows[known]
    if len(old):
        state, cov, off = motion.update_ground(tracks["state"][old], tracks["cov"][old], places[known], noise[known])
        fits = off < _FOOT_OUTLIER
        tracks["state"][old[fits]], tracks["cov"][old[fits]] = state[fits], cov[fits]
        tracks["misses"][old] = np.where(fits, 0, tracks["misses"][old] + 1)
        known = known & (tracks["misses"][rows] < _FOOT_MISSES)
    fresh = rows[~known]
    if not len(fresh):
        return ~known
    tracks["placed"][fresh], tracks["misses"][fresh] = True, 0
    tracks["state"][fresh] = np.column_stack((places[~known], np.zeros((len(fresh), 2))))
    tracks["cov"][fresh] = np.eye(4) * first_speeds[~known, None, None] ** 2
    tracks["cov"][fresh, :2, :2] = noise[~known]
    return ~known


def merge_votes(tracks: Rows, table: NDArray[np.uint8]) -> None:
    """Count the votes for classes that are told as others for those. table: uint8 [256], which class each is told as."""
    votes = tracks["votes"]
    merged = np.zeros_like(votes)
    np.add.at(merged.T, table[: votes.shape[1]], votes.T)
    tracks["votes"] = merged


def told(
    rows: Rows,
    found: NDArray[np.int64],
    returned: NDArray[np.int64],
    birth_frames: int,
    fastest_m_s: Floats,
    stamp_ns: int,
) -> tuple[Track, ...]:
    """All tracks; those in the rows `found` are seen now, of which `returned` were not before. fastest_m_s: [T] what each moves
    at at most."""
    states = np.full(len(rows), LOST, object)
    states[found] = CONFIRMED
    states[returned] = RETURNED
    states[(states != LOST) & (rows["seen"] < birth_frames)] = NEW
    edges = rows["edges"]
    boxes = np.concatenate((edges[:, :2], edges[:, 2:] - edges[:, :2]), axis=1).tolist()
    speeds, stds = _speeds_px_s(rows)
    entries = zip(
        rows["id"].tolist(),
        rows["votes"].argmax(axis=1).tolist() if len(rows) else [],
        states.tolist(),
        ((stamp_ns - rows["born_ns"]) / 1e9).tolist(),
        rows["seen"].tolist(),
        ((stamp_ns - rows["last_ns"]) / 1e9).tolist(),
        map(tuple, boxes),
        map(tuple, speeds.tolist()),
        map(tuple, stds.tolist()),
        _ground_motions(rows, fastest_m_s),
    )
    return tuple(Track(*entry) for entry in entries)


def _speeds_px_s(tracks: Rows) -> tuple[Floats, Floats]:
    """Speeds [T, 2] of the middles of boxes in px/s, and their standard deviations. Of a box one side of which is not known,
    as of what enters the image, the other's: where the image begins nothing moves."""
    rates, variances, unknown = tracks["rates"], tracks["spread"][:, :, sides.VV], tracks["blind"] > _KNOWN_FRAMES
    weights = np.where(unknown == unknown[:, (2, 3, 0, 1)], 0.5, ~unknown)
    speeds, spread = weights * rates, weights**2 * variances
    return speeds[:, :2] + speeds[:, 2:], np.sqrt(spread[:, :2] + spread[:, 2:])


def _ground_motions(tracks: Rows, fastest_m_s: Floats) -> list[GroundMotion | None]:
    """None where a foot is not known, or moves as nothing of its class can: then what was measured is of several things."""
    moves = np.hypot(tracks["state"][:, 2], tracks["state"][:, 3]) <= fastest_m_s
    known = tracks["placed"] & tracks["sound"] & moves
    rows = zip(known.tolist(), tracks["state"].tolist(), tracks["cov"].tolist())
    return [
        GroundMotion((s[0], s[1]), (s[2], s[3]), tuple(map(tuple, cov))) if placed else None for placed, s, cov in rows
    ]


def _edge_sigmas(boxes: Floats) -> Floats:
    """Standard deviation of the edges of boxes [N, 4], px [N, 1]."""
    sigmas: Floats = (sides.EDGE_PX + sides.EDGE_SHARE * _sizes(boxes))[:, None]
    return sigmas


def _sizes(boxes: Floats) -> Floats:
    """Mean side of boxes [N, 4], px [N]."""
    sides = boxes[:, 2:] - boxes[:, :2]
    sizes: Floats = np.sqrt(np.maximum(sides[:, 0] * sides[:, 1], 1.0))
    return sizes
