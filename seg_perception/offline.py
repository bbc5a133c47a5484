"""Frames through the pipeline without ROS: what predict, evaluate and benchmark share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from seg_perception import backends, model_file
from seg_perception.evaluation.tta import Views, augmented_pipeline
from seg_perception.pipeline import Pipeline


def add_model_arguments(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """--model, which may be required, --backend, --providers and --threads."""
    parser.add_argument("--model", type=Path, required=required, metavar="M", help="model file (ONNX)")
    parser.add_argument("--backend", choices=("auto", "onnxruntime", "tensorrt"), default="auto")
    parser.add_argument("--providers", nargs="+", default=[], metavar="P", help="ONNX Runtime execution providers")
    parser.add_argument(
        "--threads", type=int, metavar="N", help="threads of the network on the CPU (default: one per core)"
    )


def open_pipeline(
    arguments: argparse.Namespace,
    mask_hw: tuple[int, int] | None = None,
    views: Views = Views(),  # noqa: B008 - frozen
) -> Pipeline:
    """The pipeline that the arguments of add_model_arguments ask for, warmed up; close its backend in the end.

    views: how each frame is seen; without a choice once, as it is.
    """
    info = model_file.load(arguments.model)
    backend = backends.choose(
        info,
        backend=arguments.backend,
        providers=tuple(arguments.providers),
        threads=arguments.threads,
        log=lambda line: print(line, file=sys.stderr),
    )
    plain = views == Views()
    pipeline = Pipeline(info, backend, mask_hw=mask_hw) if plain else augmented_pipeline(info, backend, views, mask_hw)
    pipeline.warm_up()
    return pipeline


class StageTimes:
    """Times of a pipeline's stages over many frames."""

    def __init__(self) -> None:
        self._samples_ms: dict[str, list[float]] = {}

    def add(self, stages_ms: Mapping[str, float]) -> None:
        """Add one frame."""
        for name, value in stages_ms.items():
            self._samples_ms.setdefault(name, []).append(value)

    def summary(self) -> dict[str, dict[str, float]]:
        """p50, p95 and max of each stage in ms."""
        return {name: percentiles(values, 50, 95, 100) for name, values in self._samples_ms.items()}


def percentiles(values_ms: Iterable[float], *shares: int) -> dict[str, float]:
    """Percentiles under the names p50, p95, … and max (100); empty without values."""
    values = np.fromiter(values_ms, np.float64)
    if not len(values):
        return {}
    return {"max" if share == 100 else f"p{share}": round(float(np.percentile(values, share)), 3) for share in shares}
