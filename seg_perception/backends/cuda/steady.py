"""The part of steadier masks that is of the network's grid, on the GPU: only a small grey image and its flow cross the bus."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seg_perception.backends.base import OnDevice
from seg_perception.backends.cuda.driver import Buffers, Work, do_all
from seg_perception.backends.cuda.kernels import Steady
from seg_perception.backends.cuda.step import CudaStep, Surroundings
from seg_perception.labels import LabelSet
from seg_perception.model_file import INPUT, OUTPUTS
from seg_perception.panoptic.steadier import Before, stuff_of


class CudaSteadyGrid(CudaStep):
    """Does on the GPU what HostGrid does, to the network's logits where they lie.

    Every number is equal but for the grey image, where OpenCV's versions differ by one level.
    """

    name = "steady"

    def __init__(self, steps: Surroundings, labels: LabelSet) -> None:
        super().__init__(steps)
        self._stuff = stuff_of(labels)
        self._buffers = Buffers(steps.stream)
        self._turn = 0

    def grey(self, images: OnDevice, output: OnDevice, place: int) -> NDArray[np.uint8]:
        """As of SteadyGrid; waits for the GPU."""
        self._steps.check_open()
        if "grey" not in self._buffers.results:  # the last that is allocated
            self._allocate()
        self._run("grey", place)
        self._steps.stream.synchronize()
        return np.array(self._buffers.results["grey"].array)

    def fuse(self, output: OnDevice, place: int, before: Before | None) -> tuple[OnDevice, int]:
        """As of SteadyGrid: queues it, and changes the network's logits."""
        sent = self._buffers.results
        if before is None:
            sent["back"].array[:] = np.nan  # no cell was anywhere
        else:
            sent["back"].array[:] = before.back
            sent["weights"].array[:] = before.memory, before.strength
            sent["is_obstacle"].array[:] = before.is_obstacle
        self._turn = 1 - self._turn
        self._run("fuse", place, self._turn)
        return output, place

    def close(self) -> None:
        """Give back what it holds on the GPU."""
        do_all([self._forget_works, self._buffers.free])

    def _run(self, kind: str, place: int, turn: int = 0) -> None:
        key = kind, place, turn
        if key not in self._works:
            self._works[key] = self._work(kind, self._arguments(place, turn))
        self._works[key].run()

    def _allocate(self) -> None:
        count, grid, buffers = len(self._stuff), self._steps.model.grid_hw, self._buffers
        buffers.reserve("stuff", (count,), np.int32).fill(self._stuff.astype(np.int32))
        for name in ("odds0", "odds1", "found"):
            buffers.reserve(name, (count, *grid), np.float32)
        for name in ("best0", "best1", "is_border"):
            buffers.reserve(name, grid, np.uint8)
        buffers.reserve_result("back", (*grid, 2), np.float32)
        buffers.reserve_result("weights", (2,), np.float32)
        buffers.reserve_result("is_obstacle", (count,), np.uint8)
        buffers.reserve_result("grey", grid, np.uint8)

    def _arguments(self, place: int, turn: int) -> Steady:
        model, tensors, (h, w) = self._steps.model, self._steps.tensors, self._steps.model.grid_hw
        held = {
            name: memory.address for name, memory in (*self._buffers.memory.items(), *self._buffers.results.items())
        }
        size = 3 * model.size_hw[0] * model.size_hw[1], 4 * len(model.labels) * h * w
        return Steady(
            image=tensors[INPUT].address + place * size[0],
            logits=tensors[OUTPUTS[0]].address + place * size[1],
            past_odds=held[f"odds{1 - turn}"],
            past_best=held[f"best{1 - turn}"],
            odds=held[f"odds{turn}"],
            best=held[f"best{turn}"],
            h=h,
            w=w,
            halvings=model.stride.bit_length() - 1,
            count=len(self._stuff),
            **{name: held[name] for name in ("grey", "stuff", "is_obstacle", "back", "weights", "found", "is_border")},
        )

    def _work(self, kind: str, arguments: Steady) -> Work:
        steps, results = self._steps, self._buffers.results
        launches = ("shrink_to_grey",) if kind == "grey" else ("find_odds", "mark_borders", "fuse")
        sent = () if kind == "grey" else ("back", "weights", "is_obstacle")

        def enqueue() -> None:
            for name in sent:
                results[name].to_device()
            for name in launches:
                steps.kernels.launch(name, arguments.h * arguments.w, arguments, steps.stream)
            if kind == "grey":
                results["grey"].to_host()

        return Work(steps.stream, enqueue, steps.log)
