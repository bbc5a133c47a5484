"""The path of one frame: preprocess, network, decode, drivable ground, with the time of each.

This is the only way to run a frame: the node, the evaluator, `predict` and the benchmark all call it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from time import perf_counter_ns
from typing import Any

import numpy as np

from seg_perception.backends.base import Backend, Decoder, DeviceBackend
from seg_perception.camera.preprocess import Preprocessor
from seg_perception.camera_model import CameraModel, CameraPose
from seg_perception.ground.drivable import DrivableExtractor, DrivableSettings
from seg_perception.ground.ego_mask import EgoMask
from seg_perception.ground.geometry import GroundProjection
from seg_perception.model_file import ModelInfo
from seg_perception.panoptic.decoder import PanopticDecoder, PanopticSettings
from seg_perception.results import Frame, Panoptic, Result, Wants

STAGES = ("preprocess", "network", "decode", "drivable")


@dataclass(frozen=True)
class Seen:
    """A frame half way: its masks are made, its ground is not. camera, extractor: what were in force then; times:
    starts of the stages so far and the end of the last, ns."""

    frame: Frame
    panoptic: Panoptic
    wants: Wants
    camera: tuple[CameraModel | None, CameraPose | None, EgoMask | None]
    extractor: DrivableExtractor
    times: tuple[int, ...]


class Pipeline:
    """Runs frames of one camera through one network.

    mask_hw: (height, width) of the masks; None = the camera's resolution. `run` belongs to one thread; `set_camera`
    and `configure` may be called from another and take effect with the next frame.

    `run` is `see`, which needs the network, then `place`, which does not. With several slots one thread may place a
    frame while another sees the next in another slot; each of the two belongs to one thread at a time, and frames are
    placed in the order in which they were seen.
    """

    def __init__(
        self,
        model: ModelInfo,
        backend: Backend,
        *,
        panoptic: PanopticSettings | None = None,
        drivable: DrivableSettings | None = None,
        mask_hw: tuple[int, int] | None = None,
        slots: int = 1,
    ) -> None:
        """slots: frames whose masks are kept at once."""
        self.model = model
        self.backend = backend
        self.labels = model.labels
        self._mask_hw = mask_hw
        self._device = backend.device_steps() if isinstance(backend, DeviceBackend) else None
        self._preprocess: Callable[[Frame], Any] = (
            self._device.preprocessor() if self._device else Preprocessor(model.size_for)
        )
        self._camera: tuple[CameraModel | None, CameraPose | None, EgoMask | None] = (None, None, None)
        self._slots = slots
        self._steps = (
            self._decoders(panoptic or PanopticSettings()),
            DrivableExtractor(self.labels, drivable or DrivableSettings()),
        )
        self._extractor = self._steps[1]

    def set_camera(self, camera: CameraModel | None, pose: CameraPose | None, ego: EgoMask | None = None) -> None:
        """Use this calibration and mounting from the next frame on; without both there is no ground output. ego: where the
        images show the own vehicle."""
        self._camera = (camera, pose, ego)

    def configure(self, *, panoptic: PanopticSettings | None = None, drivable: DrivableSettings | None = None) -> None:
        """Swap settings between two frames; what is None stays as it is."""
        decoders, extractor = self._steps
        self._steps = (
            self._decoders(panoptic) if panoptic else decoders,
            DrivableExtractor(self.labels, drivable) if drivable else extractor,
        )

    def _decoders(self, settings: PanopticSettings) -> tuple[Decoder, ...]:
        make = self._device.decoder if self._device else PanopticDecoder
        return tuple(make(self.labels, settings) for _ in range(self._slots))

    @property
    def ground_problem(self) -> str | None:
        """Why there is no ground output, None when there is; as of the latest frame."""
        return self._extractor.ground_problem

    @property
    def projection(self) -> GroundProjection | None:
        """Between the latest mask's pixels and the ground; None where there is no ground output."""
        return self._extractor.projection

    def warm_up(self) -> None:
        """Run a black image of a made-up camera, then a mask that is all ground, through every step: compile what is
        compiled at its first use, touch all memory."""
        self.backend.warm_up()
        height, width = self.model.size_hw
        matrix = ((width, 0, width / 2), (0, width, height / 2), (0, 0, 1))
        camera = CameraModel(width, height, matrix, distortion=(-0.01, 0.0, 0.0, 0.0))
        placed, self._camera = self._camera, (camera, CameraPose(0.0, 0.0, 1.0), None)
        black = Frame(np.zeros((height, width, 3), np.uint8))
        for slot in range(self._slots):
            seen = self.place(self.see(black, slot=slot)).panoptic
        for label in self.labels.drivable[:1]:
            self._extractor.extract(replace(seen, semantic=np.full_like(seen.semantic, label.id)), Wants())
        self._camera = placed

    def run(self, frame: Frame, wants: Wants = Wants()) -> Result:  # noqa: B008 - frozen, so safe to share
        """Everything that is wanted of one frame.

        The masks may be views of buffers that the next run overwrites: copy what is kept longer.
        """
        return self.place(self.see(frame, wants))

    def see(self, frame: Frame, wants: Wants = Wants(), slot: int = 0) -> Seen:  # noqa: B008 - as above
        """The steps up to the masks, which hold until the same slot is seen again."""
        decoders, extractor = self._steps
        times = [perf_counter_ns()]

        images = self._preprocess(frame)
        times.append(perf_counter_ns())

        output = self.backend.infer(images)
        times.append(perf_counter_ns())

        mask_hw = self._mask_hw or frame.size_hw
        panoptic = decoders[slot].decode(output, 0, mask_hw, self.model.stride, wants)
        times.append(perf_counter_ns())
        return Seen(frame, panoptic, wants, self._camera, extractor, tuple(times))

    def place(self, seen: Seen) -> Result:
        """The rest: the drivable ground."""
        start = perf_counter_ns()
        self._extractor, mask = seen.extractor, seen.panoptic.semantic
        camera, pose, ego = seen.camera
        self._extractor.set_camera(camera, pose, (mask.shape[0], mask.shape[1]), seen.frame.size_hw, ego)
        drivable = self._extractor.extract(seen.panoptic, seen.wants)
        ends = (*zip(seen.times, seen.times[1:]), (start, perf_counter_ns()))
        stages_ms = {name: (end - begin) / 1e6 for name, (begin, end) in zip(STAGES, ends)}
        return Result(seen.frame, seen.panoptic, drivable, stages_ms)
