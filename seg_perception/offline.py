"""Frames through the pipeline without ROS: what predict, evaluate and benchmark share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from seg_perception import backends, model_file
from seg_perception.backends.base import AUTO_PRECISION, PRECISION_CHOICES, Backend
from seg_perception.backends.shipped_models import find_model, given_model
from seg_perception.errors import SegPerceptionError
from seg_perception.model_file import ModelInfo
from seg_perception.network_size import size_hw_of
from seg_perception.options import number, whole
from seg_perception.panoptic.decoder import PanopticSettings
from seg_perception.pipeline import Pipeline


def add_model_arguments(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """--model, which may be required, and how it is run."""
    parser.add_argument("--model", type=given_model, required=required, metavar="M", help="model file (ONNX)")
    parser.add_argument("--backend", choices=("auto", "onnxruntime", "tensorrt"), default="auto")
    parser.add_argument(
        "--precision",
        choices=PRECISION_CHOICES,
        default=AUTO_PRECISION,
        help="what TensorRT computes in (default: auto, float16 for a float32 file)",
    )
    parser.add_argument("--providers", nargs="+", default=[], metavar="P", help="ONNX Runtime execution providers")
    parser.add_argument(
        "--network-size",
        metavar="WxH",
        help="the network's input, of a model file that leaves it open (default: by the images' shape)",
    )
    parser.add_argument(
        "--threads",
        type=whole("--threads", 1),
        metavar="N",
        help="threads of the network on the CPU (default: one per core)",
    )


def add_panoptic_arguments(parser: argparse.ArgumentParser) -> None:
    """--min-ground-confidence."""
    parser.add_argument(
        "--min-ground-confidence",
        type=number("--min-ground-confidence", least=0, most=1),
        default=PanopticSettings.min_ground_confidence,
        metavar="P",
        help="probability of ground below which the likeliest other class is told, as the node's "
        "panoptic.min_ground_confidence "
        "(default: %(default)s)",
    )


def panoptic_settings(arguments: argparse.Namespace) -> PanopticSettings:
    """How the arguments of add_panoptic_arguments want masks to be made."""
    return PanopticSettings(min_ground_confidence=arguments.min_ground_confidence)


def check_model_arguments(arguments: argparse.Namespace) -> None:
    """Raises SegPerceptionError where the arguments of add_model_arguments do not fit each other."""
    if arguments.precision != AUTO_PRECISION and arguments.backend == "onnxruntime":
        raise SegPerceptionError(
            "--precision is for TensorRT, and ONNX Runtime computes as the file says: leave out --precision or --backend"
        )
    given = [name for name in ("threads", "providers") if getattr(arguments, name)]
    if given and arguments.backend == "tensorrt":
        raise SegPerceptionError(f"--{given[0]} is for ONNX Runtime, but --backend is tensorrt: leave one of them out")


MakePipeline = Callable[[ModelInfo, Backend], Pipeline]


@contextmanager
def opened_backend(arguments: argparse.Namespace) -> Iterator[Backend]:
    """The backend that the arguments of add_model_arguments ask for, which is closed in the end; without --model it runs
    the one that ships for it."""
    info = model_file.load(arguments.model or find_model("auto", arguments.backend))
    if arguments.network_size:
        info = info.at(size_hw_of(arguments.network_size))
    backend = backends.choose(
        info,
        backend=arguments.backend,
        providers=tuple(arguments.providers),
        precision=arguments.precision,
        threads=arguments.threads,
        log=lambda line: print(line, file=sys.stderr),
    )
    computed = backend.describe()["precision"]
    if arguments.precision not in (AUTO_PRECISION, computed):
        print(
            f"--precision {arguments.precision} is for TensorRT: this backend computes in {computed}", file=sys.stderr
        )
    try:
        yield backend
    finally:
        backend.close()


@contextmanager
def opened_pipeline(arguments: argparse.Namespace, make: MakePipeline = Pipeline) -> Iterator[Pipeline]:
    """The pipeline that the arguments of add_model_arguments ask for, warmed up; its backend is closed in the end.

    make: of the model and its backend, for a pipeline that sees frames in another way.
    """
    with opened_backend(arguments) as backend:
        pipeline = make(backend.model, backend)
        pipeline.warm_up()
        yield pipeline
