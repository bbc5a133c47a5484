from dataclasses import replace

import numpy as np
import pytest

from seg_perception.labels import CAMVID
from seg_perception.synthetic.canvas import Canvas, View
from seg_perception.synthetic.drive import SyntheticDrive
from seg_perception.synthetic.weather import FAIR, Weather, random_weather

ROAD = CAMVID.by_name("road").id
KINDS = {
    "night": Weather(night=1.0),
    "rain": Weather(rain=1.0),
    "fog": Weather(fog=0.03),
    "sun": Weather(sun=1.0),
    "dirt": Weather(dirt=1.0),
}


@pytest.fixture(scope="module")
def fair():
    return SyntheticDrive(320, 192, seed=3).frame(12)


@pytest.mark.parametrize("kind", KINDS)
def test_weather_changes_the_picture_alone_and_the_same_way_each_time(kind, fair):
    drives = [SyntheticDrive(320, 192, seed=3, weather=KINDS[kind]) for _ in range(2)]
    first, again = (drive.frame(12) for drive in drives)
    np.testing.assert_array_equal(first.semantic, fair.semantic)
    np.testing.assert_array_equal(first.instance, fair.instance)
    np.testing.assert_array_equal(first.rgb, again.rgb)
    changed = np.abs(first.rgb.astype(int) - fair.rgb).mean()
    assert changed > 2


def test_night_is_dark_but_for_the_ground_ahead(fair):
    night = SyntheticDrive(320, 192, seed=3, weather=KINDS["night"]).frame(12)
    sky, road = fair.semantic == 0, fair.semantic == ROAD
    assert night.rgb[sky].mean() < 0.1 * fair.rgb[sky].mean()
    rows = np.arange(192)[:, None] + np.zeros(320, int)
    near, far = (night.rgb[road & part].mean() / fair.rgb[road & part].mean() for part in (rows > 170, rows < 88))
    assert near > 0.5 > 2 * far


def test_fog_takes_what_is_far(fair):
    fog = SyntheticDrive(320, 192, seed=3, weather=KINDS["fog"]).frame(12)
    road, rows = fair.semantic == ROAD, np.arange(192)[:, None] + np.zeros(320, int)
    far, near = (np.abs(fog.rgb[road & part].astype(int) - (205, 213, 222)).mean() for part in (rows < 88, rows > 180))
    assert far < 25 < near


def test_a_lamp_shines_at_night_unless_something_hides_it():
    optical = np.array(((0.0, 0, 1), (-1, 0, 0), (0, -1, 0)))
    matrix = np.array(((100.0, 0, 50), (0, 100, 50), (0, 0, 1)))

    def brightest(weather: Weather, hidden: bool) -> int:
        canvas = Canvas(101, 101, View.camera(matrix, optical, np.array((0.0, 0, 1.5))), 0.0, np.zeros(3))
        weather.prepare(canvas)
        canvas.shine(np.array((20.0, 0.0, 1.5)), (255.0, 250, 240), 0.2)
        if hidden:
            canvas.paint(np.array(((10.0, -1, 1), (10, 1, 1), (10, 1, 2), (10, -1, 2))), (0, 0, 0), 1)
        weather.apply(canvas, np.random.default_rng(0))
        return int(canvas.rgb[40:60, 40:60].max())

    assert brightest(KINDS["night"], hidden=False) > 150
    assert brightest(KINDS["night"], hidden=True) < 60 and brightest(FAIR, hidden=False) == 0


def test_rain_falls_and_drops_stay():
    drive = SyntheticDrive(320, 192, seed=3, weather=KINDS["rain"])
    again = [drive.frame(i).rgb for i in (12, 12, 13)]
    np.testing.assert_array_equal(again[0], again[1])
    assert (again[0] != again[2]).mean() > 0.5


def test_weather_is_fair_in_half_of_all_cases_and_of_every_kind_else():
    drawn = [random_weather(np.random.default_rng(seed)) for seed in range(400)]
    assert 0.4 < np.mean([weather == FAIR for weather in drawn]) < 0.6
    for kind in KINDS:
        assert any(getattr(weather, kind) for weather in drawn)
    assert not any(weather.sun and weather.night for weather in drawn)
    assert replace(FAIR) == FAIR
