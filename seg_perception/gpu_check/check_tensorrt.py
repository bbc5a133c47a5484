"""With TensorRT or TensorRT for RTX: an engine of the shipped model, built, run, compared with ONNX Runtime, and held to the
self-test without which no node is activated."""

from __future__ import annotations

import importlib.util
import tempfile
import time
from pathlib import Path

import numpy as np

from seg_perception import model_file
from seg_perception.backends.cuda.driver import CAPTURED
from seg_perception.backends.shipped_models import find_model
from seg_perception.backends.tensorrt import engine as engines
from seg_perception.backends.tensorrt.backend import TensorRTBackend
from seg_perception.backends.tensorrt.engine import Flavor
from seg_perception.camera.preprocess import Preprocessor
from seg_perception.gpu_check import scenes
from seg_perception.gpu_check.lab import Lab
from seg_perception.gpu_check.timing import wall_ms
from seg_perception.model_file import ModelInfo
from seg_perception.pipeline import Pipeline
from seg_perception.results import Frame, NetworkOutput
from seg_perception.self_test import SelfTest

SHIPPED = "models/driving_mobileseg.onnx"
CELLS_EQUAL = 0.99
"""Share of the grid's cells that must have the class that ONNX Runtime gives: float16 and TF32 round otherwise."""


def check(lab: Lab) -> None:
    """Every flavour that is installed."""
    model = model_file.load(find_model(SHIPPED, "onnxruntime"))
    has_gpu = "gpu" not in lab.libraries.missing()
    for name in lab.libraries.flavors():
        with lab.part(name):
            flavor = lab.libraries.flavor(name, model)
            known = flavor.compute_capabilities
            here = lab.cuda.gpu().compute_capability if has_gpu else ""
            if has_gpu and known and here not in known:
                lab.leave_out(name, f"it builds for {', '.join(known)}, this GPU is {here}")
            elif has_gpu:
                _run(lab, model, flavor)
            elif known:
                _build_for(lab, model, flavor, next(iter(known)))
            else:
                lab.leave_out(name, "it builds only for a GPU at hand")


def _build_for(lab: Lab, model: ModelInfo, flavor: Flavor, capability: str) -> None:
    began = time.perf_counter()
    engine = engines.build(flavor, model, compute_capability=capability)
    took = time.perf_counter() - began
    lab.check(
        f"{flavor.name} {flavor.version} builds for {capability}", bool(engine), f"{took:.1f} s, {len(engine)} bytes"
    )


def _run(lab: Lab, model: ModelInfo, flavor: Flavor) -> None:
    what = f"{flavor.name} {flavor.version}"
    picture = (scenes.pictures(lab.images) or [scenes.drive((360, 640), 1)[0].rgb])[0]
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        backend = TensorRTBackend(
            model,
            cache_dir=Path(folder),
            flavor=flavor,
            cuda=lab.cuda,
            compile_kernels=lab.libraries.kernels,
            log=lambda line: None,
        )
        backend.warm_up()
        lab.row(f"{what}: engine built and warm", f"{time.perf_counter() - began:.1f} s")
        images = Preprocessor(model.size_hw)(Frame(picture)).copy()
        _compare(lab, what, backend.infer(images), images, model)
        tested = SelfTest(model, backend).run()
        if tested.passed is None:
            lab.leave_out(f"{what}: self-test", tested.sentence)
        else:
            lab.check(f"{what}: self-test", tested.passed, tested.sentence)
        pipeline, seconds = Pipeline(backend.model, backend), 0.0 if lab.quick else 2.0
        times = wall_ms(lambda: pipeline.see(Frame(picture)), seconds)
        lab.row(f"{what}: whole frame, p50/p95", f"{times} ms")
        facts = backend.describe()
        lab.check(f"{what}: every step runs as a graph", facts["cuda_graph"] == CAPTURED, facts["cuda_graph"])
        if "nvrtc" in lab.libraries.missing():
            lab.leave_out(f"{what}: masks on the GPU", facts["masks"])
        else:
            lab.check(f"{what}: masks on the GPU", facts["masks"] == "GPU", facts["masks"])
        backend.close()


def _compare(lab: Lab, what: str, output: NetworkOutput, images: np.ndarray, model: ModelInfo) -> None:
    if importlib.util.find_spec("onnxruntime") is None:
        lab.leave_out(f"{what}: parity", "onnxruntime is not installed")
        return
    from seg_perception.backends.onnx_runtime import OnnxRuntimeBackend

    expected = OnnxRuntimeBackend(model).infer(images)
    same = float((output.semantic_logits.argmax(1) == expected.semantic_logits.argmax(1)).mean())
    off = float(np.abs(output.semantic_logits - expected.semantic_logits).max())
    lab.check(
        f"{what}: classes as by ONNX Runtime",
        same >= CELLS_EQUAL,
        f"{same:.2%} of cells, logits off by {off:.3f} at most",
    )
