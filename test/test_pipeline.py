from dataclasses import replace

import numpy as np
import pytest
from fakes import FakeBackend, empty_output, model_info, tiny_model

from seg_perception import backends
from seg_perception.camera_model import CameraModel, CameraPose
from seg_perception.errors import BackendError, SegPerceptionError
from seg_perception.ground.drivable import DrivableSettings
from seg_perception.ground.maps import OBSTACLE
from seg_perception.labels import VOID
from seg_perception.model_file import OUTPUTS
from seg_perception.panoptic.decoder import PanopticSettings
from seg_perception.panoptic.relabel import told
from seg_perception.panoptic.steadier import TemporalSettings
from seg_perception.pipeline import STAGES, Pipeline
from seg_perception.results import Frame, Wants
from seg_perception.tracking.settings import TrackingSettings

MODEL = model_info()
CAMERA = CameraModel.from_matrices(
    120, 80, "plumb_bob", [0.0] * 5, [100.0, 0, 60, 0, 100, 40, 0, 0, 1], np.eye(3).ravel().tolist(), [0.0] * 12
)
POSE = CameraPose(x=0.0, y=0.0, z=1.5, roll=0.0, pitch=0.3, yaw=0.0)


def _road_below(images):
    """Road (class 3) in the lower half, sky above; a car (8) with its centre in the lower left."""
    output = empty_output(MODEL, len(images))
    output.semantic_logits[:, 3, 4:] = 20
    output.semantic_logits[:, 8, 4:6, 0:3] = 30
    output.center_heatmap[:, 0, 5, 1] = 0.9
    return output


def _frame(height=80, width=120):
    rng = np.random.default_rng(0)
    return Frame(rng.integers(0, 256, (height, width, 3), dtype=np.uint8), stamp_ns=5, frame_id="camera")


def test_a_frame_goes_through_every_step_and_comes_out_at_the_cameras_size():
    backend = FakeBackend(_road_below)
    frame = _frame()
    result = Pipeline(MODEL, backend).run(frame)
    assert backend.images.shape == (1, 64, 96, 3) and backend.runs == 1
    assert result.frame is frame
    assert result.panoptic.semantic.shape == (80, 120)
    assert result.panoptic.semantic[0, 0] == 0 and result.panoptic.semantic[-1, -1] == 3
    assert [(s.class_id, s.id) for s in result.panoptic.segments if s.is_thing] == [(8, 1)]
    assert [area.class_id for area in result.drivable.areas] == [3]


def test_the_time_of_every_stage_is_told_in_the_order_of_the_path():
    result = Pipeline(MODEL, FakeBackend(_road_below)).run(_frame())
    assert tuple(result.stages_ms) == STAGES == ("preprocess", "network", "decode", "drivable", "tracking")
    assert all(time > 0 for time in result.stages_ms.values())


def test_masks_have_the_size_that_is_asked_for():
    pipeline = Pipeline(MODEL, FakeBackend(_road_below), mask_hw=(20, 30))
    assert pipeline.run(_frame()).panoptic.semantic.shape == (20, 30)


def test_the_camera_may_change_its_resolution():
    pipeline = Pipeline(MODEL, FakeBackend(_road_below))
    for size in ((80, 120), (60, 60), (80, 120)):
        assert pipeline.run(_frame(*size)).panoptic.semantic.shape == size


def test_settings_change_between_frames():
    pipeline = Pipeline(MODEL, FakeBackend(_road_below))
    assert pipeline.run(_frame()).panoptic.instance.any()
    pipeline.configure(panoptic=PanopticSettings(center_threshold=0.95))
    assert not pipeline.run(_frame()).panoptic.instance.any()
    pipeline.configure(drivable=DrivableSettings(resolution_m=0.2))
    assert not pipeline.run(_frame()).panoptic.instance.any()


def test_things_are_followed_as_the_class_that_they_are_told_as_from_now_on():
    pipeline = Pipeline(MODEL, FakeBackend(_road_below), tracking=TrackingSettings())

    def thing(i):
        segments = pipeline.run(replace(_frame(), stamp_ns=10**9 + i * 10**8)).panoptic.segments
        return next(segment for segment in segments if segment.is_thing)

    assert {thing(i).track.class_id for i in range(3)} == {8}
    pipeline.configure(told=told(MODEL.labels, {}, ["two-tracked: bicyclist, car"]))
    found = thing(3)
    assert (found.class_id, found.track.class_id, found.track.id) == (10, 10, 1)


def test_ground_comes_and_goes_with_the_calibration():
    pipeline = Pipeline(MODEL, FakeBackend(_road_below))
    assert pipeline.run(_frame()).drivable.grid is None and pipeline.ground_problem
    pipeline.set_camera(CAMERA, POSE)
    result = pipeline.run(_frame())
    assert result.drivable.grid is not None and result.drivable.free_space is not None
    assert pipeline.ground_problem is None
    pipeline.configure(drivable=DrivableSettings(resolution_m=0.2))
    assert pipeline.run(_frame()).drivable.grid.resolution_m == 0.2
    pipeline.set_camera(None, None)
    assert pipeline.run(_frame()).drivable.grid is None


def test_what_nobody_watches_is_not_made():
    pipeline = Pipeline(MODEL, FakeBackend(_road_below))
    pipeline.set_camera(CAMERA, POSE)
    result = pipeline.run(_frame(), Wants(False, False, False, False, False))
    assert result.panoptic.semantic.any() and not result.panoptic.instance.any()
    assert not result.drivable.areas and result.drivable.grid is None and result.drivable.free_space is None


def test_warming_up_runs_the_backend_and_the_steps():
    backend = FakeBackend(_road_below)
    pipeline = Pipeline(MODEL, backend)
    pipeline.warm_up()
    assert backend.runs == 2
    assert pipeline.run(_frame()).drivable.grid is None, "the camera of the warm-up is forgotten"


@pytest.mark.parametrize(
    ("raised", "words", "cause"),
    [
        (RuntimeError("the GPU is gone"), r"the network failed \(RuntimeError: the GPU is gone\)", "backend_failed"),
        (SegPerceptionError("TensorRT cannot run it"), "^TensorRT cannot run it$", "backend_failed"),
        (BackendError("it hangs", "backend_hangs"), "^it hangs$", "backend_hangs"),
    ],
)
def test_an_error_of_the_backend_is_told_from_one_of_the_image(raised, words, cause):
    def fail(images):
        raise raised

    with pytest.raises(BackendError, match=words) as told:
        Pipeline(MODEL, FakeBackend(fail)).run(_frame())
    assert told.value.cause == cause


@pytest.mark.parametrize("name", OUTPUTS)
def test_a_mask_is_never_made_of_what_is_no_number_nor_the_one_before_given_again(name):
    """Wherever in the output it is, and with the masks of the frame before still in the buffers."""
    at = [None]

    def answer(images):
        output = _road_below(images)
        if at[0] is not None:
            getattr(output, name)[0, -1].flat[at[0]] = np.nan
        return output

    pipeline = Pipeline(MODEL, FakeBackend(answer))
    pipeline.run(_frame())
    for place in (0, 40, 95):
        at[0] = place
        with pytest.raises(BackendError, match=f"the network's {name} hold values that are not finite") as told:
            pipeline.run(_frame())
        assert told.value.cause == "not_finite"
    at[0] = None
    assert pipeline.run(_frame()).panoptic.segments


def test_a_real_model_file_runs_from_frame_to_masks(tmp_path):
    model = tiny_model(tmp_path / "tiny.onnx")
    backend = backends.choose(model, backend="onnxruntime", log=lambda line: None)
    result = Pipeline(model, backend).run(_frame())
    assert len(np.unique(result.panoptic.semantic)) > 1 and (result.panoptic.semantic != VOID).all()
    backend.close()


def test_a_frame_may_be_placed_after_the_next_one_is_seen():
    """In another slot: its masks, its calibration and its settings are as they were when it was seen."""
    pipeline = Pipeline(MODEL, FakeBackend(_road_below), slots=2)
    alone = Pipeline(MODEL, FakeBackend(_road_below))
    for each in (pipeline, alone):
        each.set_camera(CAMERA, POSE)
    expected = alone.run(_frame())
    first = pipeline.see(_frame(), slot=0)
    pipeline.set_camera(None, None)
    pipeline.configure(drivable=DrivableSettings(resolution_m=0.2))
    pipeline.backend._answer = lambda images: empty_output(MODEL, len(images))
    second = pipeline.see(_frame(), slot=1)

    result = pipeline.place(first)
    assert np.array_equal(result.panoptic.semantic, expected.panoptic.semantic)
    assert np.array_equal(result.panoptic.instance, expected.panoptic.instance)
    assert np.array_equal(result.drivable.grid.cells, expected.drivable.grid.cells)
    assert pipeline.ground_problem is None and pipeline.projection is not None
    assert tuple(result.stages_ms) == STAGES

    result = pipeline.place(second)
    assert not result.panoptic.semantic.any() and result.drivable.grid is None
    assert "not calibrated" in pipeline.ground_problem and pipeline.projection is None


def test_ground_that_is_not_sure_is_what_is_told_as_ground():
    """Road with half of the probability, the rest sky's: sky, and road again once road is told as no ground."""

    def unsure(images):
        output = empty_output(MODEL, len(images))
        output.semantic_logits[:, [0, 3]] = 20
        output.semantic_logits[:, 3, 4:] += 1e-3
        return output

    pipeline = Pipeline(MODEL, FakeBackend(unsure), panoptic=PanopticSettings(min_ground_confidence=0.6))
    assert set(np.unique(pipeline.run(_frame()).panoptic.semantic)) == {0}
    pipeline.configure(told=told(MODEL.labels, {"road": -1}, []))
    assert set(np.unique(pipeline.run(_frame()).panoptic.semantic)) == {0, 3}
    pipeline.configure(told=told(MODEL.labels, {}, []), panoptic=PanopticSettings(min_ground_confidence=0.4))
    assert set(np.unique(pipeline.run(_frame()).panoptic.semantic)) == {0, 3}


@pytest.mark.parametrize("when", ["at first", "meanwhile"])
def test_what_is_told_as_no_ground_is_never_held_back_by_steadier_masks(when):
    """Road that turns into pavement, barely: at once where pavement is told as an obstacle, and held where it is ground."""
    frames = []

    def barely(images):
        output = empty_output(MODEL, len(images))
        output.semantic_logits[:] = 0
        output.semantic_logits[:, 3 if len(frames) % 2 == 0 else 4] = 1
        frames.append(0)
        return output

    no_ground = told(MODEL.labels, {"pavement": -1}, [])
    given = {"told": no_ground} if when == "at first" else {}
    pipeline = Pipeline(MODEL, FakeBackend(barely), temporal=TemporalSettings(5.0), **given)

    def second_of_two(begin_ns):
        stamps = (begin_ns, begin_ns + 33_000_000)
        return [pipeline.run(replace(_frame(), stamp_ns=ns)).panoptic.semantic[0, 0] for ns in stamps][1]

    if when == "meanwhile":
        assert second_of_two(10**9) == 3
        pipeline.configure(told=no_ground)
    assert second_of_two(6 * 10**9) == 4


def test_ground_that_is_not_sure_costs_no_obstacle_its_foot():
    """The car's foot is where road is sure of itself on one side only: unlabelled pixels there would hide the car."""

    def marked(**asked):
        pipeline = Pipeline(MODEL, FakeBackend(_road_below), panoptic=PanopticSettings(**asked))
        pipeline.set_camera(CAMERA, POSE)
        return int((pipeline.run(_frame()).drivable.grid.cells == OBSTACLE).sum())

    assert marked(min_ground_confidence=0.9) > 0.8 * marked() > 0
    assert marked(min_confidence=0.9) < 0.2 * marked()


def test_a_merged_class_has_all_its_pixels_though_one_part_is_too_small_for_a_segment():
    """Sky is half of the mask and building less than a tenth; together they are one segment of both."""

    def with_a_speck(images):
        output = _road_below(images)
        output.semantic_logits[:, 1, 1:3, 1:3] = 40
        return output

    pipeline = Pipeline(
        MODEL,
        FakeBackend(with_a_speck),
        panoptic=PanopticSettings(min_stuff_area=0.1),
        told=told(MODEL.labels, {}, ["backdrop: sky, building"]),
    )
    panoptic = pipeline.run(_frame()).panoptic
    assert 0 < (Pipeline(MODEL, FakeBackend(with_a_speck)).run(_frame()).panoptic.semantic == 1).mean() < 0.1
    (area,) = [s.area for s in panoptic.segments if s.class_id == 0]
    assert area == (panoptic.semantic == 0).sum()


def test_warming_up_leaves_no_trace_in_what_is_said_of_tracks():
    """Its image has no stamp, which diagnostics told of cameras whose images all have one."""
    pipeline = Pipeline(MODEL, FakeBackend(_road_below), tracking=TrackingSettings())
    pipeline.warm_up()
    assert pipeline.tracker is not None and not pipeline.tracker.restarts and pipeline.tracker.reason == ""
    assert len(pipeline.run(_frame()).tracks) == 1


def test_every_slot_is_warm():
    backend = FakeBackend(_road_below)
    Pipeline(MODEL, backend, slots=2).warm_up()
    assert backend.runs == 1 + 2
