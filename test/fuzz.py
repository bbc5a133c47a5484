"""Send bad messages through a camera's whole way in the node but for the network, and say what they did: `make fuzz N=…`.

Each message is that of its number (bad_messages.py), with an output of the network and a calibration of that number too.
Counted are crashes (the process dies), exceptions that are not meant for people, hangs, and messages that cost more than
ten times the processor time of a good frame of as many pixels; every 20th message is a good frame, whose masks must be
right. Exits with 1 when anything of the kind was found. `--only SEED` runs one message, in this process.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
from bad_messages import Bad, Rng, bad_message
from fakes import TWO_LABELS, FakeBackend, model_info

from seg_perception.camera.messages import BadImageError, ImageReader
from seg_perception.camera_model import CameraModel, CameraPose
from seg_perception.errors import SegPerceptionError
from seg_perception.ground.drivable import DrivableSettings
from seg_perception.network_size import SizeLimits
from seg_perception.pipeline import Pipeline
from seg_perception.results import Frame, NetworkOutput, Panoptic

GOOD_EVERY = 20
SLOW = 10.0
"""Times a good frame of as many pixels and the same kind."""
HANGS_S = 60
REPEATS = 5
"""Of what is timed; the least counts, since others use the machine too."""
SIDES = (1, 8, 24, 64, 128, 256, 512, 1024)
"""Of the good frames that are timed."""
GROUND = DrivableSettings(grid_length_m=10.0, grid_width_m=10.0, resolution_m=0.5, range_max_m=20.0)
"""A small one: a new camera with each message fills its tables anew."""
MODEL = replace(model_info(TWO_LABELS), limits=SizeLimits((32, 32), (256, 256)))
SANE_POSE = CameraPose(0.5, 0.0, 1.4, 0.0, 0.1, 0.0)


@dataclass
class Spent:
    """Processor seconds: see, up to the masks; place, the ground."""

    see: float
    place: float

    def least(self, other: Spent) -> Spent:
        """The less of both."""
        return Spent(min(self.see, other.see), min(self.place, other.place))


class Way:
    """A camera's reader and pipeline, as the node has them, around a network that answers as it is told."""

    def __init__(self) -> None:
        self.answer: Callable[[int, int], NetworkOutput] = _calm
        self._reader = ImageReader()
        backend = FakeBackend(lambda images: self.answer(*images.shape[1:3]))
        self._pipeline = Pipeline(MODEL, backend, drivable=GROUND)

    def run(self, message: Any, camera: CameraModel | None, pose: CameraPose | None) -> tuple[Panoptic, Spent]:
        """Masks and what they cost. Raises what the steps raise."""
        began = time.process_time()
        self._pipeline.set_camera(camera, pose)
        seen = self._pipeline.see(Frame(self._reader.read(message), 1, "camera"))
        half = time.process_time()
        panoptic = self._pipeline.place(seen).panoptic
        return panoptic, Spent(half - began, time.process_time() - half)


def _grid(height: int, width: int) -> tuple[int, int]:
    return height // MODEL.stride, width // MODEL.stride


def _calm(height: int, width: int) -> NetworkOutput:
    """A road below, a car on it."""
    h, w = _grid(height, width)
    logits = np.zeros((1, 2, h, w), np.float32)
    logits[0, 0], logits[0, 1, h // 3 : h // 2 + 1, w // 3 : w // 2 + 1] = 4, 8
    heatmap = np.zeros((1, 1, h, w), np.float32)
    heatmap[0, 0, h // 2, w // 2] = 0.9
    return NetworkOutput(logits, heatmap, np.zeros((1, 2, h, w), np.float32))


def _strange(rng: Rng) -> Callable[[int, int], NetworkOutput]:
    """Noise, ties, objects everywhere, numbers that are none."""
    kind, seed = str(rng.choice(["calm", "noise", "huge", "peaks", "nan", "inf"])), int(rng.integers(2**32))

    def answer(height: int, width: int) -> NetworkOutput:
        if kind == "calm":
            return _calm(height, width)
        h, w = _grid(height, width)
        noise = np.random.default_rng(seed)
        scale = 1e30 if kind == "huge" else 5
        logits, offset = (noise.normal(size=(1, 2, h, w)).astype(np.float32) * np.float32(scale) for _ in range(2))
        heatmap = np.ones((1, 1, h, w), np.float32) if kind == "peaks" else noise.random((1, 1, h, w), np.float32)
        if kind in ("nan", "inf"):
            array = (logits, heatmap, offset)[int(noise.integers(3))]
            array.flat[int(noise.integers(array.size))] = math.nan if kind == "nan" else -math.inf
        return NetworkOutput(logits, heatmap, offset)

    return answer


def _sane_camera(height: int, width: int) -> CameraModel:
    return CameraModel(width, height, ((width, 0, width / 2), (0, width, height / 2), (0, 0, 1)))


def _strange_camera(rng: Rng, height: int, width: int) -> tuple[CameraModel | None, CameraPose | None]:
    """A calibration that may be nonsense, where it is accepted, and a pose that may be."""
    odd = (0.0, 1e-9, -1.0, 1.0, 100.0, 1e9, math.inf, math.nan)
    k = [float(v) for v in (width, 0, width / 2, 0, width, height / 2, 0, 0, 1)]
    d = rng.normal(size=int(rng.choice([0, 4, 5, 8, 12]))) * float(rng.choice([0.01, 1, 1e6]))
    if rng.random() < 0.7:
        k[int(rng.integers(9))] = float(rng.choice(odd))
    if len(d) and rng.random() < 0.3:
        d[int(rng.integers(len(d)))] = float(rng.choice(odd))
    model = str(rng.choice(["plumb_bob", "rational_polynomial", "equidistant", "fisheye", "", "x"]))
    pose = CameraPose(*(float(v) for v in rng.normal(size=6) * rng.choice([0.1, 1, 100])))
    try:
        return CameraModel.from_matrices(
            width, height, model, d.tolist(), k, np.eye(3).ravel().tolist(), [*k[:3], 0] * 3
        ), pose
    except SegPerceptionError:
        return None, pose


def _good(family: str, height: int, width: int) -> Any:
    y, x = np.mgrid[:height, :width]
    bgr = np.stack([x % 251, y % 241, (x + y) % 239], -1).astype(np.uint8)
    if family != "raw":
        return SimpleNamespace(format=family[1:], data=cv2.imencode(family, bgr)[1].tobytes())
    return SimpleNamespace(
        encoding="bgr8", height=height, width=width, step=3 * width, is_bigendian=0, data=bgr.tobytes()
    )


class Fair:
    """What good frames cost, by kind and number of pixels."""

    def __init__(self, way: Way) -> None:
        self._curves: dict[str, tuple[list[float], list[Spent]]] = {}
        for family in ("raw", ".jpg", ".png", ".webp"):
            pixels, spent = [], []
            for side in SIDES:
                message, camera = _good(family, side, side), _sane_camera(side, side)
                pixels.append(math.log(side * side))
                spent.append(_least(way, message, camera, SANE_POSE))
            self._curves[family] = pixels, spent

    def of(self, family: str, pixels: int) -> Spent:
        """Between those that were timed; beyond the largest in proportion."""
        known, spent = self._curves[family]
        share = math.log(pixels)
        more = max(1.0, pixels / math.exp(known[-1]))
        return Spent(
            *(more * float(np.interp(share, known, [getattr(s, part) for s in spent])) for part in ("see", "place"))
        )


def _least(way: Way, message: Any, camera: CameraModel | None, pose: CameraPose | None) -> Spent:
    """The least of several runs, each after a frame of another size and camera."""
    spent = Spent(math.inf, math.inf)
    between, other = _good("raw", 9, 9), _sane_camera(9, 9)
    for _ in range(REPEATS):
        answer, way.answer = way.answer, _calm
        way.run(between, other, SANE_POSE)
        way.answer = answer
        spent = spent.least(_spent(way, message, camera, pose))
    return spent


def _spent(way: Way, message: Any, camera: CameraModel | None, pose: CameraPose | None) -> Spent:
    began = time.process_time()
    try:
        return way.run(message, camera, pose)[1]
    except SegPerceptionError:
        return Spent(time.process_time() - began, 0.0)


@dataclass
class Found:
    """What a run found. causes: of refusals; slowest: share of the fair price, by part, with its seed."""

    messages: int = 0
    answered: int = 0
    good: int = 0
    causes: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    slowest: dict[str, tuple[float, int, str]] = field(default_factory=dict)

    def add(self, other: Found) -> None:
        """Sum up."""
        self.messages, self.answered, self.good = (
            getattr(self, name) + getattr(other, name) for name in ("messages", "answered", "good")
        )
        self.causes += other.causes
        self.kinds += other.kinds
        self.faults += other.faults
        for part, worst in other.slowest.items():
            self.slowest[part] = max(self.slowest.get(part, worst), worst)


class Fuzzer:
    """Sends messages and looks at what comes of them."""

    def __init__(self) -> None:
        cv2.setNumThreads(1)
        self._way = Way()
        self._fair = Fair(self._way)
        self._good = _good("raw", 96, 128), _sane_camera(96, 128)
        kept = Way().run(*self._good, SANE_POSE)[0]
        self._expected = [mask.copy() for mask in (kept.semantic, kept.instance, kept.confidence)]

    def fair_to(self, bad: Bad) -> Spent:
        """What a good frame of its kind and size takes; measured once."""
        return self._fair.of(bad.family, bad.pixels)

    def send(self, seed: int, found: Found) -> None:
        """One message, or a good frame where it is its turn."""
        if seed % GOOD_EVERY == 0:
            self._send_good(seed, found)
            return
        bad, rng = bad_message(seed), np.random.default_rng([seed, 1])
        height, width = _shape(bad)
        camera, pose = (
            _strange_camera(rng, height, width) if rng.random() < 0.5 else (_sane_camera(height, width), SANE_POSE)
        )
        self._way.answer = _strange(rng)
        found.messages += 1
        found.kinds[bad.kind] += 1
        began = time.process_time()
        try:
            spent = self._way.run(bad.message, camera, pose)[1]
            found.answered += 1
        except SegPerceptionError as error:
            spent = Spent(time.process_time() - began, 0.0)
            found.causes[error.cause if isinstance(error, BadImageError) else "failed"] += 1
        except Exception:
            found.faults.append(f"message {seed} ({bad.kind}): {traceback.format_exc()}")
            return
        self._judge(seed, bad, spent, (camera, pose), found)

    def _send_good(self, seed: int, found: Found) -> None:
        self._way.answer = _calm
        found.good += 1
        panoptic = self._way.run(*self._good, SANE_POSE)[0]
        masks = (panoptic.semantic, panoptic.instance, panoptic.confidence)
        if not all(map(np.array_equal, masks, self._expected)):
            found.faults.append(f"the good frame {seed} got other masks")

    def _judge(self, seed: int, bad: Bad, spent: Spent, place: tuple[Any, Any], found: Found) -> None:
        fair = self.fair_to(bad)
        if spent.see > SLOW * fair.see or spent.place > SLOW * fair.place:  # once more, in case it was another's fault
            spent = spent.least(_least(self._way, bad.message, *place))
        for part in ("see", "place"):
            share = getattr(spent, part) / getattr(fair, part)
            worst = (share, seed, bad.kind)
            found.slowest[part] = max(found.slowest.get(part, worst), worst)
            if share > SLOW:
                found.faults.append(
                    f"message {seed} ({bad.kind}, {bad.pixels} px): {part} took {share:.1f} times as long"
                )


def _shape(bad: Bad) -> tuple[int, int]:
    """Of a camera for it: the image's as it says, where that can be."""
    message = bad.message
    if bad.family == "raw":
        return max(1, min(message.height, 65_535)), max(1, min(message.width, 65_535))
    from seg_perception.image_limits import encoded_size

    height, width = encoded_size(memoryview(message.data)) or (48, 64)
    return max(1, height), max(1, width)


def _work(first: int, end: int, place: Any, results: Any) -> None:
    """In a process of its own, which may die."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    fuzzer, found = Fuzzer(), Found()
    for seed in range(first, end):
        place.value = seed
        signal.alarm(HANGS_S)
        fuzzer.send(seed, found)
    signal.alarm(0)
    results.send(found)


def fuzz(first: int, count: int, chunk: int, work: Callable[..., None] = _work) -> Found:
    """The messages of these numbers, each chunk in a new process; one that dies names its message and another goes on.
    work: what such a process does."""
    total, seed, processes = Found(), first, multiprocessing.get_context("spawn")
    while seed < first + count:
        end = min(first + count, seed + chunk)
        place = processes.Value("q", seed)
        results, sending = processes.Pipe(duplex=False)
        child = processes.Process(target=work, args=(seed, end, place, sending))
        child.start()
        sending.close()
        try:
            total.add(results.recv())
            child.join()
            seed = end
        except EOFError:
            child.join()
            how = "hangs" if child.exitcode == -signal.SIGALRM else f"ends the process ({child.exitcode})"
            total.faults.append(f"message {place.value} {how}")
            seed = place.value + 1
        print(f"{seed - first} of {count}: {len(total.faults)} faults", flush=True)
    return total


def told(found: Found) -> str:
    """The figures."""
    lines = [
        f"bad messages: {found.messages}, answered all the same: {found.answered}, refused: {sum(found.causes.values())}",
        *(f"  {cause}: {count}" for cause, count in found.causes.most_common()),
        f"good frames among them: {found.good}",
        *(
            f"slowest up to the {'masks' if part == 'see' else 'ground'}: {share:.1f} times a good frame (message {seed}, {kind})"
            for part, (share, seed, kind) in found.slowest.items()
        ),
        f"faults: {len(found.faults)}",
        *found.faults,
    ]
    return "\n".join(lines)


def main(words: list[str] | None = None) -> int:
    """Entry point; 0 when nothing was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first message")
    parser.add_argument("--chunk", type=int, default=5_000, help="messages a process")
    parser.add_argument("--only", type=int, help="this message alone, in this process")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args(words)
    if arguments.only is not None:
        found = Found()
        Fuzzer().send(arguments.only, found)
    else:
        found = fuzz(arguments.first, arguments.messages, arguments.chunk)
    print(told(found))
    if arguments.json:
        content = {"messages": found.messages, "answered": found.answered, "causes": found.causes, "good": found.good}
        content |= {"kinds": found.kinds, "slowest": found.slowest, "faults": found.faults}
        arguments.json.write_text(json.dumps(content, indent=1))
    return 1 if found.faults else 0


if __name__ == "__main__":
    sys.exit(main())
