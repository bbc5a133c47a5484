"""Steadier masks on the GPU, the kernels compiled for the CPU, against those that the CPU makes."""

from dataclasses import replace

import numpy as np
import pytest
from cuda_device import Device, some_labels
from fake_cuda import Machine
from fakes import tiny_model
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from seg_perception.backends.base import OnDevice
from seg_perception.backends.batches import Batches
from seg_perception.backends.cuda.driver import CAPTURED
from seg_perception.backends.onnx_runtime import OnnxRuntimeBackend
from seg_perception.errors import SegPerceptionError
from seg_perception.labels import CAMVID, LabelClass, LabelSet
from seg_perception.model_file import INPUT, OUTPUTS
from seg_perception.panoptic.steadier import Before, HostGrid, Steadier, TemporalSettings
from seg_perception.pipeline import Pipeline
from seg_perception.results import Frame, NetworkOutput, Wants

PERIOD_NS = 33_000_000
STRONG = TemporalSettings(strength=1.5)


def output(rng, count, classes, grid, smooth):
    """Of a network that is sure here and there."""
    logits = rng.normal(size=(count, classes, *grid)) * rng.choice([0.2, 3.0, 40.0])
    if smooth:  # regions, so that there are cells that no border is near
        logits = np.repeat(np.repeat(logits[:, :, ::4, ::4], 4, 2), 4, 3)[:, :, : grid[0], : grid[1]]
    zeros = np.zeros((count, 3, *grid), np.float32)
    return NetworkOutput(logits.astype(np.float32), zeros[:, :1], zeros[:, 1:])


def spoil(rng, logits):
    """Some cells are no numbers, or too large ones."""
    cells = rng.random(logits.shape[-2:]) < 0.05
    logits[:, :, cells] = rng.choice(
        np.float32([np.nan, np.inf, -np.inf, 3e38, -3e38]), (*logits.shape[:2], cells.sum())
    )


class Twins:
    """The grid's part on the host and on a GPU, of image `place` of several."""

    def __init__(self, library, labels, grid, count=1, stride=8, backwards=False):
        zeros = np.zeros((count, 3, *grid), np.float32)
        nothing = NetworkOutput(np.zeros((count, len(labels), *grid), np.float32), zeros[:, :1], zeros[:, 1:])
        self.device = Device(library, labels, nothing, backwards, stride)
        self.on_gpu, self.on_host = self.device.steps.steady_grid(labels), HostGrid(labels)

    def fuse(self, said, place, before):
        """The logits that the two make of it."""
        memory = self.device.steps.tensors[OUTPUTS[0]]
        memory.fill(said.semantic_logits)
        self.on_gpu.grey(OnDevice(place + 1), OnDevice(place + 1), place)
        _, where = self.on_gpu.fuse(OnDevice(place + 1), place, before)
        assert where == place
        self.device.steps.stream.synchronize()
        seen = self.device.runtime.array(memory.address, said.semantic_logits.shape, np.float32).copy()
        others = np.arange(len(seen)) != place
        assert np.array_equal(seen[others], said.semantic_logits[others], equal_nan=True)
        fused, where = self.on_host.fuse(said, place, before)
        return seen[place], fused.semantic_logits[where]


@hypothesis_settings(max_examples=80)
@given(
    classes=st.sampled_from([2, 3, 11, 70]),
    grid=st.sampled_from([(1, 1), (1, 9), (2, 3), (13, 21), (24, 40)]),
    count=st.integers(1, 3),
    smooth=st.booleans(),
    broken=st.booleans(),
    backwards=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_number_is_the_cpus_over_several_frames(library, classes, grid, count, smooth, broken, backwards, seed):
    rng = np.random.default_rng(seed)
    is_thing = rng.random(classes) < 0.3
    is_thing[:2] = False
    labels = LabelSet(tuple(LabelClass(i, f"c{i}", (i, i, i), thing=bool(thing)) for i, thing in enumerate(is_thing)))
    twins, place = Twins(library, labels, grid, count, backwards=backwards), count - 1
    for number in range(5):
        said = output(rng, count, classes, grid, smooth)
        if broken and number == 1:
            spoil(rng, said.semantic_logits)
        back = (rng.normal(size=(*grid, 2)) * rng.choice([0.0, 0.4, 5.0])).astype(np.float32)
        obstacles = rng.random(np.count_nonzero(~is_thing)) < 0.5
        before = Before(back, float(rng.uniform(0, 0.75)), float(rng.uniform(0.1, 10)), obstacles)
        seen, expected = twins.fuse(said, place, None if number in (0, 3) else before)
        if broken and number == 1:  # the decoder refuses it
            assert np.isfinite(seen).all() == np.isfinite(expected).all()
        else:
            assert np.array_equal(seen, expected)
    twins.device.steps.close()


@pytest.mark.parametrize("stride", [1, 2, 4, 8, 16, 32])
def test_the_grey_image_is_the_cpus_to_one_level(library, stride):
    rng, grid = np.random.default_rng(stride), (5, 7)
    twins = Twins(library, some_labels(3), grid, count=2, stride=stride)
    images = rng.integers(0, 256, (2, grid[0] * stride, grid[1] * stride, 3), dtype=np.uint8)
    twins.device.steps.tensors[INPUT].fill(images)
    zeros = np.zeros((1, 3, *grid), np.float32)
    for place in range(2):
        seen = twins.on_gpu.grey(OnDevice(2), OnDevice(2), place)
        expected = twins.on_host.grey(images[place : place + 1], NetworkOutput(zeros, zeros[:, :1], zeros[:, 1:]), 0)
        assert np.abs(seen.astype(int) - expected).max() <= 1 and len(np.unique(expected)) > 3


@pytest.fixture
def machine(library, tmp_path):
    return Machine(tiny_model(tmp_path / "tiny.onnx"), tmp_path / "cache", batch=2, library=library)


def drive(count, size_hw=(64, 96)):
    """Frames of the network's own size, which come through preprocessing unchanged: noise that moves to the right."""
    rng = np.random.default_rng(0)
    wide = rng.integers(0, 256, (size_hw[0], size_hw[1] + 4 * count, 3), dtype=np.uint8)
    return [
        Frame(np.ascontiguousarray(wide[:, 4 * (count - i) :][:, : size_hw[1]]), stamp_ns=(i + 1) * PERIOD_NS)
        for i in range(count)
    ]


def test_a_pipeline_steadies_its_masks_on_the_gpu_as_on_the_cpu(machine):
    backend = machine.backend()
    on_gpu = Pipeline(machine.model, backend, temporal=STRONG)
    on_cpu, alone = (
        Pipeline(machine.model, OnnxRuntimeBackend(machine.model), temporal=temporal)
        for temporal in (STRONG, TemporalSettings())
    )
    steadied = 0
    for frame in drive(8):
        seen, expected, single = (one.run(frame).panoptic.semantic.copy() for one in (on_gpu, on_cpu, alone))
        assert np.array_equal(seen, expected)
        steadied += np.count_nonzero(expected != single)
    assert steadied > 100, "the test would tell nothing"
    assert backend.describe()["cuda_graph"] == CAPTURED
    backend.close()
    assert not machine.runtime.held


def test_what_crosses_the_bus_besides_masks_is_a_small_grey_image_and_its_flow(machine):
    pipeline = Pipeline(machine.model, machine.backend(), temporal=STRONG)
    frames = drive(8)
    for frame in frames[:6]:
        pipeline.run(frame)
    runtime, (h, w) = machine.runtime, machine.model.grid_hw
    held, runtime.sent_bytes, runtime.fetched_bytes = runtime.held, 0, 0
    runtime.calls.clear()
    pipeline.run(frames[6])
    sent, fetched, calls = runtime.sent_bytes, runtime.fetched_bytes, list(runtime.calls)
    pipeline.configure(temporal=TemporalSettings())
    runtime.sent_bytes = runtime.fetched_bytes = 0
    pipeline.run(frames[7])
    stuff = np.count_nonzero(~CAMVID.is_thing[: len(CAMVID)])
    assert fetched - runtime.fetched_bytes == h * w and sent - runtime.sent_bytes == h * w * 8 + 8 + stuff
    assert calls.count("cudaGraphLaunch") == 5 and len(calls) == 8, "graphs and waits alone"
    assert runtime.held == held


def test_cameras_that_share_a_backend_keep_their_own_past(machine):
    """Each in any place of the batch."""
    backend, frames = machine.backend(), drive(6)
    streams = frames, [replace(frame, pixels=255 - frame.pixels) for frame in frames]
    cameras = [Pipeline(machine.model, backend, temporal=STRONG) for _ in streams]
    references = [Pipeline(machine.model, OnnxRuntimeBackend(machine.model), temporal=STRONG) for _ in streams]
    for number in range(6):
        order = (0, 1) if number % 2 else (1, 0)
        ready = [cameras[k].prepare(streams[k][number], Wants(), place=place) for place, k in enumerate(order)]
        for place, answer in Batches().answers(backend, [one.images for one in ready]):
            k = order[place]
            seen = cameras[k].decode(ready[place], answer).panoptic.semantic.copy()
            assert np.array_equal(seen, references[k].run(streams[k][number]).panoptic.semantic)


@pytest.mark.parametrize("call", ["cudaMalloc", "cudaHostAlloc", "cudaMemcpyAsync", "cudaStreamSynchronize"])
def test_after_a_first_frame_that_fails_the_next_are_as_without_it(machine, call):
    backend, frames = machine.backend(), drive(6)
    pipeline = Pipeline(machine.model, backend)
    pipeline.run(frames[0])  # so that it is the fusion's own call that fails
    pipeline.configure(temporal=STRONG)
    machine.runtime.fails.add(call)
    with pytest.raises(SegPerceptionError, match=call):
        pipeline.run(frames[0])
    machine.runtime.fails.clear()
    machine.runtime.clear()
    fresh = Pipeline(machine.model, OnnxRuntimeBackend(machine.model), temporal=STRONG)
    for frame in frames[1:]:
        assert np.array_equal(pipeline.run(frame).panoptic.semantic, fresh.run(frame).panoptic.semantic)


def test_what_a_frame_that_failed_half_way_left_is_not_the_past_of_the_next(machine):
    """Its fusion had begun, so what is kept of the frame before it has been written over in part."""
    frames = drive(6)
    pipeline = Pipeline(machine.model, machine.backend(), temporal=STRONG)
    pipeline.run(frames[0])
    machine.runtime.fails_after["cudaMemcpyAsync"] = 2  # image and grey come through, the flow does not
    with pytest.raises(SegPerceptionError, match="cudaMemcpyAsync"):
        pipeline.run(frames[1])
    machine.runtime.fails_after.clear()
    fresh = Pipeline(machine.model, OnnxRuntimeBackend(machine.model), temporal=STRONG)
    for frame in frames[2:]:
        assert np.array_equal(pipeline.run(frame).panoptic.semantic, fresh.run(frame).panoptic.semantic)


def test_a_closed_backend_says_so(machine):
    backend = machine.backend()
    grid = backend.device_steps().steady_grid(CAMVID)
    backend.close()
    with pytest.raises(RuntimeError, match="closed"):
        Steadier(CAMVID, STRONG, grid).steady(OnDevice(1), OnDevice(1), 0, PERIOD_NS)
