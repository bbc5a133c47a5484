"""Times of the steps beside the network, on the GPU and on the CPU of this machine."""

from __future__ import annotations

from dataclasses import asdict

from seg_perception.backends.base import OnDevice
from seg_perception.camera.preprocess import Preprocessor
from seg_perception.gpu_check import scenes
from seg_perception.gpu_check.lab import Lab
from seg_perception.gpu_check.stand_in import StandIn
from seg_perception.gpu_check.timing import Times, gpu_ms, wall_ms
from seg_perception.panoptic.decoder import PanopticDecoder, PanopticSettings
from seg_perception.results import Frame, Wants

SIZES = (((720, 1280), (192, 320)), ((720, 1280), (480, 640)), ((1080, 1920), (480, 640)))
LABELS_ONLY = Wants(instances=False, confidence=False, areas=False, grid=False, free_space=False)


def check(lab: Lab) -> None:
    """Image and network sizes, one after the other."""
    for image_hw, size_hw in [((90, 120), (64, 96))] if lab.quick else SIZES:
        what = f"{image_hw[1]}x{image_hw[0]} to {size_hw[1]}x{size_hw[0]}"
        with lab.part(what):
            _time(lab, what, image_hw, size_hw)


def _time(lab: Lab, what: str, image_hw: tuple[int, int], size_hw: tuple[int, int]) -> None:
    seconds, count = (0.02, 2) if lab.quick else (0.4, 200)
    rendered = scenes.drive(image_hw, 1)[0]
    output, frame = scenes.output_of(rendered, size_hw), Frame(rendered.rgb)
    stand_in = StandIn(lab, scenes.model_without_file(size_hw))
    stand_in.give(output)
    stand_in.infer(OnDevice(1))
    steps, labels, stride = stand_in.device_steps(), stand_in.model.labels, stand_in.model.stride
    prepare, decoder = steps.preprocessor(), steps.decoder(labels, PanopticSettings())
    on_cpu, decoder_on_cpu = Preprocessor(size_hw), PanopticDecoder(labels, PanopticSettings())

    def prepare_and_wait() -> None:
        prepare(frame)
        stand_in.stream.synchronize()

    def decode(wants: Wants = Wants()) -> None:  # noqa: B008 - frozen, so safe to share
        decoder.decode(OnDevice(1), 0, image_hw, stride, wants)

    def decode_on_cpu(wants: Wants = Wants()) -> None:  # noqa: B008 - as above
        decoder_on_cpu.decode(output, 0, image_hw, stride, wants)

    def both_on_cpu() -> None:
        on_cpu(frame)
        decode_on_cpu()

    def both() -> None:
        prepare(frame)
        decode()

    for step, call, cpu_call, made in (
        ("preprocess", prepare_and_wait, lambda: on_cpu(frame), prepare),
        ("decode", decode, decode_on_cpu, decoder),
        ("decode, classes only", lambda: decode(LABELS_ONLY), lambda: decode_on_cpu(LABELS_ONLY), None),
        ("all but the network", both, both_on_cpu, None),
    ):
        on_gpu, there = wall_ms(call, seconds), wall_ms(cpu_call, seconds)
        queued = gpu_ms(stand_in.stream, made.works()[0].run, count) if made else None
        _tell(lab, f"{what}: {step}", on_gpu, there, queued)
    stand_in.close()


def _tell(lab: Lab, what: str, on_gpu: Times, on_cpu: Times, queued: float | None) -> None:
    alone = "" if queued is None else f" (GPU alone {queued:.3f})"
    lab.row(f"{what}, p50/p95", f"{on_gpu} ms{alone}, on the CPU {on_cpu} ms")
    lab.keep(**{what: {"wall_ms": asdict(on_gpu), "gpu_ms": queued, "on_cpu_ms": asdict(on_cpu)}})
