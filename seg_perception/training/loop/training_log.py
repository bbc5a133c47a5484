"""What a run leaves to look at: log.jsonl always, and TensorBoard's files where tensorboard is installed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from seg_perception.errors import SegPerceptionError
from seg_perception.writing import write_text


class TrainingLog:
    """Appends to folder/log.jsonl, and to folder/tensorboard, from this step on. What was there of later steps, which come again
    after a resume, is taken out of the one and hidden in the other; so are lines that a full disk cut off.

    Raises SegPerceptionError when the disk is full.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self._path = folder / "log.jsonl"
        self._forget_after(step)
        self._board: Any = None
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            tqdm.write(f"losses go to {self._path} alone: pip install tensorboard to watch curves and pictures")
        else:
            self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    def _forget_after(self, step: int) -> None:
        if not self._path.is_file():
            return
        text = self._path.read_text(encoding="utf-8", errors="replace")
        kept = "".join(f"{line}\n" for line in text.splitlines() if _step_of(line) <= step)
        if kept != text:
            write_text(self._path, kept)

    def close(self) -> None:
        """Write what TensorBoard's writer still holds."""
        if self._board is not None:
            self._board.close()

    @property
    def shows_pictures(self) -> bool:
        """Whether picture() has an effect."""
        return self._board is not None

    def losses(self, step: int, seconds: float, learning_rate: float, losses: Mapping[str, float]) -> None:
        """After this many steps and seconds of training, those before a resume too; losses by name, of the last step."""
        row = {"step": step, "seconds": round(seconds, 1), "learning_rate": learning_rate, **losses}
        self._append(row)
        self._curves(step, {"learning_rate": learning_rate, **{f"loss/{name}": v for name, v in losses.items()}})

    def validation(self, step: int, metrics: Mapping[str, Any]) -> None:
        """metrics: what validate() returns."""
        self._append({"step": step, "validation": metrics})
        classes = {f"iou/{name}": value for name, value in metrics["iou"].items()}
        self._curves(step, {"validation/miou": metrics["miou"], **classes})

    def picture(self, step: int, rgb: NDArray[np.uint8]) -> None:
        """rgb: uint8 [H, W, 3]."""
        if self._board is not None:
            self._board.add_image("validation", rgb, step, dataformats="HWC")

    def _append(self, row: Mapping[str, Any]) -> None:
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        except OSError as error:
            raise SegPerceptionError(
                f"{self._path} cannot be written ({error.strerror}): free the disk and --resume"
            ) from error

    def _curves(self, step: int, values: Mapping[str, float]) -> None:
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)


def _step_of(line: str) -> float:
    """Of a row; infinity of what is none."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return math.inf
