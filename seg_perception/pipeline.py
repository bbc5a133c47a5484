"""The path of one frame: preprocess, network, decode, drivable ground, with the time of each.

This is the only way to run a frame: the node, the evaluator, `predict` and the benchmark all call it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from time import perf_counter_ns
from typing import Any

import numpy as np

from seg_perception.backends.base import Backend, Decoder, DeviceBackend
from seg_perception.drivable import DrivableExtractor, DrivableSettings
from seg_perception.geometry import CameraModel, CameraPose, GroundProjection
from seg_perception.model_file import ModelInfo
from seg_perception.panoptic import PanopticDecoder, PanopticSettings
from seg_perception.preprocess import Preprocessor
from seg_perception.results import Frame, Result, Wants

STAGES = ("preprocess", "network", "decode", "drivable")


class Pipeline:
    """Runs frames of one camera through one network.

    mask_hw: (height, width) of the masks; None = the camera's resolution. `run` belongs to one thread; `set_camera`
    and `configure` may be called from another and take effect with the next frame.
    """

    def __init__(
        self,
        model: ModelInfo,
        backend: Backend,
        *,
        panoptic: PanopticSettings | None = None,
        drivable: DrivableSettings | None = None,
        mask_hw: tuple[int, int] | None = None,
    ) -> None:
        self.model = model
        self.backend = backend
        self.labels = model.labels
        self._mask_hw = mask_hw
        self._device = backend.device_steps() if isinstance(backend, DeviceBackend) else None
        self._preprocess: Callable[[Frame], Any] = (
            self._device.preprocessor() if self._device else Preprocessor(model.size_hw)
        )
        self._camera: tuple[CameraModel | None, CameraPose | None] = (None, None)
        self._steps = (
            self._decoder(panoptic or PanopticSettings()),
            DrivableExtractor(self.labels, drivable or DrivableSettings()),
        )

    def set_camera(self, camera: CameraModel | None, pose: CameraPose | None) -> None:
        """Use this calibration and mounting from the next frame on; without both there is no ground output."""
        self._camera = (camera, pose)

    def configure(self, *, panoptic: PanopticSettings | None = None, drivable: DrivableSettings | None = None) -> None:
        """Swap settings between two frames; what is None stays as it is."""
        decoder, extractor = self._steps
        self._steps = (
            self._decoder(panoptic) if panoptic else decoder,
            DrivableExtractor(self.labels, drivable) if drivable else extractor,
        )

    def _decoder(self, settings: PanopticSettings) -> Decoder:
        return self._device.decoder(self.labels, settings) if self._device else PanopticDecoder(self.labels, settings)

    @property
    def ground_problem(self) -> str | None:
        """Why there is no ground output, None when there is; as of the latest frame."""
        return self._steps[1].ground_problem

    @property
    def projection(self) -> GroundProjection | None:
        """Between the latest mask's pixels and the ground; None where there is no ground output."""
        return self._steps[1].projection

    def warm_up(self) -> None:
        """Run a black image of a made-up camera, then a mask that is all ground, through every step: compile what is
        compiled at its first use, touch all memory."""
        self.backend.warm_up()
        height, width = self.model.size_hw
        matrix = ((width, 0, width / 2), (0, width, height / 2), (0, 0, 1))
        camera = CameraModel(width, height, matrix, distortion=(-0.01, 0.0, 0.0, 0.0))
        placed, self._camera = self._camera, (camera, CameraPose(0.0, 0.0, 1.0))
        seen = self.run(Frame(np.zeros((height, width, 3), np.uint8))).panoptic
        for label in self.labels.drivable[:1]:
            self._steps[1].extract(replace(seen, semantic=np.full_like(seen.semantic, label.id)), Wants())
        self._camera = placed

    def run(self, frame: Frame, wants: Wants = Wants()) -> Result:  # noqa: B008 - frozen, so safe to share
        """Everything that is wanted of one frame.

        The masks may be views of buffers that the next run overwrites: copy what is kept longer.
        """
        decoder, extractor = self._steps
        mask_hw = self._mask_hw or frame.size_hw
        times = [perf_counter_ns()]

        images = self._preprocess(frame)
        times.append(perf_counter_ns())

        output = self.backend.infer(images)
        times.append(perf_counter_ns())

        panoptic = decoder.decode(output, 0, mask_hw, self.model.stride, wants)
        times.append(perf_counter_ns())

        extractor.set_camera(*self._camera, mask_hw)
        drivable = extractor.extract(panoptic, wants)
        times.append(perf_counter_ns())

        stages_ms = {name: (end - start) / 1e6 for name, start, end in zip(STAGES, times, times[1:])}
        return Result(frame, panoptic, drivable, stages_ms)
