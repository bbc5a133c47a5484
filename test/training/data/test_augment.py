"""Augmentation's invariants: image, codes and instances move together, no id is lost or invented, the same generator
gives the same scene, and training sees an image as the node does."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seg_perception.camera.preprocess import Preprocessor
from seg_perception.errors import SegPerceptionError
from seg_perception.labels import CAMVID, VOID
from seg_perception.results import Frame
from seg_perception.training.augment_settings import AugmentSettings
from seg_perception.training.data.augment import CutOut, Scene, _elastic_grid, _put, cut_outs_of, paste, warp
from seg_perception.training.data.augment_light import change_light, wither
from seg_perception.training.data.targets import boundaries

SEEDS = st.integers(0, 2**32 - 1)
FEW = settings(max_examples=25, deadline=None)
STILL = {"rotate_deg": 0.0, "aspect": (1.0, 1.0), "scale": (1.0, 1.0)}


def tiles() -> Scene:
    """Six tiles of 60 px: the image's red says a tile's code, its green the instance, which is the code plus one."""
    codes = np.kron(np.arange(6, dtype=np.uint8).reshape(2, 3), np.ones((60, 60), np.uint8))
    rgb = np.dstack([codes * 40, (codes + 1) * 30, np.zeros_like(codes)])
    return Scene(rgb, codes, (codes + 1).astype(np.uint16))


def equal(one: Scene, other: Scene) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ("rgb", "codes", "instance"))


@FEW
@given(
    seed=SEEDS,
    low=st.floats(0.3, 1.5),
    aspect=st.floats(0.5, 2.0),
    rotate=st.floats(0, 45),
    elastic=st.sampled_from([0.0, 3.0, 12.0]),
    limit=st.sampled_from([0.4, 1.0]),
)
def test_image_codes_and_instances_move_together(
    seed: int, low: float, aspect: float, rotate: float, elastic: float, limit: float
) -> None:
    drawn = AugmentSettings((low, 1.8), (aspect / 2, aspect), rotate, elastic, limit)
    out = warp(tiles(), np.random.default_rng(seed), drawn, (96, 128), 180)
    assert (out.rgb.shape, out.codes.shape, out.instance.shape) == ((96, 128, 3), (96, 128), (96, 128))
    labelled = out.codes != VOID
    assert np.isin(out.codes[labelled], range(6)).all()
    assert (out.instance[labelled] == out.codes[labelled] + 1).all() and (out.instance[~labelled] == 0).all()
    inside = (boundaries(out.codes, 11) == 0) & labelled
    inside[[*range(6), *range(-6, 0)]] = inside[:, [*range(6), *range(-6, 0)]] = False  # neighbours unseen there
    assert (out.rgb[inside][:, 0] == out.codes[inside] * 40).all()
    assert (out.rgb[inside][:, 1] == out.instance[inside] * 30).all()
    assert equal(out, warp(tiles(), np.random.default_rng(seed), drawn, (96, 128), 180))


@pytest.mark.parametrize("seed", range(4))
def test_without_change_the_scene_comes_back_or_its_mirror_image(seed: int) -> None:
    scene = tiles()
    out = warp(scene, np.random.default_rng(seed), AugmentSettings(**STILL), (120, 180), 180)
    mirrored = Scene(scene.rgb[:, ::-1], scene.codes[:, ::-1], scene.instance[:, ::-1])
    assert equal(out, scene) or equal(out, mirrored)


def test_outside_the_image_is_void() -> None:
    """Half as wide as the crop, the image leaves at least a quarter of it void on each side, or half on one."""
    for seed in range(10):
        still = AugmentSettings(rotate_deg=0.0, aspect=(1.0, 1.0), scale=(0.5, 0.5))
        out = warp(tiles(), np.random.default_rng(seed), still, (120, 180), 180)
        assert (out.codes != VOID).sum() == 60 * 90
        assert ((out.codes == VOID) == (out.instance == 0)).all()


def test_a_deformation_is_smooth_and_at_most_as_large_as_asked() -> None:
    """Codes that count columns tell how far each pixel came from: at most 4 px, and neighbours never change places."""
    columns = np.tile(np.arange(250, dtype=np.uint8), (96, 1))
    scene = Scene(np.dstack([columns] * 3), columns, columns.astype(np.uint16))
    moved = []
    for seed in range(8):
        out = warp(scene, np.random.default_rng(seed), AugmentSettings(**STILL, elastic_px=4.0), (96, 250), 250)
        found = out.codes if out.codes[48, 20] < out.codes[48, 200] else out.codes[:, ::-1]
        shift = found[8:-8, 8:-8].astype(int) - np.arange(8, 242)
        moved.append(np.abs(shift).max())
        assert np.abs(np.diff(shift, axis=1)).max() <= 1 and np.abs(np.diff(shift, axis=0)).max() <= 1
    assert max(moved) in (2, 3, 4)


def test_a_crop_that_one_class_fills_is_placed_anew() -> None:
    """One class left of column 160, another right of it: of the 176 places of a crop only 32 lie across that column so
    that neither has more than 75 %, and ten draws miss those with a chance of 0.14."""
    codes = np.zeros((60, 240), np.uint8)
    codes[:, 160:] = 1
    scene = Scene(np.dstack([codes] * 3), codes, np.zeros(codes.shape, np.uint16))

    def filled(limit: float) -> int:
        drawn = AugmentSettings(**STILL, largest_class_share=limit)
        crops = [warp(scene, np.random.default_rng(seed), drawn, (60, 64), 240).codes for seed in range(40)]
        return sum(np.bincount(crop.ravel(), minlength=2).max() > 0.75 * crop.size for crop in crops)

    assert filled(1.0) > 20
    assert filled(0.75) <= 12


@pytest.mark.parametrize("elastic_px", [0.0, 1e-3])
@pytest.mark.parametrize("size_hw", [(720, 1280), (1080, 1920)])
def test_training_sees_a_large_image_as_the_node_does(size_hw: tuple[int, int], elastic_px: float) -> None:
    """A noisy camera image at the network's size: the node averages when it shrinks, so must training. Sampling without
    averaging is many times as far off."""
    height, width = size_hw
    noise = np.random.default_rng(0).integers(0, 256, (*size_hw, 3), np.uint8)
    rgb = cv2.GaussianBlur(noise, (0, 0), 0.7)
    scene = Scene(rgb, np.zeros(size_hw, np.uint8), np.zeros(size_hw, np.uint16))
    zoom_x, zoom_y = 480 / width, 352 / height
    scale = np.sqrt(zoom_x * zoom_y) * width / 480
    exact = AugmentSettings((scale, scale), (zoom_x / zoom_y, zoom_x / zoom_y), 0.0, elastic_px)
    seen = warp(scene, np.random.default_rng(0), exact, (352, 480), 480).rgb.astype(float)
    node = Preprocessor((352, 480))(Frame(rgb))[0].astype(float)
    sampled = cv2.resize(rgb, (480, 352), interpolation=cv2.INTER_LINEAR).astype(float)

    def distance(other: np.ndarray) -> float:
        return float(np.sqrt(np.mean((other - node) ** 2)))

    assert min(distance(seen), distance(seen[:, ::-1])) < 0.25 * distance(sampled)


def street() -> Scene:
    codes = np.full((96, 128), 3, np.uint8)
    instance = np.zeros((96, 128), np.uint16)
    codes[:10, :10], instance[:10, :10] = 8, 1
    codes[:10, 20:30], instance[:10, 20:30] = 8, 7
    return Scene(np.full((96, 128, 3), 100, np.uint8), codes, instance)


def block(brightness: float = 100.0, value: int = 200) -> CutOut:
    return CutOut(np.full((40, 30, 3), value, np.uint8), np.ones((40, 30), bool), 9, brightness)


@FEW
@given(seed=SEEDS, count=st.integers(1, 12))
def test_pasting_takes_unused_ids_and_loses_none_that_is_not_covered(seed: int, count: int) -> None:
    scene = street()
    out = paste(scene, np.random.default_rng(seed), [block()], count)
    pasted = out.codes == 9
    assert (out.codes[~pasted] == scene.codes[~pasted]).all()
    assert (out.instance[~pasted] == scene.instance[~pasted]).all()
    ids = set(np.unique(out.instance[pasted]))
    assert not ids & {0, 1, 7} and len(ids) <= count
    assert (scene.rgb == 100).all() and 9 not in scene.codes, "the scene given must stay as it was"
    assert equal(out, paste(scene, np.random.default_rng(seed), [block()], count))


def test_pasting_finds_ids_though_the_highest_is_taken() -> None:
    scene = street()
    scene.instance[scene.instance == 7] = 65535
    out = paste(scene, np.random.default_rng(3), [block()], 4)
    assert len(np.unique(out.instance[out.codes == 9])) >= 2


def test_the_outline_of_a_pasted_object_is_soft_in_the_image_alone() -> None:
    out = paste(street(), np.random.default_rng(3), [block()], 1)
    values = out.rgb[..., 0]
    mixed = (values > 100) & (values < 200)
    assert mixed.any() and set(np.unique(out.codes)) == {3, 8, 9}
    near = cv2.dilate((boundaries(out.codes) > 0).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    assert near[mixed].all()
    assert (values[(out.codes == 9) & ~near] == 200).all() and (values[(out.codes == 3) & ~near] == 100).all()


@pytest.mark.parametrize(("source", "wanted"), [(100.0, 80), (49.5, 160), (400.0, 40)])
def test_a_pasted_object_is_lit_as_its_surroundings(source: float, wanted: int) -> None:
    """From an image half as bright as the street of grey 100 it is doubled; the gain is never below a half."""
    scene = Scene(np.full((96, 128, 3), 100, np.uint8), np.full((96, 128), 3, np.uint8), np.zeros((96, 128), np.uint16))
    out = paste(scene, np.random.default_rng(3), [block(source, value=80)], 1)
    assert int(np.median(out.rgb[out.codes == 9])) == wanted


def test_objects_are_cut_out_whole_or_not_at_all() -> None:
    """Of a whole car, one at the border, a small one and a whole piece of road only the first is worth pasting."""
    codes = np.full((100, 100), 3, np.uint8)
    instance = np.zeros((100, 100), np.uint16)
    for number, (code, y, x, size) in enumerate([(8, 10, 10, 32), (8, 50, 0, 34), (8, 5, 60, 20), (3, 50, 50, 40)], 5):
        codes[y : y + size, x : x + size], instance[y : y + size, x : x + size] = code, number
    rgb = np.dstack([instance * 10] * 3).astype(np.uint8)
    (found,) = cut_outs_of(Scene(rgb, codes, instance), np.append(CAMVID.is_thing, np.zeros(245, bool)), 32)
    assert (found.code, found.mask.shape, found.mask.all()) == (8, (32, 32), True)
    assert (found.rgb == 50).all() and found.brightness == pytest.approx(rgb.mean())


@FEW
@given(seed=SEEDS, strength=st.floats(0, 3), blur=st.sampled_from([0.0, 1.0, 15.0]))
def test_light_keeps_size_and_type_and_is_reproducible(seed: int, strength: float, blur: float) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    out = change_light(rgb, np.random.default_rng(seed), strength, blur)
    assert out.shape == rgb.shape and out.dtype == np.uint8
    assert (out == change_light(rgb, np.random.default_rng(seed), strength, blur)).all()
    assert strength or blur or (out == rgb).all()


@pytest.mark.parametrize("seed", range(8))
def test_a_dry_season_turns_what_is_green_into_bright_straw_and_leaves_all_else(seed: int) -> None:
    asphalt, dust, sky, red = (96, 97, 99), (176, 150, 120), (120, 160, 220), (180, 30, 30)
    colours = np.array([asphalt, dust, sky, red, (60, 96, 40), (30, 50, 28), (90, 130, 60)], np.uint8)
    rgb = np.repeat(np.repeat(colours[None], 20, 0), 20, 1)
    found = wither(rgb, np.random.default_rng(seed))
    inner = found[10, 10::20].astype(int)  # the middle of each colour, where none of its neighbours shines in
    assert (inner[:4] == colours[:4]).all()
    assert (inner[4:, 0] > 0.95 * inner[4:, 1]).all() and (inner[4:, 1] > inner[4:, 2]).all()
    assert (inner[4:].sum(axis=1) > colours[4:].sum(axis=1, dtype=int)).all()


def test_motion_blur_smears_along_a_line_and_shifts_nothing() -> None:
    """The second moments of a blurred point: next to none across the line, at most those of 15 px along it."""
    rgb = np.zeros((41, 41, 3), np.uint8)
    rgb[20, 20] = 255
    away = np.mgrid[-20:21, -20:21].reshape(2, -1)
    longest = []
    for seed in range(40):
        grey = change_light(rgb, np.random.default_rng(seed), 0.0, 15.0)[..., 0].astype(float).ravel()
        assert grey.sum() == pytest.approx(255, rel=0.1)
        assert np.abs(away @ grey).max() < 0.6 * grey.sum()
        across, along = np.linalg.eigvalsh(away * grey @ away.T / grey.sum())
        assert across < 0.5 and along < 15**2 / 12 + 1
        longest.append(along)
    assert 2 <= sum(along > 1 for along in longest) <= 20
    assert sum(along == 0 for along in longest) >= 20


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"scale": (2.0, 1.0)}, r"augment.scale is \[2.0, 1.0\].*smaller one first"),
        ({"aspect": (0.0, 1.0)}, "augment.aspect"),
        ({"scale": (1.0, float("nan"))}, "augment.scale"),
        ({"rotate_deg": 91.0}, "augment.rotate_deg is 91.0, allowed is 0 to 90"),
        ({"elastic_px": 13.0}, "augment.elastic_px.*allowed is 0 to 12"),
        ({"largest_class_share": 0.0}, "augment.largest_class_share"),
        ({"light": -0.1}, "augment.light"),
        ({"motion_blur_px": float("nan")}, "augment.motion_blur_px is nan"),
        ({"dry_season": 1.5}, "augment.dry_season is 1.5, allowed is 0 to 1"),
        ({"paste": -1}, "augment.paste is -1"),
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, object], named: str) -> None:
    with pytest.raises(SegPerceptionError, match=named):
        AugmentSettings(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("mirror", [True, False])
def test_mirroring_can_be_turned_off_and_pairs_of_classes_change_places_in_it(mirror: bool) -> None:
    """Codes 0 and 2 are each other's mirror image, as a left and a right lane: left stays left in every image."""
    lanes = np.repeat(np.array([0, 1, 2], np.uint8), 20)[None].repeat(60, 0)
    scene = Scene(np.dstack([lanes * 100] * 3), lanes, np.zeros((60, 60), np.uint16))
    still = AugmentSettings(**STILL, mirror=mirror)
    swapped = np.arange(256, dtype=np.uint8)
    swapped[[0, 2]] = 2, 0
    seen, plain = set(), set()
    for seed in range(20):
        out = warp(scene, np.random.default_rng(seed), still, (60, 60), 60, swapped if mirror else None)
        assert out.codes[30, 10] == 0 and out.codes[30, 50] == 2
        seen.add(int(out.rgb[30, 10, 0]))
        plain.add(int(warp(scene, np.random.default_rng(seed), still, (60, 60), 60).codes[30, 10]))
    assert seen == plain if not mirror else seen == {0, 200} and plain == {0, 2}
    assert mirror or seen == {0}


@pytest.mark.parametrize("mirror", [True, False])
def test_pasted_objects_are_mirrored_with_their_class_or_not_at_all(mirror: bool) -> None:
    arrow = np.zeros((40, 40, 3), np.uint8)
    arrow[:, 20:] = 250
    cut_out = CutOut(arrow, np.ones((40, 40), bool), 7, 125.0)
    blank = Scene(
        np.full((200, 200, 3), 125, np.uint8), np.full((200, 200), 1, np.uint8), np.zeros((200, 200), np.uint16)
    )
    swapped = np.arange(256, dtype=np.uint8)
    swapped[[7, 8]] = 8, 7
    found = set()
    for seed in range(12):
        out = paste(blank, np.random.default_rng(seed), [cut_out], 1, mirror=mirror, mirrored_codes=swapped)
        rows, columns = np.nonzero(out.instance)
        if len(rows) and columns.min() > 0 and columns.max() < 199:
            bright_right = out.rgb[rows[0], columns.max() - 3, 0] > out.rgb[rows[0], columns.min() + 3, 0]
            found.add((bool(bright_right), int(out.codes[rows[0], columns[0]])))
    assert found == ({(True, 7), (False, 8)} if mirror else {(True, 7)})


def test_a_pasted_object_keeps_its_shape_and_stands_as_tall_as_its_place_says() -> None:
    """Twice as high as wide, its foot on the line that its size follows: taller the lower it stands."""
    cut_out = CutOut(np.full((40, 20, 3), 200, np.uint8), np.ones((40, 20), bool), 9, 100.0)
    scene = Scene(
        np.full((400, 600, 3), 100, np.uint8), np.full((400, 600), 3, np.uint8), np.zeros((400, 600), np.uint16)
    )
    seen = 0
    for seed in range(30):
        out = paste(scene, np.random.default_rng(seed), [cut_out], 1)
        rows, columns = np.nonzero(out.instance)
        if not len(rows) or columns.min() == 0 or columns.max() == 599 or rows.max() == 399:
            continue
        tall, wide, foot = np.ptp(rows) + 1, np.ptp(columns) + 1, rows.max() + 1
        assert tall == pytest.approx(2 * wide, abs=3)
        assert 0.33 * (foot - 120) - 3 <= max(tall, 12) <= max(foot - 120, 12) + 3
        seen += 1
    assert seen > 10


def test_an_object_that_sticks_out_at_the_top_is_cut_off_there() -> None:
    """Its upper rows are lost, and its lower ones stand where they belong."""
    shades = np.repeat(np.arange(40, dtype=np.uint8)[:, None] * 5, 30, 1)
    scene = Scene(np.zeros((60, 80, 3), np.uint8), np.zeros((60, 80), np.uint8), np.zeros((60, 80), np.uint16))
    _put(scene, np.dstack([shades] * 3), np.ones((40, 30), np.float32), (-5, -15), (7, 9))
    assert (scene.codes[:25, :25] == 7).all() and (scene.codes[25:] == 0).all() and (scene.codes[:, 25:] == 0).all()
    assert scene.rgb[:25, 3, 0].tolist() == [row * 5 for row in range(15, 40)]
    assert (scene.instance[:25, :25] == 9).all()


def test_objects_that_touch_any_border_are_not_cut_out() -> None:
    for y, x in ((0, 30), (30, 0), (59, 30), (30, 59), (1, 30), (30, 58)):
        codes, instance = np.full((100, 100), 3, np.uint8), np.zeros((100, 100), np.uint16)
        codes[y : y + 41, x : x + 41], instance[y : y + 41, x : x + 41] = 8, 5
        found = cut_outs_of(Scene(np.dstack([codes] * 3), codes, instance), np.arange(256) == 8, 32)
        assert found == [], (y, x)


def test_the_points_of_a_deformation_move_apart_from_each_other_and_to_all_sides() -> None:
    """Displacements from the undeformed place: on both axes, to both sides, as far as asked in some image, never farther;
    where nothing is displaced, every pixel shows its own middle."""
    largest = np.zeros((2, 2))
    for seed in range(40):
        field = _elastic_grid(np.random.default_rng(seed), 10.0, (192, 256))
        field = field - np.dstack(np.meshgrid(np.arange(256) + 0.5, np.arange(192) + 0.5))
        largest = np.maximum(largest, [field.max((0, 1)), -field.min((0, 1))])
        assert np.abs(field).max() <= 10.0 and field[..., 0].std() > 0 and field[..., 1].std() > 0
        assert not np.allclose(field[..., 0], field[..., 1])
    assert (largest > 8).all()
    still = _elastic_grid(np.random.default_rng(0), 1e-9, (40, 50))
    np.testing.assert_allclose(still[7, 11], (11.5, 7.5), atol=1e-6)


@pytest.mark.parametrize(("source", "wanted"), [(10.0, 160), (0.0, 160), (1000.0, 40), (249.0, 40)])
def test_the_gain_of_a_pasted_object_is_from_a_half_to_two(source: float, wanted: int) -> None:
    scene = Scene(np.full((96, 128, 3), 100, np.uint8), np.full((96, 128), 3, np.uint8), np.zeros((96, 128), np.uint16))
    out = paste(scene, np.random.default_rng(3), [block(source, value=80)], 1)
    assert int(np.median(out.rgb[out.codes == 9])) == wanted


@pytest.mark.parametrize("elastic_px", [0.0, 1e-3])
@pytest.mark.parametrize("turned", [False, True])
def test_sides_longer_than_opencv_samples_are_no_limit(elastic_px: float, turned: bool) -> None:
    """Ten stripes across, each 3400 px wide: labels lie where the image shows them."""
    stripes = np.repeat(np.arange(10, dtype=np.uint8), 3400)[None].repeat(1100, 0)
    stripes = np.ascontiguousarray(stripes.T) if turned else stripes
    scene = Scene(np.dstack([stripes * 20] * 3), stripes, stripes.astype(np.uint16) + 1)
    full = 20 if turned else 640
    still = AugmentSettings(**STILL, elastic_px=elastic_px, mirror=False)
    out = warp(scene, np.random.default_rng(0), still, (640, 32) if turned else (32, 640), full)
    lines = out.codes.T if turned else out.codes
    line = lines[(lines != VOID).any(axis=1)][0]
    assert sorted(set(line.tolist()) - {VOID}) == list(range(10))
    inside = out.codes != VOID
    off = np.abs(out.rgb[..., 0].astype(int) - 20 * out.codes.astype(int))[inside]
    assert (off > 0).mean() < 0.1 and off.max() <= 20, "but for what mixes at the stripes' borders"
    assert (out.instance[inside] == out.codes[inside].astype(np.uint16) + 1).all()
