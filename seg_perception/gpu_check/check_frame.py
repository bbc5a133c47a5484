"""A whole frame on the GPU, with PyTorch's network: how long it takes, and how much of that is not the network."""

from __future__ import annotations

import time
from dataclasses import asdict

from seg_perception.gpu_check import scenes
from seg_perception.gpu_check.agreement import difference
from seg_perception.gpu_check.lab import Lab
from seg_perception.gpu_check.stand_in import StandIn
from seg_perception.gpu_check.timing import gpu_ms, wall_ms
from seg_perception.gpu_check.torch_network import TorchNetwork
from seg_perception.panoptic.decoder import PanopticSettings
from seg_perception.panoptic.pieces import decoder_on_cpu
from seg_perception.pipeline import Pipeline
from seg_perception.results import Frame, Wants

BUDGET_MS = 3.0
"""What a frame may take beside the network, on a GPU."""
NETWORK_SIZES = ((192, 320), (480, 640), (512, 1024))


def check(lab: Lab) -> None:
    """At every size of network."""
    for size_hw in [(64, 96)] if lab.quick else NETWORK_SIZES:
        what = f"network {size_hw[1]}x{size_hw[0]}"
        with lab.part(what):
            _time(lab, what, size_hw)


def _time(lab: Lab, what: str, size_hw: tuple[int, int]) -> None:
    image_hw, seconds, count = ((90, 120), 0.0, 1) if lab.quick else ((720, 1280), 3.0, 100)
    rendered = scenes.drive(image_hw, 1)[0]
    frame, output = Frame(rendered.rgb), scenes.output_of(rendered, size_hw)
    stand_in = StandIn(lab, scenes.model_without_file(size_hw))
    stand_in.give(output)
    began = time.perf_counter()
    network = TorchNetwork(lab.libraries, stand_in)
    stand_in.network = network.run
    pipeline = Pipeline(stand_in.model, stand_in)
    for _ in range(3):
        pipeline.see(frame)
    lab.row(f"{what}: start", f"{time.perf_counter() - began:.1f} s, {network.state}")
    expected = decoder_on_cpu(stand_in.model.labels, PanopticSettings()).decode(
        output, 0, image_hw, stand_in.model.stride, Wants()
    )
    apart = difference(pipeline.see(frame).panoptic, expected)
    lab.check(f"{what}: masks equal to the CPU's", apart.none, apart)
    whole = wall_ms(lambda: pipeline.see(frame), seconds, least=count)
    alone = gpu_ms(stand_in.stream, network.run, count)
    rest = whole.p50 - alone
    lab.row(
        f"{what}: whole frame of {image_hw[1]}x{image_hw[0]}, p50/p95", f"{whole} ms, CPU {whole.cpu:.2f} ms a frame"
    )
    lab.row(f"{what}: the network alone on the GPU", f"{alone:.3f} ms")
    if lab.quick:
        lab.row(f"{what}: everything but the network", f"{rest:.3f} ms")
    else:
        lab.check(f"{what}: everything but the network, budget {BUDGET_MS:.0f} ms", rest <= BUDGET_MS, f"{rest:.3f} ms")
    lab.keep(**{what: {"frame_ms": asdict(whole), "network_gpu_ms": alone, "rest_ms": rest, "network": network.state}})
    stand_in.close()
