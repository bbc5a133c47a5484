"""Whole frames as the node runs them, but for the network: three graphs a frame, the same masks every time, memory that
stays, sizes that change, and masks that are steadied."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from seg_perception.backends.cuda.driver import CAPTURED, Cuda
from seg_perception.gpu_check import scenes
from seg_perception.gpu_check.agreement import Difference, copied, difference, equal
from seg_perception.gpu_check.lab import Lab
from seg_perception.gpu_check.stand_in import StandIn
from seg_perception.panoptic.decoder import PanopticSettings
from seg_perception.panoptic.pieces import decoder_on_cpu
from seg_perception.panoptic.steadier import Steadier, TemporalSettings
from seg_perception.pipeline import Pipeline
from seg_perception.results import Frame, Panoptic, Wants

SCENES = 4
NETWORK_HW = (192, 320)
STRENGTH, PERIOD_NS = 1.5, 33_333_333
STEADY_DIFFERS = 0.002
"""Share of a mask: OpenCV's versions make grey by one level another way, and the flow follows it."""
PER_FRAME = Counter(cudaGraphLaunch=3, cudaStreamSynchronize=2)


def check(lab: Lab) -> None:
    """Frames of one size, then of several."""
    stand_in = StandIn(lab, scenes.model_without_file(NETWORK_HW))
    pipeline = Pipeline(stand_in.model, stand_in)
    with lab.part("frames of one size"):
        _same_size(lab, stand_in, pipeline)
    with lab.part("frames whose size changes"):
        _sizes(lab, stand_in, pipeline)
    with lab.part("steadier masks"):
        _steady(lab, stand_in)
    with lab.part("log"):
        lab.check("nothing to complain of", not stand_in.lines, "; ".join(stand_in.lines)[:120])
    with lab.part("close"):
        stand_in.close()
        stand_in.close()
        lab.check("closed, twice", True)


def _same_size(lab: Lab, stand_in: StandIn, pipeline: Pipeline) -> None:
    size, count = ((90, 120), 12) if lab.quick else ((720, 1280), 1000)
    frames = scenes.drive(size, 2 if lab.quick else SCENES)
    outputs = [scenes.output_of(frame, NETWORK_HW) for frame in frames]
    on_cpu = decoder_on_cpu(stand_in.model.labels, PanopticSettings())
    first: list[Panoptic] = []
    worst, unequal, calls, taken, free = Difference(), 0, Counter[str](), 0, 0
    for number in range(count):
        i = number % len(frames)
        stand_in.give(outputs[i])
        with _Counted(lab.cuda) as counted:
            seen = pipeline.see(Frame(frames[i].rgb)).panoptic
        if number < len(frames):
            expected = on_cpu.decode(outputs[i], 0, size, stand_in.model.stride, Wants())
            worst = worst.worse(difference(seen, expected))
            first.append(copied(seen))
        unequal += not equal(seen, first[i])
        if number == 2 * len(frames):
            calls, free = counted.calls, lab.cuda.call("cudaMemGetInfo")
        if number >= 2 * len(frames):
            taken += _allocations(counted)
    less = free - lab.cuda.call("cudaMemGetInfo")
    lab.check("masks equal to the CPU's", worst.none, worst)
    lab.check(f"{count} frames, each equal to its first", not unequal, f"{unequal} differ")
    lab.check("a frame is three graphs and two waits", calls == PER_FRAME, dict(calls))
    states = {step: state for step, state in stand_in.describe().items() if step != "backend"}
    lab.check("every step runs as a graph", set(states.values()) == {CAPTURED}, states)
    lab.check("frames take no memory", not taken, f"{taken} allocations")
    # No judgement: other programs take some, too, and on a Jetson all that run on its CPU.
    lab.row("free memory of the GPU after them", f"{less} bytes less")


def _sizes(lab: Lab, stand_in: StandIn, pipeline: Pipeline) -> None:
    sizes = [(60, 90), (61, 83)] if lab.quick else [(720, 1280), (480, 640), (479, 641), (1080, 1920)]
    frames = [scenes.drive(size, 1)[0] for size in sizes]
    output = scenes.output_of(frames[0], NETWORK_HW)
    stand_in.give(output)
    worst = Difference()
    for _ in range(3):
        for size, frame in zip(sizes, frames):
            on_cpu = decoder_on_cpu(stand_in.model.labels, PanopticSettings())
            expected = on_cpu.decode(output, 0, size, stand_in.model.stride, Wants())
            for _ in range(2):
                worst = worst.worse(difference(pipeline.see(Frame(frame.rgb)).panoptic, expected))
    with _Counted(lab.cuda) as counted:
        for frame in frames:
            pipeline.see(Frame(frame.rgb))
    taken = _allocations(counted)
    lab.check(f"{len(sizes)} sizes in turn, masks equal to the CPU's", worst.none, worst)
    lab.check("sizes that were seen before take no memory", not taken, f"{taken} allocations")


def _steady(lab: Lab, stand_in: StandIn) -> None:
    size, count = ((90, 120), 6) if lab.quick else ((720, 1280), 40)
    frames = scenes.drive(size, 2 if lab.quick else SCENES)
    outputs = [scenes.output_of(frame, NETWORK_HW, seed=number) for number, frame in enumerate(frames)]
    model, settings = stand_in.model, TemporalSettings(STRENGTH)
    pipeline, on_cpu = Pipeline(model, stand_in, temporal=settings), Steadier(model.labels, settings)
    decoder, worst, steadied = decoder_on_cpu(model.labels, PanopticSettings()), 0.0, 0.0
    for number in range(count):
        i, stamp_ns = number % len(frames), (number + 1) * PERIOD_NS
        stand_in.give(outputs[i])
        seen = pipeline.see(Frame(frames[i].rgb, stamp_ns)).panoptic.semantic
        alone = decoder.decode(outputs[i], 0, size, model.stride, Wants()).semantic.copy()
        output, place = on_cpu.steady(stand_in.network_input()[None], outputs[i], 0, stamp_ns)
        expected = decoder.decode(output, place, size, model.stride, Wants()).semantic
        worst = max(worst, float(np.mean(seen != expected)))
        steadied = max(steadied, float(np.mean(expected != alone)))
    right = worst <= STEADY_DIFFERS and steadied > 0
    lab.check("steadier masks as the CPU's", right, f"{worst:.3%} of a mask differ at most, {steadied:.1%} are changed")


def _allocations(counted: _Counted) -> int:
    return counted.calls["cudaMalloc"] + counted.calls["cudaHostAlloc"]


class _Counted:
    """Counts the calls of CUDA's runtime meanwhile."""

    def __init__(self, cuda: Cuda) -> None:
        self._cuda, self.calls = cuda, Counter[str]()

    def __enter__(self) -> _Counted:
        real = self._cuda.call

        def call(function: str, *arguments: Any) -> Any:
            self.calls[function] += 1
            return real(function, *arguments)

        self._cuda.call = call  # type: ignore[method-assign]
        return self

    def __exit__(self, *problem: object) -> None:
        del self._cuda.call
