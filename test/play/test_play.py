"""What becomes of answers that the disk does not take, and of the numbers of a play."""

from __future__ import annotations

import errno
import threading
from pathlib import Path

import numpy as np

from seg_perception.play.keeper import WAITING, Keeper
from seg_perception.play.spool import Spool
from seg_perception.results import Answer, Drivable


class FullDisk(Spool):
    """Takes two answers."""

    def _keep(self, answer: Answer) -> tuple[int, int]:
        if len(self) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super()._keep(answer)


def test_a_full_disk_neither_blocks_the_play_nor_costs_what_was_kept(tmp_path: Path) -> None:
    answer = Answer(np.zeros((2, 2), np.uint8), np.zeros((2, 2), np.uint16), (), Drivable(()))
    with FullDisk(tmp_path) as spool:
        keeper = Keeper({"": spool})

        def receive() -> None:
            for index in range(3 * WAITING):
                spool.sent(index / 10)
                keeper.send("", index, lambda index=index: index)
                keeper.on_answer("", index, 5.0, answer)
            keeper.close()

        receiving = threading.Thread(target=receive, daemon=True)
        receiving.start()
        receiving.join(30)
        assert not receiving.is_alive() and spool.answered == [0, 1]
        assert "the disk takes no more (No space left on device)" in keeper.problem
