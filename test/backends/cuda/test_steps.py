"""The GPU's steps, their kernels compiled for the CPU, against the CPU's steps; and compiled for GPUs where NVRTC is."""

import ctypes
import gc
import re
import threading
import weakref
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import plain_panoptic as plain
import pytest
from cuda_device import ALL, EXTRA, Device, some_labels
from fake_cuda import Machine
from fakes import model_info, tiny_model
from hypothesis import given, settings
from hypothesis import strategies as st
from panoptic_cases import BEYOND_REACH, FAR, WHOLE_CELLS, network_output, network_outputs

from seg_perception import model_file
from seg_perception.backends.base import OnDevice
from seg_perception.backends.batches import Batches
from seg_perception.backends.cuda import kernels, steps
from seg_perception.backends.cuda.driver import Cuda, Transfer
from seg_perception.backends.cuda.kernels import compile_for
from seg_perception.backends.cuda.steps import CudaSteps
from seg_perception.backends.onnx_runtime import OnnxRuntimeBackend
from seg_perception.backends.shipped_models import SHIPPED_MODELS, find_model
from seg_perception.camera.messages import ImageReader
from seg_perception.camera.preprocess import Preprocessor
from seg_perception.errors import SegPerceptionError
from seg_perception.labels import VOID, LabelClass, LabelSet
from seg_perception.panoptic.decoder import PanopticDecoder, PanopticSettings
from seg_perception.pipeline import Pipeline
from seg_perception.results import Frame, NetworkOutput, Wants
from seg_perception.synthetic.drive import SyntheticDrive


def _same_regions(a, b):
    """Whether two instance masks show the same things, whatever their ids."""
    pairs = set(zip(a.ravel().tolist(), b.ravel().tolist()))
    return len({i for i, _ in pairs}) == len({j for _, j in pairs}) == len(pairs) and np.array_equal(a == 0, b == 0)


def test_graphs_are_told_while_settings_that_change_make_other_steps():
    """Diagnostics ask in a thread of their own."""
    made = CudaSteps(model_info(), None, None, {}, pytest.fail)
    kept, adding = (
        [made.preprocessor(), made.preprocessor()],
        threading.Thread(target=lambda: kept.append(made.preprocessor())),
    )

    class Watched(weakref.WeakSet):
        def __iter__(self):
            for step in super().__iter__():
                if not adding.ident:
                    adding.start()
                    adding.join(0.2)  # unless it waits for this
                yield step

    made._made = Watched(made._made)
    assert made.graphs() == []
    adding.join()
    assert len(made._steps()) == len(kept) == 3


# Masks


CASES = st.tuples(
    network_outputs(st.sampled_from([1, 2, 5, 32, 33, 70]), 80, (FAR, WHOLE_CELLS, BEYOND_REACH)), st.booleans()
)
"""And whether the kernels' threads run backwards."""


@settings(max_examples=150, deadline=None)
@given(case=CASES)
def test_masks_equal_the_plain_definition_on_every_pixel_in_whatever_order_threads_run(library, case):
    (output, size_hw), backwards = case
    logits = output.semantic_logits[0]
    labels = some_labels(len(logits))
    seen = Device(library, labels, output, backwards).decode(size_hw)
    semantic = plain.semantic(logits, size_hw)
    assert np.array_equal(seen.semantic, semantic)
    assert np.abs(seen.confidence - 255 * plain.confidence(logits, size_hw)).max() <= 0.51

    found = plain.centers(output.center_heatmap[0, 0], 1, 0.1, 200)
    things = labels.is_thing[logits.argmax(0)]
    nearest = plain.nearest_center(output.center_offset[0], things, found, size_hw, 8) * labels.is_thing[semantic]
    assert _same_regions(nearest, seen.instance)


@settings(max_examples=60, deadline=None)
@given(case=CASES, least=st.sampled_from([0.0, 0.05, 0.3]), most=st.sampled_from([1, 3, 40]))
def test_segments_are_those_of_the_cpu(library, case, least, most):
    (output, size_hw), backwards = case
    labels = some_labels(output.semantic_logits.shape[1])
    chosen = PanopticSettings(min_stuff_area=least, min_thing_area=least, max_instances=most)
    seen = Device(library, labels, output, backwards).decode(size_hw, chosen)
    expected = PanopticDecoder(labels, chosen).decode(output, 0, size_hw, 8, EXTRA)
    assert _same_regions(seen.instance, expected.instance)
    for segment in seen.segments:
        here = seen.instance == segment.id if segment.is_thing else seen.semantic == segment.class_id
        assert segment.is_thing or not labels.is_thing[segment.class_id]
        assert segment.score == pytest.approx(seen.confidence[here].mean() / 255)

    def facts(panoptic):
        return sorted((s.class_id, s.is_thing, s.area, s.box) for s in panoptic.segments)

    assert facts(seen) == facts(expected)
    assert [s.id for s in seen.segments] == list(range(1, len(seen.segments) + 1))


def test_a_class_that_wins_no_cell_can_win_between_them(library):
    """Road 4, person 3, car 0 on the left, the mirror image on the right. Person's 3 is most from 1/4 to 3/4 of the
    way, and of five pixels, which lie at 0, 1/10, 1/2, 9/10 and 1, only the middle one is there."""
    output = network_output(np.array([[[4.0, 0.0]], [[0.0, 4.0]], [[3.0, 3.0]]]))
    assert Device(library, some_labels(3), output).decode((1, 5)).semantic.tolist() == [[0, 0, 2, 1, 1]]


def test_unsure_pixels_become_void_and_belong_to_no_segment(library):
    """Logits 0 and log 3: probabilities 1/4 and 3/4, 191.25 of 255. Halfway to the mirror image both have 1/2."""
    side = np.log(3.0)
    output = network_output(np.array([[[side, 0.0]], [[0.0, side]]]), heatmap=[[0.0, 1.0]])
    chosen = PanopticSettings(min_confidence=0.7, min_stuff_area=0.0, max_instances=1)
    seen = Device(library, some_labels(2), output).decode((1, 3), chosen)
    assert seen.semantic.tolist() == [[0, VOID, 1]] and seen.instance.tolist() == [[0, 0, 1]]
    assert seen.confidence.tolist() == [[191, 128, 191]]
    assert [(s.class_id, s.area) for s in seen.segments] == [(1, 1), (0, 1)]


@settings(max_examples=100, deadline=None)
@given(case=CASES, least=st.sampled_from([0.05, 0.5, 0.8]), least_of_all=st.sampled_from([0.0, 0.0, 0.4]))
def test_ground_that_is_not_sure_is_that_of_the_cpu_on_every_pixel(library, case, least, least_of_all):
    (output, size_hw), backwards = case
    classes = output.semantic_logits.shape[1]
    labels = LabelSet(
        tuple(
            LabelClass(i, f"c{i}", (i, i, i), thing=i % 4 == 1, drivable_cost=i % 64 if i % 2 == 0 else -1)
            for i in range(classes)
        )
    )
    chosen, wants = PanopticSettings(min_ground_confidence=least, min_stuff_area=0.0), replace(EXTRA, ground=True)
    seen = Device(library, labels, output, backwards).decode(size_hw, chosen, wants)
    expected = PanopticDecoder(labels, chosen).decode(output, 0, size_hw, 8, wants)
    assert np.array_equal(seen.semantic, expected.semantic) and _same_regions(seen.instance, expected.instance)
    assert np.array_equal(seen.ground, expected.ground)
    assert np.abs(seen.confidence.astype(int) - expected.confidence).max() <= 1
    both = replace(chosen, min_confidence=least_of_all)
    again = Device(library, labels, output, backwards).decode(size_hw, both)
    assert np.array_equal(again.semantic, np.where(seen.confidence < np.ceil(255 * least_of_all), VOID, seen.semantic))


def test_equal_things_are_numbered_by_their_centres(library):
    """A row of six car cells of one confidence, centres at cells 1 and 4, the right one better."""
    logits = np.zeros((2, 1, 6))
    logits[1] = 3
    output = network_output(logits, heatmap=[[0, 0.9, 0, 0, 1.0, 0]])
    assert Device(library, some_labels(2), output).decode((1, 6)).instance.tolist() == [[2, 2, 2, 1, 1, 1]]


def test_without_centres_there_are_no_things_at_any_threshold(library):
    logits, none = np.random.default_rng(3).normal(size=(5, 6, 8)), np.zeros((2, 6, 8))
    every = PanopticSettings(center_threshold=0.0)
    panoptic = Device(library, some_labels(5), network_output(logits, none[0], none)).decode((48, 64), every)
    assert not panoptic.instance.any() and not any(segment.is_thing for segment in panoptic.segments)


def test_every_image_of_a_batch_has_its_own_masks(library):
    rng = np.random.default_rng(5)
    output = NetworkOutput(
        *(rng.normal(size=(3, channels, 4, 6)).astype(np.float32) for channels in (5, 1, 2)),
    )
    device = Device(library, some_labels(5), output)
    for index in range(3):
        expected = PanopticDecoder(some_labels(5), ALL).decode(output, index, (33, 47), 8, EXTRA)
        seen = device.decode((33, 47), index=index)
        assert np.array_equal(seen.semantic, expected.semantic) and _same_regions(seen.instance, expected.instance)
    with pytest.raises(IndexError):
        device.decode((33, 47), index=3)


@pytest.mark.parametrize(
    "wants",
    [
        Wants(instances=False, confidence=False, areas=False),
        Wants(instances=False, confidence=True, areas=False),
        Wants(instances=False, confidence=False, areas=True),
    ],
)
def test_what_nobody_wants_is_neither_computed_nor_fetched(library, wants):
    rng = np.random.default_rng(6)
    output = network_output(rng.normal(size=(3, 4, 6)), rng.random((4, 6)))
    device = Device(library, some_labels(3), output)
    seen = device.decode((33, 47), wants=wants)
    expected = PanopticDecoder(some_labels(3), ALL).decode(output, 0, (33, 47), 8, wants)
    assert np.array_equal(seen.semantic, expected.semantic) and seen.segments == expected.segments == ()
    assert not seen.instance.any() and bool(seen.confidence.any()) == bool(expected.confidence.any())
    assert "find_peaks" not in device.driver.launched and "renumber" not in device.driver.launched
    assert device.runtime.fetched_bytes == 8 + 33 * 47 * (2 if seen.confidence.any() else 1)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_outputs_that_are_not_finite_are_refused_by_their_name(library, bad):
    logits, heatmap, offset = np.zeros((2, 3, 4)), np.ones((3, 4)), np.zeros((2, 3, 4))
    logits[1, 2, 3] = bad
    with pytest.raises(SegPerceptionError, match="semantic_logits hold values that are not finite"):
        Device(library, some_labels(2), network_output(logits, heatmap, offset)).decode((24, 32))
    logits[1, 2, 3], offset[0, 1, 1] = 0, bad
    with pytest.raises(SegPerceptionError, match="center_offset hold values that are not finite"):
        Device(library, some_labels(2), network_output(logits, heatmap, offset)).decode((24, 32))
    offset[0, 1, 1], heatmap[1, 1] = 0, bad
    with pytest.raises(SegPerceptionError, match="center_heatmap hold values that are not finite"):
        Device(library, some_labels(2), network_output(logits, heatmap, offset)).decode((24, 32))


# Network input


def _picture(height, width):
    ys, xs = np.mgrid[:height, :width]
    waves = [np.sin(xs * 9 / width + i) * np.cos(ys * 7 / height - i) for i in range(3)]
    return np.rint(127.5 + 120 * np.stack(waves, -1)).astype(np.uint8)


@pytest.fixture
def machine(library, tmp_path):
    return Machine(tiny_model(tmp_path / "tiny.onnx"), tmp_path / "cache", library=library)


def _network_input(machine, backend, frame):
    preprocess = backend.device_steps().preprocessor()
    preprocess(frame)
    machine.runtime.cudaStreamSynchronize(*machine.runtime.streams)
    return machine.runtime.array(backend.device_steps().tensors["image"].address, (64, 96, 3), np.uint8).copy()


def test_an_image_of_the_networks_size_comes_through_unchanged(machine):
    rgb = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    assert np.array_equal(_network_input(machine, machine.backend(), Frame(rgb)), rgb)


SIZES = [(1, 1), (37, 51), (127, 191), (128, 192), (129, 193), (300, 400), (600, 900), (500, 1), (64, 900)]


@pytest.mark.parametrize("size", SIZES)
def test_every_size_comes_to_what_the_cpu_makes_of_it(machine, size):
    frame = Frame(_picture(*size))
    seen = _network_input(machine, machine.backend(), frame).astype(int)
    assert np.abs(seen - Preprocessor((64, 96))(frame)[0]).max() <= 1


def _message(encoding, pixels):
    height, width = pixels.shape[:2]
    data = np.pad(pixels.reshape(height, -1), ((0, 0), (0, 5)))
    return SimpleNamespace(
        encoding=encoding, height=height, width=width, step=data.shape[1], is_bigendian=0, data=data.tobytes()
    )


@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "rgba8", "bgra8", "mono8"])
def test_packed_pixels_are_sent_as_they_came(machine, encoding):
    rgb = _picture(150, 200)
    alpha = np.full((150, 200, 1), 9, np.uint8)
    color = np.concatenate([rgb[..., ::-1] if encoding.startswith("bgr") else rgb, alpha], -1)
    pixels = rgb[..., 0] if encoding == "mono8" else color[..., : len(encoding) - 1]
    frame = Frame(ImageReader().read(_message(encoding, pixels)))
    backend = machine.backend()
    machine.runtime.sent_bytes = 0
    seen = _network_input(machine, backend, frame).astype(int)
    assert machine.runtime.sent_bytes == pixels.size and "rgb" not in vars(frame)
    assert np.abs(seen - Preprocessor((64, 96))(frame)[0]).max() <= 1


def test_other_pixels_are_sent_at_the_networks_size_and_a_change_of_encoding_is_followed(machine):
    backend = machine.backend()
    preprocess = backend.device_steps().preprocessor()
    bgr = _picture(128, 192)
    for encoding, pixels in (("bgr8", bgr), ("rgb8", bgr), ("yuyv", bgr[..., :2]), ("bgr8", bgr)):
        frame = Frame(ImageReader().read(_message(encoding, pixels)))
        machine.runtime.sent_bytes = 0
        preprocess(frame)
        machine.runtime.cudaStreamSynchronize(*machine.runtime.streams)
        seen = machine.runtime.array(backend.device_steps().tensors["image"].address, (64, 96, 3), np.uint8)
        assert np.abs(seen.astype(int) - Preprocessor((64, 96))(frame)[0]).max() <= 1
        assert machine.runtime.sent_bytes == (64 * 96 * 3 if encoding == "yuyv" else bgr.size)


def test_an_empty_image_is_refused_with_its_size(machine):
    with pytest.raises(SegPerceptionError, match="640x0"):
        machine.backend().device_steps().preprocessor()(Frame(np.zeros((0, 640, 3), np.uint8)))


# A frame's whole way


def test_a_pipeline_takes_the_gpus_steps_and_gives_what_the_cpu_gives(machine):
    backend = machine.backend()
    gpu, cpu = Pipeline(machine.model, backend), Pipeline(machine.model, OnnxRuntimeBackend(machine.model))
    for size in ((100, 150), (60, 90), (100, 150)):
        frame = Frame(_picture(*size))
        seen, expected = gpu.run(frame).panoptic, cpu.run(frame).panoptic
        assert np.mean(seen.semantic != expected.semantic) < 0.01
        assert np.abs(seen.confidence.astype(int) - expected.confidence).mean() < 1
    assert backend.describe()["masks"] == "GPU"
    backend.close()


def test_cameras_that_share_a_backend_keep_their_own_masks(machine):
    backend = machine.backend()
    first, second = Pipeline(machine.model, backend), Pipeline(machine.model, backend)
    kept = first.run(Frame(_picture(100, 150))).panoptic
    before = kept.semantic.copy(), kept.confidence.copy()
    second.run(Frame(255 - _picture(100, 150)))
    assert np.array_equal(kept.semantic, before[0]) and np.array_equal(kept.confidence, before[1])


def test_images_of_a_batch_come_from_several_cameras_and_leave_as_masks_of_each(library, tmp_path):
    machine = Machine(tiny_model(tmp_path / "tiny.onnx"), tmp_path / "cache", batch=2, library=library)
    backend, labels = machine.backend(), machine.model.labels
    frames = [Frame(_picture(100, 150)), Frame(255 - _picture(60, 90))]
    alone = [Pipeline(machine.model, backend).run(frame).panoptic for frame in frames]
    steps = backend.device_steps()
    cameras = [(steps.preprocessor(), steps.decoder(labels, PanopticSettings())) for _ in frames]
    for index, (frame, (preprocess, _)) in enumerate(zip(frames, cameras)):
        images = preprocess(frame, index)
    output = backend.infer(images)
    for index, (_, decoder) in enumerate(cameras):
        seen = decoder.decode(output, index, frames[index].size_hw, machine.model.stride, Wants())
        assert np.array_equal(seen.semantic, alone[index].semantic)
        assert np.array_equal(seen.instance, alone[index].instance) and seen.segments == alone[index].segments


def test_pipelines_of_several_cameras_go_through_one_run_in_any_order(library, tmp_path):
    """A camera's place in the batch may be another each time, which costs no memory once each is a graph."""
    machine = Machine(tiny_model(tmp_path / "tiny.onnx"), tmp_path / "cache", batch=2, library=library)
    backend = machine.backend()
    frames = [Frame(_picture(100, 150)), Frame(255 - _picture(60, 90))]
    cameras = [Pipeline(machine.model, backend) for _ in frames]
    alone = [camera.run(frame).panoptic for camera, frame in zip(cameras, frames)]
    alone = [replace(one, semantic=one.semantic.copy(), instance=one.instance.copy()) for one in alone]
    held = []
    for order in ((0, 1), (1, 0)) * 3:
        ready = [cameras[k].prepare(frames[k], Wants(), place=place) for place, k in enumerate(order)]
        for place, answer in Batches().answers(backend, [one.images for one in ready]):
            seen, expected = cameras[order[place]].decode(ready[place], answer).panoptic, alone[order[place]]
            assert np.array_equal(seen.semantic, expected.semantic)
            assert np.array_equal(seen.instance, expected.instance) and seen.segments == expected.segments
        held.append(machine.runtime.held)
    assert held[4:] == [held[3]] * 2


def test_per_frame_three_graphs_run_and_only_masks_come_back(machine):
    pipeline = Pipeline(machine.model, machine.backend())
    frame = Frame(_picture(100, 150))
    pipeline.run(frame)
    pipeline.run(frame)
    held = machine.runtime.held
    machine.runtime.calls.clear()
    machine.runtime.fetched_bytes = 0
    pipeline.run(frame)
    assert machine.runtime.calls == [
        *("cudaGraphLaunch", "cudaGraphLaunch", "cudaStreamSynchronize"),
        *("cudaGraphLaunch", "cudaStreamSynchronize"),
    ]
    tally = (PanopticSettings().max_instances + 1) * 11 * 6 * 8
    assert machine.runtime.fetched_bytes == 100 * 150 * (1 + 1 + 2) + tally + 8 and machine.runtime.held == held


def test_a_shipped_model_gives_the_masks_that_the_cpu_makes_of_itsnetwork_output(library):
    model = model_file.load(find_model(SHIPPED_MODELS["onnxruntime"], "onnxruntime"))
    output = OnnxRuntimeBackend(model).infer(Preprocessor(model.size_hw)(Frame(SyntheticDrive(320, 180).frame(0).rgb)))
    expected = PanopticDecoder(model.labels, PanopticSettings()).decode(output, 0, (180, 320), model.stride, EXTRA)
    seen = Device(library, model.labels, output, stride=model.stride).decode((180, 320), PanopticSettings())
    assert len(np.unique(expected.semantic)) > 3 and expected.instance.max() > 1
    assert np.array_equal(seen.semantic, expected.semantic) and _same_regions(seen.instance, expected.instance)
    differ = np.abs(seen.confidence.astype(int) - expected.confidence)
    assert differ.max() <= 1 and np.mean(differ > 0) < 0.01


def test_a_change_of_size_takes_no_memory_unless_it_is_the_largest_so_far(machine):
    pipeline = Pipeline(machine.model, machine.backend())
    expected = {}
    calls = machine.runtime.calls
    for size in ((100, 150), (60, 90), (61, 83), (100, 150), (60, 90)):
        frame = Frame(_picture(*size))
        calls.clear()
        for _ in range(3):
            seen = pipeline.run(frame).panoptic
            masks = seen.semantic.tolist(), seen.instance.tolist(), seen.confidence.tolist(), seen.segments
            assert expected.setdefault(size, masks) == masks
        taken = calls.count("cudaMalloc"), calls.count("cudaHostAlloc")
        assert taken == (0, 0) if len(expected) > 1 else taken > (0, 0)
    pipeline.run(Frame(_picture(120, 160)))
    assert (calls.count("cudaMalloc"), calls.count("cudaHostAlloc")) == (8, 4), (
        "what lies on the grid stays where it is"
    )


def test_a_size_that_is_seen_once_costs_no_capture(machine):
    backend = machine.backend()
    backend.warm_up()
    pipeline = Pipeline(machine.model, backend)
    machine.runtime.calls.clear()
    for height in range(40, 44):
        pipeline.run(Frame(_picture(height, 50)))
    assert "cudaStreamBeginCapture" not in machine.runtime.calls


def test_a_size_changes_after_a_frame_that_was_left_half_way(machine):
    """Its copy is still queued: to free what that copies from would crash a GPU."""
    backend = machine.backend()
    backend.warm_up()
    preprocess = backend.device_steps().preprocessor()
    for size in ((60, 90), (30, 40), (70, 90)):
        preprocess(Frame(_picture(*size)))
        preprocess(Frame(_picture(*size)))
    backend.close()
    assert machine.runtime.held == {}


def test_facts_tell_of_every_step_that_runs_without_a_graph(machine):
    backend = machine.backend()
    backend.warm_up()
    assert backend.describe()["cuda_graph"] == "captured"
    pipeline = Pipeline(machine.model, backend)
    frame = Frame(_picture(100, 150))
    pipeline.run(frame)
    assert backend.describe()["cuda_graph"] == "decode: not captured yet; preprocess: not captured yet"
    machine.runtime.fails.add("cudaGraphInstantiate")
    pipeline.run(frame)
    assert re.fullmatch(
        "decode: none: .*cudaGraphInstantiate.*; preprocess: none: .*", backend.describe()["cuda_graph"]
    )
    machine.runtime.fails.clear()
    for _ in range(2):
        pipeline.run(frame)
    assert backend.describe()["cuda_graph"] == "captured"


@pytest.mark.parametrize("call", ["cudaStreamSynchronize", "cudaGraphExecDestroy", "cudaFree"])
def test_closing_goes_on_through_all_steps_when_a_call_fails(machine, call):
    backend = machine.backend()
    pipeline = Pipeline(machine.model, backend)
    for _ in range(2):
        pipeline.run(Frame(_picture(100, 150)))
    machine.runtime.fails_after[call] = 0
    with pytest.raises(SegPerceptionError, match=call):
        backend.close()
    backend.close()
    del pipeline
    gc.collect()
    lost = {"cudaGraphExecDestroy": {"executables": 1}, "cudaFree": {"device": 1}}
    assert machine.runtime.held == lost.get(call, {}) and not machine.driver.modules
    with pytest.raises(RuntimeError, match="closed"):
        backend.infer(OnDevice(1))


def test_new_settings_take_effect_and_the_old_buffers_are_given_back(machine):
    pipeline = Pipeline(machine.model, machine.backend())
    frame = Frame(_picture(100, 150))
    pipeline.run(frame)
    pipeline.run(frame)
    held = machine.runtime.held
    pipeline.configure(panoptic=PanopticSettings(min_confidence=1.0))
    for _ in range(2):
        assert (pipeline.run(frame).panoptic.semantic == VOID).all()
    assert machine.runtime.held == held


def test_masks_outlive_the_decoder_that_made_them(machine):
    backend = machine.backend()
    pipeline = Pipeline(machine.model, backend)
    semantic = pipeline.run(Frame(_picture(100, 150))).panoptic.semantic
    kept = semantic.copy()
    backend.close()
    del pipeline
    assert np.array_equal(semantic, kept) and machine.runtime.held == {"host": 1}
    del semantic
    assert not machine.runtime.held


def test_a_closed_backend_says_so_before_anything_is_allocated(machine):
    backend = machine.backend()
    steps = backend.device_steps()
    preprocess, decoder = steps.preprocessor(), steps.decoder(machine.model.labels, ALL)
    backend.close()
    for use in (
        lambda: preprocess(Frame(_picture(10, 10))),
        lambda: decoder.decode(OnDevice(1), 0, (10, 10), 8, EXTRA),
        lambda: backend.infer(OnDevice(1)),
    ):
        with pytest.raises(RuntimeError, match="closed"):
            use()
    assert not machine.runtime.held and not machine.driver.modules


@pytest.mark.parametrize("call", ["cudaMalloc", "cudaHostAlloc", "cudaMemcpyAsync"])
def test_a_frame_that_fails_half_way_leaves_nothing_behind_and_the_next_one_runs(machine, call):
    backend = machine.backend()
    backend.warm_up()
    pipeline = Pipeline(machine.model, backend)
    frame = Frame(_picture(20, 30))
    for number in range(100):
        machine.runtime.fails_after[call] = number
        try:
            pipeline.run(frame)
        except SegPerceptionError as error:
            assert call in str(error)
            continue
        break
    assert number >= 1
    machine.runtime.fails_after.clear()
    assert pipeline.run(frame).panoptic.semantic.shape == (20, 30)
    backend.close()
    del pipeline
    assert not machine.runtime.held


# A real GPU, where there is one


@pytest.fixture(scope="module")
def gpu():
    pytest.importorskip("cuda.bindings", reason="cuda-bindings is not installed")
    try:
        return Cuda().gpu()
    except SegPerceptionError as error:
        pytest.skip(f"no GPU: {error}")


@pytest.mark.parametrize("kind", ["noise", "few values"])
def test_a_real_gpu_makes_the_masks_that_the_cpu_makes(gpu, kind):
    rng = np.random.default_rng(7)
    shape = (19, 64, 128)
    logits = rng.normal(size=shape) * 5 if kind == "noise" else rng.integers(0, 3, shape)
    output = network_output(logits, rng.random((64, 128)), rng.normal(size=(2, 64, 128)) * 30)
    expected = PanopticDecoder(some_labels(19), ALL).decode(output, 0, (720, 1280), 8, EXTRA)
    device = Device(None, some_labels(19), output)
    decoder = device.steps.decoder(device.labels, ALL)
    for _ in ("call by call", "as a graph"):
        seen = decoder.decode(OnDevice(1), 0, (720, 1280), 8, EXTRA)
        assert np.array_equal(seen.semantic, expected.semantic) and _same_regions(seen.instance, expected.instance)
        assert np.abs(seen.confidence.astype(int) - expected.confidence).max() <= 1


def test_a_real_gpu_resizes_as_the_cpu_does(gpu):
    device = Device(None, some_labels(2), network_output(np.zeros((2, 8, 12))))
    frame = Frame(_picture(600, 900))
    preprocess = device.steps.preprocessor()
    seen = Transfer(device.steps.stream, (64, 96, 3), np.uint8)
    for _ in ("call by call", "as a graph"):
        preprocess(frame)
        kind = device.steps.stream.cuda.runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
        source = device.steps.tensors["image"].address
        device.steps.stream.copy(seen.array.ctypes.data, source, seen.bytes, kind)
        device.steps.stream.synchronize()
        assert np.abs(seen.array.astype(int) - Preprocessor((64, 96))(frame)[0]).max() <= 1


# Compilation


def test_without_kernels_the_masks_are_made_on_the_cpu_and_it_is_said(machine):
    machine.nvrtc = None
    backend = machine.backend()
    assert backend.device_steps() is None
    assert "install it" in backend.describe()["masks"] and "masks are made on the CPU" in machine.lines[-1]
    frame = Frame(_picture(100, 150))
    expected = Pipeline(machine.model, OnnxRuntimeBackend(machine.model)).run(frame).panoptic
    assert np.array_equal(Pipeline(machine.model, backend).run(frame).panoptic.semantic, expected.semantic)


def test_what_the_compiler_says_is_told_and_nothing_is_kept(machine):
    machine.nvrtc.compile_error = 6
    assert "fake error 6" in machine.backend().describe()["masks"] and "log" in machine.lines[-1]
    assert not machine.nvrtc.programs
    machine.nvrtc.compile_error, machine.driver.load_error = 0, 3
    assert "cuModuleLoadData failed (fake error 3)" in machine.backend().describe()["masks"]


def test_rounding_on_the_gpu_is_that_of_the_cpu(machine):
    machine.backend()
    assert machine.nvrtc.options == [b"--gpu-architecture=sm_86", b"--std=c++14", b"--fmad=false"]


def test_numbers_that_stand_in_the_source_too_are_the_same():
    source = kernels.source()
    for name in ("TALLY_RUN", "LOGITS_NOT_FINITE", "OFFSET_NOT_FINITE", "HEATMAP_NOT_FINITE"):
        assert re.search(rf"#define {name} (\d+)", source)[1] == str(getattr(steps, name))
    for structure in kernels.STRUCTS:
        body = re.search(rf"struct {structure.__name__} {{(.*?)\n}};", source, re.S)[1]
        code = re.sub(r"//.*", "", body)
        fields = [
            (name, ctypes.c_void_p if "*" in star else {"double": ctypes.c_double}.get(kind, ctypes.c_int))
            for kind, names in re.findall(r"(?:const )?(\w+) ([^;]+);", code)
            for star, name in re.findall(r"(\*?)(\w+)", names)
        ]
        assert fields == structure._fields_


@pytest.fixture(scope="module")
def nvrtc():
    nvrtc = pytest.importorskip("cuda.bindings.nvrtc", reason="cuda-bindings is not installed")
    try:
        nvrtc.nvrtcVersion()
    except (RuntimeError, OSError) as error:
        pytest.skip(f"NVRTC is not installed: {error}")
    return nvrtc


@pytest.mark.parametrize("compute_capability", ["8.7", "11.0", "12.1"], ids=["Orin", "Thor", "DGX Spark"])
def test_the_kernels_compile_for_gpus_of_robots(nvrtc, compute_capability):
    code = compile_for(compute_capability, nvrtc)
    assert code[:4] == b"\x7fELF" and b"paint_masks" in code and b"resize_image" in code


def test_a_gpu_that_the_compiler_does_not_know_is_named(nvrtc):
    with pytest.raises(SegPerceptionError, match=r"NVRTC's nvrtcCompileProgram failed.*6\.1"):
        compile_for("6.1", nvrtc)
