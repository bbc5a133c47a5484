"""What becomes of answers that the disk does not take, and of the numbers of a play."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Collection
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from eval_fixtures import write_images

from seg_perception.play import stages
from seg_perception.play.keeper import WAITING, Keeper
from seg_perception.play.pace import Pace
from seg_perception.play.play import Feed, Play, Silence, numbers, silent
from seg_perception.play.spool import AgeSpool, Spool
from seg_perception.recordings.sources import FolderSource
from seg_perception.results import Answer, Drivable, Frame
from seg_perception.tracking.settings import TrackingSettings


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


def played(folder: Path, sent_s: list[float], answered: set[int]) -> Feed:
    spool = AgeSpool(folder)
    for index, time_s in enumerate(sent_s):
        spool.sent(time_s)
        if index in answered:
            spool.add_answer(index, 20.0, None)  # type: ignore[arg-type] - none is kept
    source = FolderSource(folder)
    return Feed(source, spool, received={"label_mask": len(answered)})


def test_rates_are_of_the_frames_and_not_of_the_waiting(tmp_path: Path) -> None:
    """Half a second of 10 Hz: five of five answered are 10 a second, and four are 8, however long the fifth is waited
    for; two cameras together are twice as many."""
    write_images(tmp_path / "images", 1)
    times = [0.0, 0.1, 0.2, 0.3, 0.4]
    whole = played(tmp_path / "images", times, {0, 1, 2, 3, 4})
    assert (numbers([whole])["fps"], numbers([whole])["sent_hz"]) == (10.0, 10.0)
    lossy = played(tmp_path / "images", times, {0, 1, 2, 3})
    assert (numbers([lossy])["fps"], numbers([lossy])["dropped"]) == (8.0, 1)
    later = played(tmp_path / "images", [time_s + 0.05 for time_s in times], {0, 1, 2, 3, 4})
    assert numbers([whole, later])["fps"] == 20.0
    assert numbers([whole, whole])["fps"] == 20.0, "cameras that are triggered together"
    short = played(tmp_path / "images", times[:2], {0, 1})
    assert numbers([whole, short])["sent_hz"] == 14.0, "seven frames in half a second"
    alone = numbers([played(tmp_path / "images", [0.0], {0})])
    assert alone["fps"] is None and alone["sent_hz"] is None


class AnsweringPlayer:
    """Answers every frame at once; stamps_ns: of all that were sent."""

    stamps_ns: list[int]

    def __init__(self, *_: object, watched: Collection[str], **__: object) -> None:
        AnsweringPlayer.stamps_ns = []
        self.channels = {"": self}
        self.received = dict.fromkeys(watched, 0)

    @property
    def answers(self) -> int:
        return len(self.stamps_ns)

    def send(self, camera: str, frame: Frame, model: object, stamp_ns: int) -> None:
        self.stamps_ns.append(stamp_ns)

    def diagnostics(self, part: str) -> dict[str, str]:
        return {}

    def others(self) -> list[str]:
        return []

    def wait_for_answers(self, *_: object) -> bool:
        return True

    wait_for_answer = wait_for_diagnostics = wait_for_answers

    def close(self) -> None:
        pass


class QuietNode:
    exit_code = None

    def check(self) -> None:
        pass

    def stages(self) -> list[tuple[str, int, dict[str, float]]]:
        return []


@pytest.mark.parametrize("simulated", [False, True])
def test_the_node_has_forgotten_the_things_of_its_warm_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, simulated: bool
) -> None:
    """To warm it up the first image is sent again and again, as if all stood still: who is remembered as standing is told
    with a speed of 0 and where it stood for half a second, however fast it goes."""
    monkeypatch.setattr("seg_perception.play.play.Player", AnsweringPlayer)
    write_images(tmp_path / "images", 3)
    source = FolderSource(tmp_path / "images")
    if simulated:
        monkeypatch.setattr(source, "_stamp_ns", lambda index: 10**18 + index * 10**8)
    with AgeSpool(tmp_path) as spool:
        network = SimpleNamespace(shared=False, node_name="segmentation")
        play = Play([Feed(source, spool)], Pace(simulated=simulated), network)  # type: ignore[arg-type]
        play.run(QuietNode())  # type: ignore[arg-type]
    warm, first = AnsweringPlayer.stamps_ns[-4], AnsweringPlayer.stamps_ns[-3]
    assert len(AnsweringPlayer.stamps_ns) > 3 and (first - warm) / 1e9 > TrackingSettings().memory_s


def test_silence_is_told_with_what_was_sent_heard_and_the_usual_causes() -> None:
    deaf = silent(75, "ready", 0)
    assert "75 images were sent" in deaf and "is ready and received 0 of them" in deaf
    assert all(cause in deaf for cause in ("/dev/shm", "RMW_IMPLEMENTATION", "multicast"))
    assert "not heard at all" in silent(75, "", None)


def test_a_node_that_starts_for_minutes_is_not_called_silent() -> None:
    """It was busy until 44 s and may take 15 s from then on; the sentence comes once. Where it is not heard at all, the
    15 s are of the start."""
    silence = Silence(0.0)
    told = [silence.begins(now_s, state) for now_s, state in (
        (10.0, ""), (14.9, ""), (15.0, "warming up"), (44.0, "warming up"), (45.0, "ready"), (58.9, "ready"),
        (59.1, "ready"), (99.0, "ready")
    )]  # fmt: skip
    assert told == [False] * 6 + [True, False]
    assert Silence(0.0).begins(15.1, "")


def test_a_line_that_the_node_is_still_writing_is_not_read() -> None:
    """It is read while the node goes on, which may also have been killed amid a line."""
    descriptor = os.memfd_create("stages")
    stages.write(descriptor, "front", 7, {"network": 1.5})
    os.write(descriptor, b'["front", 8, {"netw')
    assert list(stages.read(descriptor)) == [("front", 7, {"network": 1.5})]
    os.close(descriptor)
