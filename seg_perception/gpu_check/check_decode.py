"""The GPU's decode against the CPU's: outputs as of rendered frames, of a real network where one can run, hostile ones
and random ones, call by call and as a graph."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from seg_perception.backends.base import OnDevice
from seg_perception.camera.preprocess import Preprocessor
from seg_perception.errors import SegPerceptionError
from seg_perception.gpu_check import scenes
from seg_perception.gpu_check.agreement import Difference, copied, difference, equal
from seg_perception.gpu_check.lab import Lab
from seg_perception.gpu_check.stand_in import StandIn
from seg_perception.labels import CAMVID
from seg_perception.panoptic.decoder import PanopticDecoder, PanopticSettings
from seg_perception.results import Frame, Panoptic, Wants

SHIPPED = "models/driving_mobileseg.onnx"
RANDOM_S = 6.0


def check(lab: Lab) -> None:
    """One row a kind of output."""
    rng = np.random.default_rng(11)
    masks = [(90, 120)] if lab.quick else [(720, 1280), (479, 641)]
    with lab.part("outputs as of rendered frames"):
        _compare(lab, "outputs as of rendered frames", _rendered(masks, 1 if lab.quick else 4))
    with lab.part("outputs of the shipped network"):
        _shipped(lab, masks)
    with lab.part("hostile outputs"):
        hostile = list(scenes.hostile(rng))
        _compare(lab, "hostile outputs", hostile[:: 5 if lab.quick else 1])
    with lab.part("random outputs"):
        _compare(lab, "random outputs", _random(rng, 1.0 if lab.quick else RANDOM_S))
    with lab.part("the same output again"):
        _repeat(lab, masks[0])


def _rendered(masks: list[tuple[int, int]], count: int) -> Iterator[scenes.Case]:
    for mask_hw in masks:
        for number, frame in enumerate(scenes.drive(mask_hw, count)):
            for size_hw in ((192, 320), (480, 640))[: 1 if count == 1 else 2]:
                output = scenes.output_of(frame, size_hw, seed=number)
                yield scenes.Case("rendered", output, mask_hw, scenes.STRIDE, PanopticSettings())


def _random(rng: np.random.Generator, seconds: float) -> Iterator[scenes.Case]:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield scenes.at_random(rng)


def _shipped(lab: Lab, masks: list[tuple[int, int]]) -> None:
    what = "outputs of the shipped network"
    absent = [name for name in ("onnx", "onnxruntime") if importlib.util.find_spec(name) is None]
    if absent:
        lab.leave_out(what, f"{' and '.join(absent)} not installed")
        return
    from seg_perception import model_file
    from seg_perception.backends.onnx_runtime import OnnxRuntimeBackend
    from seg_perception.backends.shipped_models import find_model

    model = model_file.load(find_model(SHIPPED, "onnxruntime"))
    network, prepare = OnnxRuntimeBackend(model), Preprocessor(model.size_hw)
    pictures = [frame.rgb for frame in scenes.drive((360, 640), 2)] + scenes.pictures(lab.images)
    outputs = [network.infer(prepare(Frame(rgb)).copy()) for rgb in pictures]
    cases = (
        scenes.Case("shipped", output, mask, model.stride, PanopticSettings()) for output in outputs for mask in masks
    )
    _compare(lab, what, cases)


def _compare(lab: Lab, what: str, cases: Iterable[scenes.Case]) -> None:
    worst, wrong, count, refused = Difference(), list[str](), 0, 0
    for case in cases:
        count += 1
        answers, lines = _both(lab, case)
        expected, *seen = answers
        wrong += [f"{case.name}: {line}" for line in lines]
        if isinstance(expected, str) or any(isinstance(answer, str) for answer in seen):
            refused += 1
            wrong += (
                [] if [expected] * len(seen) == seen else [f"{case.name}: {[str(answer)[:60] for answer in answers]}"]
            )
            continue
        found = [difference(answer, expected) for answer in seen if not isinstance(answer, str)]
        for one in found:
            worst = worst.worse(one)
        wrong += [] if all(one.none for one in found) else [case.name]
    lab.check(what, not wrong, f"{count} outputs ({refused} refused by both): {worst}")
    if wrong:
        lab.keep(**{what: wrong})
        lab.row(f"{what}: those that differ", "; ".join(wrong)[:200])


def _both(lab: Lab, case: scenes.Case) -> tuple[list[Panoptic | str], list[str]]:
    """What the CPU, the GPU call by call and the GPU's graph make of it, for what is refused the sentence; and what was
    logged, such as that there is no graph."""
    output, mask_hw, stride, chosen = case.output, case.mask_hw, case.stride, case.settings
    _, classes, h, w = output.semantic_logits.shape
    labels = CAMVID if classes == len(CAMVID) else scenes.some_labels(classes)
    stand_in = StandIn(lab, scenes.model_without_file((stride * h, stride * w), labels, stride))
    try:
        stand_in.give(output)
        stand_in.infer(OnDevice(1))
        on_cpu, on_gpu = PanopticDecoder(labels, chosen), stand_in.device_steps().decoder(labels, chosen)
        wants = Wants(confidence=True)
        answers = [
            _answer(lambda: on_cpu.decode(output, 0, mask_hw, stride, wants)),
            *(_answer(lambda: on_gpu.decode(OnDevice(1), 0, mask_hw, stride, wants)) for _ in range(2)),
        ]
        return answers, stand_in.lines
    finally:
        stand_in.close()


def _answer(decode: Callable[[], Panoptic]) -> Panoptic | str:
    try:
        return copied(decode())
    except SegPerceptionError as error:
        return str(error)


def _repeat(lab: Lab, mask_hw: tuple[int, int]) -> None:
    """Threads that race would show here."""
    model = scenes.model_without_file((192, 320))
    rng = np.random.default_rng(5)
    h, w = model.grid_hw
    stand_in = StandIn(lab, model)
    stand_in.give(
        scenes.network_output(rng.normal(size=(11, h, w)), rng.random((h, w)), rng.normal(size=(2, h, w)) * 40)
    )
    stand_in.infer(OnDevice(1))
    decoder = stand_in.device_steps().decoder(model.labels, PanopticSettings(min_stuff_area=0.0))
    first = copied(decoder.decode(OnDevice(1), 0, mask_hw, model.stride, Wants(confidence=True)))
    count = 3 if lab.quick else 200
    unequal = sum(
        not equal(decoder.decode(OnDevice(1), 0, mask_hw, model.stride, Wants(confidence=True)), first)
        for _ in range(count)
    )
    lab.check(f"a hard output {count} times, equal bit by bit", not unequal, f"{unequal} differ")
    stand_in.close()
