"""Compile a model file with TensorRT, ahead of the first run.

Without --compute-capability the engine is for the GPU of this machine and goes to the cache where the node finds it.
With it, TensorRT for RTX builds for other GPUs, with no GPU at hand, into the working folder.

Example:
  seg_perception build-engine --model models/camvid_pidnet_s.onnx --flavor rtx --compute-capability 8.6
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path

from tqdm import tqdm

from seg_perception import model_file
from seg_perception.backends.base import AUTO_PRECISION, PRECISION_CHOICES
from seg_perception.backends.cuda.driver import Cuda, Gpu
from seg_perception.backends.shipped_models import given_model
from seg_perception.backends.tensorrt import engine as engines
from seg_perception.backends.tensorrt.backend import engine_key
from seg_perception.backends.tensorrt.cache import EngineCache, EngineKey, check_place, write_engine
from seg_perception.backends.tensorrt.engine import Flavor
from seg_perception.backends.tensorrt.out_of_date import Origin
from seg_perception.errors import SegPerceptionError
from seg_perception.model_file import ModelInfo
from seg_perception.model_tensors import LARGEST_BATCH
from seg_perception.network_size import size_hw_of
from seg_perception.options import whole
from seg_perception.writing import check_file, user_path, write_json

ANY_GPU = "any"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options."""
    parser.add_argument("--model", type=given_model, required=True, metavar="M", help="model file (ONNX)")
    parser.add_argument("--out", type=user_path, metavar="E", help="engine to write (default: see above)")
    parser.add_argument("--flavor", choices=tuple(engines.MODULES), help="default: tensorrt where it is installed")
    parser.add_argument("--compute-capability", metavar="X.Y", help="build for such GPUs, as 8.6 (flavour rtx)")
    parser.add_argument(
        "--precision",
        choices=PRECISION_CHOICES,
        default=AUTO_PRECISION,
        help="what it computes in (default: auto, float16 for a float32 file, else the file's)",
    )
    parser.add_argument(
        "--network-size",
        metavar="WxH",
        help="of a model file that leaves its size open, as the node's network_size (default: the file's)",
    )
    parser.add_argument(
        "--batch",
        type=whole("--batch", 1, LARGEST_BATCH),
        default=1,
        metavar="N",
        help="most images per run (default: 1, or as many as the model file fixes)",
    )
    parser.add_argument("--engine-cache", type=user_path, metavar="DIR", help="default: the user's cache folder")
    parser.add_argument("--json", type=user_path, metavar="FILE", help="write what was built, as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Build, write, say where. Raises SegPerceptionError for what the user can mend."""
    if arguments.engine_cache and (arguments.out or arguments.compute_capability):
        raise SegPerceptionError(
            "--engine-cache is where an engine for this machine's GPU goes: leave out --out and --compute-capability, or it"
        )
    model = model_file.load(arguments.model)
    if arguments.network_size:
        model = model.at(size_hw_of(arguments.network_size))
    if model.note:
        print(model.note)
    flavor = _flavor(arguments)
    gpu = _target(arguments.compute_capability, flavor)
    if model.batch not in (None, arguments.batch) and arguments.batch != 1:
        raise SegPerceptionError(
            f"--batch is {arguments.batch}, and {model.path} takes {model.batch} at a time: leave it out, or name a file that "
            "takes any number"
        )
    key = engine_key(model, flavor, gpu, arguments.batch, arguments.precision)
    kept = None if arguments.out or arguments.compute_capability else EngineCache(arguments.engine_cache)
    out = kept.path(key) if kept else arguments.out or _name_in_working_folder(arguments, key)
    if not out.parent.is_dir():
        raise SegPerceptionError(f"there is no folder {out.parent} to write {out.name} to: make it, or change --out")
    check_file(out)
    check_place(out, arguments.json)
    started = time.monotonic()
    build = partial(_built, arguments, flavor, model)
    if kept:
        engine = kept.put(key, build, print, Origin.of(model))
    else:
        write_engine(out, key, engine := build())
    seconds = time.monotonic() - started
    target = f"{gpu.name} GPU of {gpu.compute_capability}"
    print(
        f"{out}: {len(engine) / 1e6:.1f} MB, {key.precision}, {flavor.name} {flavor.version}, {target}, {seconds:.1f} s"
    )
    if arguments.json:
        facts = {
            "engine": str(out),
            "bytes": len(engine),
            "seconds": round(seconds, 2),
            "flavor": flavor.name,
            "version": flavor.version,
            "gpu": gpu.name,
            "compute_capability": gpu.compute_capability,
            "precision": key.precision,
            "batch": key.batch,
            "fingerprint": key.fingerprint,
        }
        write_json(arguments.json, facts)
    return 0


def _built(arguments: argparse.Namespace, flavor: Flavor, model: ModelInfo) -> bytes:
    """The engine that is asked for, with a bar of how far it is."""
    with tqdm(total=100, desc="engine", unit="%", bar_format="{l_bar}{bar}| {elapsed} {postfix}") as bar:

        def progress(share: float, phase: str) -> None:
            bar.update(round(100 * share) - bar.n)
            bar.set_postfix_str(phase, refresh=False)

        return engines.build(
            flavor,
            model,
            precision=arguments.precision,
            batch=arguments.batch,
            compute_capability=arguments.compute_capability,
            progress=progress,
        )


def _name_in_working_folder(arguments: argparse.Namespace, key: EngineKey) -> Path:
    return Path(f"{arguments.model.stem}-{key.precision}-sm{arguments.compute_capability.replace('.', '')}.engine")


def _flavor(arguments: argparse.Namespace) -> Flavor:
    if arguments.flavor:
        return engines.load_flavor(arguments.flavor)
    if arguments.compute_capability:
        return engines.load_flavor("rtx")
    found = engines.installed()
    if not found:
        raise SegPerceptionError("no TensorRT is installed: install tensorrt, or tensorrt-rtx-cu13-bindings and -libs")
    return engines.load_flavor(found[0])


def _target(compute_capability: str | None, flavor: Flavor) -> Gpu:
    """The GPU to build for. Raises SegPerceptionError when that cannot be."""
    if compute_capability is None:
        try:
            return Cuda().gpu()
        except SegPerceptionError as error:
            raise SegPerceptionError(
                f"{error}; to build without one, name a --compute-capability with --flavor rtx"
            ) from error
    known = flavor.compute_capabilities
    if not known:
        raise SegPerceptionError(
            "TensorRT builds for the GPU at hand only: leave out --compute-capability, or use --flavor rtx"
        )
    if compute_capability not in known:
        raise SegPerceptionError(
            f"--compute-capability {compute_capability} is not among those of {flavor.name} {flavor.version}: {', '.join(known)}"
        )
    return Gpu(ANY_GPU, compute_capability)
