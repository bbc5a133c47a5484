"""After the play: the overlay video, the metrics and the sample pictures from the frames and what was answered."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from seg_perception.evaluation.worst_frames import WorstFrames
from seg_perception.labels import LabelSet
from seg_perception.metrics.free_distance import FreeDistance, FreeTimeline
from seg_perception.play.judge import Judge
from seg_perception.play.spool import Spool
from seg_perception.play.video import VideoWriter
from seg_perception.recordings.sources import Source, SourceFrame
from seg_perception.reports.film import Film
from seg_perception.reports.panels import Panels, Placing
from seg_perception.reports.report import Picture
from seg_perception.results import Answer, Frame
from seg_perception.spread import spread

SAMPLES = 6


@dataclass
class Replay:
    """What came out. numbers: metrics under their names in report.json, empty without labels; rows: its `per_frame`;
    problems: labels that cannot be used, a video that could not be written; notes: on the video; video: it is there and
    can be opened; finished: False when Ctrl-C ended it early; frames: looked at; labels: what was judged in."""

    labels: LabelSet
    numbers: dict[str, Any] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    video: bool = False
    pictures: list[Picture] = field(default_factory=list)
    free: FreeTimeline = field(default_factory=FreeTimeline)
    film: Film = field(default_factory=Film)
    frames: int = 0
    finished: bool = True


def replay(
    source: Source,
    spool: Spool,
    labels: LabelSet,
    video: Path | None = None,
    placing: Placing | None = None,
    together: Judge | None = None,
    worst: WorstFrames | None = None,
) -> Replay:
    """Judge the answers where source has labels, and write the video, where one is asked for, of all frames sent.

    A frame without an answer shows the newest one before it, as that is all a robot has then, and says how old it is;
    before the first answer frames stay plain. placing: how the images are placed over the ground, which is then shown
    beside them. together and worst get the frames too, under source's part. Ctrl-C ends it with a whole video of what
    was done.
    """
    judge = Judge(labels, source.labels)
    result = Replay(judge.labels)
    distances = FreeDistance(labels, placing.settings.range_max_m) if placing else FreeDistance(labels)
    panels = Panels(labels, placing, source.ego)
    newest: Answer | None = None
    newest_index = 0
    chosen = _evenly(spool.answered, SAMPLES)
    frames = tqdm(_frames(source, spool), total=len(spool.sent_s), unit="frame", desc="report")
    with VideoWriter(video, spool.rate_hz or source.rate_hz) if video else nullcontext() as writer:
        try:
            for index, item in enumerate(frames):
                answer = spool.answer(index)
                if answer is not None:
                    newest, newest_index = answer, index
                filmed = newest is not None and result.film.follows(newest.segments)
                if writer is not None or index in chosen or filmed:
                    drawn = panels.draw(item.frame.rgb, newest, index - newest_index, source.camera)
                if filmed and panels.camera is not None:
                    result.film.add(panels.camera, spool.sent_s[index])
                if writer is not None:
                    writer.write(drawn)
                result.frames += 1
                miou = judge.add(item.name, item, answer, newest, spool.age_ms[index])
                if together is not None:
                    together.add(f"{source.part} {item.name}", item, answer, newest, spool.age_ms[index])
                if answer is None:
                    continue
                if worst is not None and miou is not None and item.truth is not None:
                    worst.offer(miou, index, item, answer.semantic, item.truth)
                distances.add(spool.sent_s[index], answer.drivable, item.free_distance_m)
                if index in chosen:
                    result.pictures.append(_picture(item, panels, judge))
        except KeyboardInterrupt:
            result.finished = False
    if writer is not None:
        result.video = writer.written
    result.numbers = {**judge.numbers(), **distances.summary()}
    notes = [*judge.notes, *(writer.notes if writer else ())]
    problems = [*judge.problems, *(writer.problems if writer else ())]
    result.rows, result.problems, result.notes = judge.rows, problems, notes
    result.free = distances.timeline()
    return result


def _frames(source: Source, spool: Spool) -> Iterator[SourceFrame]:
    """The frames that were sent, again."""
    if source.live:
        for index in range(len(spool.sent_s)):
            yield SourceFrame(Frame(spool.frame(index)), f"frame {index}")
        return
    yield from (item for item, _ in zip(source, spool.sent_s, strict=False))


def _picture(item: SourceFrame, panels: Panels, judge: Judge) -> Picture:
    assert panels.camera is not None
    images = [("what the node answered", panels.camera.copy())]
    if item.truth is None:
        images.append(("camera image", item.frame.rgb.copy()))
    else:
        images.append(("truth", judge.labels.colors[judge.truth(item.truth).semantic]))
    if panels.ground is not None:
        images.append(("the ground from above", panels.ground.copy()))
    return Picture(item.name, images)


def _evenly(indices: list[int], count: int) -> set[int]:
    """At most count of the indices, evenly spread."""
    return {indices[place] for place in spread(len(indices), count)}
