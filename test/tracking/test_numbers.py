"""What the instance mask holds, and the tracks on the way of a frame through the pipeline."""

from dataclasses import replace

import numpy as np
import pytest
from fakes import FakeBackend, empty_output, model_info
from moving_things import PERIOD_NS, Thing, draw

from seg_perception.camera_model import CameraModel, CameraPose
from seg_perception.ground.ego_mask import EgoMask
from seg_perception.ground.odometry import PlanarPose
from seg_perception.panoptic.relabel import told
from seg_perception.pipeline import Pipeline
from seg_perception.results import Frame, Wants
from seg_perception.tracking.numbers import FIRST_STUFF_ID, numbered_by_track
from seg_perception.tracking.settings import TrackingSettings
from seg_perception.tracking.tracker import Tracker

MODEL = model_info()
CAMERA = CameraModel(96, 64, ((80, 0, 47.5), (0, 80, 31.5), (0, 0, 1)))
POSE = CameraPose(0.0, 0.0, 1.5, 0.0, 0.2, 0.0)


def test_mask_and_segments_get_the_numbers_of_tracks():
    things = [Thing(k, (lambda x: lambda t: (x, 90))(60 * k), (40 - 4 * k, 20)) for k in (1, 2, 3)]
    tracker = Tracker(11, TrackingSettings())
    tracker._next_id = 500
    panoptic, _ = draw(things, 0)
    frame = panoptic.instance.copy()
    tracked = tracker.update(panoptic, PERIOD_NS)
    numbered = numbered_by_track(replace(panoptic, segments=tracked.segments))
    assert [s.id for s in numbered.segments] == [500, 501, 502, FIRST_STUFF_ID + 3]
    for old, new in ((0, 0), (1, 500), (2, 501), (3, 502)):
        assert (numbered.instance[frame == old] == new).all()
    for s in numbered.segments[:3]:
        assert s.id == s.track.id and int((numbered.instance == s.id).sum()) == s.area


def test_stuff_has_its_own_numbers_in_a_frame_without_things_too():
    panoptic, _ = draw([], 0)
    assert [s.id for s in numbered_by_track(panoptic).segments] == [FIRST_STUFF_ID + 3]


def test_what_is_no_track_in_a_late_frame_is_no_thing():
    tracker = Tracker(11, TrackingSettings())
    one, two = Thing(1, lambda t: (60, 90), (40, 20)), Thing(2, lambda t: (200, 90), (30, 20))
    tracker.update(draw([one], 0)[0], 10 * PERIOD_NS)
    panoptic, _ = draw([one, two], 0)
    late = numbered_by_track(replace(panoptic, segments=tracker.update(panoptic, 9 * PERIOD_NS).segments))
    assert [s.id for s in late.segments] == [1, FIRST_STUFF_ID + 3]
    assert set(np.unique(late.instance)) == {0, 1}
    panoptic, _ = draw([two], 0)
    late = numbered_by_track(replace(panoptic, segments=tracker.update(panoptic, 8 * PERIOD_NS).segments))
    assert [s.id for s in late.segments] == [FIRST_STUFF_ID + 3] and not late.instance.any()


def _two_cars(columns):
    """A backend's answer: cars whose middles are in these columns of the grid."""

    def answer(images):
        output = empty_output(MODEL, len(images))
        output.semantic_logits[:, 3, 2:] = 20
        for score, column in columns:
            output.semantic_logits[:, 8, 4:6, column - 1 : column + 2] = 40
            output.center_heatmap[:, 0, 4, column] = score
            output.center_offset[:, 1, 4:6, column - 1], output.center_offset[:, 1, 4:6, column + 1] = 8, -8
        return output

    return answer


def _run(pipeline, columns, i, wants=None):
    pipeline.backend._answer = _two_cars(columns)
    frame = Frame(np.zeros((64, 96, 3), np.uint8), stamp_ns=10**9 + i * PERIOD_NS)
    return pipeline.run(frame, wants or Wants())


@pytest.mark.parametrize("instance_ids", ["frame", "track"])
def test_a_pipeline_follows_what_swaps_its_rank(instance_ids):
    pipeline = Pipeline(MODEL, FakeBackend(_two_cars(())), tracking=TrackingSettings(), instance_ids=instance_ids)
    seen = []
    for i, columns in enumerate([[(0.9, 2), (0.5, 9)], [(0.5, 2), (0.9, 9)]]):
        result = _run(pipeline, columns, i)
        places = {s.box[0] < 48: s for s in result.panoptic.segments if s.is_thing}
        seen.append((places[True].track.id, places[False].track.id))
        assert {track.id for track in result.tracks} == set(seen[-1])
        for s in places.values():
            x, y, width, height = s.box
            assert result.panoptic.instance[y + height // 2, x + width // 2] == s.id
            assert (s.id == s.track.id) or instance_ids == "frame"
    assert seen[0] == seen[1]


def test_images_without_a_stamp_have_the_numbers_of_the_frame():
    pipeline = Pipeline(MODEL, FakeBackend(_two_cars([(0.9, 2)])), tracking=TrackingSettings(), instance_ids="track")
    segments = pipeline.run(Frame(np.zeros((64, 96, 3), np.uint8))).panoptic.segments
    assert [s.id for s in segments] == list(range(1, len(segments) + 1)) and segments[0].is_thing


@pytest.mark.parametrize("cameras", [4, 8])
def test_several_cameras_have_the_numbers_that_each_has_alone(cameras):
    """One backend, frames in turn; each camera sees other things, and one sees none for a while."""

    def columns(camera, i):
        if camera == 1 and 2 <= i < 4:
            return []
        return [(0.9, 2), *([(0.5, 6 + (i + camera) // 3 % 3)] if (i + camera) % 4 else [])]

    def follow(order):
        backend = FakeBackend(_two_cars(()))
        pipelines = {camera: Pipeline(MODEL, backend, tracking=TrackingSettings()) for camera in range(cameras)}
        found = {camera: [] for camera in range(cameras)}
        for camera, i in order:
            found[camera].append(_run(pipelines[camera], columns(camera, i), i).tracks)
        return found

    in_turn = follow([(camera, i) for i in range(8) for camera in range(cameras)])
    assert in_turn == follow([(camera, i) for camera in range(cameras) for i in range(8)])
    assert all({1, 2} <= {track.id for tracks in found for track in tracks} for found in in_turn.values())
    assert len({str(found) for found in in_turn.values()}) > 3


def test_nothing_is_followed_unless_asked_for_nor_where_nobody_looks():
    assert _run(Pipeline(MODEL, FakeBackend(_two_cars(()))), [(0.9, 2)], 0).tracks == ()
    off = Pipeline(MODEL, FakeBackend(_two_cars(())), tracking=TrackingSettings(enabled=False))
    assert off.tracker is None and _run(off, [(0.9, 2)], 0).tracks == ()
    watched = Pipeline(MODEL, FakeBackend(_two_cars(())), tracking=TrackingSettings())
    assert _run(watched, [(0.9, 2)], 0, Wants(instances=False)).tracks == ()


def test_the_ground_of_things_is_in_the_frame_that_is_known():
    pipeline = Pipeline(MODEL, FakeBackend(_two_cars(())), tracking=TrackingSettings())
    assert _run(pipeline, [(0.9, 4)], 0).motion_frame == ""
    pipeline.set_camera(CAMERA, POSE)
    result = _run(pipeline, [(0.9, 4)], 1)
    assert result.motion_frame == "base" and result.tracks[0].ground is not None
    pipeline.set_camera(CAMERA, POSE, odometry=PlanarPose(100.0, 0.0, 0.0))
    result = _run(pipeline, [(0.9, 4)], 2)
    assert result.motion_frame == "odometry" and result.tracks[0].ground.foot_m[0] > 100.0


def test_the_own_vehicle_and_what_costs_say_tell_which_feet_are_hidden():
    pipeline = Pipeline(MODEL, FakeBackend(_two_cars(())), tracking=TrackingSettings())
    pipeline.set_camera(CAMERA, POSE)
    result = _run(pipeline, [(0.9, 4)], 0)
    assert result.tracks[0].ground is not None
    _, y, _, height = result.panoptic.segments[0].box
    hood = EgoMask.of_polygon("ego_polygon", (-9, y + height, 99, y + height, 99, 99, -9, 99))
    other = Pipeline(MODEL, FakeBackend(_two_cars(())), tracking=TrackingSettings())
    other.set_camera(CAMERA, POSE, hood)
    assert _run(other, [(0.9, 4)], 0).tracks[0].ground is None
    fence = MODEL.labels.by_name("fence").id
    assert other.tracker.hides[fence]
    other.configure(told=told(MODEL.labels, {"fence": 50}, ()))
    assert not other.tracker.hides[fence]
    other.configure(told=told(MODEL.labels, {}, ("upright: fence, building, pole",)))
    assert other.tracker.hides[fence]
    other.configure(told=told(MODEL.labels, {}, ("all that is no ground: fence, tree",)))
    assert not other.tracker.hides[fence], "trees are grass, too"


def test_settings_change_while_tracks_go_on():
    pipeline = Pipeline(MODEL, FakeBackend(_two_cars(())), tracking=TrackingSettings())
    before = _run(pipeline, [(0.9, 4)], 0).tracks[0].id
    pipeline.configure(tracking=TrackingSettings(birth_frames=1))
    track = _run(pipeline, [(0.9, 4)], 1).tracks[0]
    assert (track.id, track.state) == (before, "confirmed")


def test_each_camera_has_its_own_tracks():
    """As many pipelines as cameras, whose frames come in turn: each gives what it gives alone."""
    films = [[[(0.9, 2 + k + i // 4)] for i in range(12)] for k in range(4)]

    def tracks(pipeline, k, i):
        return _run(pipeline, films[k][i], i).tracks

    def make():
        return Pipeline(MODEL, FakeBackend(_two_cars(())), tracking=TrackingSettings())

    alone = []
    for k in range(4):
        pipeline = make()
        alone.append([tracks(pipeline, k, i) for i in range(12)])
    together = [make() for _ in range(4)]
    mixed = [[tracks(together[k], k, i) for k in range(4)] for i in range(12)]
    assert [[mixed[i][k] for i in range(12)] for k in range(4)] == alone
