"""The steps beside the network on the GPU, so that only the camera's image and finished masks cross the bus.

The kernels are tested on the CPU, compiled for it from the same source, and compile for the GPUs of a Jetson; they have
run on no GPU so far.
"""

from __future__ import annotations

import threading
import weakref
from dataclasses import dataclass, field
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.backends.base import OnDevice
from seg_perception.backends.cuda.driver import Buffers, Transfer, Work, do_all
from seg_perception.backends.cuda.kernels import Decode, Resize
from seg_perception.backends.cuda.steady import CudaSteadyGrid
from seg_perception.backends.cuda.step import CudaStep, Surroundings
from seg_perception.camera.preprocess import Preprocessor, halvings, no_pixels
from seg_perception.labels import NOT_GROUND, LabelSet
from seg_perception.model_file import INPUT, OUTPUTS
from seg_perception.panoptic import instance_kernels, mask_kernels
from seg_perception.panoptic.decoder import PanopticSettings, not_finite, segments_of
from seg_perception.raw_image import Recolor
from seg_perception.results import Frame, Panoptic, Segment, Wants

TALLY_RUN = 64
"""As in the source."""
LOGITS_NOT_FINITE, OFFSET_NOT_FINITE, HEATMAP_NOT_FINITE = 1, 2, 4
"""Bits of the state that the kernels leave."""

RGB = (0, 1, 2)
ORDERS = {
    cv2.COLOR_RGBA2RGB: RGB,
    cv2.COLOR_BGR2RGB: (2, 1, 0),
    cv2.COLOR_BGRA2RGB: (2, 1, 0),
    cv2.COLOR_GRAY2RGB: (0, 0, 0),
}
"""Which channels of a packed image are red, green and blue, by the conversion that OpenCV would do."""

_Step = TypeVar("_Step", bound=CudaStep)


@dataclass(eq=False)
class CudaSteps(Surroundings):
    """Makes the steps of each pipeline, around tensors of the network that they share: see DeviceSteps."""

    _made: weakref.WeakSet[CudaStep] = field(default_factory=weakref.WeakSet, init=False)
    _counting: threading.Lock = field(default_factory=threading.Lock, init=False)

    def preprocessor(self) -> CudaPreprocessor:
        """See DeviceSteps."""
        return self._counted(CudaPreprocessor(self))

    def decoder(self, labels: LabelSet, settings: PanopticSettings) -> CudaDecoder:
        """See DeviceSteps."""
        return self._counted(CudaDecoder(self, labels, settings))

    def steady_grid(self, labels: LabelSet) -> CudaSteadyGrid:
        """See DeviceSteps."""
        return self._counted(CudaSteadyGrid(self, labels))

    def close(self) -> None:
        """Give back what the steps hold on the GPU, and the kernels; may be called twice."""
        do_all([self.release, self.kernels.unload])

    def release(self) -> None:
        """Give back what the steps hold, but not the kernels, which others may share; may be called twice."""
        self.closed = True
        do_all(made.close for made in self._steps())

    def graphs(self) -> list[tuple[str, str]]:
        """Name of each step that has work, and the state of that work. Any thread."""
        return sorted((made.name, work.state) for made in self._steps() for work in made.works())

    def _counted(self, made: _Step) -> _Step:
        with self._counting:
            self._made.add(made)
        return made

    def _steps(self) -> list[CudaStep]:
        """Those that are in use; settings that change make others meanwhile, in another thread."""
        with self._counting:
            return list(self._made)


class CudaPreprocessor(CudaStep):
    """Does on the GPU what Preprocessor does, to at most 2 of 255 levels: OpenCV rounds its weights to 11 bits.

    Packed pixels (rgb8, bgr8, rgba8, bgra8, mono8, JPEG) are sent as the camera gave them.
    """

    name = "preprocess"

    def __init__(self, steps: Surroundings) -> None:
        super().__init__(steps)
        self._image: Transfer | None = None
        self._order = RGB
        self._on_cpu = Preprocessor(steps.model.size_hw)

    def __call__(self, frame: Frame, index: int = 0) -> OnDevice:
        """Queue the resize of a frame to image `index` of the network's input.

        The network must have run before the next call, which overwrites the pinned copy of the image.
        Raises SegPerceptionError when the frame has no pixels.
        """
        self._steps.check_open()
        pixels, order = self._packed(frame)
        image = self._image
        if image is None or image.array.shape != pixels.shape or self._order != order:
            image = self._start(pixels.shape, order)
        if index not in self._works:
            self._works[index] = self._work(image, index)
        np.copyto(image.array, pixels)
        self._works[index].run()
        return OnDevice(index + 1)

    def close(self) -> None:
        """Give back what it holds on the GPU."""
        image, self._image = self._image, None
        if image is not None:
            do_all([self._forget_works, image.free])

    def _packed(self, frame: Frame) -> tuple[NDArray[np.uint8], tuple[int, int, int]]:
        """Pixels, uint8 [H, W] or [H, W, channels], and which channels are red, green and blue. What is not packed comes
        at the network's size, by the CPU: fewer bytes than its conversion at full size would send."""
        image = frame.pixels
        if isinstance(image, np.ndarray):
            return image, RGB
        if isinstance(image.mix, Recolor) and image.mix.code in ORDERS:
            return image.planes[0], ORDERS[image.mix.code]
        return self._on_cpu(frame)[0], RGB

    def _start(self, shape: tuple[int, ...], order: tuple[int, int, int]) -> Transfer:
        if 0 in shape:
            raise no_pixels((shape[0], shape[1]))
        if self._image is not None and self._image.bytes >= np.prod(shape):
            self._forget_works()
            self._image.hold(shape, np.uint8)
        else:
            self.close()
            self._image = Transfer(self._steps.stream, shape, np.uint8)
        self._order = order
        return self._image

    def _work(self, image: Transfer, index: int) -> Work:
        steps, (height, width), (red, green, blue) = self._steps, self._steps.model.size_hw, self._order
        source_height, source_width = image.array.shape[:2]
        channels = image.array.size // (source_height * source_width)
        arguments = Resize(
            source=image.address,
            target=steps.tensors[INPUT].address + index * height * width * 3,
            row_bytes=source_width * channels,
            pixel_bytes=channels,
            red=red,
            green=green,
            blue=blue,
            source_height=source_height,
            source_width=source_width,
            height=height,
            width=width,
            halvings_y=halvings(source_height, height),
            halvings_x=halvings(source_width, width),
        )

        def enqueue() -> None:
            image.to_device()
            steps.kernels.launch("resize_image", height * width, arguments, steps.stream)

        return Work(steps.stream, enqueue, steps.log)


class CudaDecoder(CudaStep):
    """Decodes on the GPU by the rule of PanopticDecoder, which says what the masks are.

    Classes and instances are equal on every pixel; confidence may differ by 1 of 255, and with it what min_confidence
    makes void and the order of things of nearly equal score.
    """

    name = "decode"

    def __init__(self, steps: Surroundings, labels: LabelSet, settings: PanopticSettings) -> None:
        super().__init__(steps)
        self._labels, self._settings = labels, settings
        self._key: tuple[tuple[int, int], int] | None = None
        self._buffers = Buffers(steps.stream)

    def decode(self, output: OnDevice, index: int, mask_hw: tuple[int, int], stride: int, wants: Wants) -> Panoptic:
        """As PanopticDecoder.decode; waits for the GPU."""
        self._steps.check_open()
        if index >= output.count:
            raise IndexError(f"image {index} of {output.count}")
        if self._key != (mask_hw, stride):
            self._start(mask_hw, stride)
        settings = self._settings
        with_confidence = wants.confidence or wants.instances or wants.areas or settings.min_confidence > 0
        kinds = (index, with_confidence, wants.instances, wants.ground)
        if kinds not in self._works:
            self._works[kinds] = self._work(*kinds)
        self._works[kinds].run()
        self._steps.stream.synchronize()
        return self._panoptic(wants, with_confidence)

    def close(self) -> None:
        """Give back what it holds on the GPU."""
        self._key = None
        do_all([self._forget_works, self._buffers.free])

    def _start(self, mask_hw: tuple[int, int], stride: int) -> None:
        self._key = None
        self._forget_works()
        self._mask_hw, self._stride = mask_hw, stride
        self._nothing = np.zeros(mask_hw, np.uint16)
        self._unsure = np.zeros(mask_hw, np.uint8)
        try:
            self._allocate()
        except BaseException:
            self.close()
            raise
        self._key = (mask_hw, stride)

    def _panoptic(self, wants: Wants, with_confidence: bool) -> Panoptic:
        results = {name: transfer.array for name, transfer in self._buffers.results.items()}
        found, problems = results["state"]
        if problems:
            flags = (LOGITS_NOT_FINITE, HEATMAP_NOT_FINITE, OFFSET_NOT_FINITE)
            raise not_finite(next(name for name, flag in zip(OUTPUTS, flags) if problems & flag))
        segments: tuple[Segment, ...] = ()
        if wants.instances:
            tally = results["tally"][: min(found, self._settings.max_instances) + 1]
            _, segments = segments_of(tally, self._labels, self._settings, self._nothing.size)
        return Panoptic(
            results["semantic"],
            results["instance"] if wants.instances else self._nothing,
            results["confidence"] if with_confidence else self._unsure,
            segments,
            results["ground"] if wants.ground else None,
        )

    def _allocate(self) -> None:
        most, buffers = self._settings.max_instances, self._buffers
        (h, w), classes = self._steps.model.grid_hw, len(self._labels)
        down, across = (mask_kernels.axis(n, m) for n, m in zip((h, w), self._mask_hw))
        for name, values in (
            ("is_thing", self._labels.is_thing.astype(np.uint8)),
            ("is_ground", (self._labels.drivable_costs != NOT_GROUND).astype(np.uint8)),
            ("low_y", np.repeat(down.low, np.diff(down.start)).astype(np.int32)),
            ("low_x", np.repeat(across.low, np.diff(across.start)).astype(np.int32)),
            ("weight_y", down.weight),
            ("weight_x", across.weight),
        ):
            buffers.reserve(name, values.shape, values.dtype).fill(values)
        for name, shape, dtype in (
            ("winner", (h, w), np.uint8),
            ("peak", (h, w), np.float32),
            ("share", (h, w), np.float32),
            ("peak_cells", (h * w,), np.int32),
            ("centers", (most, 2), np.int32),
            ("votes", (2, h, w), np.int32),
            ("elected", (h, w), np.uint16),
            ("class_sets", (h, w, _words(classes)), np.uint32),
            ("center_sets", (h, w, _words(most)), np.uint32),
            ("areas", (most,), np.int64),
            ("scores", (most,), np.float64),
            ("numbers", (most + 1,), np.uint16),
        ):
            buffers.reserve(name, shape, dtype)
        for name, shape, dtype in (
            ("semantic", self._mask_hw, np.uint8),
            ("confidence", self._mask_hw, np.uint8),
            ("ground", (h, w), np.float32),
            ("instance", self._mask_hw, np.uint16),
            ("tally", (most + 1, classes, 6), np.int64),
            ("state", (2,), np.int32),
        ):
            buffers.reserve_result(name, shape, dtype)

    def _arguments(self, index: int, with_confidence: bool, with_instances: bool) -> Decode:
        settings, model, tensors = self._settings, self._steps.model, self._steps.tensors
        buffers = self._buffers
        (h, w), (height, width), classes = model.grid_hw, self._mask_hw, len(self._labels)
        logits, heatmap, offset = (
            tensors[name].address + index * channels * h * w * np.dtype(np.float32).itemsize
            for name, channels in zip(OUTPUTS, (classes, 1, 2))
        )
        addresses = {name: memory.address for name, memory in (*buffers.memory.items(), *buffers.results.items())}
        return Decode(
            logits=logits,
            heatmap=heatmap,
            offset=offset,
            **addresses,
            center_threshold=settings.least_center,
            least_thing_area=max(1, settings.min_thing_area * height * width),
            cell_height=height / h,
            cell_width=width / w,
            vote_scale_y=height / h / self._stride,
            vote_scale_x=width / w / self._stride,
            reach=instance_kernels.VOTE_REACH * max(height, width),
            least_ground=settings.min_ground_confidence,
            classes=classes,
            h=h,
            w=w,
            height=height,
            width=width,
            radius=settings.center_radius(self._stride),
            max_instances=settings.max_instances,
            least_confidence=int(np.ceil(settings.min_confidence * 255)),
            with_confidence=with_confidence,
            with_instances=with_instances,
        )

    def _work(self, index: int, with_confidence: bool, with_instances: bool, with_ground: bool) -> Work:
        steps, most, results = self._steps, self._settings.max_instances, self._buffers.results
        arguments = self._arguments(index, with_confidence, with_instances)
        (h, w), (height, width), classes = steps.model.grid_hw, self._mask_hw, len(self._labels)
        cells, pixels = h * w, height * width
        launches: list[tuple[str, int]] = [
            ("reset", max(2, (most + 1) * classes)),
            ("score_cells", cells),
            ("find_class_candidates", cells * _words(classes)),
            ("paint_masks", pixels),
        ]
        wanted = [results["state"], results["semantic"]]
        if with_confidence:
            wanted.append(results["confidence"])
        if with_ground:
            wanted.append(results["ground"])
        if with_instances:
            launches[3:3] = [
                ("find_peaks", cells),
                ("rank_peaks", cells),
                ("elect_centers", cells),
                ("find_center_candidates", cells * _words(most)),
            ]
            launches += [
                ("tally_segments", height * -(-width // TALLY_RUN)),
                ("score_things", most),
                ("number_things", most),
                ("renumber", pixels),
            ]
            wanted += [results["instance"], results["tally"]]

        def enqueue() -> None:
            for name, threads in launches:
                steps.kernels.launch(name, threads, arguments, steps.stream)
            for transfer in wanted:
                transfer.to_host()

        return Work(steps.stream, enqueue, steps.log)


def _words(count: int) -> int:
    """Words of 32 bits that hold a bit for each of count."""
    return -(-count // 32)
