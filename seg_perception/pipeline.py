"""The path of one frame: preprocess, network, decode, drivable ground, tracks, with the time of each.

This is the only way to run a frame: the node, the evaluator, `predict` and the benchmark all call it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from time import perf_counter_ns
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from seg_perception.backends.base import Backend, DeviceBackend
from seg_perception.backends.batches import Answer, answers_of
from seg_perception.camera.preprocess import Preprocessor
from seg_perception.camera_model import CameraModel, CameraPose
from seg_perception.ground.depth import DepthProblem
from seg_perception.ground.drivable import DrivableExtractor, DrivableSettings
from seg_perception.ground.ego_mask import EgoMask
from seg_perception.ground.geometry import GroundProjection
from seg_perception.ground.odometry import PlanarPose
from seg_perception.labels import LabelSet
from seg_perception.model_file import ModelInfo
from seg_perception.panoptic import pieces, steadier
from seg_perception.panoptic.decoder import Decoder, PanopticDecoder, PanopticSettings
from seg_perception.panoptic.pieces import WholeThings
from seg_perception.panoptic.relabel import MergingDecoder, Told
from seg_perception.panoptic.steadier import Steadier, TemporalSettings
from seg_perception.results import Depth, Frame, Panoptic, Result, Wants
from seg_perception.tracking import tracker
from seg_perception.tracking.feet import fastest_speeds, hiding_classes
from seg_perception.tracking.numbers import numbered_by_track
from seg_perception.tracking.settings import TrackingSettings
from seg_perception.tracking.tracker import Tracked, Tracker

STAGES = ("preprocess", "network", "decode", "drivable", "tracking")


_Span = tuple[int, int]
"""Begin and end of a stage, ns."""


class _Place(NamedTuple):
    """What is known of where a frame was taken; see Pipeline.set_camera."""

    camera: CameraModel | None = None
    pose: CameraPose | None = None
    ego: EgoMask | None = None
    odometry: PlanarPose | None = None


@dataclass(frozen=True)
class Ready:
    """A frame on its way into the network. images: what the network takes; where, decoder, extractor: what were in force then."""

    pipeline: Pipeline
    frame: Frame
    wants: Wants
    images: Any
    where: _Place
    decoder: Decoder
    extractor: DrivableExtractor
    preprocess: _Span


@dataclass(frozen=True)
class Seen:
    """A frame half way: its masks are made, its ground is not. spans: of the stages so far."""

    ready: Ready
    panoptic: Panoptic
    spans: tuple[_Span, ...]


class Pipeline:
    """Runs frames of one camera through one network.

    mask_hw: (height, width) of the masks; None = the camera's resolution. `run` belongs to one thread; `set_camera`
    and `configure` may be called from another and take effect with the next frame.

    `run` is `see`, which needs the network, then `place`, which does not. With several slots one thread may place a
    frame while another sees the next in another slot; each of the two belongs to one thread at a time, and frames are
    placed in the order in which they were seen.

    `see` is `prepare`, the network, then `decode`; between the two the network may run on frames of several pipelines at once.
    """

    def __init__(
        self,
        model: ModelInfo,
        backend: Backend,
        *,
        panoptic: PanopticSettings | None = None,
        drivable: DrivableSettings | None = None,
        tracking: TrackingSettings | None = None,
        temporal: TemporalSettings | None = None,
        instance_ids: str = "frame",
        mask_hw: tuple[int, int] | None = None,
        slots: int = 1,
        told: Told | None = None,
        whole_things: bool = True,
    ) -> None:
        """tracking: None = things are not followed; temporal: what classes keep from frame to frame; instance_ids: `frame`
        or `track`, what the instance mask holds; slots: frames whose masks are kept at once; told: classes as the
        outputs tell them, None: as the model has them; whole_things: whether instances are what hangs together, rather than
        what the network's centres alone say."""
        self.model = model
        self.backend = backend
        self._told = told or Told(model.labels)
        self._whole_things = whole_things
        self._mask_hw = mask_hw
        self._device = backend.device_steps() if isinstance(backend, DeviceBackend) else None
        on_cpu = Preprocessor(model.size_for)
        self._preprocess: Callable[[Frame, int], Any] = (
            self._device.preprocessor() if self._device else lambda frame, place: on_cpu(frame)
        )
        self._where = _Place()
        self._slots = slots
        self._tracker: Tracker | None = None
        if tracking is not None and tracking.enabled:
            self._tracker = Tracker(len(model.labels), tracking)
        self._by_track = instance_ids == "track"
        grid = self._device.steady_grid(model.labels) if self._device else None
        self._steadier = Steadier(model.labels, temporal or TemporalSettings(), grid)
        self._tell()
        self._settings = panoptic or PanopticSettings(), drivable or DrivableSettings()
        self._steps = self._decoders(), DrivableExtractor(self.labels, self._settings[1])
        self._extractor = self._steps[1]

    def set_camera(
        self,
        camera: CameraModel | None,
        pose: CameraPose | None,
        ego: EgoMask | None = None,
        odometry: PlanarPose | None = None,
    ) -> None:
        """Use this calibration and mounting from the next frame on; without both there is no ground output. ego: where the
        images show the own vehicle. odometry: where the base frame is at that frame's stamp, None where it is not known:
        then speeds are seen from the vehicle."""
        self._where = _Place(camera, pose, ego, odometry)

    def configure(
        self,
        *,
        panoptic: PanopticSettings | None = None,
        drivable: DrivableSettings | None = None,
        tracking: TrackingSettings | None = None,
        temporal: TemporalSettings | None = None,
        told: Told | None = None,
    ) -> None:
        """Swap settings between two frames; what is None stays as it is. Tracks go on, and none begin where there were
        none."""
        if tracking is not None and self._tracker is not None:
            self._tracker.settings = tracking
        if temporal is not None:
            self._steadier.settings = temporal
        if told is not None:
            self._told = told
            self._tell()
            if told.table is not None and self._tracker is not None:
                self._tracker.tell_as(told.table)
        self._settings = panoptic or self._settings[0], drivable or self._settings[1]
        decoders, extractor = self._steps
        self._steps = (
            self._decoders() if panoptic or told else decoders,
            DrivableExtractor(self.labels, self._settings[1]) if drivable or told else extractor,
        )

    def _tell(self) -> None:
        """Let the steps that remember go by the classes as they are told."""
        self._steadier.tell(self.labels)
        if self._tracker is not None:
            self._tracker.hides = hiding_classes(self.model.labels, self._told)
            self._tracker.fastest_m_s = fastest_speeds(self.model.labels, self._told)

    @property
    def labels(self) -> LabelSet:
        """The classes as they are told."""
        return self._told.labels

    def _decoders(self) -> tuple[Decoder, ...]:
        make, table = (self._device.decoder if self._device else PanopticDecoder), self._told.table
        settings = asked = self._settings[0]
        if table is not None:  # stuff is small or not by what merged classes have together
            settings = replace(settings, min_stuff_area=0.0)
        made: list[Decoder] = [make(self.labels, settings) for _ in range(self._slots)]
        if self._whole_things:
            made = [WholeThings(one, self.model.labels, settings) for one in made]
        return tuple(made if table is None else [MergingDecoder(one, table, asked.min_stuff_area) for one in made])

    @property
    def ground_problem(self) -> str | None:
        """Why there is no ground output, None when there is; as of the latest frame."""
        return self._extractor.ground_problem

    @property
    def projection(self) -> GroundProjection | None:
        """Between the latest mask's pixels and the ground; None where there is no ground output."""
        return self._extractor.projection

    @property
    def depth_problem(self) -> DepthProblem | None:
        """Why the latest frame's depth was not used; None where it was, or there was none."""
        return self._extractor.depth_problem

    @property
    def tracker(self) -> Tracker | None:
        """Who follows the things; None where nothing does."""
        return self._tracker

    def keep_tracks_of(self, other: Pipeline) -> None:
        """Follow what another pipeline of the same camera and settings followed until now."""
        self._tracker = other._tracker

    def warm_up(self) -> None:
        """Run a black image of a made-up camera, then a mask that is all ground, through every step: compile what is
        compiled at its first use, touch all memory."""
        self.backend.warm_up()
        height, width = self.model.size_hw
        matrix = ((width, 0, width / 2), (0, width, height / 2), (0, 0, 1))
        camera = CameraModel(width, height, matrix, distortion=(-0.01, 0.0, 0.0, 0.0))
        placed, self._where = self._where, _Place(camera, CameraPose(0.0, 0.0, 1.0))
        follows, self._tracker = self._tracker, None  # it would tell of an image without a stamp
        black = Frame(np.zeros((height, width, 3), np.uint8))
        for slot in range(self._slots):
            seen = self.place(self.see(black, slot=slot)).panoptic
        for label in self.labels.drivable[:1]:
            all_ground = replace(seen, semantic=np.full_like(seen.semantic, label.id))
            for depth in (None, Depth(np.full(seen.semantic.shape, 3.0, np.float32))):
                self._extractor.extract(all_ground, Wants(points=True), depth)
        self._where, self._tracker = placed, follows
        if self._device is None:
            steadier.warm_up(self.labels)
        if self._whole_things:
            pieces.warm_up(self.model.labels)
        if self._tracker is not None:
            tracker.warm_up()

    def run(self, frame: Frame, wants: Wants = Wants(), depth: Depth | None = None) -> Result:  # noqa: B008 - frozen, so safe to share
        """Everything that is wanted of one frame. depth: of its image, pixel by pixel.

        The masks may be views of buffers that the next run overwrites: copy what is kept longer.
        """
        return self.place(self.see(frame, wants), depth)

    def see(self, frame: Frame, wants: Wants = Wants(), slot: int = 0) -> Seen:  # noqa: B008 - as above
        """The steps up to the masks, which hold until the same slot is seen again.

        Raises BackendError where the network fails or its answer is not finite.
        """
        ready = self.prepare(frame, wants, slot)
        return self.decode(ready, answers_of(lambda: self.backend.infer(ready.images))[0])

    def prepare(self, frame: Frame, wants: Wants, slot: int = 0, place: int = 0) -> Ready:
        """The step before the network. place: of its image in the batch; those before it were prepared, too."""
        decoders, extractor = self._steps
        begin = perf_counter_ns()
        images = self._preprocess(frame, place)
        span = begin, perf_counter_ns()
        return Ready(self, frame, wants, images, self._where, decoders[slot], extractor, span)

    def decode(self, ready: Ready, answer: Answer) -> Seen:
        """The masks of a frame that this pipeline has prepared. Raises as see."""
        if answer.error is not None:
            raise answer.error
        frame, output, place = ready.frame, answer.output, answer.place
        begin = perf_counter_ns()
        output, place = self._steadier.steady(ready.images, output, place, frame.stamp_ns)
        mask_hw = self._mask_hw or frame.size_hw
        panoptic = ready.decoder.decode(output, place, mask_hw, self.model.stride, ready.wants)
        return Seen(ready, panoptic, (ready.preprocess, answer.span_ns, (begin, perf_counter_ns())))

    def place(self, seen: Seen, depth: Depth | None = None) -> Result:
        """The rest: the drivable ground, and which thing is which. depth: of the frame's image, pixel by pixel."""
        ready, mask = seen.ready, seen.panoptic.semantic
        begin = perf_counter_ns()
        self._extractor = ready.extractor
        where, mask_hw = ready.where, (mask.shape[0], mask.shape[1])
        self._extractor.set_camera(where.camera, where.pose, mask_hw, ready.frame.size_hw, where.ego)
        drivable = self._extractor.extract(seen.panoptic, ready.wants, depth)
        placed = perf_counter_ns()

        panoptic, tracked = self._follow(seen, drivable.ego)
        spans = (*seen.spans, (begin, placed), (placed, perf_counter_ns()))
        stages_ms = {name: (end - begin) / 1e6 for name, (begin, end) in zip(STAGES, spans)}
        return Result(ready.frame, panoptic, drivable, stages_ms, tracked.tracks, tracked.frame)

    def _follow(self, seen: Seen, own_vehicle: NDArray[np.uint8] | None) -> tuple[Panoptic, Tracked]:
        """The masks with their things' tracks. own_vehicle: see Tracker.update."""
        ready, panoptic = seen.ready, seen.panoptic
        if self._tracker is None or not ready.wants.instances:
            return panoptic, Tracked(panoptic.segments, (), "")
        projection, odometry = self._extractor.projection, ready.where.odometry
        tracked = self._tracker.update(panoptic, ready.frame.stamp_ns, projection, odometry, own_vehicle)
        panoptic = replace(panoptic, segments=tracked.segments)
        numbered = self._by_track and ready.frame.stamp_ns > 0  # without a stamp nothing is followed
        return (numbered_by_track(panoptic) if numbered else panoptic), tracked
