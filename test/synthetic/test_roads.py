import numpy as np
import pytest
from numpy.typing import NDArray

from seg_perception.labels import CAMVID
from seg_perception.synthetic import roadside, scenery
from seg_perception.synthetic.canvas import Canvas, View
from seg_perception.synthetic.classes import AS_CAMVID, BUS, FINER, RAIL, TERRAIN, TRUCK, WALL
from seg_perception.synthetic.lorries import bus_size, lorry_size, paint_bus, paint_lorry
from seg_perception.synthetic.motorway import paint_country_road, paint_motorway, paint_tunnel
from seg_perception.synthetic.objects import Look
from seg_perception.synthetic.roadside import NEAREST_M
from seg_perception.synthetic.scene import random_scene
from seg_perception.synthetic.street import Bend
from seg_perception.synthetic.traffic import Lane, lane_traffic, vehicle

ROAD, PAVEMENT, TREE, BUILDING = (CAMVID.by_name(name).id for name in ("road", "pavement", "tree", "building"))
EYE_M = 1.5
SUN = np.array((0.0, 0.6, 0.8))
GREY = np.full(3, 90.0)
STRAIGHT = Bend(0.0)


def from_above(x_m: float = 40.0, side_m: float = 12.0) -> Canvas:
    """Road everywhere, from a camera at 1.5 m: cells of 0.1 m, row = y from -side_m, column = x from 0."""
    view = View.birds_eye(np.array((0.0, 0, EYE_M)), (0.0, -side_m), (0.1, 0.1))
    canvas = Canvas(int(20 * side_m), int(10 * x_m), view, 0.0, np.zeros(3), has_picture=False)
    canvas.clear(ROAD)
    return canvas


def ahead(size: int = 201, focal: float = 200.0) -> Canvas:
    """A level camera at 1.5 m that looks along x: the horizon is the middle row, a metre at 10 m has focal / 10 px."""
    optical = np.array(((0.0, 0, 1), (-1, 0, 0), (0, -1, 0)))
    middle = size // 2
    matrix = np.array(((focal, 0, middle), (0, focal, middle), (0, 0, 1.0)))
    return Canvas(size, size, View.camera(matrix, optical, np.array((0.0, 0, EYE_M))), 0.0, np.zeros(3), label_rows=4)


def at(canvas: Canvas, x: float, y: float, side_m: float = 12.0) -> int:
    """The class on the ground at (x, y) in from_above."""
    return int(canvas.codes[int((y + side_m) / 0.1), int(x / 0.1)]) & 15


def paint_all(things: list[roadside.Thing]) -> None:
    for number, (_, paint) in enumerate(sorted(things, key=lambda thing: -thing[0]), start=1):
        paint(number)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    ("kind", "class_id", "foot_m"),
    [("barrier", RAIL, 0.30), ("rail", RAIL, 0.0), ("wall", WALL, 0.0), ("noise", WALL, 0.0), ("hedge", TREE, 0.0)],
)
def test_what_stands_along_a_road_begins_at_its_foot_and_hides_what_is_behind(kind, class_id, foot_m, seed):
    canvas, rng, y = from_above(), np.random.default_rng(seed), -4.0
    paint_all(
        {
            "barrier": lambda: roadside.concrete_barrier(canvas, rng, y, NEAREST_M, 60, SUN),
            "rail": lambda: roadside.guard_rail(canvas, rng, y, NEAREST_M, 60, GREY),
            "wall": lambda: roadside.solid_wall(canvas, rng, y, NEAREST_M, 60, SUN),
            "noise": lambda: roadside.solid_wall(canvas, rng, y, NEAREST_M, 60, SUN, is_tall=True),
            "hedge": lambda: roadside.hedge_row(canvas, rng, y, NEAREST_M, 60),
        }[kind]()
    )
    for x in (2.0, 8.0, 17.3, 30.0):
        assert at(canvas, x, y + foot_m + 0.25) == ROAD
        # 0.45 m tall at least, seen from 1.5 m: it hides the ground to 1 / (1 - 0.45 / 1.5) of its own distance.
        assert at(canvas, x, (y + foot_m) - 0.2) == at(canvas, x, y * 1.3) == class_id


def test_a_guard_rail_is_one_face_in_the_picture_down_to_the_ground():
    canvas = ahead()
    canvas.clear(ROAD)
    paint_all(roadside.guard_rail(canvas, np.random.default_rng(1), -4.0, NEAREST_M, 60, GREY))
    # At 8 m its foot is seen 1.5 * 200 / 8 = 37 rows below the horizon and 4 * 200 / 8 = 100 px to the right.
    column = canvas.codes[:, 100 + 99] & 15
    assert (column[100 + 22 : 100 + 36] == RAIL).all() and (column[100 + 40 :] == ROAD).all()
    assert (column[:110] == ROAD).all()


@pytest.mark.parametrize(("y", "place", "expected"), [(6.5, (18.0, 5.5), RAIL), (0.9, (16.0, 3.0), TRUCK)])
def test_a_barrier_hides_vehicles_behind_it_and_is_hidden_by_those_before(y, place, expected):
    canvas = from_above()
    things = roadside.concrete_barrier(canvas, np.random.default_rng(0), 3.0, NEAREST_M, 60, SUN)
    paint_all([*things, (16.0, lambda n: paint_lorry(canvas, 16.0, y, 0.0, Look(3), SUN, n))])
    assert (canvas.codes & 15 == TRUCK).any() and at(canvas, *place) == expected


@pytest.mark.parametrize("yaw", [0.0, np.pi, 0.5 * np.pi])
@pytest.mark.parametrize(("paint", "size", "class_id"), [(paint_lorry, lorry_size, TRUCK), (paint_bus, bus_size, BUS)])
def test_trucks_and_buses_fill_their_box_and_no_more(paint, size, class_id, yaw):
    for seed in range(8):
        canvas, look = ahead(focal=100.0), Look(seed)
        canvas.clear(ROAD)
        long, wide = size(look)
        along, aside = (wide, long) if yaw == 0.5 * np.pi else (long, wide)
        paint(canvas, 20.0, 0.0, yaw, look, SUN, 5)
        rows, columns = np.nonzero(canvas.codes == (5 << 4 | class_id))
        near_m = 20.0 - along / 2
        assert set(np.unique(canvas.codes)) == {ROAD, 5 << 4 | class_id}
        # 0.5 m of tyre shows below the body; the foot of the near end is the lowest that is seen.
        assert 100 + 1.5 * 100 / near_m - 4 <= rows.max() <= 100 + 1.5 * 100 / near_m + 1.5
        assert rows.min() >= 100 - 2.9 * 100 / near_m - 1
        assert np.ptp(columns) == pytest.approx(aside * 100 / near_m, rel=0.08, abs=2)


@pytest.mark.parametrize("seed", range(10))
def test_verges_and_banks_are_terrain_and_kerbs_pavement(seed):
    canvas, rng = from_above(), np.random.default_rng(seed)
    height = roadside.verge(canvas, rng, -3.0, -1.0, 100.0)
    assert height(0.0) == 0 and height(30.0) >= height(10.0) >= 0
    assert {at(canvas, x, y) for x in (3.0, 12.0, 30.0) for y in (-3.6, -5.0, -9.0)} == {TERRAIN}
    assert at(canvas, 12.0, -2.4) == ROAD
    roadside.kerb(canvas, rng, -3.0, -1.0, 100.0)
    assert at(canvas, 12.0, -3.1) == PAVEMENT and at(canvas, 12.0, -6.0) == TERRAIN and at(canvas, 12.0, -2.7) == ROAD


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("paint", [paint_motorway, paint_country_road])
def test_open_roads_have_road_in_their_lanes_and_none_beside(paint, seed):
    canvas, rng = from_above(30.0, 60.0), np.random.default_rng(seed)
    road, _ = paint(canvas, STRAIGHT, rng, SUN)
    assert road.right < -1 and road.left > 1 and road.lanes[0].yaw == 0
    for lane in road.lanes:
        assert at(canvas, 12.0, lane.left, 60.0) == ROAD
    assert min(abs(lane.left) for lane in road.lanes if lane.yaw == 0) < 0.01  # the camera drives in one
    assert at(canvas, 12.0, road.right - 0.2, 60.0) in (TERRAIN, PAVEMENT)  # there may be a kerb
    assert {at(canvas, 12.0, road.right - away, 60.0) for away in np.arange(2.5, 30, 0.4)} == {TERRAIN}


def test_a_tunnel_is_building_to_both_sides_and_above():
    canvas = ahead()
    canvas.clear(0)
    road, _ = paint_tunnel(canvas, STRAIGHT, np.random.default_rng(0), inside=True)
    assert canvas.codes[0, 100] & 15 == BUILDING and canvas.codes[180, 100] & 15 == ROAD
    assert (canvas.codes[60:101, (5, 195)] & 15 == BUILDING).all() and road.lanes[0].yaw == 0


def test_no_vehicle_is_put_where_the_camera_is():
    for seed in range(200):
        rng, canvas = np.random.default_rng(seed), ahead()
        along, left = rng.uniform(0, 12), rng.uniform(-4, 4)
        for at_m, paint in vehicle(canvas, STRAIGHT, rng, along, left, 0.0, SUN):
            assert at_m == along >= 1.5
            paint(1)
        assert (canvas.codes > 0).mean() < 0.95


def test_traffic_is_in_its_lanes_and_of_every_kind():
    canvas, seen = from_above(100.0), set()
    for seed in range(20):
        things = lane_traffic(canvas, STRAIGHT, np.random.default_rng(seed), (Lane(0.0, 0.0), Lane(6.0, np.pi)), SUN)
        assert all(1.5 <= at_m <= 201 for at_m, _ in things)
        paint_all(things)
        seen |= set(np.unique(canvas.codes & 15).tolist())
    assert seen == {ROAD, CAMVID.by_name("car").id, TRUCK, BUS}


def test_finer_classes_are_what_label_sets_cover():
    names = {FINER[own_id]: CAMVID.names[AS_CAMVID[own_id]] for own_id in FINER}
    assert names == {"terrain": "tree", "wall": "building", "guard rail": "fence", "truck": "car", "bus": "car"}
    assert (AS_CAMVID[: len(CAMVID)] == np.arange(len(CAMVID))).all()


def scene(
    seed: int, hw: tuple[int, int] = (192, 256)
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint16]]:
    return random_scene(np.random.default_rng(seed), *hw)


def test_random_scenes_have_every_class_and_whole_labels():
    seen: set[int] = set()
    for seed in range(40):
        rgb, semantic, instance = scene(seed)
        assert rgb.shape == (192, 256, 3) and rgb.dtype == np.uint8
        assert semantic.dtype == np.uint8 and instance.dtype == np.uint16
        np.testing.assert_array_equal(instance > 0, CAMVID.is_thing[AS_CAMVID[semantic]])
        numbers = np.unique(instance[instance > 0])
        assert numbers.tolist() == list(range(1, len(numbers) + 1))
        assert all(len(np.unique(semantic[instance == number])) == 1 for number in numbers)
        seen |= set(np.unique(semantic).tolist())
    assert seen == {*range(len(CAMVID)), *FINER}


@pytest.mark.parametrize("seed", range(4))
def test_what_grows_changes_the_colour_of_terrain_alone(seed):
    canvas, rng, straw = ahead(), np.random.default_rng(seed), np.array((196.0, 174, 134))
    canvas.clear(ROAD)
    scenery.add_growth(canvas, rng, straw)
    canvas.rgb[:] = (60, 90, 40)
    canvas.codes[:, :100] = TERRAIN
    scenery.add_growth(canvas, rng, straw)
    assert (canvas.rgb[:, 100:] == (60, 90, 40)).all()
    grown = canvas.rgb[110:, :100].astype(float)
    assert (grown.std(axis=(0, 1)) > 2).all()
    assert (grown / grown[..., 1:2]).std(axis=(0, 1))[0] > 0.02, (
        "patches of another colour, not only of other brightness"
    )


def test_random_scenes_teach_touching_objects():
    touching = 0
    for seed in range(10):
        _, _, instance = scene(seed)
        a, b = instance[:, :-1], instance[:, 1:]
        touching += len({(p, q) for p, q in zip(a[(a != b)], b[(a != b)]) if p and q})
    assert touching > 20


def test_random_scene_follows_its_generator():
    for seed in range(8):
        first, again, other = (scene(number, (96, 128)) for number in (seed, seed, seed + 1))
        assert all(np.array_equal(x, y) for x, y in zip(first, again))
        assert not np.array_equal(first[1], other[1])
